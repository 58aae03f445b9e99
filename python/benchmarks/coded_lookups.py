"""Lookups of tables that share or factor rows, in codes of 4 bits beside f32, of as many numbers, at one thread.

2,048 random ids a call, as rows. Both forms take turns; a figure is the median of the ratios of neighbouring turns, the
time of codes by that of f32: below 1, codes are quicker. Figures go to docs/results/coded_lookups.json and
docs/training.md. Under a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from _pages import DOCS, RESULTS, described_machine, fill, interleaved, machine_text, median_ratio, write_json

import embedcompress as ec
from embedcompress._report import markdown_table

COUNT, TURNS, ROWS = 2048, 101, 1_000_000
SMALL, LARGE = 200_000, 20_000_000
"""Numbers of an array that caches hold, and of one that they don't."""


def coded(numbers: np.ndarray[Any, Any], columns: int = 16) -> ec.Table:
    """Return numbers in codes of 4 bits, with a scale for each row of so many, as trained tables are frozen."""
    lines = numbers.reshape(-1, columns)
    scales = (np.abs(lines).max(1) / 7.5).astype(np.float16)
    codes = np.clip(lines / scales[:, None].astype(np.float32) + 8, 0, 15).astype(np.uint8)
    return ec.codebook(codes, (np.arange(16) - 7.5).astype(np.float16), bits=4, scales=scales)


def cases() -> dict[str, tuple[ec.Table, ec.Table]]:
    """Return each form in f32 and in codes."""
    random = np.random.default_rng(1)

    def numbers(*shape: int) -> np.ndarray[Any, Any]:
        return random.standard_normal(shape, np.float32)

    found = {}
    for count in (SMALL, LARGE):
        array = numbers(count)
        codes = coded(array)
        for dimension, blocks in ((16, (4, 8, 16)), (64, (8, 32, 64))):
            for block in blocks:
                shape: dict[str, Any] = {"rows": ROWS, "dimension": dimension, "block": block}
                name = f"robe, {count:,} numbers, {dimension} columns, blocks of {block}"
                found[name] = (ec.shared_array(array, **shape), ec.shared_array(codes, **shape))
    for columns, parts in ((16, (2, 2, 4)), (64, (4, 4, 4))):
        for rank in (8, 16, 32, 64):
            d0, d1, d2 = parts
            cores = [numbers(100, d0, rank), numbers(100, rank, d1, rank), numbers(100, rank, d2)]
            packed = [coded(core, core[0].size) for core in cores]
            table = ec.tensor_train(packed, rows=ROWS, columns=parts, ranks=(rank, rank))
            found[f"tt, {columns} columns, rank {rank}"] = (ec.tensor_train(cores), table)
    for rows in (10_000, 1_000_000):
        weight = numbers(rows, 16)
        tables = [ec.remap(one, rows=10 * rows, modulo=rows) for one in (ec.dense(weight), coded(weight, 16))]
        found[f"hash, {rows:,} rows of 16 columns"] = (tables[0], tables[1])
    return found


def measure(tables: Mapping[str, tuple[ec.Table, ec.Table]], turns: int) -> dict[str, dict[str, float]]:
    """Return the figures of each form, by its name."""
    random = np.random.default_rng(2)
    figures = {}
    for name, (plain, codes) in tables.items():
        ids = random.integers(0, plain.rows, COUNT)
        out = np.empty((COUNT, plain.dimension), np.float32)
        calls = {
            "f32": lambda plain=plain, ids=ids, out=out: plain.lookup(ids, out=out),
            "codes": lambda codes=codes, ids=ids, out=out: codes.lookup(ids, out=out),
        }
        seconds = interleaved(calls, turns)
        figures[name] = {
            "f32_ns_per_row": 1e9 * float(np.median(seconds["f32"])) / COUNT,
            "codes_ns_per_row": 1e9 * float(np.median(seconds["codes"])) / COUNT,
            "ratio": median_ratio(seconds["codes"], seconds["f32"]),
        }
        print(name, figures[name], flush=True)
    return figures


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table of the page."""
    rows = [
        (name, f"{cell['f32_ns_per_row']:.1f}", f"{cell['codes_ns_per_row']:.1f}", f"{cell['ratio']:.2f}")
        for name, cell in figures.items()
    ]
    return markdown_table(("table", "f32, ns a row", "codes, ns a row", "codes by f32"), rows)


def main() -> None:
    """Measure every form, and write the figures and the page."""
    ec.set_num_threads(1)
    machine = described_machine()
    figures = measure(cases(), TURNS)
    write_json(RESULTS / "coded_lookups.json", {"machine": machine, "cells": figures})
    fill(DOCS / "training.md", {"coded lookups": f"{machine_text(machine)}\n\n{table(figures)}"})


if __name__ == "__main__":
    main()
