"""Trellis codes on real tables: error beside the possible, recall, time to compress and to look up.

The bound is that of normally distributed rows with the table's own spectrum (`embedcompress.bench._spectrum`). Cells
that docs/results/trellis_codes.json has are not made again; tables go to docs/trellis-codes.md, and with them what
table.jsonl and product_codes.json say of trellis codes beside all else, faiss's codes included. Half an hour.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    read_cells,
    resumed_cells,
)

import embedcompress as ec
from embedcompress import _samples
from embedcompress._report import figure, markdown_table, percent
from embedcompress.bench import _calls, _lines
from embedcompress.bench._spectrum import Spectrum

Values = np.ndarray[Any, Any]
Cell = dict[str, Any]

TABLES = ("wordllama", "minilm", "glove")
BITS = (1, 2, 3, 4)
METHODS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "least squares": ("least_squares", {}),
    "eden": ("eden", {}),
    "trellis, fast": ("trellis", {"effort": "fast"}),
    "trellis": ("trellis", {}),
    "trellis, partial rotation": ("trellis", {"rotation": "partial"}),
}
SHAPES = ((20_000, 64), (8_000, 256), (2_600, 768), (4_000_000, 64))
"""Rows and columns of lookups: three tables that the caches hold, and one that they don't."""
LOOKED_UP: Mapping[str, tuple[str, dict[str, Any]]] = {
    "least squares, 4 bits": ("least_squares", {"bits": 4}),
    "eden, 4 bits": ("eden", {"bits": 4}),
    "trellis, 2 bits": ("trellis", {"bits": 2, "effort": "fast"}),
    "trellis, 4 bits": ("trellis", {"bits": 4, "effort": "fast"}),
}
RIVALS = (0.05, 0.3)
"""Shares of the f32 bytes within which trellis codes are held against everything else."""
SETTINGS = {"bits": list(BITS), "queries": 1000, "bag": 50, "batch": 2000, "repetitions": 15}


def errors(name: str, label: str, bits: int) -> Cell:
    """Return what a method makes of a real table."""
    source = _samples.SAMPLES[name]().weight
    weight = source.decode()
    method, options = METHODS[label]
    start = time.process_time()
    table = ec.compress(weight, method, bits=bits, **options)
    seconds = time.process_time() - start
    found = ec.evaluate(table, weight, queries=SETTINGS["queries"])
    # Bytes that are not bits of columns, such as scales, count too.
    row_bytes = table.stored_bytes / len(weight)
    return {
        "part": "errors",
        "table": name,
        "method": label,
        "bits": bits,
        "row_bytes": row_bytes,
        "l2": found.normalized_l2,
        "gap": Spectrum.of(source).decibels(found.normalized_l2, row_bytes),
        "recall": found.recall_at_10,
        "microseconds": 1e6 * seconds / len(weight),
    }


def lookups(rows: int, dimension: int) -> list[Cell]:
    """Return times of lookups in tables of that size, by turns, on one thread."""
    rng = np.random.default_rng(0)
    part = rng.standard_normal((min(rows, 20_000), dimension), np.float32)
    tables = {}
    for label, (method, options) in LOOKED_UP.items():
        table = ec.compress(part, method, **options)
        copies = -(-rows // len(part))
        tables[label] = table if copies == 1 else repeated(table, copies)
    batch, bag = int(str(SETTINGS["batch"])), int(str(SETTINGS["bag"]))
    ids = rng.integers(0, rows, batch * bag // 10)
    offsets = np.arange(0, len(ids), bag)
    calls: dict[str, Callable[[], object]] = {}
    for label, table in tables.items():
        out = np.empty((batch, dimension), np.float32)
        calls[f"{label} rows"] = lambda table=table, out=out: table.lookup(ids[:batch], out=out)
        calls[f"{label} bags"] = lambda table=table: table.bag(ids, offsets)
    times = interleaved(calls, int(str(SETTINGS["repetitions"])))
    base = "least squares, 4 bits"
    return [
        {
            "part": "lookups",
            "rows": rows,
            "dimension": dimension,
            "method": label,
            "rows_ns": 1e9 * float(np.median(times[f"{label} rows"])) / batch,
            "rows_ratio": median_ratio(times[f"{label} rows"], times[f"{base} rows"]),
            "bags_ns": 1e9 * float(np.median(times[f"{label} bags"])) / len(ids),
            "bags_ratio": median_ratio(times[f"{label} bags"], times[f"{base} bags"]),
        }
        for label in tables
    ]


def repeated(table: ec.Table, copies: int) -> ec.Table:
    """Return a table of the same rows several times, in memory of its own."""
    tree, arrays = table.parts()
    node = tree if "tensors" in tree and "rows" in tree["tensors"] else tree["children"]["inner"]
    name = node["tensors"]["rows"]
    arrays[name] = type(arrays[name])(arrays[name].dtype, np.tile(arrays[name].values, (copies, 1)))
    for one in {id(tree): tree, id(node): node}.values():
        one["rows"] *= copies
    return ec.Table.from_parts(tree, arrays)


def error_table(cells: Sequence[Cell]) -> str:
    """Return the cells of real tables as Markdown."""
    header = ["table", "method", "bits", "bytes a row", "l2", "from the bound, dB", "recall@10", "µs a row"]
    rows = [
        [
            cell["table"],
            cell["method"],
            str(cell["bits"]),
            f"{cell['row_bytes']:.1f}",
            f"{cell['l2']:.4f}",
            f"{cell['gap']:.2f}",
            f"{cell['recall']:.3f}",
            figure(cell["microseconds"]),
        ]
        for cell in cells
        if cell["part"] == "errors"
    ]
    return markdown_table(header, rows, left=2)


@dataclass(frozen=True)
class Coded:
    """A real table that a benchmark compressed."""

    label: str
    stored_bytes: int
    l2: float

    @property
    def is_trellis(self) -> bool:
        """Whether trellis codes made it."""
        return self.label.startswith("trellis")


def coded(name: str) -> Iterator[Coded]:
    """Yield what docs/results has of a real table: all methods, and faiss's codes."""
    for line in _lines.read(RESULTS / "table.jsonl"):
        request = line["request"]
        if request["table"] == name and "method" in request and "figures" in line:
            figures = line["figures"]
            yield Coded(_calls.label(request), figures["stored_bytes"], figures["normalized_l2"])
    for cell in read_cells(RESULTS / "product_codes.json"):
        if cell["table"] != name:
            continue
        if cell["part"] == "trellis":
            yield Coded("trellis(rotation=partial)", cell["stored_bytes"], cell["normalized_l2"])
        else:
            codes = f"{cell['method']} {cell['parts']} x 8"
            yield Coded(codes, cell["stored_bytes"], cell["normalized_l2"])
            yield Coded(f"faiss, {codes}", cell["faiss_stored_bytes"], cell["faiss_normalized_l2"])


def front(found: Sequence[Coded]) -> list[Coded]:
    """Return those that no other one beats in bytes and error, the smallest first."""
    result: list[Coded] = []
    for one in sorted(found, key=lambda one: (one.stored_bytes, one.l2)):
        if not result or one.l2 < result[-1].l2:
            result.append(one)
    return result


def contests(found: Sequence[Coded], size: int) -> list[tuple[Coded, Coded]]:
    """Return the trellis codes that no others of them beat, each with the best of all else that has no more bytes.

    Args:
        found: Of a real table; trellis codes of bytes within the shares are asked.
        size: Its f32 bytes.
    """
    least, most = (share * size for share in RIVALS)
    ours = [one for one in front([one for one in found if one.is_trellis]) if least <= one.stored_bytes <= most]
    others = front([one for one in found if not one.is_trellis])
    return [(one, [other for other in others if other.stored_bytes <= one.stored_bytes][-1]) for one in ours]


def rival_text() -> str:
    """Return, as Markdown, where others have less error than trellis codes of as many bytes or more."""
    found = {name: contests(list(coded(name)), f32_bytes(name)) for name in TABLES}
    least, most = (f"{100 * share:g} %" for share in RIVALS)
    rows = []
    for name, pairs in found.items():
        for ours, other in pairs:
            if other.l2 < ours.l2:
                cell = [name, percent(ours.stored_bytes / f32_bytes(name))]
                for one in (ours, other):
                    cell += [one.label, f"{one.stored_bytes:,}", f"{one.l2:.4f}"]
                rows.append(cell)
    told = ", ".join(
        f"{sum(ours.l2 <= other.l2 for ours, other in pairs)} of {len(pairs)} on {name}"
        for name, pairs in found.items()
    )
    text = (
        f"From {least} to {most} of the f32 bytes, trellis codes have no more error than everything else that has no "
        f"more bytes in {told}."
    )
    if not rows:
        return text
    header = ["table", "of f32", "trellis codes", "bytes", "l2", "less error", "bytes", "l2"]
    return f"{text} Those where something else has less:\n\n{markdown_table(header, rows)}"


def f32_bytes(name: str) -> int:
    """Return the bytes of a real table that is not compressed."""
    weight = _samples.SAMPLES[name]().weight
    return 4 * weight.rows * weight.dimension


def lookup_table(cells: Sequence[Cell]) -> str:
    """Return the times of lookups as Markdown."""
    header = ["method", "rows", "columns", "rows, ns", "of least squares", "bags of 50, ns a row", "of least squares"]
    rows = [
        [cell["method"], f"{cell['rows']:,}", str(cell["dimension"]), *lookup_figures(cell)]
        for cell in cells
        if cell["part"] == "lookups"
    ]
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS / "trellis_codes.json")
    parser.add_argument("--page", type=Path, default=DOCS / "trellis-codes.md")
    given = parser.parse_args(arguments)
    ec.set_num_threads(1)
    cells, keep = resumed_cells(SETTINGS, given.json)

    known = {(cell["table"], cell["method"], cell["bits"]) for cell in cells if cell["part"] == "errors"}
    for name in TABLES:
        for bits in BITS:
            for label in METHODS:
                if (name, label, bits) not in known:
                    keep([errors(name, label, bits)])
    timed = {(cell["rows"], cell["dimension"]) for cell in cells if cell["part"] == "lookups"}
    for shape in SHAPES:
        if shape not in timed:
            keep(lookups(*shape))
    made = {part: [cell for cell in cells if cell["part"] == part] for part in ("errors", "lookups")}
    text = {part: machines_text(found, "method") for part, found in made.items()}
    fill(
        given.page,
        {
            "trellis errors": f"{text['errors']}\n\n{error_table(cells)}",
            "trellis rivals": rival_text(),
            "trellis lookups": f"{text['lookups']}\n\n{lookup_table(cells)}",
        },
    )


if __name__ == "__main__":
    main()
