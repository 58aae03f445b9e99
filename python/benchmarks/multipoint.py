"""Multipoint beside least squares and EDEN at the same bytes: the normalised l2 loss on real tables.

The budget is what least squares takes at 3, 4 and 6 bits; multipoint has points of 1 and 2 bits, EDEN the most bits
that fit. Rows are every twentieth of a table, and the same rows times a factor each, drawn from a log-normal
distribution: tables whose norms differ much, as those of trained embeddings may. Figures go to
docs/results/multipoint.json, the table to docs/methods.md. A minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _pages import DOCS, RESULTS, described_machine, fill, machine_text, write_json

import embedcompress as ec
from embedcompress import _samples
from embedcompress._report import markdown_table

TABLES = {"GloVe": _samples.glove, "MiniLM": _samples.minilm, "WordLlama": _samples.wordllama}
BITS = (3, 4, 6)
METHODS: dict[str, dict[str, Any]] = {
    "multipoint, 1 bit": {"method": "multipoint", "bits": 1, "points": 12},
    "multipoint, 2 bits": {"method": "multipoint", "bits": 2, "points": 6},
    "eden": {"method": "eden"},
}


def cells() -> list[dict[str, Any]]:
    """Measure every method on every table at every budget."""
    found = []
    for name, sample in TABLES.items():
        table = sample().weight
        rows = table.lookup(np.arange(0, min(table.rows, 40_000), 20))
        factors = np.random.default_rng(0).lognormal(0, 1, (len(rows), 1)).astype(np.float32)
        for kind, weight in ((name, rows), (f"{name}, norms spread", rows * factors)):
            for bits in BITS:
                plain = ec.compress(weight, "least_squares", bits=bits)
                cell: dict[str, Any] = {"table": kind, "bits": bits, "stored_bytes": plain.stored_bytes}
                cell["least squares"] = ec.evaluate(plain, weight, queries=0).normalized_l2
                for method, options in METHODS.items():
                    other = ec.compress(weight, budget=plain.stored_bytes, **options)
                    cell[method] = ec.evaluate(other, weight, queries=0).normalized_l2
                print(cell, flush=True)
                found.append(cell)
    return found


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the page."""
    names = ["least squares", *METHODS]
    rows = [[one["table"], f"{one['bits']} bits", *(f"{one[name]:.4f}" for name in names)] for one in found]
    return markdown_table(["table", "bytes of least squares at", *names], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "multipoint.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "methods.md", help="the page with the table")
    options = parser.parse_args(arguments)
    machine, found = described_machine(), cells()
    write_json(options.json, {"machine": machine, "cells": found})
    fill(options.page, {"multipoint": f"{machine_text(machine)}\n\n{table(found)}"})


if __name__ == "__main__":
    main()
