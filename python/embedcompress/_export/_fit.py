"""What a table holds, as files of other programs can say it: plain numbers, or codes with scales in groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._sources import f32
from .._table import Table
from .._uniform_rows import UniformRows, row_blocks, unpacked
from ._tensors import Tensor

Array = np.ndarray[Any, Any]

_ELEMENTS = {"f32": "F32", "f16": "F16", "bf16": "BF16"}


def refused(name: str, kind: str, why: str, fits: str) -> ValueError:
    """Return the error of a table that a kind of file can't say: why, and what fits."""
    return ValueError(f"table '{name}' can't be written to {kind}: {why}; {fits}")


def described(table: Table) -> str:
    """Return what a table is, in a line."""
    return str(table).partition("\n")[0].partition("  [")[0]


def plain(table: Table) -> Tensor | None:
    """Return the rows of a table of plain numbers, in its own type; None for all other tables."""
    tree, arrays = table.parts()
    if tree["kind"] != "dense":
        return None
    values = arrays[tree["tensors"]["rows"]].values

    def blocks() -> Iterable[Array]:
        # Aligned rows have padding behind them.
        return (np.ascontiguousarray(values[rows, : table.dimension]) for rows in row_blocks(*table.shape))

    count = table.rows * table.dimension * values.dtype.itemsize
    return Tensor(_ELEMENTS[tree["element"]], table.shape, count, blocks)


@dataclass(frozen=True)
class Grouped:
    """The rows of a `Uniform` table, with the scale and the bias of each so many columns.

    Attributes:
        rows: Of the table.
        group: Columns of a group: those of the table, or fewer; its scale and bias are repeated then.
    """

    rows: UniformRows
    group: int

    @classmethod
    def of(cls, rows: UniformRows, groups: tuple[int, ...]) -> Grouped | None:
        """Return rows in the first of the groups that divides theirs; None if none does."""
        for group in groups:
            if rows.group % group == 0 and rows.dimension % group == 0:
                return cls(rows, group)
        return None

    def codes(self, block: slice) -> Array:
        """Return the codes of a block of rows, (rows, dimension) uint8."""
        return unpacked(self.rows.packed_codes(block), self.rows.dimension, self.rows.bits)

    def parameters(self, block: slice) -> tuple[Array, Array]:
        """Return the scales and biases of a block of rows, each (rows, groups) in their own type."""
        owners = np.arange(0, self.rows.dimension, self.group) // self.rows.group
        scales, biases = self.rows.parameters(block)
        return scales[:, owners], biases[:, owners]

    def blocks(self) -> Iterable[slice]:
        """Return the blocks of all rows."""
        return row_blocks(self.rows.rows, self.rows.dimension)

    def holds(self, dtype: str) -> bool:
        """Whether a type, "F16" or "BF16", has each scale and bias of the rows."""
        return all(_same(part, dtype) for block in self.blocks() for part in self.rows.parameters(block))

    def scales_hold(self, dtype: str) -> bool:
        """Whether a type has each scale of the rows."""
        return all(_same(self.rows.parameters(block)[0], dtype) for block in self.blocks())

    def has_zero(self, zero: int) -> bool:
        """Whether one code stands for 0 in all rows: each bias is -zero times the scale."""
        for block in self.blocks():
            scales, biases = (part.astype(np.float64) for part in self.rows.parameters(block))
            if not np.array_equal(biases, -zero * scales):
                return False
        return True


def converted(values: Array, dtype: str) -> Array:
    """Return numbers as "F32", "F16" or "BF16", the last in uint16; what a type can't hold is cut off or infinite."""
    if dtype == "BF16":
        result: Array = (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return result
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, "<f4" if dtype == "F32" else "<f2")


def _same(values: Array, dtype: str) -> bool:
    return bool((f32(converted(values, dtype)) == values).all())
