"""Pooled lookups at each level of the instruction set that was built and that this CPU runs.

Every level has processes of its own, without PyTorch: code of v2 is slow for the rest of a thread in which code with
wider registers has run. Levels take turns; figures are medians over their turns, in nanoseconds a row, one thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _pages import DOCS, RESULTS, described_machine, fill, write_json

import embedcompress as ec
from embedcompress import _loader
from embedcompress._report import markdown_table

ROWS, IDS, BAG = 10_000, 102_400, 50
CELLS = [(bits, dimension) for bits in (2, 4, 8, 32) for dimension in (16, 64, 300)]
CALLS = 15


def nanoseconds(bits: int, dimension: int) -> float:
    """Return the time of a row of a pooled lookup, at the level that is loaded."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((ROWS, dimension), dtype=np.float32)
    table = ec.dense(weight) if bits == 32 else ec.compress(weight, "asym", bits=bits)
    ids, offsets = rng.integers(0, ROWS, IDS), np.arange(0, IDS, BAG)
    out = np.empty((len(offsets), dimension), np.float32)
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        table.bag(ids, offsets, out=out)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) / IDS * 1e9


def turn(level: str) -> list[float]:
    """Return the figures of a process of a level."""
    command = [sys.executable, __file__, "--measure"]
    environment = {**os.environ, _loader.FORCE: level}
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def table(document: Mapping[str, Any]) -> str:
    """Return the page's table."""
    levels = document["levels"]
    header = ["bits", "dimension", *(f"{level}, ns" for level in levels)]
    header += [f"{low} / {high}" for high, low in itertools.pairwise(levels)]
    rows = []
    for cell in document["cells"]:
        taken = [cell["ns_per_row"][level] for level in levels]
        ratios = [f"{low / high:.2f}" for high, low in itertools.pairwise(taken)]
        rows.append([str(cell["bits"]), str(cell["dimension"]), *(f"{value:.2f}" for value in taken), *ratios])
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "levels.json", help="where to write the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "lookup-benchmark.md", help="the page that quotes them")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--measure", action="store_true", help="print the figures of the level that is loaded")
    options = parser.parse_args(arguments)
    ec.set_num_threads(1)
    if options.measure:
        print(json.dumps([nanoseconds(*cell) for cell in CELLS]))
        return
    built = _loader.built_levels()
    levels = [level for level in _loader.cpu_levels() if level in built]
    turns: dict[str, list[list[float]]] = {level: [] for level in levels}
    for _ in range(options.turns):
        for level in levels:
            turns[level].append(turn(level))
    document = {
        "machine": described_machine(),
        "settings": {"turns": options.turns, "calls": CALLS, "rows": ROWS, "ids": IDS, "bag": BAG},
        "levels": levels,
        "cells": [
            {
                "bits": bits,
                "dimension": dimension,
                "ns_per_row": {
                    level: round(statistics.median(found[index] for found in turns[level]), 3) for level in levels
                },
            }
            for index, (bits, dimension) in enumerate(CELLS)
        ],
    }
    write_json(options.json, document)
    fill(options.page, {"levels": table(document)})
    print(table(document))


if __name__ == "__main__":
    main()
