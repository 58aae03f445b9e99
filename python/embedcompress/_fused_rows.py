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
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._arrays import as_array
from ._table import Array, Table

FusedLayout = Literal["torch", "fbgemm", "tbe"]

_SCALES: dict[str, type[np.floating[Any]]] = {"f16": np.float16, "f32": np.float32}
_CHECKED_ROWS = 1 << 16
"""Rows whose scales and biases are checked at once."""


@dataclass(frozen=True)
class _Format:
    """What rows of a layout may be."""

    scale_dtypes: dict[int, tuple[str, ...]]
    """By bits; the first one is the default."""
    scale_bias_last: bool
    aligned: bool
    """Whether rows are padded to an alignment."""


_FORMATS = {
    "torch": _Format({8: ("f32",), 4: ("f16",), 2: ("f16",)}, scale_bias_last=True, aligned=False),
    "fbgemm": _Format({8: ("f32", "f16"), 4: ("f16",), 2: ("f16",)}, scale_bias_last=True, aligned=False),
    "tbe": _Format({8: ("f16",), 4: ("f16",), 2: ("f16",)}, scale_bias_last=False, aligned=True),
}


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
    form = _format(layout)
    if scale_dtype is None:
        scale_dtype = form.scale_dtypes.get(bits, ("f16",))[0]  # type: ignore[assignment]
    assert scale_dtype is not None
    code_bytes, size = _row_bytes(form, layout, dimension, bits, scale_dtype, row_alignment)
    packed = as_array(rows, "rows") if not isinstance(rows, np.ndarray) else rows
    if packed.dtype != np.uint8:
        raise ValueError(f"rows must be uint8, not {packed.dtype}")
    if packed.ndim != 2:
        raise ValueError(f"rows must have two axes, rows and bytes, not {packed.ndim}")
    if packed.shape[1] != size:
        raise ValueError(
            f"rows of {dimension} columns at {bits} bits with {scale_dtype} scales have {size} bytes in the layout "
            f"{layout!r}{f' aligned to {row_alignment}' if form.aligned else ''}, but these have {packed.shape[1]}"
        )
    unpadded = code_bytes + 2 * _item_bytes(scale_dtype)
    if form.scale_bias_last:
        packed = np.ascontiguousarray(packed)
    else:
        both = unpadded - code_bytes
        packed = np.concatenate([packed[:, both:unpadded], packed[:, :both]], axis=1)
    _check_finite(packed, code_bytes, scale_dtype)
    tree = {
        "kind": "uniform",
        "rows": len(packed),
        "dimension": dimension,
        "bits": bits,
        "group": dimension,
        "scale": scale_dtype,
        "tensors": {"rows": "rows"},
    }
    return Table.from_parts(tree, {"rows": Array("u8", packed)})


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
    form = _format(layout)
    if not isinstance(table, Table):
        raise TypeError(f"table must be an embedcompress.Table, not {type(table).__name__}")
    tree, arrays = table.parts()
    if tree["kind"] != "uniform":
        raise ValueError(
            f"fused rows hold codes with a scale and a bias, as a Uniform table does; this one is {tree['kind']!r}"
        )
    dimension, bits, scale_dtype = tree["dimension"], tree["bits"], tree["scale"]
    if tree.get("scope", "row") != "row":
        raise ValueError("a fused row has a scale and a bias of its own; rows of this table share one of each")
    if tree["group"] != dimension:
        raise ValueError(
            f"a fused row has one scale and one bias; rows of this table have some for every {tree['group']} of their "
            f"{dimension} columns"
        )
    code_bytes, size = _row_bytes(form, layout, dimension, bits, scale_dtype, row_alignment)
    both = 2 * _item_bytes(scale_dtype)
    # What is behind a row's scale and bias is padding of the table's own.
    packed: NDArray[np.uint8] = arrays[tree["tensors"]["rows"]].values[:, : code_bytes + both]
    if form.scale_bias_last:
        return np.ascontiguousarray(packed)
    rows = np.zeros((len(packed), size), np.uint8)
    rows[:, :both] = packed[:, code_bytes:]
    rows[:, both : both + code_bytes] = packed[:, :code_bytes]
    return rows


def _integers(**values: object) -> tuple[int, ...]:
    result = []
    for name, value in values.items():
        if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
        result.append(operator.index(value))
        if result[-1] < 1:
            raise ValueError(f"{name} must be at least 1, not {result[-1]}")
    return tuple(result)


def _format(layout: str) -> _Format:
    if layout not in _FORMATS:
        raise ValueError(f"layout must be one of {', '.join(map(repr, _FORMATS))}, not {layout!r}")
    return _FORMATS[layout]


def _item_bytes(scale_dtype: str) -> int:
    return np.dtype(_SCALES[scale_dtype]).itemsize


def _row_bytes(
    form: _Format, layout: str, dimension: int, bits: int, scale_dtype: str, row_alignment: int
) -> tuple[int, int]:
    """Return the bytes of a row's codes, and of the whole row with its padding, once the layout has such rows."""
    if scale_dtype not in _SCALES:
        raise ValueError(f"scale_dtype must be 'f16' or 'f32', not {scale_dtype!r}")
    if bits not in form.scale_dtypes:
        raise ValueError(f"the layout {layout!r} has codes of 8, 4 and 2 bits, not {bits}")
    if scale_dtype not in form.scale_dtypes[bits]:
        known = " or ".join(form.scale_dtypes[bits])
        raise ValueError(f"the layout {layout!r} has {known} scales at {bits} bits, not {scale_dtype}")
    if dimension * bits % 8:
        raise ValueError(
            f"codes of the layout {layout!r} fill whole bytes: at {bits} bits the dimension is a multiple of "
            f"{8 // bits}, not {dimension}"
        )
    if row_alignment != 1 and not form.aligned:
        raise ValueError(f"rows of the layout {layout!r} are not aligned: row_alignment must be 1, not {row_alignment}")
    code_bytes = dimension * bits // 8
    size = code_bytes + 2 * _item_bytes(scale_dtype)
    return code_bytes, -(-size // row_alignment) * row_alignment


def _check_finite(packed: NDArray[np.uint8], code_bytes: int, scale_dtype: str) -> None:
    """Refuse scales and biases behind the codes that are not finite."""
    for start in range(0, len(packed), _CHECKED_ROWS):
        both = np.ascontiguousarray(packed[start : start + _CHECKED_ROWS, code_bytes:]).view(_SCALES[scale_dtype])
        finite = np.isfinite(both)
        if not finite.all():
            row, which = (int(i) for i in np.argwhere(~finite)[0])
            name = ("scale", "bias")[which]
            raise ValueError(f"row {start + row} has the {name} {both[row, which]}; scales and biases must be finite")
