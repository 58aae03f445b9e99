"""Bits by use, a first stage of vectors, and rows of least squares: what each is worth to trellis codes.

Bits by use: 32,768 rows of normal values whose counts are 1 over their rank, at the bytes of 2 bits; ids in the order
of their counts, and in none. The error is weighted: the sum over rows of count times squared error, over that of count
times squared norm. All bytes count. The first stage and the rows of least squares are of real tables. Figures go to
docs/results/tiers.json, tables to docs/trellis-codes.md. Some five minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _pages import DOCS, RESULTS, described_machine, fill, machine_text, write_json

import embedcompress as ec
from embedcompress import _samples
from embedcompress._report import markdown_table

Cell = Mapping[str, Any]

ROWS, DIMENSION, BITS = 32_768, 64, 2
BY_USE: dict[str, tuple[str, dict[str, Any]]] = {
    "eden": ("eden", {}),
    "eden, in two tiers": ("tiers", {"inner": "eden", "tiers": 2}),
    "eden, in four tiers": ("tiers", {"inner": "eden", "tiers": 4}),
    "trellis": ("trellis", {}),
    "trellis, in two tiers": ("tiers", {"tiers": 2}),
    "trellis, in four tiers": ("tiers", {"tiers": 4}),
    "trellis, in sixteen tiers": ("tiers", {"tiers": 16}),
    "trellis, in four tiers, 2 bits with all bytes": ("tiers", {"tiers": 4, "budget": BITS * ROWS * DIMENSION // 8}),
}
STAGED = {"glove": 13.1, "wordllama": 66.0}
"""Bytes of a row, by the table."""
STAGES = ("none", "vectors", "auto")
WORSE = {"glove": 2, "minilm": 2, "wordllama": 2}
"""Bits of a column, by the table."""


def by_use(labels: Iterable[str] = BY_USE) -> list[dict[str, Any]]:
    """Return the weighted errors of rows whose counts follow Zipf's law."""
    weight = np.random.default_rng(0).standard_normal((ROWS, DIMENSION)).astype(np.float32)
    falling = 1 / np.arange(1.0, ROWS + 1)
    orders = {"by count": np.arange(ROWS), "none": np.random.default_rng(1).permutation(ROWS)}
    found = []
    for label in labels:
        method, options = BY_USE[label]
        for order, places in orders.items():
            counts = falling[places]
            given = ({} if "budget" in options else {"bits": BITS}) | options
            given |= {"counts": counts} if method == "tiers" else {}
            table = ec.compress(weight, method, **given)
            lost = ((table.decode().astype(np.float64) - weight) ** 2).sum(axis=1)
            norms = (weight.astype(np.float64) ** 2).sum(axis=1)
            tree, _ = table.parts()
            found.append(
                {
                    "method": label,
                    "order": order,
                    "error": float((counts * lost).sum() / (counts * norms).sum()),
                    "bits": 8 * table.stored_bytes / weight.size,
                    "map_bits": 8 * tree["bytes"] / weight.size if tree["kind"] == "partition" else 0.0,
                    "tiers": len(tree["children"]) if tree["kind"] == "partition" else 1,
                }
            )
            print(found[-1], flush=True)
    return found


def staged() -> list[dict[str, Any]]:
    """Return errors with and without a first stage, at the same bytes."""
    found = []
    for name, row_bytes in STAGED.items():
        weight = _samples.SAMPLES[name]().weight.decode()
        for stage in STAGES:
            budget = int(row_bytes * len(weight))
            table = ec.compress(weight, "trellis", budget=budget, rotation="partial", first_stage=stage)
            l2 = ec.evaluate(table, weight, queries=0).normalized_l2
            row = table.stored_bytes / len(weight)
            found.append({"table": name, "first_stage": stage, "budget": row_bytes, "row_bytes": row, "l2": l2})
            print(found[-1], flush=True)
    return found


def worse_rows() -> list[dict[str, Any]]:
    """Return how many rows of real tables are in the codes of least squares."""
    found = []
    for name, bits in WORSE.items():
        weight = _samples.SAMPLES[name]().weight.decode()
        tree, _ = ec.compress(weight, "trellis", bits=bits).parts()
        others = tree["children"]["1"]["rows"] if tree["kind"] == "partition" else 0
        found.append({"table": name, "bits": bits, "rows": len(weight), "of_least_squares": others})
        print(found[-1], flush=True)
    return found


def use_table(cells: Sequence[Cell]) -> str:
    """Return the cells of bits by use as Markdown."""
    header = ["method", "ids ordered", "tiers", "bits, all bytes", "of them the map", "weighted error"]
    rows = [
        [
            one["method"],
            one["order"],
            str(one["tiers"]),
            f"{one['bits']:.3f}",
            f"{one['map_bits']:.3f}",
            f"{one['error']:.4f}",
        ]
        for one in cells
    ]
    return markdown_table(header, rows, left=2)


def stage_table(cells: Sequence[Cell]) -> str:
    """Return the cells of the first stage as Markdown."""
    rows = [[one["table"], one["first_stage"], f"{one['row_bytes']:.2f}", f"{one['l2']:.4f}"] for one in cells]
    return markdown_table(["table", "first stage", "bytes a row", "l2"], rows, left=2)


def worse_table(cells: Sequence[Cell]) -> str:
    """Return how many rows are of least squares as Markdown."""
    rows = [[one["table"], str(one["bits"]), f"{one['rows']:,}", f"{one['of_least_squares']:,}"] for one in cells]
    return markdown_table(["table", "bits", "rows", "of least squares"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "tiers.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "trellis-codes.md", help="the page with the tables")
    given = parser.parse_args(arguments)
    machine = described_machine()
    found = {"by_use": by_use(), "first_stage": staged(), "worse_rows": worse_rows()}
    write_json(given.json, {"machine": machine, **found})
    text = machine_text(machine)
    fill(
        given.page,
        {
            "bits by use": f"{text}\n\n{use_table(found['by_use'])}",
            "first stage": stage_table(found["first_stage"]),
            "worse rows": worse_table(found["worse_rows"]),
        },
    )


if __name__ == "__main__":
    main()
