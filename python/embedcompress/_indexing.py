"""A table in the place of an array of its rows: indices, iteration, and NumPy's protocol."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import as_array, as_ids
from ._errors import InvalidIdError
from ._frames import position_text

if TYPE_CHECKING:
    from ._table import Table

Rows = np.ndarray[Any, Any]

BLOCK_BYTES = 1 << 20
"""Of the rows that iteration decodes at a time."""


def indexed(table: Table, index: Any) -> Rows:
    """Return what `table.decode()[index]` is, decoding those rows only that it needs.

    Raises:
        IndexError: an index out of range, of too many axes, or of what is no index.
    """
    if not isinstance(index, tuple):
        return _rows(table, index)
    chosen, columns = _of_two_axes(index)
    if not _is_array(chosen) or not _is_array(columns):
        rows = _rows(table, chosen)
        return rows if _is_all(columns) else rows[..., _plain(columns)]
    # Arrays of both axes choose elements, as NumPy has it.
    ids, places = _ids(table, chosen), _positions(columns, table.dimension, "columns")
    try:
        ids, places = np.broadcast_arrays(ids, places)
    except ValueError:
        raise IndexError(f"indices of shapes {ids.shape} and {places.shape} don't go together") from None
    found: Rows = np.take_along_axis(table.lookup(ids), places[..., None], axis=-1)[..., 0]
    return found


def blocks(table: Table) -> Iterator[Rows]:
    """Return the rows in runs of some thousands."""
    step = max(BLOCK_BYTES // (4 * table.dimension), 1)
    for start in range(0, table.rows, step):
        yield table.decode(start, min(start + step, table.rows))


def decoded(table: Table, dtype: Any, copy: bool | None) -> Rows:
    """Return all rows for NumPy's `__array__`."""
    if copy is False:
        raise ValueError("a table's rows are decoded into new memory: copy=False can't be")
    rows = table.decode()
    return rows if dtype is None else rows.astype(dtype, copy=False)


def _of_two_axes(index: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the index of rows and that of columns."""
    if any(part is None for part in index):
        raise IndexError("a table takes no new axes: index what np.asarray(table) gives")
    dots = [place for place, part in enumerate(index) if part is Ellipsis]
    if len(index) - len(dots) > 2 or len(dots) > 1:
        raise IndexError(f"a table has two axes, rows and columns, but {len(index)} were indexed")
    if dots:
        place = dots[0]
        index = (*index[:place], *[slice(None)] * (3 - len(index)), *index[place + 1 :])
    return (*index, slice(None), slice(None))[:2]


def _rows(table: Table, index: Any) -> Rows:
    if index is Ellipsis:
        return table.decode()
    if isinstance(index, slice):
        start, stop, step = index.indices(table.rows)
        if step == 1:
            return table.decode(start, max(start, stop))
        return table.lookup(np.arange(start, stop, step))
    return table.lookup(_ids(table, index))


def _ids(table: Table, index: Any) -> Rows:
    return _positions(index, table.rows, "rows")


def _positions(index: Any, count: int, axis: str) -> Rows:
    """Return an index of an axis, a number, integers or a mask, as integers from 0."""
    if index is None:
        raise IndexError("a table takes no new axes: index what np.asarray(table) gives")
    try:
        array = as_array(index, "the index")
        if array.dtype.kind == "b":
            if array.shape != (count,):
                shape = " x ".join(map(str, array.shape)) or "one value"
                raise IndexError(f"a mask of {axis} must have {count} elements, one for each, not {shape}")
            return np.flatnonzero(array)
        ids = as_ids(array, "the index")
    except InvalidIdError:
        raise
    except (TypeError, ValueError) as error:
        raise IndexError(
            f"{axis} are indexed with integers, slices, and arrays of integers or bools: {error}"
        ) from None
    outside = (ids < -count) | (ids >= count)
    if outside.any():
        place = int(np.argmax(outside))
        bad = int(ids.flat[place])
        where = "" if ids.ndim == 0 else f" at {position_text(place, ids.shape)}"
        raise InvalidIdError(
            f"index {bad}{where} is out of range: the table has {count} {axis}", id=bad, position=place, rows=count
        )
    return np.where(ids < 0, ids + count, ids) if ids.size and int(ids.min()) < 0 else ids


def _is_array(index: Any) -> bool:
    """Whether an index is of several places, neither a number nor a slice."""
    if isinstance(index, (slice, int, np.integer)) or index is Ellipsis:
        return isinstance(index, (bool, np.bool_))
    return not hasattr(index, "__index__") or getattr(index, "ndim", 0) > 0


def _is_all(index: Any) -> bool:
    return isinstance(index, slice) and index == slice(None)


def _plain(index: Any) -> Any:
    """Return an index of columns as NumPy takes it."""
    if isinstance(index, slice):
        return index
    return operator.index(index) if not _is_array(index) else as_array(index, "the index")
