"""How the demo's figures are shown: for a terminal, in Markdown, and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._figures import write
from ._report import figure, markdown_table, percent, size, text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADER = (
    "table",
    "bytes",
    "of f32",
    "norm. l2",
    "cosine",
    "recall@10",
    "lookup, ns/row",
    "pooled, ns/row",
)
TITLES = {"asym": "ASYM", "greedy": "GREEDY", "least_squares": "least squares", "trellis": "trellis"}
OWN_LAYOUT = ("trellis",)
"""Methods whose rows are not laid out as those of the others, and take another time to look up."""


def summary_rows(table: dict[str, Any]) -> list[list[str]]:
    """Return the rows of a table's summary, f32 first. Times are of one thread."""
    baseline = table["baselines"]["f32"]
    rows = [
        [
            "f32",
            size(table["f32_bytes"]),
            "100 %",
            "0",
            "1",
            "1",
            *(f"{baseline[way]['1']:.1f}" for way in ("lookup", "bag")),
        ]
    ]
    for result in table["results"]:
        recall = result["recall_at_10"]
        rows.append(
            [
                _label(result),
                size(result["stored_bytes"]),
                percent(result["ratio"]),
                figure(result["normalized_l2"], 3),
                f"{result['mean_cosine']:.4f}",
                "-" if recall is None else f"{recall:.3f}",
                *(f"{result['ns_per_row'][way]['1']:.1f}" for way in ("lookup", "bag")),
            ]
        )
    return rows


def _label(result: dict[str, Any]) -> str:
    return f"{TITLES.get(result['method'], result['method'])}, {result['bits']} bits"


def _heading(table: dict[str, Any]) -> str:
    return f"{table['title']}, {table['rows']:,} × {table['dimension']}"


def text(report: dict[str, Any]) -> str:
    """Return the summary for a terminal."""
    return "\n\n".join(
        _heading(table).replace("×", "x") + "\n" + text_table(HEADER, summary_rows(table)) for table in report["tables"]
    )


def summary_markdown(table: dict[str, Any]) -> str:
    """Return a table's summary in Markdown, which the README quotes."""
    return markdown_table(HEADER, summary_rows(table))


def markdown(report: dict[str, Any]) -> str:
    """Return the report in Markdown."""
    machine, settings = report["machine"], report["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    caches = ", ".join(f"{name} {extent}" for name, extent in machine["caches"].items())
    parts = [
        "# What embedcompress does to two real tables",
        f"Made by `{report['command']}` in {report['seconds']:.0f} seconds. The raw figures are in report.json.",
        f"Machine: {machine['cpu']}, {machine['processors']} processors ({caches or 'caches unknown'}), "
        f"{machine['system']}, kernels for {machine['isa']}, load average before the run "
        f"{machine['load_before']}; {versions}.",
        "![Error, recall and lookup time against bytes](report.png)",
        f"Lookup: {settings['lookups']:,} random ids in calls of {settings['ids_per_call']:,}; pooled: the same ids in "
        f"bags of {settings['ids_per_bag']}, summed. Times are nanoseconds per row, medians of "
        f"{settings['repetitions']} rounds in which the tables take turns. The summaries have the times of one thread; "
        "*norm. l2* is ‖X − Q(X)‖ / ‖X‖, *cosine* the mean over rows, *recall@10* the share of the 10 nearest rows "
        f"that {settings['queries']} random rows keep. All but trellis codes lay rows out "
        "alike: what their times at the same width differ by is noise.",
    ]
    for table in report["tables"]:
        parts += [
            f"## {_heading(table)}",
            f"From {table['source']}.",
            summary_markdown(table),
            "Lookup times in ns per row:",
            _times(table, settings["threads"]),
            "Compressing, and the worst row (the largest ‖x − q(x)‖ / ‖x‖ of any):",
            _making(table),
        ]
        if table["neighbours"]:
            parts += ["Nearest words by cosine:", _neighbours(table["neighbours"])]
    return "\n\n".join(parts) + "\n"


def _times(table: dict[str, Any], threads: list[int]) -> str:
    names = {
        "numpy index": "NumPy `weight[ids]`",
        "numpy take": "NumPy `take`, reused result",
        "f32": "f32, this library",
    }
    rows = [(names[key], table["baselines"][key]) for key in names]
    rows += [(_label(result), result["ns_per_row"]) for result in table["results"]]
    ways = [(way, str(count)) for way in ("lookup", "bag") for count in threads]
    header = ["table"] + [
        f"{'lookup' if way == 'lookup' else 'pooled'}, {count} thread{'s' if count != '1' else ''}"
        for way, count in ways
    ]
    return markdown_table(
        header,
        [
            [name, *(f"{times[way][count]:.1f}" if count in times[way] else "-" for way, count in ways)]
            for name, times in rows
        ],
    )


def _making(table: dict[str, Any]) -> str:
    header = ("table", "compress", "save", "open", "file", "equal when opened", "worst row", "its l2")
    rows = [
        (
            _label(result),
            f"{result['compress_seconds']:.2f} s",
            f"{result['save_seconds']:.3f} s",
            f"{1000 * result['open_seconds']:.2f} ms",
            f"{result['file_bytes']:,} bytes",
            "yes, bit for bit" if result["reopened_equal"] else "NO",
            f"{result['worst_row']:,}",
            figure(result["worst_row_l2"], 3),
        )
        for result in table["results"]
    ]
    return markdown_table(header, rows)


def _neighbours(neighbours: dict[str, dict[str, list[str]]]) -> str:
    rows = [
        (word, key, ", ".join(near).replace("|", "\\|"))
        for word, found in neighbours.items()
        for key, near in found.items()
    ]
    return markdown_table(("word", "table", "nearest"), rows, left=3)


COLORS = {"asym": "#c2570c", "greedy": "#1d4e89", "least_squares": "#2e7d32", "trellis": "#7b2d8e"}
MARKERS = {"asym": "s", "greedy": "o", "least_squares": "D", "trellis": "v"}


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw error and recall against bytes, and lookup times, a line of panels for each table."""
    from matplotlib.figure import Figure

    tables = report["tables"]
    drawing = Figure(figsize=(11, 3.6 * len(tables)), layout="constrained")
    parts = drawing.subfigures(len(tables), 1, squeeze=False)[:, 0]
    for part, table in zip(parts, tables, strict=True):
        part.suptitle(_heading(table), fontsize=12, fontweight="bold")
        error, recall, times = part.subplots(1, 3, width_ratios=(1, 1, 1.25))
        _plot_quality(error, table, "normalized_l2", "normalized l2 loss")
        error.set_yscale("log")
        _plot_quality(recall, table, "recall_at_10", "recall@10")
        recall.set_ylim(0, 1.1)
        _plot_times(times, table)
        for axes in (error, recall, times):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=9)
    write(drawing, path, dpi=150)


def _plot_quality(axes: Axes, table: dict[str, Any], field: str, label: str) -> None:
    for method in dict.fromkeys(result["method"] for result in table["results"]):
        points = [result for result in table["results"] if result["method"] == method and result[field] is not None]
        shares = [100 * result["ratio"] for result in points]
        axes.plot(
            shares,
            [result[field] for result in points],
            marker=MARKERS.get(method, "^"),
            color=COLORS.get(method),
            label=TITLES.get(method, method),
        )
    last = [result for result in table["results"] if result["method"] == table["results"][-1]["method"]]
    for result in last:
        if result[field] is not None:
            axes.annotate(
                f"{result['bits']} bits",
                (100 * result["ratio"], result[field]),
                # The side on which no line passes: the last method's is below the others', or above.
                xytext=(-7, -11) if field == "normalized_l2" else (-7, 5),
                textcoords="offset points",
                fontsize=8,
                ha="right",
            )
    axes.set_xlabel("stored bytes, % of f32", fontsize=9)
    axes.set_ylabel(label, fontsize=9)
    axes.set_xlim(0, 120 * max(result["ratio"] for result in table["results"]))
    axes.margins(y=0.15)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="upper right" if field == "normalized_l2" else "lower right")


def _plot_times(axes: Axes, table: dict[str, Any]) -> None:
    """Draw one bar a width for all methods that share a layout of rows, and therefore the time."""
    bars = [("NumPy\ntake", table["baselines"]["numpy take"]), ("f32", table["baselines"]["f32"])]
    methods = list(dict.fromkeys(result["method"] for result in table["results"]))
    common = [method for method in methods if method not in OWN_LAYOUT][-1:]
    for method in (*common, *(method for method in methods if method in OWN_LAYOUT)):
        name = f"\n{TITLES[method]}" if method in OWN_LAYOUT else ""
        bars += [
            (f"{result['bits']} bits{name}", result["ns_per_row"])
            for result in table["results"]
            if result["method"] == method
        ]
    for offset, way, color, label in (
        (-0.2, "lookup", "#1d4e89", "lookup"),
        (0.2, "bag", "#8fb3d9", "pooled, bags of 50"),
    ):
        values = [times[way]["1"] for _, times in bars]
        drawn = axes.bar([place + offset for place in range(len(bars))], values, 0.38, color=color, label=label)
        axes.bar_label(drawn, fmt="%.0f", fontsize=8, padding=1)
    axes.set_xticks(range(len(bars)), [name for name, _ in bars])
    axes.set_ylabel("ns per row, one thread", fontsize=9)
    axes.margins(y=0.12)
    axes.legend(fontsize=8, frameon=False)
