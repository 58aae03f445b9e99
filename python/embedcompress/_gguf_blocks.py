"""The quantized types of GGUF that `Uniform` holds exactly: blocks of 32 columns with a scale, and a bias or a zero.

| type | bits | block | value |
| :-- | :-- | :-- | :-- |
| Q4_0 | 4 | scale, 16 bytes | scale * (code - 8) |
| Q4_1 | 4 | scale, bias, 16 bytes | scale * code + bias |
| Q5_0 | 5 | scale, 4 bytes of fifth bits, 16 bytes | scale * (code - 16) |
| Q5_1 | 5 | scale, bias, 4 bytes of fifth bits, 16 bytes | scale * code + bias |
| Q8_0 | 8 | scale, 32 bytes, signed | scale * (code - 128) |

Scales and biases are f16. Of the 16 bytes the low halves are columns 0 to 15 and the high halves 16 to 31. A zero is
the bias -scale * zero, which is exact: a product of an f16 and a power of two, unless f16 is too narrow for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._table import Table
from ._uniform_rows import UniformRows, packed, row_blocks

Array = np.ndarray[Any, Any]

COLUMNS = 32
"""Of a block."""


@dataclass(frozen=True)
class BlockType:
    """How blocks of a type lie."""

    name: str
    bits: int
    zero: int | None
    """The code that stands for 0; None for types with a bias."""

    @property
    def head(self) -> int:
        """Bytes of the scale and of the bias, if there is one."""
        return 2 if self.zero is not None else 4

    @property
    def block_bytes(self) -> int:
        """Bytes of a block."""
        return self.head + COLUMNS * self.bits // 8

    def codes(self, blocks: Array) -> Array:
        """Return the codes of blocks.

        Args:
            blocks: (blocks, block_bytes) uint8.

        Returns:
            (blocks, 32) uint8.
        """
        if self.bits == 8:
            # Signed bytes are codes whose highest bit is turned.
            return blocks[:, self.head :] ^ 0x80
        halves = blocks[:, -COLUMNS // 2 :]
        result = np.concatenate([halves & 15, halves >> 4], axis=1)
        if self.bits == 5:
            result |= np.unpackbits(blocks[:, self.head : self.head + 4], axis=1, bitorder="little") << 4
        return result

    def blocks(self, codes: Array, scales: Array, biases: Array) -> Array:
        """Return blocks of codes, (blocks, block_bytes) uint8; the inverse of `codes`.

        Args:
            codes: (blocks, 32) uint8.
            scales: (blocks,) f16.
            biases: (blocks,) f16; not used by types with a zero.
        """
        parts = [scales[:, None].view(np.uint8)]
        if self.zero is None:
            parts.append(biases[:, None].view(np.uint8))
        if self.bits == 8:
            return np.concatenate([*parts, codes ^ 0x80], axis=1)
        if self.bits == 5:
            parts.append(np.packbits(codes >> 4, axis=1, bitorder="little"))
        low = codes & 15
        return np.concatenate([*parts, low[:, : COLUMNS // 2] | low[:, COLUMNS // 2 :] << 4], axis=1)


TYPES = {
    name: BlockType(name, bits, zero)
    for name, bits, zero in (("Q4_0", 4, 8), ("Q4_1", 4, None), ("Q5_0", 5, 16), ("Q5_1", 5, None), ("Q8_0", 8, 128))
}
"""By what GGUF calls them."""


def table_of_blocks(data: Array, kind: BlockType, dimension: int) -> Table:
    """Return the table that blocks are, with their codes, scales and biases.

    Args:
        data: uint8, of whole rows.
        kind: Of the blocks.
        dimension: Columns of a row, a multiple of 32.

    Returns:
        A `Uniform` in groups of 32 columns, with f16 scales, or f32 where f16 can't hold what a zero makes a bias.

    Raises:
        ValueError: a scale or a bias is not finite; the message names the row.
    """
    groups = dimension // COLUMNS
    blocks = data.reshape(-1, groups, kind.block_bytes)
    largest = 0.0
    for rows in row_blocks(len(blocks), dimension):
        heads = _heads(blocks[rows], kind)
        bad = np.flatnonzero(~np.isfinite(heads).all(axis=(1, 2)))
        if bad.size:
            raise ValueError(f"a scale or a bias of row {rows.start + int(bad[0]):,} is not finite")
        largest = max(largest, float(np.abs(heads[:, :, 0]).max(initial=0)))
    is_narrow = largest * (kind.zero or 0) <= float(np.finfo(np.float16).max)
    result = UniformRows.empty(len(blocks), dimension, kind.bits, COLUMNS, "f16" if is_narrow else "f32")
    for rows in row_blocks(len(blocks), dimension):
        heads = _heads(blocks[rows], kind).astype(np.float32)
        scales = heads[:, :, 0]
        biases = heads[:, :, 1] if kind.zero is None else -kind.zero * scales
        codes = kind.codes(blocks[rows].reshape(-1, kind.block_bytes))
        result.put(rows, packed(codes, kind.bits).reshape(len(heads), -1), scales, biases)
    return result.table()


def _heads(blocks: Array, kind: BlockType) -> Array:
    """Return the scale and the bias of blocks: (rows, groups, 1 or 2) f16."""
    return np.ascontiguousarray(blocks[:, :, : kind.head]).view("<f2")
