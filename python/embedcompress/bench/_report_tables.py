"""What the lines of `bench table` say: error within budgets and beside the possible, what has the least, a plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._report import figure, markdown_table, percent, text_table
from .._samples import SOURCES, TITLES
from . import _spectrum
from ._calls import label
from ._lines import Line
from ._report_cells import draw, front, grouped, made, matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRONT_HEADER = (
    "method",
    "expression",
    "bytes",
    "of f32",
    "norm. l2",
    "from the bound, dB",
    "cosine",
    "recall@10",
    "compress, s",
    "lookup, ns/row",
)


def by_table(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Return the lines of each table, by its name."""
    return grouped(lines, "table", ("digest", "queries"))


def best(lines: Sequence[Line]) -> list[Line]:
    """Return the tables that no other one beats in bytes and error, the smallest first."""
    return front(lines, "normalized_l2")


def title(name: str) -> str:
    """Return what a table is called."""
    return TITLES.get(name, name)


def heading(lines: Sequence[Line]) -> list[str]:
    """Return what the lines of one table are of, in Markdown."""
    request = lines[0]["request"]
    name = request["table"]
    parts = [f"## {title(name)}, {request['rows']:,} × {request['dimension']}"]
    return parts + ([f"From {SOURCES[name]}."] if name in SOURCES else [])


def parts(lines: Sequence[Line]) -> list[str]:
    """Return the tables of figures on one table, in Markdown."""
    found = [
        "Each cell is ‖X − Q(X)‖ / ‖X‖ of the best table that a method makes within a budget, which is a share of the "
        "f32 bytes; the least of a column is bold. *≥ 3.4 %* says that the method refuses, and what it needs at least; "
        "*> 30 s*, that it was stopped after so long.",
        matrix(lines, "normalized_l2"),
    ]
    if _spectrum.of_lines(lines) is not None:
        found += [
            "How far these are from the bound at their own bytes, in dB; 6.02 dB are twice the error, and a bit of "
            "each column. The bound is what no code has less error than if rows are normally distributed and vary as "
            "this table's do along their principal directions: reverse water-filling over the eigenvalues of their "
            "covariance.",
            matrix(with_distances(lines), BOUND_DECIBELS, decimals=2),
        ]
    found += [
        "What has the least error for its bytes or fewer; recall@10 is of random rows, lookups are of random ids, on "
        "one thread:",
        markdown_table(FRONT_HEADER, _front_rows(lines, "`"), left=2),
    ]
    if any("recommend" in line["request"] for line in lines):
        found += ["What `recommend` puts first, and how far its error is from the least of all cells:"]
        found += [recommend_table(lines)]
    return found


BOUND_DECIBELS = "bound_decibels"
"""A figure: how far the error is above the bound of the table's spectrum at as many bytes; None if it can't be said."""


def with_distances(lines: Sequence[Line]) -> list[Line]:
    """Return the lines of one table, with `BOUND_DECIBELS` among the figures of those that made one."""
    spectrum = _spectrum.of_lines(lines)
    found = []
    for line in lines:
        if "method" in line["request"] and "figures" in line:
            figures = line["figures"]
            row_bytes = figures["stored_bytes"] / line["request"]["rows"]
            distance = spectrum and spectrum.decibels(figures["normalized_l2"], row_bytes)
            line = {**line, "figures": {**figures, BOUND_DECIBELS: distance}}
        found.append(line)
    return found


def _front_rows(lines: Sequence[Line], quote: str = "") -> list[list[str]]:
    rows = []
    for line in best(with_distances(lines)):
        figures = line["figures"]
        recall = figures["recall_at_10"]
        rows.append(
            [
                label(line["request"]),
                f"{quote}{figures['expression']}{quote}",
                f"{figures['stored_bytes']:,}",
                percent(figures["ratio"]),
                figure(figures["normalized_l2"]),
                "-" if figures[BOUND_DECIBELS] is None else f"{figures[BOUND_DECIBELS]:.2f}",
                f"{figures['mean_cosine']:.5f}",
                "-" if recall is None else f"{recall:.3f}",
                figure(figures["compress_seconds"], 3),
                f"{figures['lookup_ns_per_row']:.1f}",
            ]
        )
    return rows


def against_best(lines: Sequence[Line]) -> list[tuple[Line, Line, float]]:
    """Return each choice of `recommend`, the cell of the least error that fits its budget, and how far it is behind.

    What is behind is a share: 0.01 is one percent more error.
    """
    found = []
    for line in lines:
        request = line["request"]
        if "recommend" not in request or "figures" not in line:
            continue
        room = int(request["recommend"] * request["rows"] * request["dimension"] * 4)
        fitting = [one for one in made(lines) if one["figures"]["stored_bytes"] <= room]
        first = min(fitting, key=lambda one: one["figures"]["normalized_l2"], default=None)
        if first is not None:
            error, least = line["figures"]["normalized_l2"], first["figures"]["normalized_l2"]
            found.append((line, first, error / least - 1 if least else 0.0))
    return found


def recommend_table(lines: Sequence[Line]) -> str:
    """Return what `recommend` puts first within each budget, beside the best cell."""
    rows = [
        [
            f"{100 * line['request']['recommend']:g} %",
            label(line["figures"]),
            figure(line["figures"]["normalized_l2"]),
            label(cell["request"]),
            figure(cell["figures"]["normalized_l2"]),
            f"{100 * apart:+.1f} %",
            figure(line["figures"]["seconds"], 3),
        ]
        for line, cell, apart in against_best(lines)
    ]
    return markdown_table(("budget", "first", "norm. l2", "best cell", "norm. l2", "apart", "seconds"), rows, left=2)


def summary(lines: Sequence[Line]) -> str:
    """Return the front as text, and what `recommend` is behind it."""
    header = [name for name in FRONT_HEADER if name != "expression"]
    rows = [[text for place, text in enumerate(row) if place != 1] for row in _front_rows(lines)]
    parts = ["What has the least error for its bytes or fewer:", text_table(header, rows)]
    parts += [
        f"recommend, {100 * line['request']['recommend']:g} %: {label(line['figures'])}, "
        f"{100 * apart:+.1f} % error beside the best cell, {label(cell['request'])}"
        for line, cell, apart in against_best(lines)
    ]
    return "\n".join(parts)


def _draw_bound(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw the bound where its errors are not far below those that are drawn: with many bytes it is next to nothing."""
    spectrum = _spectrum.of_lines(lines)
    shown = [line["figures"] for line in made(lines) if line["figures"]["normalized_l2"] > 0]
    if spectrum is None or not shown:
        return
    ratios = [figures["ratio"] for figures in shown]
    shares = np.geomspace(min(ratios), max(ratios), 200)
    least = np.array([spectrum.least_l2(4 * lines[0]["request"]["dimension"] * share) for share in shares])
    near = least > min(figures["normalized_l2"] for figures in shown) / 2
    axes.plot(100 * shares[near], least[near], color="black", ls="--", lw=1.2, label="bound of the spectrum")


def plot(lines: Sequence[Line]) -> Figure:
    """Return the plot of one table: error against bytes, a line for each method, and the bound."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 6.4), layout="constrained")
    axes = drawing.subplots()
    draw(axes, lines, "normalized_l2")
    _draw_bound(axes, lines)
    axes.set_yscale("log")
    axes.set_ylabel("normalised l2")
    axes.set_title(title(lines[0]["request"]["table"]), fontsize=10)
    drawing.legend(loc="outside lower center", ncols=5, fontsize=7)
    return drawing
