"""Fused rows: the quantized rows that PyTorch, FBGEMM and TBE hold, taken over and given back byte for byte.

A fused row is one piece of memory: `dimension` codes of 8, 4 or 2 bits, packed low bits first, and the row's scale and
bias; the value of column j is `scale * code[j] + bias`. A `Uniform` table with one group a row has the scale and the
bias behind the codes, as PyTorch and FBGEMM have, so that those rows are used where they lie, without a copy.

Layouts, with c = dimension * bits / 8 bytes of codes:

| layout | used by | row |
| :-- | :-- | :-- |
| torch | `torch.ops.quantized.embedding_bag_{byte,4bit,2bit}_prepack` | c, scale, bias; f32 at 8 bits, f16 at 4 and 2 |
| fbgemm | `torch.ops.fbgemm.FloatToFused8BitRowwiseQuantized`: 8 bits with f32; | c, scale, bias |
| | `torch.ops.fbgemm.FloatToFusedNBitRowwiseQuantizedSBHalf`: 8, 4 and 2 with f16 | |
| tbe | `IntNBitTableBatchedEmbeddingBagsCodegen`, TorchRec's quantized modules | scale, bias, c, padding; always f16 |

Codes fill whole bytes in all of them: the dimension is even at 4 bits, and a multiple of 4 at 2.
"""

from __future__ import annotations

import operator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._arrays import as_array
from ._table import Table

FusedLayout = Literal["torch", "fbgemm", "tbe"]


def from_fused_rows(
    rows: object,
    dimension: int,
    *,
    bits: int,
    layout: FusedLayout = "torch",
    scale_dtype: Literal["f16", "f32"] | None = None,
    row_alignment: int = 1,
) -> Table:
    """Return a table of rows that PyTorch, FBGEMM or TBE quantized, with the codes, scales and biases that they have.

    Args:
        rows: (rows, bytes of a row), uint8: a NumPy array, a torch CPU tensor, or a buffer. Rows with the scale last
            ("torch" and "fbgemm") are used where they lie if they are C-contiguous, and must not change while the table
            lives; others are copied. Never written to.
        dimension: Columns of a row. Even at 4 bits, and a multiple of 4 at 2.
        bits: Of a code: 8, 4 or 2.
        layout: "torch", what `torch.ops.quantized.embedding_bag_{byte,4bit,2bit}_prepack` return: codes, scale, bias.
            "fbgemm", what `torch.ops.fbgemm.FloatToFused8BitRowwiseQuantized` and
            `FloatToFusedNBitRowwiseQuantizedSBHalf` return: the same, and 8 bits with f16 scales too. "tbe", what
            FBGEMM's `IntNBitTableBatchedEmbeddingBagsCodegen` holds: scale, bias, codes, padding.
        scale_dtype: Of scale and bias, "f16" or "f32". By default what the layout has: f32 at 8 bits and f16 at 4 and
            2; f16 always in "tbe".
        row_alignment: Of "tbe" only: bytes that a row's size is rounded up to a multiple of. TBE has 1 on the CPU and
            16 on a GPU, and TorchRec has 16. What the padding holds is ignored.

    Returns:
        A table of (rows, dimension), whose `stored_bytes` are those of the rows without their padding.

    Raises:
        ValueError: rows are not uint8, don't have two axes, or have another number of bytes than dimension, bits,
            scale_dtype and row_alignment make; the layout has no such bits or scale_dtype; codes don't fill whole
            bytes; a scale or a bias is not finite (the message names the row).
    """
    dimension, bits, row_alignment = _integers(dimension=dimension, bits=bits, row_alignment=row_alignment)
    packed = as_array(rows, "rows")
    if packed.dtype != np.uint8:
        raise ValueError(f"rows must be uint8, not {packed.dtype}")
    if packed.ndim != 2:
        raise ValueError(f"rows must have two axes, rows and bytes, not {packed.ndim}")
    table: Table = _core.from_fused_rows(
        np.ascontiguousarray(packed), dimension, bits, layout, scale_dtype, row_alignment
    )
    return table


def to_fused_rows(table: Table, *, layout: FusedLayout = "torch", row_alignment: int = 1) -> NDArray[np.uint8]:
    """Return a table's rows as PyTorch, FBGEMM or TBE hold them, with the codes, scales and biases that it has.

    Args:
        table: Of 8, 4 or 2 bits with one scale and one bias a row, such as `compress(weight, "greedy", bits=4)` gives.
            At 8 bits PyTorch has f32 scales: `compress(weight, bits=8, scale_dtype="f32")`.
        layout: "torch", "fbgemm" or "tbe"; see `from_fused_rows`.
        row_alignment: Of "tbe" only: bytes that a row's size is rounded up to a multiple of, with zeros.

    Returns:
        (rows, bytes of a row). Rows with the scale last ("torch" and "fbgemm") lie on the table's own memory and are
        read-only, with no copy made, unless the table has padding between them; those of "tbe" are new.

    Raises:
        ValueError: the layout can't say what the table holds: it is no `Uniform` table, has groups of columns, or bits,
            scales or a dimension that the layout lacks. Nothing is rounded to make it fit.
        TypeError: it is no table.
    """
    (row_alignment,) = _integers(row_alignment=row_alignment)
    if not isinstance(table, Table):
        raise TypeError(f"table must be an embedcompress.Table, not {type(table).__name__}")
    row_bytes, memory = _core.fused_row_memory(table, layout, row_alignment)
    if memory is not None:
        return np.frombuffer(memory, np.uint8).reshape(table.rows, row_bytes)
    rows = np.empty((table.rows, row_bytes), np.uint8)
    _core.write_fused_rows(table, layout, row_alignment, rows)
    return rows


def _integers(**values: object) -> tuple[int, ...]:
    result = []
    for name, value in values.items():
        if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
        result.append(operator.index(value))
    return tuple(result)
