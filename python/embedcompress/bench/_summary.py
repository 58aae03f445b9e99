"""What a run says in a few figures: the mean over quantized peers, and the worst of each kind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._report import figure, text_table
from ._peers import NAMES, QUANTIZED

COMPARABLE = ("2", "4", "8")
"""Widths that quantized peers have too."""
LARGE = "1GiB"

Result = Mapping[str, Any]


def is_pooled(result: Result) -> bool:
    """Whether the cell sums bags."""
    return bool(result["pooling"] != "lookup")


def ratio(result: Result, contender: str) -> float:
    """Return a contender's time by ours: above 1 where ours is faster."""
    return float(result["contenders"][contender]["ratio"]["median"])


def peers_of(result: Result, among: Iterable[str] | None = None) -> list[str]:
    """Return the peers that a cell has."""
    among = NAMES if among is None else among
    return [name for name in among if name in result["contenders"]]


def fastest(result: Result, among: Iterable[str] | None = None) -> tuple[str, float] | None:
    """Return the peer that is the least slower than ours, and its ratio; None where there is no peer."""
    found = [(ratio(result, name), name) for name in peers_of(result, among)]
    return (min(found)[1], min(found)[0]) if found else None


def to_limit(result: Result) -> float:
    """Return our time by that of touching the same cache lines."""
    return 1 / ratio(result, "limit")


def geometric_mean(values: Sequence[float]) -> float | None:
    """Return the geometric mean; None of nothing."""
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else None


def summarize(results: Sequence[Result]) -> dict[str, Any]:
    """Return the figures of a run.

    Returns:
        quantized: by number of threads, over the pooled cells of 2, 4 and 8 bits that have a quantized peer: the
            geometric mean of the ratios to the fastest of them, how many cells those are, how many are below 1, and
            the slowest.
        slowest: the cell of all in which ours is slowest beside the fastest peer, f32 included.
        four_bit_to_f32: the pooled 4-bit cell of a 1 GiB table with the least ratio to PyTorch's f32 embedding_bag.
        limit: the cell in which ours takes the most times of what touching its rows takes.
    """
    quantized: dict[str, Any] = {}
    for threads in sorted({result["threads"] for result in results}):
        found: list[tuple[float, str, Result]] = []
        for result in results:
            if result["threads"] == threads and result["bits"] in COMPARABLE and is_pooled(result):
                best = fastest(result, QUANTIZED)
                if best is not None:
                    found.append((best[1], best[0], result))
        if found:
            least, peer, slowest = min(found, key=lambda entry: entry[0])
            quantized[str(threads)] = {
                "geometric_mean": geometric_mean([entry[0] for entry in found]),
                "cells": len(found),
                "slower": sum(entry[0] < 1 for entry in found),
                "slowest": _named(slowest) | {"peer": peer, "ratio": least},
            }
    summary: dict[str, Any] = {"cells": len(results), "quantized": quantized}
    everything = [(best[1], best[0], result) for result in results if (best := fastest(result)) is not None]
    summary["slowest"] = None
    if everything:
        least, peer, slowest = min(everything, key=lambda entry: entry[0])
        summary["slowest"] = _named(slowest) | {"peer": peer, "ratio": least}
    four_bit = [
        (ratio(result, "torch_f32"), result)
        for result in results
        if result["bits"] == "4" and result["table"] == LARGE and is_pooled(result) and peers_of(result, ["torch_f32"])
    ]
    least_four = min(four_bit, key=lambda entry: entry[0], default=None)
    summary["four_bit_to_f32"] = least_four and _named(least_four[1]) | {"ratio": least_four[0]}
    worst = max(results, key=to_limit, default=None)
    summary["limit"] = worst and _named(worst) | {"ratio": to_limit(worst)}
    return summary


def _named(result: Result) -> dict[str, Any]:
    return {name: result[name] for name in ("bits", "dimension", "table", "pooling", "threads", "ids")}


def describe(cell: Result) -> str:
    """Return a cell in words."""
    bits = {"codebook4": "codebook of 4 bits", "16": "f16", "32": "f32"}.get(cell["bits"], f"{cell['bits']} bits")
    threads = "1 thread" if cell["threads"] == 1 else f"{cell['threads']} threads"
    size = cell["table"] if cell["table"].endswith("iB") else f"{int(cell['table']):,} rows"
    return f"{bits}, d = {cell['dimension']}, {size}, {cell['pooling']}, {threads}, {cell['ids']}"


def lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the summary as sentences."""
    found = [f"{summary['cells']:,} cells. A ratio is a peer's time by ours: above 1, ours is faster."]
    for threads, part in summary["quantized"].items():
        slowest = part["slowest"]
        found.append(
            f"Pooled, 2, 4 and 8 bits, {threads} thread{'s' if threads != '1' else ''}: "
            f"{figure(part['geometric_mean'], 3)}× the fastest quantized peer (geometric mean of {part['cells']} "
            f"cells, {part['slower']} below 1); least {figure(slowest['ratio'], 3)}× {NAMES[slowest['peer']]} "
            f"({describe(slowest)})."
        )
    if part := summary["slowest"]:
        found.append(
            f"Least of all cells and peers: {figure(part['ratio'], 3)}× {NAMES[part['peer']]} ({describe(part)})."
        )
    if part := summary["four_bit_to_f32"]:
        found.append(
            f"Least of 4 bits, 1 GiB, pooled, to PyTorch's f32 embedding_bag: {figure(part['ratio'], 3)}× "
            f"({describe(part)})."
        )
    if part := summary["limit"]:
        found.append(
            f"Furthest from the limit: {figure(part['ratio'], 3)} times what touching the same cache lines takes "
            f"({describe(part)})."
        )
    return found


def cells_text(results: Sequence[Result]) -> str:
    """Return a line for each cell: ns per row of ours, and the ratios."""
    names = [name for name in NAMES if any(name in result["contenders"] for result in results)]
    header = ("cell", "ours, ns/row", "p10-p90", "/ limit", *(NAMES[name] for name in names))
    rows = []
    for result in results:
        ours = result["contenders"]["ours"]["ns_per_row"]
        rows.append(
            (
                describe(result),
                f"{ours['median']:.2f}",
                f"{ours['p10']:.2f}-{ours['p90']:.2f}",
                f"{to_limit(result):.2f}",
                *(f"{ratio(result, name):.2f}×" if name in result["contenders"] else "-" for name in names),
            )
        )
    return text_table(header, rows)
