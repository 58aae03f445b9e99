"""Tables of which some rows, and the first columns, are kept; the others are zeros. In the form of the fewest bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import Table, columns, dense, partition, remap, sparse
from ._formats import assignment_bytes, map_bytes


def marks_bytes(rows: int, kept: int) -> int:
    """Return the bytes that say which rows are kept: of a map, or of a partition into two tables."""
    return 0 if kept in (0, rows) else min(_as_map(rows, kept), assignment_bytes(rows) or _as_map(rows, kept))


def _as_map(rows: int, kept: int) -> int:
    return map_bytes(rows, kept, zeros=True)


def kept_bytes(rows: int, kept: int, width: int) -> int:
    """Return the bytes of a table of so many f32 columns of the rows that are kept."""
    return min(4 * rows * width, 4 * kept * width + marks_bytes(rows, kept))


def kept_rows(values: np.ndarray[Any, Any], is_kept: np.ndarray[Any, Any], dimension: int) -> Table:
    """Return the table.

    Args:
        values: (kept, width)
        is_kept: (rows,)
        dimension: Columns of the table; those after the first `width` are zeros.
    """
    rows, (kept, width) = len(is_kept), values.shape
    if not kept:
        return _zeros(rows, dimension)
    if kept == rows:
        return _widened(values, dimension)
    if kept_bytes(rows, kept, width) == 4 * rows * width:
        whole = np.zeros((rows, width), np.float32)
        whole[is_kept] = values
        return _widened(whole, dimension)
    inner = _widened(values, dimension)
    if marks_bytes(rows, kept) == assignment_bytes(rows):
        return partition([inner, _zeros(rows - kept, dimension)], (~is_kept).astype(np.uint8))
    return remap(inner, map=np.where(is_kept, np.cumsum(is_kept) - 1, -1))


def _widened(values: np.ndarray[Any, Any], dimension: int) -> Table:
    table = dense(np.ascontiguousarray(values, np.float32))
    rows, width = values.shape
    return table if width == dimension else columns([table, _zeros(rows, dimension - width)])


def _zeros(rows: int, dimension: int) -> Table:
    """Return a table that takes no bytes."""
    none = np.zeros(0, np.int64)
    return sparse(
        data=np.zeros(0, np.float32), indices=none, row_indices=none, rows=rows, dimension=dimension, layout="coo"
    )
