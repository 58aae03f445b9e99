"""The rows of `Uniform` stores as docs/format.md has them: packed codes, then the scale and the bias of each group.

For programs that take codes over from other files, or write them there: a block of rows at a time, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._table import Array as TableArray
from ._table import Table

Array = np.ndarray[Any, Any]

_AT_ONCE = 1 << 20
"""Elements of a block of rows."""
_SCALES: dict[str, np.dtype[Any]] = {"f16": np.dtype("<f2"), "f32": np.dtype("<f4")}


def row_blocks(rows: int, dimension: int) -> Iterator[slice]:
    """Return rows in blocks of some megabytes of numbers, at least one row each."""
    step = max(_AT_ONCE // dimension, 1)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def packed(codes: Array, bits: int) -> Array:
    """Return codes packed to the bit, low bits first.

    Args:
        codes: (rows, columns) uint8, columns a multiple of 8.
        bits: Of a code, 1 to 8.
    """
    # Eight codes are a word, of which as many bytes stay as a code has bits.
    eights = codes.reshape(-1, 8)
    words = np.zeros(len(eights), "<u8")
    for place in range(8):
        words |= eights[:, place].astype(np.uint64) << np.uint64(place * bits)
    return words.view(np.uint8).reshape(-1, 8)[:, :bits].reshape(len(codes), -1)


def unpacked(rows: Array, columns: int, bits: int) -> Array:
    """Return the codes of rows that are packed so, (rows, columns) uint8.

    Args:
        rows: (rows, ceil(columns * bits / 8)) uint8.
        columns: Of a row.
        bits: Of a code, 1 to 8.
    """
    eights = -(-columns // 8)
    whole = np.pad(rows, ((0, 0), (0, eights * bits - rows.shape[1]))) if columns % 8 else rows
    padded = np.zeros((len(rows) * eights, 8), np.uint8)
    padded[:, :bits] = whole.reshape(-1, bits)
    words = padded.view("<u8")[:, 0]
    codes = np.empty((len(words), 8), np.uint8)
    for place in range(8):
        codes[:, place] = words >> np.uint64(place * bits) & np.uint64((1 << bits) - 1)
    return codes.reshape(len(rows), -1)[:, :columns]


@dataclass(frozen=True)
class UniformRows:
    """What rows of one layout hold, and the memory of all of them.

    Attributes:
        memory: (rows, bytes of a row, padding included) uint8.
        dimension: Columns.
        bits: Of a code.
        group: Columns that share a scale and a bias.
        scale_dtype: "f16" or "f32".
        shared: The scale and the bias of the whole table, where rows have none.
    """

    memory: Array
    dimension: int
    bits: int
    group: int
    scale_dtype: str
    shared: tuple[float, float] | None = None

    @classmethod
    def empty(cls, rows: int, dimension: int, bits: int, group: int, scale_dtype: str) -> UniformRows:
        """Return rows to be filled."""
        size = -(-dimension * bits // 8) + -(-dimension // group) * 2 * _SCALES[scale_dtype].itemsize
        return cls(np.empty((rows, size), np.uint8), dimension, bits, group, scale_dtype)

    @classmethod
    def of(cls, table: Table) -> UniformRows | None:
        """Return the rows of a table whose only store is a `Uniform`; None for others."""
        tree, arrays = table.parts()
        return cls.of_node(tree, arrays) if tree["kind"] == "uniform" else None

    @classmethod
    def of_node(cls, tree: Mapping[str, Any], arrays: Mapping[str, TableArray]) -> UniformRows:
        """Return the rows of a `Uniform` in a table.

        Args:
            tree: The node, as `Table.parts` has it.
            arrays: Of the table.
        """
        shared = None
        if tree.get("scope") == "table":
            scale, bias = arrays[tree["tensors"]["parameters"]].values
            shared = float(scale), float(bias)
        rows = arrays[tree["tensors"]["rows"]].values
        return cls(rows, tree["dimension"], tree["bits"], tree["group"], tree["scale"], shared)

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.memory)

    @property
    def groups(self) -> int:
        """How many pairs of a scale and a bias a row has."""
        return -(-self.dimension // self.group)

    @property
    def code_bytes(self) -> int:
        """Bytes of a row's codes."""
        return -(-self.dimension * self.bits // 8)

    def put(self, rows: slice, codes: Array, scales: Array, biases: Array) -> None:
        """Fill a block of rows.

        Args:
            rows: Which.
            codes: (rows, bytes) uint8, packed.
            scales: (rows, groups).
            biases: (rows, groups).
        """
        block = self.memory[rows]
        block[:, : self.code_bytes] = codes
        pairs = np.stack([scales, biases], axis=-1).astype(_SCALES[self.scale_dtype], copy=False)
        block[:, self.code_bytes :] = pairs.reshape(len(block), -1).view(np.uint8)

    def packed_codes(self, rows: slice) -> Array:
        """Return the packed codes of a block, (rows, bytes) uint8."""
        return self.memory[rows, : self.code_bytes]

    def parameters(self, rows: slice) -> tuple[Array, Array]:
        """Return the scales and the biases of a block, each (rows, groups), in their own type."""
        count = len(self.memory[rows])
        dtype = _SCALES[self.scale_dtype]
        if self.shared is not None:
            scale, bias = (np.full((count, 1), value, dtype) for value in self.shared)
            return scale, bias
        end = self.code_bytes + self.groups * 2 * dtype.itemsize
        pairs = np.ascontiguousarray(self.memory[rows, self.code_bytes : end]).view(dtype)
        pairs = pairs.reshape(count, self.groups, 2)
        return pairs[:, :, 0], pairs[:, :, 1]

    def table(self) -> Table:
        """Return the table of these rows, on their memory."""
        tree = {
            "kind": "uniform",
            "rows": self.rows,
            "dimension": self.dimension,
            "bits": self.bits,
            "group": self.group,
            "scale": self.scale_dtype,
            "tensors": {"rows": "rows"},
        }
        return Table.from_parts(tree, {"rows": ("u8", self.memory)})
