"""What trellis codes may do beside coding: rotations that are chosen, means that are kept apart, norms of 1.

Five parts: which rotation `rotation="auto"` takes on real tables, and why; what the bits of means are worth on real
tables; errors of rows with offsets; unit rows with and without `normalize`, by the recall of scalar products; and
scalar codes (EDEN, least squares) of groups of columns behind a rotation, at the bytes that they have without. Tables
go to docs/trellis-codes.md. Cells that docs/results/trellis_choices.json has are not made again. Ten minutes.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _pages import DOCS, RESULTS, fill, machines_text, resumed_cells

import embedcompress as ec
from embedcompress import _samples
from embedcompress._report import figure, markdown_table

Values = np.ndarray[Any, Any]
Cell = dict[str, Any]

TABLES = ("wordllama", "minilm", "glove")
SETTINGS = {"queries": 1000, "group_rows": 6000, "offset_rows": 4000, "offset_columns": 64}
LEVELS: Mapping[str, Sequence[float]] = {
    "eden": (1, 0.3634, 0.1175, 0.03454, 0.009497, 0.0025, 0.00064, 0.00016, 0.00004),
    "least_squares": (1, 0.37, 0.119, 0.036, 0.0105, 0.0029, 0.0008, 0.0002, 0.00005),
}
"""Squared errors of normal values by bits, which groups are shared out by."""
SCALE_BYTES = {"eden": 2, "least_squares": 4}


def setting(name: str) -> int:
    return int(SETTINGS[name])


def weight_of(name: str) -> Values:
    decoded: Values = _samples.SAMPLES[name]().weight.decode()
    return decoded


def rotations(name: str, bits: int) -> Cell:
    """Return which rotation is taken for a table, and what it was compared with."""
    weight = weight_of(name)
    table = ec.compress(weight, "trellis", bits=bits, effort="fast", rotation="auto")
    (choice,) = (one for one in table.choices if one["option"] == "rotation")
    found: Cell = {"part": "rotations", "table": name, "bits": bits, "chosen": choice["value"]}
    for one in choice["candidates"]:
        found[f"{one['value']}_l2"] = one["normalized_l2"]
        found[f"{one['value']}_extra_bits"] = one["extra_bits"]
        found[f"{one['value']}_ns"] = one["lookup_ns_per_row"]
    return found | {"l2": ec.evaluate(table, weight, queries=0).normalized_l2}


def centers(name: str) -> Cell:
    """Return what means are worth on a table: bits of a value that they save and take."""
    weight = weight_of(name)
    table = ec.compress(weight, "trellis", bits=1, effort="fast")
    (choice,) = (one for one in table.choices if one["option"] == "center")
    found: Cell = {"part": "centers", "table": name, "chosen": choice["value"]}
    for one in choice["candidates"]:
        found[f"{one['value']}_saved"] = one["saved_bits"]
        found[f"{one['value']}_taken"] = 8 * one["bytes"] / weight.size
    return found


def offsets(kind: str, size: float, bits: int) -> Cell:
    """Return errors of normal rows with offsets, over the variance without them, as `center` is "none" or chosen."""
    rows, columns = setting("offset_rows"), setting("offset_columns")
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((rows, columns))
    if kind == "of the table":
        offset = np.full((1, columns), size)
    else:
        offset = size * rng.choice([-1, 1], (rows, 1)) * rng.uniform(0.5, 1.5, (rows, 1))
    weight = (noise + offset).astype(np.float32)
    found: Cell = {"part": "offsets", "offset": kind, "size": size, "bits": bits}
    for center in ("none", "auto"):
        table = ec.compress(weight, "trellis", bits=bits, center=center)
        found[f"{center}_error"] = float(((table.decode().astype(np.float64) - weight) ** 2).mean())
        found[f"{center}_row_bytes"] = table.stored_bytes / rows
    return found


def product_recall(found: Values, weight: Values, queries: Values) -> float:
    """Return the share of the 10 rows of the largest scalar products with exact queries that compressed rows keep."""

    def nearest(rows: Values, some: Values) -> Values:
        scores = weight[some] @ rows.T
        scores[np.arange(len(some)), some] = -np.inf
        return np.argpartition(scores, -10, axis=1)[:, -10:]

    kept = 0
    for some in np.array_split(queries, -(-len(queries) // 50)):
        for one, other in zip(nearest(weight, some), nearest(found, some), strict=True):
            kept += len(set(one) & set(other))
    return kept / (10 * len(queries))


def unit_rows(name: str, bits: int, rotation: str) -> Cell:
    """Return what `normalize` does for a table whose rows are divided by their norms."""
    weight = weight_of(name)
    weight = weight[np.linalg.norm(weight, axis=1) > 0]
    weight = (weight / np.linalg.norm(weight.astype(np.float64), axis=1, keepdims=True)).astype(np.float32)
    queries = np.random.default_rng(0).choice(len(weight), min(setting("queries"), len(weight)), replace=False)
    found: Cell = {"part": "unit rows", "table": name, "bits": bits, "rotation": rotation}
    for label, normalize in (("plain", False), ("normalized", True)):
        table = ec.compress(weight, "trellis", bits=bits, rotation=rotation, effort="fast", normalize=normalize)
        rows = table.decode()
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        found[f"{label}_row_bytes"] = table.stored_bytes / len(weight)
        found[f"{label}_l2"] = ec.evaluate(table, weight, queries=0).normalized_l2
        found[f"{label}_recall"] = product_recall(rows, weight, queries)
        found[f"{label}_norm_error"] = float(np.abs(norms - 1).max())
    return found


def squared(table: ec.Table, weight: Values) -> float:
    return float(((table.decode().astype(np.float64) - weight) ** 2).sum())


def turned(weight: Values, share: int) -> tuple[Values, int, int]:
    """Return rows turned as `rotation` does: the directions of the most variance first, those of the least last.

    Args:
        weight: (rows, columns).
        share: One of so many of the principal directions is turned out.
    """
    unit = weight / np.maximum(np.linalg.norm(weight, axis=1, keepdims=True), 1e-30)
    values, vectors = np.linalg.eigh((unit.T @ unit).astype(np.float64))
    columns = len(values)
    logarithms = np.log(np.maximum(values, 1e-300))
    distances = logarithms - logarithms.mean()
    picked = np.argsort(-np.abs(distances))[: max(columns // share, 1)]
    large = sorted((i for i in picked if distances[i] >= 0), key=lambda i: -values[i])
    small = sorted((i for i in picked if distances[i] < 0), key=lambda i: -values[i])
    basis, _ = np.linalg.qr(np.hstack([vectors[:, large + small], np.eye(columns)]))
    rest = basis[:, len(picked) : columns]
    rows = (weight @ np.hstack([vectors[:, large], rest, vectors[:, small]])).astype(np.float32)
    return rows, len(large), len(small)


def splits(energies: Values, method: str, room: float, ends: Sequence[int]) -> Iterator[tuple[float, Any]]:
    """Give the expected error of up to three groups of columns of falling bits that fit into so many bytes a row."""
    columns, sums = len(energies), np.concatenate([[0], np.cumsum(energies)]) / energies.sum()
    levels, scale = LEVELS[method], SCALE_BYTES[method]
    for first, second in itertools.combinations_with_replacement(ends, 2):
        widths = (first, second - first, columns - second)
        shares = (sums[first], sums[second] - sums[first], 1 - sums[second])
        for bits in itertools.combinations_with_replacement(range(8, -1, -1), 3):
            taken = sum(-(-width * own // 8) + scale for width, own in zip(widths, bits, strict=True) if width and own)
            if taken <= room:
                yield sum(levels[own] * share for own, share in zip(bits, shares, strict=True)), (first, second, bits)


def groups(name: str, method: str, rotation: str, bits: int) -> Cell:
    """Return the error of scalar codes of groups of columns behind a rotation, and of the table as it is."""
    whole = weight_of(name)
    picked = np.random.default_rng(0).permutation(len(whole))[: setting("group_rows")]
    weight = np.ascontiguousarray(whole[picked])
    columns = weight.shape[1]
    plain = squared(ec.compress(weight, method, bits=bits, scale_dtype="f16"), weight)
    rows, large, small = turned(weight, 4 if rotation == "partial" else 1)
    vectors = max(columns // 4, 1) if rotation == "partial" else columns
    row_bytes = -(-columns * bits // 8) + SCALE_BYTES[method]
    step = max(columns // 32, 1)
    ends = sorted({*range(0, columns + 1, step), large, columns - small, columns})
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    options = splits(
        (unit.astype(np.float64) ** 2).sum(axis=0), method, row_bytes - vectors * columns / len(whole), ends
    )
    _, (first, second, own) = min(options, key=lambda one: one[0])
    found = 0.0
    for start, stop, width in zip((0, first, second), (first, second, columns), own, strict=True):
        part = np.ascontiguousarray(rows[:, start:stop])
        if start < stop:
            packed = ec.compress(part, method, bits=width, scale_dtype="f16") if width else None
            found += squared(packed, part) if packed else float((part.astype(np.float64) ** 2).sum())
    total = float((weight.astype(np.float64) ** 2).sum())
    return {
        **{"part": "groups", "table": name, "method": method, "rotation": rotation, "bits": bits},
        **{"row_bytes": row_bytes, "l2": (plain / total) ** 0.5, "grouped_l2": (found / total) ** 0.5},
        **{"widths": [first, second - first, columns - second], "group_bits": list(own)},
        "saved_db": float(10 * np.log10(plain / found)),
    }


def wanted() -> list[tuple[Any, tuple[Any, ...]]]:
    """Return the cells of the page, in order: the function that makes one, and what it takes."""
    return [
        *((rotations, one) for one in itertools.product(TABLES, (1, 2, 4))),
        *((centers, (name,)) for name in TABLES),
        *((offsets, one) for one in itertools.product(("of the table", "of rows"), (5, 10), (1, 2, 3, 4))),
        *((unit_rows, one) for one in itertools.product(TABLES, (1, 2, 4), ("none", "partial"))),
        *((groups, one) for one in itertools.product(TABLES, LEVELS, ("partial", "full"), (1, 2, 3, 4))),
    ]


KEYS: Mapping[str, Sequence[str]] = {
    "rotations": ("table", "bits"),
    "centers": ("table",),
    "offsets": ("offset", "size", "bits"),
    "unit rows": ("table", "bits", "rotation"),
    "groups": ("table", "method", "rotation", "bits"),
}
PARTS = dict(zip((rotations, centers, offsets, unit_rows, groups), KEYS, strict=True))


def rotation_table(cells: Sequence[Cell]) -> str:
    """Return what was compared as Markdown."""
    header = [
        "table",
        "bits",
        "l2, none",
        "hadamard",
        "partial",
        "lookup, ns a row, none",
        "hadamard",
        "partial",
        "taken",
    ]
    rows = [
        [
            cell["table"],
            str(cell["bits"]),
            *(f"{cell[f'{kind}_l2']:.4f}" if f"{kind}_l2" in cell else "-" for kind in ("none", "hadamard", "partial")),
            *(figure(cell[f"{kind}_ns"]) if f"{kind}_ns" in cell else "-" for kind in ("none", "hadamard", "partial")),
            cell["chosen"],
        ]
        for cell in cells
    ]
    return markdown_table(header, rows)


def center_table(cells: Sequence[Cell]) -> str:
    """Return the bits of means as Markdown."""
    header = ["table", "mean row saves", "takes", "means of rows save", "take", "taken"]
    rows = [
        [
            cell["table"],
            *(f"{cell[name]:.4f}" for name in ("table_saved", "table_taken", "rows_saved", "rows_taken")),
            cell["chosen"],
        ]
        for cell in cells
    ]
    return markdown_table(header, rows)


def offset_table(cells: Sequence[Cell]) -> str:
    """Return errors of rows with offsets as Markdown."""
    header = ["offset", "deviations", "bits", "error, center none", "bytes a row", "error, center auto", "bytes a row"]
    rows = [
        [
            cell["offset"],
            str(cell["size"]),
            str(cell["bits"]),
            *(
                text
                for center in ("none", "auto")
                for text in (f"{cell[f'{center}_error']:.4f}", f"{cell[f'{center}_row_bytes']:.1f}")
            ),
        ]
        for cell in cells
    ]
    return markdown_table(header, rows)


def unit_table(cells: Sequence[Cell]) -> str:
    """Return what `normalize` does as Markdown."""
    header = ["table", "bits", "rotation", "bytes a row", "l2", "normalized", "recall@10", "normalized"]
    header += ["largest error of a norm", "normalized"]
    rows = [
        [
            cell["table"],
            str(cell["bits"]),
            cell["rotation"],
            f"{cell['normalized_row_bytes']:.1f}",
            *(f"{cell[f'{label}_l2']:.4f}" for label in ("plain", "normalized")),
            *(f"{cell[f'{label}_recall']:.4f}" for label in ("plain", "normalized")),
            *(figure(cell[f"{label}_norm_error"]) for label in ("plain", "normalized")),
        ]
        for cell in cells
    ]
    return markdown_table(header, rows)


def group_table(cells: Sequence[Cell]) -> str:
    """Return errors of groups of columns as Markdown."""
    header = [
        "table",
        "method",
        "rotation",
        "bits",
        "bytes a row",
        "l2",
        "in groups",
        "saved, dB",
        "columns",
        "bits of them",
    ]
    rows = [
        [
            cell["table"],
            cell["method"],
            cell["rotation"],
            str(cell["bits"]),
            str(cell["row_bytes"]),
            f"{cell['l2']:.4f}",
            f"{cell['grouped_l2']:.4f}",
            f"{cell['saved_db']:.2f}",
            " + ".join(str(width) for width in cell["widths"] if width),
            " ".join(str(own) for width, own in zip(cell["widths"], cell["group_bits"], strict=True) if width),
        ]
        for cell in cells
    ]
    return markdown_table(header, rows, left=3)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS / "trellis_choices.json")
    parser.add_argument("--page", type=Path, default=DOCS / "trellis-codes.md")
    given = parser.parse_args(arguments)
    ec.set_num_threads(1)
    cells, keep = resumed_cells(SETTINGS, given.json)
    known = {(cell["part"], *(cell[key] for key in KEYS[cell["part"]])) for cell in cells}
    for make, values in wanted():
        if (PARTS[make], *values) not in known:
            keep([make(*values)])
    made = {part: [cell for cell in cells if cell["part"] == part] for part in KEYS}
    text = machines_text(cells, "part")
    fill(
        given.page,
        {
            "trellis rotations": f"{text}\n\n{rotation_table(made['rotations'])}",
            "trellis centers": center_table(made["centers"]),
            "trellis offsets": offset_table(made["offsets"]),
            "trellis unit rows": unit_table(made["unit rows"]),
            "trellis groups": group_table(made["groups"]),
        },
    )


if __name__ == "__main__":
    main()
