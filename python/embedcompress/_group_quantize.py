"""`group_quantize`: uniform quantization of a matrix in groups of rows, groups of columns, or blocks, as one table.

A group has a scale and a bias; an element is `scale * code + bias`, with codes of 0 to 2^bits - 1. This is stored of a
matrix of n rows and d columns, whose codes take c = n ceil(d bits / 8) bytes, with s = 2 for f16 and 4 for f32 scales:

| groups | expression | bytes |
| :-- | :-- | :-- |
| tensor | `Uniform` of the scope table, always with f32 | c + 8 |
| rows | `Uniform` with a scale and a bias in each row, also where rows share them | c + 2 s n |
| columns | `Combine`: codes (`Uniform` of the scope table, scale 1 and bias 0) times a row of scales, | c + 8 + 2 s d |
| | plus a row of biases (`Dense`, a number a column, also where columns share one) | |
| blocks | `Uniform` with groups | c + 2 s n ceil(d / block) |

Repeating the numbers of a group costs 2 s bytes a row or column: 1 % of a 768 x 768 matrix of 4 bits. A table of its
own for each group, which would not repeat them, would cost more in the file's header.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._compress import compress
from ._expressions import compose
from ._groups import Groups
from ._product import packed
from ._routes import combine, remap
from ._table import Table, dense

Ranges = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Scales and biases, as `Groups.join` has them."""

_PACKED_ROWS = 4096
"""Rows that are packed at once."""

_FLOATS: dict[str, type[np.floating[Any]]] = {"f16": np.float16, "f32": np.float32}


def group_quantize(
    weight: object,
    bits: int = 4,
    *,
    group: str = "columns",
    groups: int = 128,
    block: int | None = 64,
    ranges: Literal["min_max", "least_squares"] = "min_max",
    scale_dtype: Literal["f16", "f32"] = "f16",
) -> Table:
    """Quantize a matrix in groups, each with a range of its own (Q-BERT, Shen et al. 2020, arXiv 1909.05840).

    Args:
        weight: (rows, columns), what `compress` takes.
        bits: Of a code, 1 to 8.
        group: "tensor": one range. "rows": groups of consecutive rows, as in the paper's text. "columns": groups of
            consecutive columns, as in its authors' code. "blocks": blocks of columns within each row.
        groups: How many groups of rows or columns; each has ceil(rows or columns / groups) of them.
        block: Columns of a block: a multiple of 8, or None for the row.
        ranges: "min_max", or "least_squares" for the range that the method of that name of `compress` finds, where a
            group may have up to 16,777,216 elements.
        scale_dtype: Of scales and biases; always f32 with "tensor".

    Returns:
        A table of the bytes that this module's table states, and `group_bytes` computes.

    Raises:
        ValueError: an option out of range, a value that is not finite or does not fit f16 scales.
    """
    check(bits, ranges, scale_dtype)
    values = dense(weight).decode()
    layout = Groups.of(group, values.shape[0], values.shape[1], groups, block)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise ValueError(f"row {row} has a value that is not finite")
    found = least_squares(values, layout, bits, scale_dtype) if ranges == "least_squares" else extremes(values, layout)
    scale, bias = found if ranges == "least_squares" else as_stored(*found, bits, layout, scale_dtype)
    return group_table(encode(values, layout, scale, bias, bits), layout, scale, bias, bits, scale_dtype)


def check(bits: int, ranges: str, scale_dtype: str, known: tuple[str, ...] = ("min_max", "least_squares")) -> None:
    """Refuse options out of range with ValueError."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise ValueError(f"bits must be an integer from 1 to 8, not {bits!r}")
    if ranges not in known:
        raise ValueError(f"ranges must be one of {', '.join(known)}, not {ranges!r}")
    if scale_dtype not in _FLOATS:
        raise ValueError(f"scale_dtype must be 'f16' or 'f32', not {scale_dtype!r}")


def group_bytes(layout: Groups, bits: int, scale_dtype: str = "f16") -> int:
    """Return the bytes that a matrix takes; the formulas stand above."""
    numbers = 2 * np.dtype(_FLOATS[scale_dtype]).itemsize
    codes = layout.rows * -(-layout.columns * bits // 8)
    if layout.kind == "tensor":
        return codes + 8
    if layout.kind == "columns":
        return codes + 8 + numbers * layout.columns
    return codes + numbers * (layout.rows if layout.kind == "rows" else layout.count)


def extremes(weight: NDArray[np.float32], layout: Groups) -> Ranges:
    """Return the least and the largest element of each group."""
    return layout.reduced(weight, np.amin), layout.reduced(weight, np.amax)


def as_stored(
    low: NDArray[np.float32], high: NDArray[np.float32], bits: int, layout: Groups, scale_dtype: str
) -> Ranges:
    """Return the scales and biases of ranges, rounded to the type that they are stored in.

    Raises:
        ValueError: one does not fit f16.
    """
    stored = np.float32 if layout.kind == "tensor" else _FLOATS[scale_dtype]
    with np.errstate(over="ignore"):
        scale = ((high - low) / np.float32(2**bits - 1)).astype(stored).astype(np.float32)
        bias = low.astype(stored).astype(np.float32)
    if not (np.isfinite(scale).all() and np.isfinite(bias).all()):
        raise ValueError(
            f"a scale or a bias is not finite in {np.dtype(stored).name}; scale_dtype='f32' holds larger ones"
        )
    return scale, bias


def least_squares(weight: NDArray[np.float32], layout: Groups, bits: int, scale_dtype: str) -> Ranges:
    """Return the scales and biases that `compress(..., "least_squares")` chooses, as they are stored."""
    kept = "f32" if layout.kind == "tensor" else scale_dtype
    scales, biases = [], []
    for part in layout.matrices(weight):
        table = compress(np.ascontiguousarray(part), "least_squares", bits=bits, scale_dtype=kept)
        rows = table.parts()[1]["rows"].values
        size = 2 * np.dtype(_FLOATS[kept]).itemsize
        both = np.ascontiguousarray(rows[:, -size:]).view(_FLOATS[kept]).astype(np.float32)
        scales.append(both[:, 0])
        biases.append(both[:, 1])
    return layout.join(scales), layout.join(biases)


def encode(
    weight: NDArray[np.float32], layout: Groups, scale: NDArray[np.float32], bias: NDArray[np.float32], bits: int
) -> NDArray[np.uint8]:
    """Return the nearest codes, (rows, columns); 0 where a group's scale is 0."""
    steps = layout.spread(np.where(scale > 0, scale, np.float32(np.inf)))
    codes: NDArray[np.float32] = (weight - layout.spread(bias)) / steps
    np.rint(codes, out=codes)
    return np.clip(codes, 0, 2**bits - 1, out=codes).astype(np.uint8)


def group_table(
    codes: NDArray[np.uint8],
    layout: Groups,
    scale: NDArray[np.float32],
    bias: NDArray[np.float32],
    bits: int,
    scale_dtype: str,
) -> Table:
    """Return the table of codes, scales and biases, packed as this module says.

    Args:
        codes: (rows, columns).
        layout: The groups.
        scale: As `Groups.join` has them, of values that `scale_dtype` can say.
        bias: The same.
        bits: Of a code.
        scale_dtype: "f16" or "f32".
    """
    n, d = codes.shape
    # Packing takes 3 bytes a bit for a while.
    chunks = [packed(codes[start : start + _PACKED_ROWS], bits) for start in range(0, max(n, 1), _PACKED_ROWS)]
    rows = np.concatenate(chunks)
    if layout.kind == "tensor":
        return _table_wide(rows, d, bits, scale.item(), bias.item())
    kept = _FLOATS[scale_dtype]
    if layout.kind == "columns":
        factors, summands = (layout.spread(numbers).astype(kept) for numbers in (scale, bias))
        both = [remap(dense(numbers), rows=n, modulo=1) for numbers in (factors, summands)]
        product = combine([_table_wide(rows, d, bits, 1.0, 0.0), both[0]], "product")
        return combine([product, both[1]], "sum")
    if layout.kind == "rows":
        scale, bias = layout.spread(scale), layout.spread(bias)
    numbers = np.stack([scale, bias], axis=-1).reshape(n, -1).astype(kept)
    fields = {"bits": bits, "group": layout.size if layout.kind == "blocks" else d, "scale": scale_dtype}
    fused = np.concatenate([rows, numbers.view(np.uint8)], axis=1)
    return compose("uniform", n, d, fields, {"rows": ("u8", fused)})


def _table_wide(rows: NDArray[np.uint8], columns: int, bits: int, scale: float, bias: float) -> Table:
    """Return packed codes with one scale and bias."""
    fields = {"bits": bits, "group": columns, "scale": "f32", "scope": "table"}
    parameters: NDArray[Any] = np.array([scale, bias], np.float32)
    return compose("uniform", len(rows), columns, fields, {"rows": ("u8", rows), "parameters": ("f32", parameters)})
