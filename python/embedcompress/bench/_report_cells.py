"""What the reports of the post-training benchmarks share: the best cells, a table by budgets, a plot by bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .._report import figure, markdown_table
from ._calls import label
from ._lines import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def grouped(lines: Iterable[Line], subject: str, same: Sequence[str]) -> dict[str, list[Line]]:
    """Return the lines of each subject by its name, to which its digest is added where others have the name too.

    Args:
        lines: Of one benchmark.
        subject: What of a request names the subject, such as "table".
        same: What else of a request must be the same for lines to be compared; a digest first.
    """
    groups: dict[tuple[object, ...], list[Line]] = {}
    for line in lines:
        request = line["request"]
        groups.setdefault((request[subject], *(request.get(name) for name in same)), []).append(line)
    found: dict[str, list[Line]] = {}
    for (name, *others), group in groups.items():
        found[str(name) if name not in found else f"{name} ({', '.join(str(other) for other in others)})"] = group
    return found


def cells(lines: Sequence[Line]) -> list[Line]:
    """Return the lines of methods: all but those of `recommend`."""
    return [line for line in lines if "method" in line["request"]]


def made(lines: Sequence[Line]) -> list[Line]:
    """Return the lines of methods that made a table."""
    return [line for line in cells(lines) if "figures" in line]


def front(lines: Sequence[Line], value: str, most: bool = False) -> list[Line]:
    """Return the tables that no other one beats in bytes and a figure, the smallest first.

    Args:
        lines: Of one subject.
        value: The figure.
        most: Whether more of it is better.
    """
    sign = -1 if most else 1
    result: list[Line] = []
    for line in sorted(made(lines), key=lambda one: (one["figures"]["stored_bytes"], sign * one["figures"][value])):
        if not result or sign * line["figures"][value] < sign * result[-1]["figures"][value]:
            result.append(line)
    return result


def matrix(lines: Sequence[Line], value: str, most: bool = False, decimals: int | None = None) -> str:
    """Return a figure of each method within each budget, in Markdown; the best of a budget is bold.

    Args:
        lines: Of one subject.
        value: The figure; None is no figure.
        most: Whether more of it is better.
        decimals: How many are shown; None shows three significant digits.
    """
    rows: dict[str, dict[float, Line]] = {}
    for line in cells(lines):
        if line["request"]["budget"] is not None:
            rows.setdefault(label(line["request"]), {})[line["request"]["budget"]] = line
    budgets = sorted({budget for row in rows.values() for budget in row}, reverse=True)
    choose = max if most else min
    best: dict[float, float | None] = {}
    for budget in budgets:
        found = [row[budget]["figures"][value] for row in rows.values() if "figures" in row.get(budget, {})]
        best[budget] = choose((one for one in found if one is not None), default=None)

    def shown(line: Line | None, least: float | None) -> str:
        if line is None:
            return "-"
        if "figures" not in line:
            return outcome_text(line)
        one = line["figures"][value]
        if one is None:
            return "-"
        text = figure(one, 3) if decimals is None else f"{one:.{decimals}f}"
        return f"**{text}**" if one == least else text

    texts = [[name, *(shown(row.get(budget), best[budget]) for budget in budgets)] for name, row in rows.items()]
    return markdown_table(("method", *(f"{100 * budget:.3g} %" for budget in budgets)), texts)


def outcome_text(line: Line) -> str:
    """Return why a line has no figures: after what time it was stopped, or the least share that the method needs."""
    if "stopped" in line:
        return str(line["stopped"])
    f32_bytes = 4 * line["request"]["rows"] * line["request"]["dimension"]
    return f"≥ {100 * line['floor'] / f32_bytes:.2g} %" if line.get("floor") else "refused"


def draw(axes: Axes, lines: Sequence[Line], value: str, most: bool = False) -> None:
    """Draw a figure against bytes, a line for each method, and the best for the bytes.

    Args:
        axes: What to draw on.
        lines: Of one subject.
        value: The figure; what has none above zero is left out.
        most: Whether more of it is better.
    """
    from matplotlib import colormaps
    from matplotlib.ticker import LogLocator, NullFormatter

    shown = [line for line in made(lines) if line["figures"][value] > 0]
    points: dict[str, list[tuple[float, float]]] = {}
    for line in shown:
        point = (100 * line["figures"]["ratio"], line["figures"][value])
        points.setdefault(label(line["request"]), []).append(point)
    colors = [colormaps["tab20"](index) for index in range(20)]
    for index, (name, found) in enumerate(points.items()):
        style = ("-", "--", ":")[index // len(colors) % 3]
        color = colors[index % len(colors)]
        axes.plot(*zip(*sorted(found), strict=True), style, color=color, marker=".", lw=0.8, ms=4, label=name)
    best = [(100 * line["figures"]["ratio"], line["figures"][value]) for line in front(shown, value, most)]
    if best:
        axes.plot(*zip(*best, strict=True), color="black", lw=2.2, alpha=0.35, label="best for the bytes")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("stored bytes, of f32")
    axes.grid(alpha=0.3, which="both")
