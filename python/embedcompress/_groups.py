"""Which elements of a matrix share a range: groups of rows, of columns, or blocks within rows.

Q-BERT (Shen et al. 2020, arXiv 1909.05840) quantizes a matrix of out x in elements in groups. Its text groups
consecutive output rows; its authors' code groups consecutive input columns. Both are here, and blocks of columns
within each row, as GPTQ and others have them. The methods take NumPy arrays and torch tensors alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np

from . import _core

GroupKind = Literal["tensor", "rows", "columns", "blocks"]
KINDS: tuple[str, ...] = get_args(GroupKind)


@dataclass(frozen=True)
class Groups:
    """The groups of a matrix of rows x columns; the last one along an axis may be smaller.

    Attributes:
        kind: "tensor": one group. "rows": consecutive rows. "columns": consecutive columns, shared by all rows.
            "blocks": consecutive columns within each row.
        rows: Of the matrix.
        columns: Of the matrix.
        size: Rows of a group, or columns of a group or a block.
    """

    kind: GroupKind
    rows: int
    columns: int
    size: int

    @classmethod
    def of(cls, kind: str, rows: int, columns: int, groups: int, block: int | None) -> Groups:
        """Return the groups of a matrix.

        Args:
            kind: See the attribute.
            rows: Of the matrix.
            columns: Of the matrix.
            groups: How many groups of rows or columns are wanted: each has ceil(rows / groups) rows, or
                ceil(columns / groups) columns, so there may be fewer.
            block: Columns of a block: a multiple of 8; the row if None, or if it is not longer.

        Raises:
            ValueError: an unknown kind, a number below 1, or a block that is no multiple of 8.
        """
        if kind not in KINDS:
            raise ValueError(f"group must be one of {', '.join(KINDS)}, not {kind!r}")
        integer(groups, "groups", "an integer of at least 1")
        if block is not None:
            integer(block, "block", "a multiple of 8")
        # Neither bits nor the type of scales change a group's shape.
        group_rows, group_columns, _ = _core.group_shape((kind, groups, block, 8, "f32"), rows, columns)
        size = group_columns if kind in ("columns", "blocks") else group_rows
        return cls(kind, rows, columns, size)  # type: ignore[arg-type]

    @property
    def count(self) -> int:
        """How many groups there are."""
        along_rows, along_columns = -(-self.rows // self.size), -(-self.columns // self.size)
        return {
            "tensor": 1,
            "rows": along_rows,
            "columns": along_columns,
            "blocks": self.rows * along_columns,
        }[self.kind]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an array with a number for each group: (count,); (rows, blocks of a row) for blocks."""
        return (self.rows, -(-self.columns // self.size)) if self.kind == "blocks" else (self.count,)

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of a group, but for smaller ones at the ends."""
        rows, columns = max(self.rows, 1), max(self.columns, 1)
        return {
            "tensor": (rows, columns),
            "rows": (self.size, columns),
            "columns": (rows, self.size),
            "blocks": (1, self.size),
        }[self.kind]

    def reduced(self, weight: Any, bound: Callable[[Any, int], Any]) -> Any:
        """Return a bound of each group, as `join` returns it.

        Args:
            weight: (rows, columns), an array or a tensor.
            bound: Takes an array or a tensor and an axis, such as `numpy.amin` or `torch.amax`.
        """
        if self.kind != "columns" or self.rows == 0:
            return self.join([bound(part, 1) for part in self.matrices(weight)])
        # All rows at first, so that nothing is transposed.
        line = Groups("blocks", 1, self.columns, self.size)
        return line.reduced(bound(weight, 0).reshape(1, -1), bound).reshape(-1)

    def matrices(self, weight: Any) -> list[Any]:
        """Return the elements of the groups as the rows of one matrix or two: whole groups, and smaller ones.

        Args:
            weight: (rows, columns), an array or a tensor.
        """
        lines = weight.reshape(1, -1) if self.kind in ("tensor", "rows") else weight
        if self.kind == "columns":
            lines = weight.T.reshape(1, -1)
        length = lines.shape[1]
        size = {
            "tensor": length,
            "rows": self.size * self.columns,
            "columns": self.size * self.rows,
            "blocks": self.size,
        }[self.kind]
        size = max(size, 1)
        whole = length // size * size
        parts = [lines[:, :whole].reshape(-1, size)] if whole else []
        return [*parts, lines[:, whole:]] if whole < length else parts

    def join(self, values: list[Any]) -> Any:
        """Return a number for each group, from those of the rows of each of `matrices`.

        Returns:
            (count,); (rows, blocks of a row) for blocks.
        """
        if not values:
            return np.zeros(self.count, np.float32)
        lines = self.rows if self.kind == "blocks" else 1
        pieces = [piece.reshape(lines, -1) for piece in values]
        if len(pieces) == 1:
            joined = pieces[0]
        elif isinstance(pieces[0], np.ndarray):
            joined = np.concatenate(pieces, axis=1)
        else:
            import torch

            joined = torch.cat(pieces, dim=1)
        return joined if self.kind == "blocks" else joined.reshape(-1)

    def spread(self, values: Any) -> Any:
        """Return numbers of groups in a shape that broadcasts to (rows, columns).

        Args:
            values: As `join` returns them.
        """
        if self.kind == "tensor":
            return values.reshape(1, 1)
        index = _indices(self.rows if self.kind == "rows" else self.columns, self.size)
        if self.kind == "rows":
            return values[index][:, None]
        return values[index][None, :] if self.kind == "columns" else values[:, index]


@lru_cache(maxsize=64)
def _indices(length: int, size: int) -> np.ndarray[Any, Any]:
    """Return the group of each row or column."""
    return np.arange(length) // size


def integer(value: object, name: str, wanted: str) -> None:
    """Refuse what is no integer with ValueError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be {wanted}, not {value!r}")
