"""How the figures of reproduce_4bit.py are shown: tables for docs/four-bit-paper.md, and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _four_bit_paper as paper

from embedcompress._figures import write
from embedcompress._report import figure, markdown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIMIT = 0.03
TITLES = paper.TITLES | {
    "asym-8": "ASYM-8BITS",
    "torch": "GREEDY, PyTorch's rule",
    "torch_opt": "GREEDY (opt), PyTorch's rule",
}
PEERS = ("torch", "torch_opt")
COLORS = {
    "table": "#999999",
    "sym": "#bcbd22",
    "gss": "#8c564b",
    "asym": "#c2570c",
    "aciq": "#e377c2",
    "hist_apprx": "#2ca02c",
    "hist_brute": "#17becf",
    "greedy": "#1d4e89",
    "greedy_opt": "#6baed6",
    "kmeans": "#9467bd",
    "kmeans_exact": "#c5b0d5",
    "least_squares": "#d62728",
}


def tables(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the page's tables by name, of the parts that were run."""
    parts: dict[str, str] = {}
    if part := results.get("figure1"):
        parts["figure 1"] = figure1_table(part)
        parts["figure 1, differences"] = difference_table(part)
        parts["figure 1, counts"] = counts_text(part)
        parts["figure 1, to ASYM"] = relative_table(part)
        parts["figure 1, draws"] = draws_table(part)
        parts["figure 1, greedy"] = greedy_table(part)
    if part := results.get("figure2"):
        parts["figure 2"] = figure2_table(part)
    if part := results.get("table2"):
        parts["table 2"] = "\n\n".join(table2_table(table) for table in part["tables"])
    if part := results.get("table3"):
        parts["table 3"] = table3_table(part)
    return parts


def grid(part: Mapping[str, Any]) -> tuple[list[str], list[int], dict[tuple[str, int], dict[str, Any]]]:
    """Return the methods, the dimensions, and the cells by both."""
    cells = {(cell["method"], cell["dimension"]): cell for cell in part["cells"]}
    methods = list(dict.fromkeys(method for method, _ in cells))
    return methods, list(dict.fromkeys(dimension for _, dimension in cells)), cells


def verdict(cell: Mapping[str, Any]) -> str:
    """Return how our mean lies to the paper's figure.

    "close": within 3 %; "spread": the paper's figure lies where 95 % of ten-row tables do; "relative": its ratio to
    ASYM does; "differs"; "none": the paper has no figure, or none that can be divided by.
    """
    if cell["paper"] is None or not cell["paper"]:
        return "none"
    if abs(cell["ratio"] - 1) <= LIMIT:
        return "close"
    if cell["inside"]:
        return "spread"
    return "relative" if cell["to_asym"]["inside"] else "differs"


def ours(methods: Sequence[str]) -> list[str]:
    return [method for method in methods if method not in PEERS]


# Figure 1


def figure1_table(part: Mapping[str, Any]) -> str:
    methods, dimensions, cells = grid(part)

    def text(cell: Mapping[str, Any]) -> str:
        printed = "" if cell["paper"] is None else f" ({cell['paper']:.4f})"
        return f"{cell['mean']:.4f}{printed}".replace("0.", ".")

    header = ["method", *(f"d = {dimension}" for dimension in dimensions)]
    rows = [[TITLES[method], *(text(cells[method, d]) for d in dimensions)] for method in ours(methods)]
    return markdown_table(header, rows)


def difference_table(part: Mapping[str, Any]) -> str:
    methods, dimensions, cells = grid(part)

    def text(cell: Mapping[str, Any]) -> str:
        kind = verdict(cell)
        if kind == "none":
            return "-"
        change = f"{100 * (cell['ratio'] - 1):+.1f}"
        return {"close": change, "spread": f"{change} s", "relative": f"{change} r", "differs": f"**{change}**"}[kind]

    header = ["ours − paper, %", *(f"d = {dimension}" for dimension in dimensions)]
    rows = [
        [TITLES[method], *(text(cells[method, d]) for d in dimensions)]
        for method in ours(methods)
        if method in paper.FIGURE_1
    ]
    return markdown_table(header, rows)


def counts(part: Mapping[str, Any], last: int = 4096) -> dict[str, int]:
    """Return how many cells up to a dimension have each verdict, of the methods that the paper has."""
    methods, dimensions, cells = grid(part)
    found = {"close": 0, "spread": 0, "relative": 0, "differs": 0}
    for method in ours(methods):
        for dimension in dimensions:
            kind = verdict(cells[method, dimension])
            if method in paper.FIGURE_1 and dimension <= last and kind != "none":
                found[kind] += 1
    return found


def counts_text(part: Mapping[str, Any]) -> str:
    found = counts(part)
    _, dimensions, cells = grid(part)
    tables = [cells["asym", dimension]["tables"] for dimension in dimensions]
    return (
        f"Of the {sum(found.values())} cells up to d = 4,096, {found['close']} are within 3 %; of the others the "
        f"paper's figure lies in {found['spread']} where 95 % of ten-row tables lie (*s*), in {found['relative']} more "
        f"only its ratio to ASYM does (*r*), and {found['differs']} differ (bold). Means are of {min(tables):,} to "
        f"{max(tables):,} ten-row tables."
    )


def relative_table(part: Mapping[str, Any]) -> str:
    """Return losses over ASYM's on the same rows; bold where the paper's figure is outside of the spread."""
    methods, dimensions, cells = grid(part)

    def text(cell: Mapping[str, Any]) -> str:
        if not cell["paper"]:
            return "-"
        relative = cell["to_asym"]
        both = f"{relative['mean']:.3f} ({relative['paper']:.3f})"
        return both if relative["inside"] else f"**{both}**"

    header = ["loss ÷ ASYM's", *(f"d = {dimension}" for dimension in dimensions)]
    rows = [
        [TITLES[method], *(text(cells[method, d]) for d in dimensions)]
        for method in ours(methods)
        if method in paper.FIGURE_1 and method != "asym"
    ]
    return markdown_table(header, rows)


def draws_table(part: Mapping[str, Any]) -> str:
    draws = part["draws"]
    lines = [
        ["methods at once", *(str(len(draw["methods"])) for draw in draws)],
        ["nearest table's largest difference, %", *(f"{100 * draw['largest_difference']:.1f}" for draw in draws)],
        ["tables with all methods within 3 %", *(f"{draw['tables_within_3_percent']:,}" for draw in draws)],
        ["of", *(f"{draw['tables']:,}" for draw in draws)],
    ]
    return markdown_table(["", *(f"d = {draw['dimension']}" for draw in draws)], lines)


def greedy_table(part: Mapping[str, Any]) -> str:
    methods, dimensions, cells = grid(part)
    rows = []
    for key, peer in (("greedy", "torch"), ("greedy_opt", "torch_opt")):
        if peer not in methods:
            continue
        printed = [cells[key, d]["paper"] for d in dimensions]
        rows.append([f"{TITLES[key]}: the paper's curve", *("-" if p is None else f"{p:.4f}" for p in printed)])
        rows.append([f"{TITLES[key]}: Algorithm 1, ours", *(f"{cells[key, d]['mean']:.4f}" for d in dimensions)])
        rows.append([TITLES[peer], *(f"{cells[peer, d]['mean']:.4f}" for d in dimensions)])
    return markdown_table(["", *(f"d = {dimension}" for dimension in dimensions)], rows)


# Figure 2 and the tables


def figure2_table(part: Mapping[str, Any]) -> str:
    methods, dimensions, cells = grid(part)
    rows = []
    for method in methods:
        line = [figure(cells[method, d]["us_per_row"], 3) for d in dimensions]
        ends = paper.FIGURE_2_ENDS.get(method)
        known = ends is not None and dimensions[0] == 8 and dimensions[-1] == 16384
        if ends is None or not known:
            rows.append([TITLES[method], *line, "-", "-", "-"])
            continue
        ratios = [1000 * end / cells[method, d]["us_per_row"] for end, d in zip(ends, (8, dimensions[-1]), strict=True)]
        printed = [f"{1000 * end:,.0f}" for end in ends]
        rows.append([TITLES[method], *line, *printed, " to ".join(f"{ratio:,.0f}×" for ratio in sorted(ratios))])
    header = ["µs per row", *(f"d = {d}" for d in dimensions), "paper, d = 8", "paper, d = 16384", "paper ÷ ours"]
    return markdown_table(header, rows)


def table2_order(table: Mapping[str, Any]) -> tuple[int, list[tuple[str, str]], int]:
    """Compare the order of the methods at 4 bits with the paper's.

    Returns:
        The paper's dimension nearest to the table's, the pairs of methods that stand the other way round (ours first
        in each), and the number of all pairs. A pair that the paper has equal counts for neither order.
    """
    column = min(
        range(len(paper.TABLE_2_DIMENSIONS)), key=lambda i: abs(paper.TABLE_2_DIMENSIONS[i] - table["dimension"])
    )
    found = {result["method"]: order_loss(result) for result in table["results"]}
    keys = [key for key in found if key in paper.TABLE_2]
    swapped, pairs = [], 0
    for one, other in combinations(keys, 2):
        printed = paper.TABLE_2[one][column] - paper.TABLE_2[other][column]
        if printed:
            pairs += 1
            if printed * (found[one] - found[other]) < 0:
                swapped.append((one, other) if found[one] < found[other] else (other, one))
    return paper.TABLE_2_DIMENSIONS[column], swapped, pairs


def order_loss(result: Mapping[str, Any]) -> float:
    """Return the loss at the paper's precision: codebooks are f16 there, scales f32."""
    loss: float = result["f16" if result["method"].startswith("kmeans") else "f32"]["normalized_l2"]
    return loss


def table2_table(table: Mapping[str, Any]) -> str:
    dimension, swapped, pairs = table2_order(table)
    column = paper.TABLE_2_DIMENSIONS.index(dimension)
    rows = []
    for result in sorted(table["results"], key=order_loss, reverse=True):
        printed = paper.TABLE_2.get(result["method"])
        rows.append(
            [
                TITLES[result["method"]],
                *(f"{result[kind]['normalized_l2']:.5f}" for kind in ("f32", "f16")),
                *(f"{result[kind]['stored_bytes']:,}" for kind in ("f32", "f16")),
                "-" if printed is None else f"{printed[column]:.5f}",
            ]
        )
    header = ("method", "f32", "f16", "bytes, f32", "bytes, f16", f"Criteo, d = {dimension}")
    names = ", ".join(f"{TITLES[better]} before {TITLES[worse]}" for better, worse in swapped)
    order = f"Of {pairs} pairs of methods, {pairs - len(swapped)} stand in the paper's order"
    heading = f"**{table['title']}**, {table['rows']:,} × {table['dimension']}:"
    return f"{heading}\n\n{markdown_table(header, rows)}\n\n{order}{f'; here {names}' if swapped else ''}."


def table3_table(part: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{TITLES[cell['method']]}, {cell['bits']} bits, {cell['parameters']}",
            str(cell["dimension"]),
            f"{cell['stored_bytes_per_row']:g}",
            f"{cell['percent']:.4f} %",
            f"{cell['paper']:.2f} %",
            "yes" if cell["equal"] else f"{cell['paper'] - cell['percent']:+.2f}",
        )
        for cell in part["cells"]
    ]
    return markdown_table(("method", "d", "bytes per row", "of f32", "paper", "equal"), rows)


# Plots


def draw_figure1(axes: Axes, part: Mapping[str, Any]) -> None:
    """Draw our means with the spread of ten-row tables, and the paper's figures as crosses."""
    methods, dimensions, cells = grid(part)
    for method in ours(methods):
        line = [cells[method, d] for d in dimensions]
        color = COLORS.get(method)
        axes.plot(dimensions, [cell["mean"] for cell in line], color=color, label=TITLES[method], linewidth=1.4)
        axes.fill_between(
            dimensions, [c["low"] for c in line], [c["high"] for c in line], color=color, alpha=0.1, linewidth=0
        )
        known = [(cell["dimension"], cell["paper"]) for cell in line if cell["paper"] is not None]
        if method in paper.FIGURE_1 and known:
            axes.plot(*zip(*known, strict=True), "x", color=color, markersize=5)
    axes.set(xlabel="d", ylabel="normalized l2 loss, 4 bits")
    axes.set_xscale("log", base=2)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False)


def draw_greedy(axes: Axes, part: Mapping[str, Any]) -> None:
    """Draw GREEDY by Algorithm 1 and by PyTorch's rule, and the paper's figures as crosses."""
    methods, dimensions, cells = grid(part)
    for method, color, style in (
        ("asym", COLORS["asym"], "-"),
        ("greedy", COLORS["greedy"], "-"),
        ("torch", COLORS["greedy"], ":"),
        ("greedy_opt", COLORS["greedy_opt"], "-"),
        ("torch_opt", COLORS["greedy_opt"], ":"),
    ):
        if method in methods:
            means = [cells[method, d]["mean"] for d in dimensions]
            axes.plot(dimensions, means, style, color=color, label=TITLES[method])
        if method in paper.FIGURE_1:
            axes.plot(paper.FIGURE_1_DIMENSIONS, paper.FIGURE_1[method], "x", color=color, markersize=5)
    axes.set(xlabel="d", ylabel="normalized l2 loss, 4 bits")
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(dimensions) * 0.8, max(dimensions) * 1.25)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False)


def draw_figure2(axes: Axes, part: Mapping[str, Any]) -> None:
    """Draw our times, and the ends of the paper's curves as crosses."""
    methods, dimensions, cells = grid(part)
    for method in methods:
        color = COLORS.get(method)
        times = [cells[method, d]["us_per_row"] for d in dimensions]
        axes.plot(dimensions, times, color=color, label=TITLES[method], linewidth=1.4)
        if ends := paper.FIGURE_2_ENDS.get(method):
            axes.plot((8, 16384), [1000 * end for end in ends], "x", color=color, markersize=5)
    axes.set(xlabel="d", ylabel="µs per row, one thread", yscale="log")
    axes.set_xscale("log", base=2)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False)


def plots(results: Mapping[str, Any], folder: Path) -> None:
    """Write the plots of the parts that were run."""
    from matplotlib.figure import Figure

    for name, draws in (("figure1", (draw_figure1, draw_greedy)), ("figure2", (draw_figure2,))):
        if name not in results:
            continue
        drawing = Figure(figsize=(6.5 * len(draws), 5.2), layout="constrained")
        for axes, draw in zip(drawing.subplots(1, len(draws), squeeze=False)[0], draws, strict=True):
            draw(axes, results[name])
            axes.spines[["top", "right"]].set_visible(False)
        write(drawing, folder / f"four-bit-paper-{name}.png", dpi=120)
