"""Exact tables: bytes on real tables beside what they have to say, and lookups beside f16.

What a table has to say is the entropy of its exponents below their row's largest, and all bits of signs and mantissas.
Cells that docs/results/exact_tables.json has are not made again; tables go to docs/exact.md. Two minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _pages import (
    DOCS,
    RESULTS,
    fill,
    interleaved,
    lookup_figures,
    machines_text,
    median_ratio,
    resumed_cells,
)

import embedcompress as ec
from embedcompress import _samples
from embedcompress._report import markdown_table

Values = np.ndarray[Any, Any]
Cell = dict[str, Any]

TABLES = ("wordllama", "minilm", "glove")
BITS: Mapping[str, int] = {"f32": 32, "f16": 16, "bf16": 16}
MANTISSAS: Mapping[str, int] = {"f32": 23, "f16": 10, "bf16": 7}
SHAPES = ((20_000, 64), (8_000, 256), (5_000, 384), (2_600, 768), (4_000_000, 64), (600_000, 384))
"""Rows and columns of lookups: four tables that the caches hold, and two that they don't."""
SETTINGS = {"bag": 50, "batch": 2000, "repetitions": 25}


def rounded(values: Values, element: str) -> Values:
    """Return the nearest values of a type, as f32."""
    if element == "f16":
        return values.astype(np.float16).astype(np.float32)
    if element == "bf16":
        bits = values.view(np.uint32)
        return ((bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    return values


def entropy(values: Values) -> float:
    """Return the bits of information in the exponents of values, once the largest of each row is known."""
    exponents = values.view(np.uint32) >> 23 & 0xFF
    counts = np.bincount((exponents.max(axis=1, keepdims=True) - exponents).ravel())
    shares = counts[counts > 0] / values.size
    return float(-(shares * np.log2(shares)).sum())


def sizes(name: str, element: str) -> Cell:
    """Return what exact makes of a real table, rounded to a type before."""
    weight = rounded(np.ascontiguousarray(_samples.SAMPLES[name]().weight.decode()), element)
    table = ec.compress(weight, "exact")
    if (table.decode().view(np.uint32) != weight.view(np.uint32)).any():
        raise ValueError(f"a bit of {name} did not come back")
    is_half = (rounded(weight, "f16").view(np.uint32) == weight.view(np.uint32)).all()
    mantissa = MANTISSAS["f16" if is_half and element == "f32" else element]
    least = entropy(weight) + 1 + mantissa
    tree = table.parts()[0]
    return {
        "part": "bytes",
        "table": name,
        "element": element,
        "store": str(table).splitlines()[0].split("  [")[0],
        "exceptions": tree.get("children", {}).get("exceptions", {}).get("nonzeros", 0),
        "row_bytes": table.stored_bytes / len(weight),
        "ratio": table.stored_bytes / (weight.size * BITS[element] / 8),
        "f32_ratio": table.stored_bytes / weight.nbytes,
        "least_ratio": least / BITS[element],
    }


def lookups(rows: int, dimension: int) -> list[Cell]:
    """Return times of lookups in tables of that size, by turns, on one thread."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((rows, dimension), np.float32)
    brain = rounded(weight, "bf16")
    tables = {"f16": ec.dense(weight.astype(np.float16))}
    tables["exact, of bf16"] = ec.compress(brain, "exact")
    tables["exact, of f16"] = ec.compress(rounded(weight, "f16"), "exact")
    tables["exact, of f32"] = ec.compress(weight, "exact")
    batch, bag = SETTINGS["batch"], SETTINGS["bag"]
    ids = rng.integers(0, rows, batch * bag // 10)
    offsets = np.arange(0, len(ids), bag)
    calls: dict[str, Callable[[], object]] = {}
    for label, table in tables.items():
        out = np.empty((batch, dimension), np.float32)
        calls[f"{label} rows"] = lambda table=table, out=out: table.lookup(ids[:batch], out=out)
        calls[f"{label} bags"] = lambda table=table: table.bag(ids, offsets)
    times = interleaved(calls, SETTINGS["repetitions"])
    return [
        {
            "part": "lookups",
            "rows": rows,
            "dimension": dimension,
            "table": label,
            "rows_ns": 1e9 * float(np.median(times[f"{label} rows"])) / batch,
            "rows_ratio": median_ratio(times[f"{label} rows"], times["f16 rows"]),
            "bags_ns": 1e9 * float(np.median(times[f"{label} bags"])) / len(ids),
            "bags_ratio": median_ratio(times[f"{label} bags"], times["f16 bags"]),
        }
        for label in tables
    ]


def size_table(cells: Sequence[Cell]) -> str:
    """Return the bytes of real tables as Markdown."""
    header = [
        "table",
        "as",
        "store",
        "exceptions",
        "bytes a row",
        "of its bytes",
        "of f32",
        "least possible, of its bytes",
    ]
    rows = [
        [
            cell["table"],
            cell["element"],
            cell["store"],
            f"{cell['exceptions']:,}",
            f"{cell['row_bytes']:.1f}",
            f"{cell['ratio']:.4f}",
            f"{cell['f32_ratio']:.4f}",
            f"{cell['least_ratio']:.4f}",
        ]
        for cell in cells
        if cell["part"] == "bytes"
    ]
    return markdown_table(header, rows, left=3)


def lookup_table(cells: Sequence[Cell]) -> str:
    """Return the times of lookups as Markdown."""
    header = ["table", "rows", "columns", "rows, ns", "of f16", "bags of 50, ns a row", "of f16"]
    rows = [
        [cell["table"], f"{cell['rows']:,}", str(cell["dimension"]), *lookup_figures(cell)]
        for cell in cells
        if cell["part"] == "lookups"
    ]
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS / "exact_tables.json")
    parser.add_argument("--page", type=Path, default=DOCS / "exact.md")
    given = parser.parse_args(arguments)
    ec.set_num_threads(1)
    cells, keep = resumed_cells(SETTINGS, given.json)

    known = {(cell["table"], cell["element"]) for cell in cells if cell["part"] == "bytes"}
    for name in TABLES:
        for element in BITS:
            if (name, element) not in known:
                keep([sizes(name, element)])
    timed = {(cell["rows"], cell["dimension"]) for cell in cells if cell["part"] == "lookups"}
    for shape in SHAPES:
        if shape not in timed:
            keep(lookups(*shape))
    made = {part: [cell for cell in cells if cell["part"] == part] for part in ("bytes", "lookups")}
    text = {part: machines_text(found, "table") for part, found in made.items()}
    fill(
        given.page,
        {
            "exact bytes": f"{text['bytes']}\n\n{size_table(cells)}",
            "exact lookups": f"{text['lookups']}\n\n{lookup_table(cells)}",
        },
    )


if __name__ == "__main__":
    main()
