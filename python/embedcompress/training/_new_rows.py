"""Arrays of rows for learned tables, of the kind that the table's spec asks for."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ._coded_rows import CodedRows
from ._embedding import LearnedEmbedding
from ._fused import FusedRows
from ._rows import ParameterRows, Rows
from ._spec import Spec


def zero_rows(
    spec: Spec, rows: int, dimension: int, *, form: str = "f32", is_padded: bool = False, is_coded: bool = True
) -> Rows:
    """Return an array of zeros, with the table's own optimizer if it has one, and of codes if it has bits.

    Args:
        spec: Of the table.
        rows: Of the array.
        dimension: Of a row.
        form: Of an array with an optimizer of its own: a key of `DTYPES`. A parameter is f32.
        is_padded: Whether the last row never moves.
        is_coded: Whether rows are codes if the table has bits.
    """
    if spec.optimizer is None:
        kind = CodedRows if spec.bits is not None and is_coded else ParameterRows
        return kind(spec, rows, dimension, is_padded)
    return FusedRows(replace(spec, sizes=(rows,), dimension=dimension, counts=None), form, is_padded=is_padded)


def uniform_rows(
    table: LearnedEmbedding,
    rows: int,
    dimension: int,
    *,
    purpose: int = 0,
    bound: float | None = None,
    form: str = "f32",
    is_coded: bool = True,
) -> Rows:
    """Return an array with the numbers of `table.initial(rows, dimension, …)`."""
    found = zero_rows(table.spec, rows, dimension, form=form, is_coded=is_coded)
    found.fill(table.initial_blocks(rows, dimension, purpose, bound))
    return found


def given_rows(spec: Spec, values: Tensor, *, is_padded: bool = False) -> Rows:
    """Return an array with some numbers, (n, d) f32."""
    found = zero_rows(spec, *values.shape, is_padded=is_padded)
    found.fill([values])
    return found
