"""Routes by hand: tables whose rows come from other tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _core
from ._arrays import as_array
from ._expressions import compose
from ._table import Table

_BLOCK_IDS = 512
_MOST_PARTS = 4096


def remap(
    table: Table,
    *,
    rows: int | None = None,
    modulo: int | None = None,
    divisor: int | None = None,
    hash: int | None = None,
    map: object | None = None,
    block: int | None = None,
) -> Table:
    """Return a table whose rows are those of `table` at f(id).

    Args:
        table: The inner table. Give exactly one of modulo, divisor, hash and map.
        rows: Ids of the result are 0 to rows - 1; needed unless a map without `block` says it.
        modulo: f(id) = id % modulo, the simplest hash.
        divisor: f(id) = id // divisor.
        hash: f(id) is a row that looks random, another one for each seed; this is the seed, at least 0. With NumPy:

            h = np.uint64(seed) + (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            h = (h ^ (h >> np.uint64(31))) >> np.uint64(32)
            f = (h * np.uint64(table.rows)) >> np.uint64(32)

        map: f(id) = map[id], integers of shape (rows,), where -1 stands for a row of zeros. Kept in as many bits as the
            inner table's rows need.
        block: With a map: f(id) = map[id // block] * block + id % block, where the map has one entry for each block of
            so many rows.
    """
    chosen = {"modulo": modulo, "divisor": divisor, "hash": hash, "map": map}
    if sum(choice is not None for choice in chosen.values()) != 1:
        raise ValueError("give exactly one of modulo, divisor, hash and map")
    if block is not None and map is None:
        raise ValueError("block goes with map only")
    result: Table
    if map is not None:
        entries = as_array(map, "map") if not isinstance(map, np.ndarray) else map
        if entries.dtype.kind not in "iu" or entries.ndim != 1:
            raise ValueError("map must be integers and have one axis")
        if block is None:
            if rows is not None and rows != len(entries):
                raise ValueError(f"map has {len(entries)} entries, not {rows}")
            rows = len(entries)
        elif rows is None:
            raise ValueError("rows is needed with block")
        packed = np.ascontiguousarray(entries, dtype=np.int64)
        result = _core.remap_array(table, packed, rows, 1 if block is None else block)
    else:
        if rows is None:
            raise ValueError("rows is needed with modulo, divisor and hash")
        result = _core.remap(table, rows, modulo, divisor, hash)
    return result


def combine(tables: Sequence[Table], operation: str = "sum") -> Table:
    """Return a table whose rows are the sums or products, element by element, of those of other tables.

    Args:
        tables: Two or more, of the same rows and dimension.
        operation: "sum" or "product".
    """
    first = _first(tables)
    return compose("combine", first.rows, first.dimension, {"operation": operation}, children=_numbered(tables))


def columns(tables: Sequence[Table]) -> Table:
    """Return a table whose rows are those of other tables side by side.

    Args:
        tables: One or more, of the same rows.
    """
    first = _first(tables)
    return compose("columns", first.rows, sum(table.dimension for table in tables), children=_numbered(tables))


def partition(tables: Sequence[Table], assignment: object | None = None) -> Table:
    """Return a table each of whose rows belongs to one of other tables.

    Args:
        tables: One to 4096, of the same dimension.
        assignment: For each id, which table it is a row of: the next row of it that no id before has. Integers of shape
            (rows,). Takes ceil(log2(tables)) + tables / 16 bits for each id. If not given, each table has the next ids,
            as many as its rows, which takes no bytes.
    """
    first = _first(tables)
    rows = sum(table.rows for table in tables)
    if assignment is None:
        return compose("partition", rows, first.dimension, {"by": "ranges"}, children=_numbered(tables))
    parts = as_array(assignment, "assignment") if not isinstance(assignment, np.ndarray) else assignment
    if parts.dtype.kind not in "iu" or parts.ndim != 1:
        raise ValueError("assignment must be integers and have one axis")
    if len(tables) > _MOST_PARTS:
        raise ValueError(f"a partition has 1 to {_MOST_PARTS} tables, not {len(tables)}")
    if len(parts) and (parts.min() < 0 or parts.max() >= len(tables)):
        wrong = int(np.flatnonzero((parts < 0) | (parts >= len(tables)))[0])
        raise ValueError(f"id {wrong} is assigned to table {parts[wrong]}, but there are {len(tables)} tables")
    counts = np.bincount(parts.astype(np.int64), minlength=len(tables))
    for index, table in enumerate(tables):
        if counts[index] != table.rows:
            raise ValueError(f"{counts[index]} ids are assigned to table {index}, which has {table.rows} rows")
    return compose(
        "partition",
        rows,
        first.dimension,
        {"by": "assignment", "offset": 0},
        {"ranks": ("u8", _ranks(parts.astype(np.uint16), len(tables)))},
        _numbered(tables),
    )


def _ranks(parts: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Return the blocks that docs/format.md describes: counts before each block of 512 ids, then its bit planes."""
    blocks = -(-len(parts) // _BLOCK_IDS)
    padded = np.zeros((blocks, _BLOCK_IDS), np.uint16)
    padded.ravel()[: len(parts)] = parts
    planes = [
        np.packbits((padded >> bit & 1).astype(np.uint8), axis=1, bitorder="little")
        for bit in range((count - 1).bit_length())
    ]
    # Padding counts as table 0, after all counts that are used.
    numbers = np.repeat(np.arange(blocks) * count, _BLOCK_IDS) + padded.ravel()
    inside = np.bincount(numbers, minlength=blocks * count).reshape(blocks, count)
    before = np.cumsum(inside, axis=0) - inside
    return np.concatenate([before.astype("<u4").view(np.uint8), *planes], axis=1)


def project(table: Table, matrix: object, bias: object | None = None, element: str = "f32") -> Table:
    """Return a table whose rows are those of `table` times a matrix, plus a bias.

    A pooled sum pools the rows of `table` first, and multiplies once. The row of an invalid id under
    on_invalid="zero", or of a -1 in a map over the result, is zeros, without bias.

    Args:
        table: The inner table.
        matrix: (table.dimension, dimension).
        bias: (dimension,).
        element: What the matrix is kept as: "f32" or "f16".
    """
    factors = _floats(matrix, "matrix", 2)
    if element not in ("f32", "f16"):
        raise ValueError(f"element must be 'f32' or 'f16', not {element!r}")
    if factors.shape[0] != table.dimension:
        raise ValueError(f"the matrix has {factors.shape[0]} rows, not the table's {table.dimension} columns")
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(factors, np.float32 if element == "f32" else np.float16)
    if element == "f16" and not np.isfinite(stored).all():
        raise ValueError("an element of the matrix is too large for f16")
    tensors: dict[str, tuple[str, np.ndarray[Any, Any]]] = {"matrix": (element, stored)}
    if bias is not None:
        tensors["bias"] = ("f32", np.ascontiguousarray(_floats(bias, "bias", 1), np.float32))
    return compose("project", table.rows, stored.shape[1], {"element": element}, tensors, {"inner": table})


def _floats(values: object, name: str, axes: int) -> np.ndarray[Any, Any]:
    """Return an array of finite numbers."""
    array = as_array(values, name) if not isinstance(values, np.ndarray) else values
    if array.dtype.kind not in "iuf" or array.ndim != axes:
        raise ValueError(f"{name} must be numbers and have {axes} axes, not {array.ndim} of {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array


def _first(tables: Sequence[Table]) -> Table:
    """Return the first of some tables, all of which must be tables."""
    for index, table in enumerate(tables):
        if not isinstance(table, Table):
            raise TypeError(f"table {index} must be a Table, not {type(table).__name__}")
    if not tables:
        raise ValueError("give one table or more")
    return tables[0]


def _numbered(tables: Sequence[Table]) -> dict[str, Table]:
    return {str(index): table for index, table in enumerate(tables)}
