"""The part of the report on large tables: what a step of training takes, holds and learns, by the ids of the table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .._methods import FULL
from .._report import figure, markdown_table, size
from ._lines import Line
from ._report_cells import outcome_text
from ._report_train import TITLES
from ._report_train_plots import COLORS, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VARIED = ("rows", "method", "budget", "seed")
"""What cells of one table of figures may differ in."""


def step(figures: dict[str, Any]) -> float:
    """Return milliseconds of a processor for a step."""
    return float(figures["step_cpu_ms"]["median"])


def held(figures: dict[str, Any]) -> float:
    """Return all bytes of the table in training."""
    return float(sum(figures["table_bytes"].values()))


def peak(figures: dict[str, Any]) -> float:
    """Return the most memory that the process had."""
    return float(figures["peak_bytes"])


def auc(figures: dict[str, Any]) -> float:
    """Return the AUC of the frozen table."""
    return float(figures["auc"])


FIGURES: dict[str, tuple[Callable[[dict[str, Any]], float], Callable[[float], str]]] = {
    "milliseconds of a processor for a step": (step, lambda value: figure(value, 3)),
    "milliseconds of the clock for a step": (
        lambda found: float(found["step_ms"]["median"]),
        lambda value: figure(value, 3),
    ),
    "bytes of the table in training": (held, lambda value: size(round(value))),
    "most memory of the process": (peak, lambda value: size(round(value))),
    "AUC": (auc, lambda value: f"{value:.4f}"),
}


def groups(lines: Sequence[Line]) -> list[list[Line]]:
    """Return the lines that were trained in one way, those of which there are most first."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        same = {name: value for name, value in line["request"].items() if name not in VARIED}
        found.setdefault(json.dumps(same, sort_keys=True), []).append(line)
    return sorted(found.values(), key=len, reverse=True)


def titles(found: Sequence[Sequence[Line]]) -> list[str]:
    """Return a heading of each group: its samples and, where others have as many, what else it does not share."""
    requests = [lines[0]["request"] for lines in found]
    result = []
    for one in requests:
        like = [other for other in requests if other["samples"] == one["samples"]]
        apart = [name for name in one if name not in VARIED and any(other.get(name) != one[name] for other in like)]
        result.append(", ".join([f"{one['samples']:,} samples", *(f"{name} {one[name]}" for name in apart)]))
    return result


def described(lines: Sequence[Line]) -> str:
    """Return how a group was trained."""
    one = lines[0]["request"]
    steps = -(-one["samples"] // one["batch"])
    threads = "one thread" if one["threads"] == 1 else f"{one['threads']} threads"
    return (
        f"{TITLES.get(one['head'], one['head'])}, {one['dimension']} columns, {steps:,} steps of {one['batch']:,} "
        f"samples in each stage of a method, {one['gradients']} gradients where the method allows, {threads}; AUC of "
        f"the frozen table on {one['test_samples']:,} samples."
    )


def summary(lines: Sequence[Line]) -> list[str]:
    """Return a sentence for each number of ids and budget: what steps take and hold beside the uncompressed table."""
    found = []
    for rows in _sizes(lines):
        full = _of(lines, FULL, 1.0, rows)
        if not full:
            why = "was not run, or has no figures" if _any(lines, rows) else "has no figures, nor has any method"
            found.append(f"**{rows:,} ids**: nothing is compared, as the uncompressed table {why}.")
            continue
        text = f"**{rows:,} ids**: uncompressed, a step takes {figure(_value(full, step), 3)} ms and the table "
        text += f"{size(round(_value(full, held)))} in training"
        for budget in _budgets(lines):
            cells = {name: cell for name in _methods(lines, budget) if (cell := _of(lines, name, budget, rows))}
            if not cells:
                continue
            times = sorted((_value(cell, step) / _value(full, step), name) for name, cell in cells.items())
            bytes_held = sorted((_value(cell, held), name) for name, cell in cells.items())
            best = max((_value(cell, auc), name) for name, cell in cells.items())
            text += (
                f". At {100 * budget:g} %, a step takes {_range(times, lambda value: f'{value:.2f}')} times as long, "
            )
            text += f"in {_range(bytes_held, lambda value: size(round(value)))}; the most is learned by {best[1]}, "
            text += f"{best[0]:.4f} of {_best(lines, rows):.4f}"
        found.append(f"{text}.")
    return found


def tables(lines: Sequence[Line]) -> list[str]:
    """Return each figure by method and ids, in Markdown."""
    sizes = _sizes(lines)
    places = dict.fromkeys((line["request"]["method"], line["request"]["budget"]) for line in lines)
    header = ("method", "budget", *(f"{rows:,} ids" for rows in sizes))
    parts = []
    for name, (of, shown) in FIGURES.items():
        rows = [
            [method, f"{100 * budget:g} %", *(_cell(lines, method, budget, size, of, shown) for size in sizes)]
            for method, budget in sorted(places, key=lambda place: (-place[1], place[0]))
        ]
        if of is auc:
            known = (_best(lines, size) for size in sizes)
            rows.append(["*the best there can be*", "", *("-" if best is None else f"{best:.4f}" for best in known)])
        parts += [f"**{name[0].upper()}{name[1:]}**", markdown_table(header, rows)]
    return parts


def plots(lines: Sequence[Line]) -> dict[float, Figure]:
    """Return a picture for each budget with several methods; nothing of cells of one size."""
    if len(_sizes(lines)) < 2:
        return {}
    return {budget: _plot(lines, budget) for budget in _budgets(lines) if len(_methods(lines, budget)) > 1}


def _plot(lines: Sequence[Line], budget: float) -> Figure:
    """Draw the figures against ids; the uncompressed table, and methods with a budget of their own, are dashed."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(10.5, 7.2), layout="constrained")
    panels = drawing.subplots(2, 2).ravel()
    alone = [(names[0], one) for one in _budgets(lines) if len(names := _methods(lines, one)) == 1]
    for axes, (name, of) in zip(
        panels,
        (("CPU milliseconds a step", step), ("table in training, MB", held), ("peak memory, MB", peak), ("AUC", auc)),
        strict=True,
    ):
        scale = 1e-6 if of in (held, peak) else 1.0
        curves = [(FULL, 1.0, "black", "--", "full")]
        curves += [(one, share, "#777777", ":", f"{one} at {100 * share:g} %") for one, share in alone]
        curves += [
            (one, budget, COLORS[index % len(COLORS)], "-", one) for index, one in enumerate(_methods(lines, budget))
        ]
        for index, (method, share, color, style, label) in enumerate(curves):
            cells = [(rows, cell) for rows in _sizes(lines) if (cell := _of(lines, method, share, rows))]
            points = [(rows, scale * _value(cell, of)) for rows, cell in cells]
            marker = MARKERS[index % len(MARKERS)]
            if points:
                axes.plot(*zip(*points, strict=True), style, color=color, marker=marker, lw=1.4, ms=4.5, label=label)
        if of is auc:
            best = [(rows, value) for rows in _sizes(lines) if (value := _best(lines, rows)) is not None]
            axes.plot(*zip(*best, strict=True), ":", color="black", lw=1.2, label="best there can be")
        _dress(axes, name, of is not auc)
    drawing.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=8)
    return drawing


def _dress(axes: Axes, name: str, logarithmic: bool) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("ids", fontsize=9)
    axes.set_ylabel(name, fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _sizes(lines: Sequence[Line]) -> list[int]:
    return sorted({line["request"]["rows"] for line in lines})


def _budgets(lines: Sequence[Line]) -> list[float]:
    """Return the budgets of methods that have figures, the largest first."""
    found = {one["request"]["budget"] for one in lines if "figures" in one and one["request"]["method"] != FULL}
    return sorted(found, reverse=True)


def _methods(lines: Sequence[Line], budget: float) -> list[str]:
    """Return the methods that have figures at a budget, but for the uncompressed table."""
    return sorted(
        {
            line["request"]["method"]
            for line in lines
            if "figures" in line and line["request"]["budget"] == budget and line["request"]["method"] != FULL
        }
    )


def _of(lines: Sequence[Line], method: str, budget: float, rows: int) -> list[dict[str, Any]]:
    """Return the figures of a cell, one for each seed."""
    wanted = (method, budget, rows)
    return [
        line["figures"]
        for line in lines
        if "figures" in line and tuple(line["request"][name] for name in ("method", "budget", "rows")) == wanted
    ]


def _value(cell: Sequence[dict[str, Any]], of: Callable[[dict[str, Any]], float]) -> float:
    return statistics.median(map(of, cell))


def _any(lines: Sequence[Line], rows: int) -> bool:
    return any(line["request"]["rows"] == rows and "figures" in line for line in lines)


def _best(lines: Sequence[Line], rows: int) -> float | None:
    """Return the AUC of the true probabilities; None if no cell of the size has figures."""
    found = [line["figures"]["bayes_auc"] for line in lines if line["request"]["rows"] == rows and "figures" in line]
    return statistics.median(found) if found else None


def _cell(
    lines: Sequence[Line],
    method: str,
    budget: float,
    rows: int,
    of: Callable[[dict[str, Any]], float],
    shown: Callable[[float], str],
) -> str:
    if cell := _of(lines, method, budget, rows):
        return shown(_value(cell, of))
    wanted = (method, budget, rows)
    other = next(
        (one for one in lines if tuple(one["request"][name] for name in ("method", "budget", "rows")) == wanted), None
    )
    return "-" if other is None else outcome_text(other)


def _range(values: Sequence[tuple[float, str]], shown: Callable[[float], str]) -> str:
    """Return the least and the most, with their names."""
    (least, first), (most, last) = values[0], values[-1]
    return f"{shown(least)} ({first})" if first == last else f"{shown(least)} ({first}) to {shown(most)} ({last})"
