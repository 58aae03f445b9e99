"""Calls of 1 and of 32 ids, where what a call takes beside the rows counts: of a table, of modules, of PyTorch.

10,000 rows of 64 columns: at 4 bits on the same memory, and in f32 for torch.nn. Every bag has one id, so that all
return as many rows. A turn is many calls on the same ids, and the contenders take turns. Times are medians over turns,
with their 10th and 90th percentiles; a ratio is the median of the ratios of neighbouring turns, the time of
torch.ops.quantized by that of the call: above 1, the call is quicker. One thread, in the default mode of autograd, on
weights that don't require grad. Some seconds.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _pages import DOCS, RESULTS, described_machine, fill, write_json

import embedcompress as ec
from embedcompress import nn
from embedcompress._report import markdown_table
from embedcompress.bench._timing import ratios, spread

ROWS, DIMENSION, BITS = 10_000, 64, 4
COUNTS = (1, 32)
TITLES = {
    "table.lookup(array)": "`Table.lookup`, of a NumPy array",
    "table.bag(array, starts)": "`Table.bag`, of NumPy arrays",
    "rows(ids)": "`nn.CompressedEmbedding`",
    "rows.forward(ids)": "its `forward` alone",
    "bags(ids, offsets)": "`nn.CompressedEmbeddingBag`, with offsets",
    "bags.forward(ids, offsets)": "its `forward` alone",
    "bags(matrix)": "`nn.CompressedEmbeddingBag`, of a matrix",
    "quantized(packed, ids, offsets)": "`torch.ops.quantized.embedding_bag_4bit_rowwise_offsets`",
    "plain_rows(ids)": "`torch.nn.Embedding`, f32",
    "plain_bags(ids, offsets)": "`torch.nn.EmbeddingBag`, f32",
}
"""The calls, and what the page calls them."""
PEER = "quantized(packed, ids, offsets)"


def names(count: int) -> dict[str, Any]:
    """Return what the calls are made of."""
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal((ROWS, DIMENSION), np.float32))
    packed = torch.ops.quantized.embedding_bag_4bit_prepack(weight)
    table = ec.from_fused_rows(packed, DIMENSION, bits=BITS)
    array, starts = np.random.default_rng(1).integers(0, ROWS, count), np.arange(count)
    ids = torch.from_numpy(array)
    return {
        "table": table,
        "rows": nn.CompressedEmbedding(table),
        "bags": nn.CompressedEmbeddingBag(table, "sum"),
        "quantized": torch.ops.quantized.embedding_bag_4bit_rowwise_offsets,
        "packed": packed,
        "plain_rows": torch.nn.Embedding.from_pretrained(weight),
        "plain_bags": torch.nn.EmbeddingBag.from_pretrained(weight, mode="sum"),
        **{"array": array, "starts": starts, "ids": ids, "offsets": torch.from_numpy(starts), "matrix": ids[:, None]},
    }


def measure(count: int, turns: int, repetitions: int) -> dict[str, Any]:
    """Check that the calls agree, and time them."""
    known = names(count)
    for call in TITLES:
        lossy = not call.startswith("plain")
        rows = np.asarray(eval(call, known))
        np.testing.assert_allclose(rows, known["table"].lookup(known["array"]), atol=1e-5 if lossy else 0.5)
    timers = {call: timeit.Timer(call, globals=known) for call in TITLES}
    seconds: dict[str, list[float]] = {call: [] for call in TITLES}
    for turn in range(turns + 1):
        for call, timer in timers.items():
            passed = timer.timeit(repetitions) / repetitions
            # The first turn warms up.
            if turn:
                seconds[call].append(passed)
    figures = {
        call: {
            "microseconds": spread([passed * 1e6 for passed in found]),
            "ratio": ratios(seconds[PEER], found),
        }
        for call, found in seconds.items()
    }
    return {"ids": count, "calls": figures}


def table(document: Mapping[str, Any]) -> str:
    """Return the page's table."""
    cells = document["cells"]
    header = ["call", *(f"{cell['ids']} id{'s' if cell['ids'] > 1 else ''}, µs (p10-p90; ratio)" for cell in cells)]
    rows = []
    for call, title in TITLES.items():
        row = [title]
        for cell in cells:
            found, ratio = cell["calls"][call]["microseconds"], cell["calls"][call]["ratio"]["median"]
            row.append(f"{found['median']:.2f} ({found['p10']:.2f}-{found['p90']:.2f}; {ratio:.2f}×)")
        rows.append(row)
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "small_calls.json", help="where to write the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "lookup-benchmark.md", help="the page that quotes them")
    parser.add_argument("--turns", type=int, default=101)
    parser.add_argument("--repetitions", type=int, default=500, help="calls of a turn")
    options = parser.parse_args(arguments)
    ec.set_num_threads(1)
    torch.set_num_threads(1)
    document = {
        "machine": described_machine("torch"),
        "settings": {"turns": options.turns, "repetitions": options.repetitions},
        "shape": {"rows": ROWS, "dimension": DIMENSION, "bits": BITS},
        "cells": [measure(count, options.turns, options.repetitions) for count in COUNTS],
    }
    write_json(options.json, document)
    fill(options.page, {"small calls": table(document)})
    print(table(document))


if __name__ == "__main__":
    main()
