"""Rotated tables: the route `rotate`, and the rows that go into what lies below it."""

from __future__ import annotations

import numpy as np

from ._arrays import as_numbers
from ._checks import check_type
from ._expressions import compose
from ._table import Table, dense


def rotate(table: Table, seed: int = 0, *, offset: object | None = None, vectors: Table | None = None) -> Table:
    """Return a table whose rows are those of `table`, rotated back: the inverse of what `rotated` does, plus `offset`.

    Over codes of rotated rows this gives the rows, as `compress(weight, "eden")` makes it. A pooled sum is
    rotated once, not once for each of its rows.

    Args:
        table: The inner table, of any dimension.
        seed: Says which rotation, a randomised Hadamard transform; from 0 to 2^63 - 1.
        vectors: In place of a seed: (count, dimension), at most as many as columns. The rotation is a product of
            reflections at the planes that are orthogonal to them; of vector k the first k numbers are taken for 0, and
            the next one for 1.
        offset: (dimension,) numbers to add to each row, kept in f32; none if not given. Rows of id -1 in a route above
            stay zeros.

    Raises:
        ValueError: a seed that is out of range, an offset or vectors of another shape, or both a seed and vectors.
    """
    check_type(table, Table, "table", "a Table")
    if vectors is not None:
        check_type(vectors, Table, "vectors", "a Table")
        if seed != 0:
            raise ValueError("give either a seed or vectors, not both")
    values = None
    if offset is not None:
        # Kept by the table: the caller's own may change.
        values = np.array(as_numbers(offset, "offset"))
        if values.shape != (table.dimension,):
            raise ValueError(f"offset must be {table.dimension} numbers, not of shape {values.shape}")
    if vectors is not None:
        return compose("rotate", {}, {"offset": values}, [table, vectors])
    return compose("rotate", {"seed": seed}, {"offset": values}, [table])


def rotated(weight: object, seed: int = 0) -> Table:
    """Return a table of the rows of `weight` rotated forward, which `rotate` with the same seed turns back.

    Nothing is computed here: rows are rotated as they are read, on all cores, so that `rotated(weight).decode()` is the
    rotated array, and `compress(rotated(weight), ...)` compresses it in memory that does not grow with it.

    Args:
        weight: As for `compress`; must not change while the table lives.
        seed: As for `rotate`.

    Raises:
        ValueError: a seed that is out of range, or what is no weight.
    """
    return compose("rotate", {"seed": seed, "direction": "forward"}, children=[dense(weight)])
