"""The tables and the plot of docs/lookup-benchmark.md, from the figures of `embedcompress bench lookup`.

Runs nothing: `make bench` measures, and then calls this.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from _pages import DOCS, RESULTS, fill

from embedcompress._report import figure, markdown_table
from embedcompress.bench import _document, _plot
from embedcompress.bench._cells import FORMATS
from embedcompress.bench._peers import NAMES, QUANTIZED
from embedcompress.bench._summary import describe, fastest, geometric_mean, lines, ratio, summarize, to_limit

TITLES = {"codebook4": "codebook 4", "16": "f16", "32": "f32"}
MOST_SLOWER = 25
PLOT = "lookup-benchmark.png"
"""Beside the page."""

Result = Mapping[str, Any]


def machine_text(document: Mapping[str, Any]) -> str:
    machine, settings = document["machine"], document["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    absent = document["not_installed"]
    parts = [
        f"Machine: {machine['cpu']}, {machine['processors']} processors, caches {caches}, {machine['system']}, "
        f"huge pages `{machine['huge_pages']}`, kernels for {machine['isa']}, load average before the run "
        f"{machine['load_before']}; {versions}.",
        f"{settings['repetitions']} turns of each contender, half as many for the large tables.",
        "The raw figures, with medians, 10th and 90th percentiles, are in [results/lookup.json](results/lookup.json).",
    ]
    return " ".join(parts + ([f"Not installed: {', '.join(absent)}."] if absent else []))


def grouped(results: Iterable[Result], *names: str) -> dict[tuple[Any, ...], list[Result]]:
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(tuple(result[name] for name in names), []).append(result)
    return groups


def in_order(groups: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Order keys that begin with bits as the formats are."""
    return sorted(groups, key=lambda key: (FORMATS.index(key[0]), *map(str, key[1:])))


def size_title(table: str) -> str:
    return table.replace("GiB", " GiB of f32") if table.endswith("GiB") else f"{table} rows"


def means_tables(results: Sequence[Result]) -> str:
    """Return the geometric means over dimensions and ids of the ratios to each peer and to the limit."""
    parts = []
    for (table,), part in grouped(results, "table").items():
        peers = [name for name in NAMES if any(name in result["contenders"] for result in part)]
        rows = []
        groups = grouped(part, "bits", "pooling", "threads")
        for key in in_order(groups):
            cells = [TITLES.get(key[0], key[0]), key[1], str(key[2])]
            for name in peers:
                found = [ratio(result, name) for result in groups[key] if name in result["contenders"]]
                cells.append(f"{figure(geometric_mean(found), 3)}×" if found else "-")
            rows.append([*cells, figure(geometric_mean([to_limit(result) for result in groups[key]]), 3)])
        header = ("bits", "pooling", "threads", *(NAMES[name] for name in peers), "times the limit")
        parts += [f"**{size_title(table)}**", markdown_table(header, rows, left=2)]
    return "\n\n".join(parts)


def dimension_tables(results: Sequence[Result]) -> str:
    """Return, for uniform ids, ours in ns a row by dimension, with the ratio to the fastest quantized peer."""
    parts = []
    uniform = [result for result in results if result["ids"] == "uniform"]
    for (table, pooling, threads), part in grouped(uniform, "table", "pooling", "threads").items():
        dimensions = sorted({result["dimension"] for result in part})
        rows = []
        groups = grouped(part, "bits")
        for key in in_order(groups):
            by_dimension = {result["dimension"]: result for result in groups[key]}
            cells = [dimension_cell(by_dimension.get(dimension)) for dimension in dimensions]
            rows.append([TITLES.get(key[0], key[0]), *cells])
        count = f"{threads} thread{'s' if threads > 1 else ''}"
        parts += [
            f"**{size_title(table)}, {pooling}, {count}**",
            markdown_table(("bits", *(f"d = {dimension}" for dimension in dimensions)), rows),
        ]
    return "\n\n".join(parts)


def dimension_cell(result: Result | None) -> str:
    if result is None:
        return "-"
    best = fastest(result, QUANTIZED) or fastest(result, ("torch_f32",))
    ours = figure(result["contenders"]["ours"]["ns_per_row"]["median"], 3)
    return ours if best is None else f"{ours} ({best[1]:.2f}×)"


def slower_table(results: Sequence[Result]) -> str:
    """Return the cells in which a peer is faster, the worst first."""
    found = [(best[1], best[0], result) for result in results if (best := fastest(result)) and best[1] < 1]
    if not found:
        return "In no cell is a peer faster."
    found.sort(key=lambda entry: entry[0])
    rows = [
        [describe(result), NAMES[peer], f"{least:.2f}×", figure(to_limit(result), 3)]
        for least, peer, result in found[:MOST_SLOWER]
    ]
    shown = f" The {MOST_SLOWER} furthest behind:" if len(found) > MOST_SLOWER else ""
    text = f"In {len(found):,} of {len(results):,} cells some peer, f32 included, is faster.{shown}"
    return f"{text}\n\n{markdown_table(('cell', 'fastest peer', 'its time / ours', 'times the limit'), rows, left=2)}"


def tables(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the page's parts by name."""
    cells = document["cells"]
    return {
        "machine": machine_text(document),
        "summary": "\n".join(f"- {line}" for line in lines(summarize(cells))),
        "plot": f"![Ratios by dimension]({PLOT})",
        "means": means_tables(cells),
        "slower": slower_table(cells),
        "dimensions": dimension_tables(cells),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "lookup.json", help="the figures")
    parser.add_argument(
        "--page", type=Path, default=DOCS / "lookup-benchmark.md", help="the page; its plot lies beside it"
    )
    options = parser.parse_args(arguments)
    document = _document.read(options.json)
    fill(options.page, tables(document))
    _plot.plot(document["cells"], options.page.with_name(PLOT))


if __name__ == "__main__":
    main()
