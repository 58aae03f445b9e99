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

from . import _core
from ._groups import Groups, integer
from ._table import Table, dense

Ranges = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Scales and biases, line by line of groups."""

_RANGES = ("min_max", "least_squares")


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
            group may have up to 1,048,576 elements.
        scale_dtype: Of scales and biases; always f32 with "tensor".

    Returns:
        A table of the bytes that this module's table states, and `group_bytes` computes.

    Raises:
        ValueError: an option out of range, a value that is not finite or does not fit f16 scales.
    """
    check(bits, ranges, scale_dtype)
    table: Table = _core.group_quantize(dense(weight), _described(group, groups, block, bits, scale_dtype), ranges)
    return table


def check(bits: int, ranges: str, scale_dtype: str, known: tuple[str, ...] = _RANGES) -> None:
    """Refuse options out of range with ValueError."""
    if ranges not in known:
        raise ValueError(f"ranges must be one of {', '.join(known)}, not {ranges!r}")
    _core.group_bytes(_described("tensor", 1, None, bits, scale_dtype), 1, 1)


def group_bytes(layout: Groups, bits: int, scale_dtype: str = "f16") -> int:
    """Return the bytes that a matrix takes; the formulas stand above."""
    return _core.group_bytes(_of_layout(layout, bits, scale_dtype), layout.rows, layout.columns)


def group_ranges(weight: object, layout: Groups, bits: int, ranges: str, scale_dtype: str) -> Ranges:
    """Return the scale and the bias of each group that `group_quantize` chooses, as they are stored.

    Args:
        weight: (rows, columns), what `compress` takes.
        layout: The groups.
        bits: Of a code.
        ranges: "min_max" or "least_squares".
        scale_dtype: "f16" or "f32".

    Returns:
        A number for each group, (count,); (rows, blocks of a row) for blocks.
    """
    scales, biases = (np.empty(layout.shape, np.float32) for _ in range(2))
    _core.group_ranges(dense(weight), _of_layout(layout, bits, scale_dtype), ranges, scales, biases)
    return scales, biases


def group_table(weight: object, layout: Groups, ranges: Ranges, bits: int, scale_dtype: str) -> Table:
    """Return the table of the nearest codes under given ranges; they are 0 where a group's scale is 0.

    Args:
        weight: (rows, columns), what `compress` takes.
        layout: The groups.
        ranges: Scales and biases, as `group_ranges` returns them.
        bits: Of a code.
        scale_dtype: "f16" or "f32".

    Raises:
        ValueError: a value, a scale or a bias that is not finite, or does not fit f16 scales.
    """
    table: Table = _core.group_encode(dense(weight), _of_layout(layout, bits, scale_dtype), *ranges)
    return table


def _of_layout(layout: Groups, bits: int, scale_dtype: str) -> tuple[Any, ...]:
    """Return the options that make such groups: as many as there are, or blocks of their size."""
    block = layout.size if layout.kind == "blocks" and layout.size < layout.columns else None
    return _described(layout.kind, max(layout.count, 1), block, bits, scale_dtype)


def _described(group: str, groups: int, block: int | None, bits: int, scale_dtype: str) -> tuple[Any, ...]:
    """Return options as the core takes them, once they are of the right types; it checks their ranges."""
    integer(bits, "bits", "an integer from 1 to 8")
    integer(groups, "groups", "an integer of at least 1")
    if block is not None:
        integer(block, "block", "a multiple of 8")
    for name, text in (("group", group), ("scale_dtype", scale_dtype)):
        if not isinstance(text, str):
            raise ValueError(f"{name} must be a string, not {text!r}")
    return group, groups, block, bits, scale_dtype
