"""The page of `table_methods.py` and its plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _pages import machine_text

from embedcompress._report import figure, markdown_table, percent

Cell = Mapping[str, Any]


def text(document: Mapping[str, Any], plot_name: str) -> str:
    """Return the page."""
    settings = document["settings"]
    parts = [
        "# Every method at every budget",
        f"Made by `{document['command']}`; the raw figures are in "
        "[results/table_methods.json](results/table_methods.json). [methods.md](methods.md) says how to choose.",
        "Each cell is ‖X − Q(X)‖ / ‖X‖ of the best table that a method makes within a budget, which is a share of the "
        "f32 bytes; the least of a column is bold. *≥ 3.4 %* says that the method refuses, and what it needs at least. "
        f"Recall@10 is of {settings['queries']} random rows; compressing is timed once, on "
        f"{settings['compress_threads']} threads, and lookups of random ids on one.",
        machine_text(document["machine"]),
        f"![Error against bytes]({plot_name})",
    ]
    for table in document["tables"]:
        made = [cell for cell in table["cells"] if "stored_bytes" in cell]
        parts += [
            f"## {table['title']}, {table['rows']:,} × {table['dimension']}",
            f"From {table['source']}.",
            _matrix(table, settings["budgets"]),
            "What has the least error for its bytes or fewer:",
            _front_table(front(made)),
        ]
        if table.get("recommend"):
            parts += ["What `recommend` puts first, and how far its error is from the least of all cells:"]
            parts += [_check_table(table["recommend"])]
    return "\n\n".join(parts) + "\n"


def name(cell: Cell) -> str:
    """Return a method with the options that make it a method of its own."""
    options = [str(value) for key, value in cell["options"].items() if key in ("inner", "hot", "cold")]
    options = list(dict.fromkeys(options))
    options += [f"{key}={value}" for key, value in cell["options"].items() if key == "group"]
    return f"{cell['method']}({', '.join(options)})" if options else str(cell["method"])


def front(made: Sequence[Cell]) -> list[Cell]:
    """Return the cells that no other one beats in bytes and error, the smallest first."""
    result: list[Cell] = []
    for cell in sorted(made, key=lambda cell: (cell["stored_bytes"], cell["normalized_l2"])):
        if not result or cell["normalized_l2"] < result[-1]["normalized_l2"]:
            result.append(cell)
    return result


def _matrix(table: Mapping[str, Any], budgets: Sequence[float]) -> str:
    by_name: dict[str, dict[float, Cell]] = {}
    for cell in table["cells"]:
        if cell["budget"] is not None:
            by_name.setdefault(name(cell), {})[cell["budget"]] = cell
    size = 4 * table["rows"] * table["dimension"]
    least = {
        budget: min((row[budget].get("normalized_l2", 9.0) for row in by_name.values() if budget in row), default=9.0)
        for budget in budgets
    }

    def shown(cell: Cell | None, budget: float) -> str:
        if cell is None:
            return "-"
        if "stopped" in cell:
            return cell["stopped"]
        if "refused" in cell:
            return f"≥ {100 * cell['floor'] / size:.2g} %" if cell["floor"] else "refused"
        value = figure(cell["normalized_l2"], 3)
        return f"**{value}**" if cell["normalized_l2"] == least[budget] else value

    rows = [[label, *(shown(row.get(budget), budget) for budget in budgets)] for label, row in by_name.items()]
    return markdown_table(("method", *(f"{100 * budget:g} %" for budget in budgets)), rows)


def _front_table(cells: Sequence[Cell]) -> str:
    header = (
        "method",
        "expression",
        "bytes",
        "of f32",
        "norm. l2",
        "cosine",
        "recall@10",
        "compress, s",
        "lookup, ns/row",
    )
    rows = [
        [
            name(cell),
            f"`{cell['expression']}`",
            f"{cell['stored_bytes']:,}",
            percent(cell["ratio"]),
            figure(cell["normalized_l2"]),
            f"{cell['mean_cosine']:.5f}",
            f"{cell['recall_at_10']:.3f}",
            figure(cell["compress_seconds"], 3),
            f"{cell['lookup_ns_per_row']:.1f}",
        ]
        for cell in cells
    ]
    return markdown_table(header, rows, left=2)


def _check_table(results: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            f"{100 * result['budget']:g} %",
            name(result),
            figure(result["normalized_l2"]),
            name(result["best"]),
            figure(result["best"]["normalized_l2"]),
            f"{100 * result['apart']:+.1f} %",
            figure(result["seconds"], 3),
        ]
        for result in results
    ]
    return markdown_table(("budget", "first", "norm. l2", "best cell", "norm. l2", "apart", "seconds"), rows, left=2)


def plot(document: Mapping[str, Any], path: Path) -> None:
    """Write the plot: error against bytes, a panel for each table, a line for each method."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tables = document["tables"]
    drawing = Figure(figsize=(5.2 * len(tables), 5.6), layout="constrained")
    FigureCanvasAgg(drawing)
    panels = drawing.subplots(1, len(tables), squeeze=False)[0]
    names = list(dict.fromkeys(name(cell) for table in tables for cell in table["cells"]))
    colors = colormaps["tab20"].colors  # type: ignore[attr-defined]
    for axes, table in zip(panels, tables, strict=True):
        made = [cell for cell in table["cells"] if cell.get("normalized_l2", 0) > 0]
        for index, label in enumerate(names):
            points = sorted((100 * cell["ratio"], cell["normalized_l2"]) for cell in made if name(cell) == label)
            if points:
                style = ("-", "--", ":")[index // len(colors) % 3]
                axes.plot(*zip(*points, strict=True), style, color=colors[index % len(colors)], marker=".", lw=0.8,
                          ms=4, label=label)  # fmt: skip
        best = [(100 * cell["ratio"], cell["normalized_l2"]) for cell in front(made)]
        if best:
            axes.plot(*zip(*best, strict=True), color="black", lw=2.2, alpha=0.35, label="least error for the bytes")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:g} %")
        axes.set_xlabel("stored bytes, of f32")
        axes.set_title(table["title"], fontsize=10)
        axes.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("normalised l2")
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles=handles, labels=labels, loc="outside lower center", ncols=6, fontsize=7)
    drawing.savefig(path, dpi=110)
