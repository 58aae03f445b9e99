"""Embeddings as ExecuTorch's operators take them: `quantized_decomposed.embedding_byte`, `embedding_4bit` and `_2bit`.

| operator | a byte of the weight |
| :-- | :-- |
| embedding_byte | a code: int8, from -128 on; or uint8, from 0 on |
| embedding_4bit | two codes, 8 more than they are, in uint8: that of the even column in the high half |
| embedding_2bit | four codes, 2 more than they are, in uint8: that of the first column in the low bits |

For each row, or group of columns in it, there are a scale and, unless all are 0, a zero, both in f32 or both in f16. A
value is scale * (code - zero), computed in f32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .. import Table
from .._checks import check_type, checked_integer
from ._signed import SignedCodes, check_scales

_OPERATORS = {2: "embedding_2bit", 4: "embedding_4bit", 8: "embedding_byte"}
_SHIFTS = {2: (0, 2, 4, 6), 4: (4, 0)}
"""Where the codes of a byte begin, by their columns."""
_DTYPES = (torch.float32, torch.float16)


class ExecuTorchEmbedding(NamedTuple):
    """What ExecuTorch's embedding operators take before the ids, in their order and by their names.

    Attributes:
        weight: (rows, dimension) int8 of 8 bits; else (rows, dimension * bits / 8) uint8.
        weight_scales: (rows, groups) f32 or f16.
        weight_zero_points: The same, or None if all are 0.
        weight_quant_min: The least code.
        weight_quant_max: The largest one.
    """

    weight: Tensor
    weight_scales: Tensor
    weight_zero_points: Tensor | None
    weight_quant_min: int
    weight_quant_max: int

    @property
    def bits(self) -> int:
        """Of a code: 2, 4 or 8."""
        return (self.weight_quant_max - self.weight_quant_min).bit_length()

    @property
    def operator(self) -> str:
        """The name of the operator in `torch.ops.quantized_decomposed`, where importing executorch.exir puts it."""
        return _OPERATORS[self.bits]


def to_executorch(table: Table, dtype: torch.dtype = torch.float32) -> ExecuTorchEmbedding:
    """Return a table as ExecuTorch's embedding operators take it, with the codes and scales that it has.

    Args:
        table: A `Uniform` of 2, 4 or 8 bits each of whose biases is a whole number of scales, so that a signed code
            stands for 0: what `from_executorch`, `from_torchao` and `embedcompress.load` (GGUF's Q4_0 and Q8_0) take
            over is such.
        dtype: Of scales and zeros, f32 or f16; operators return rows in it.

    Raises:
        TypeError: it is no table.
        ValueError: the operators can't say what the table holds, or the dtype does not hold its scales and zeros.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be torch.float32 or torch.float16, not {dtype}")
    held = SignedCodes.of(table, tuple(_OPERATORS), "ExecuTorch")
    check_scales(held.scales, dtype)
    if not torch.equal(held.zeros.to(dtype).float(), held.zeros):
        raise ValueError(f"{dtype} does not hold all zeros of the table")
    weight = held.codes
    if held.bits < 8:
        shifts = _SHIFTS[held.bits]
        if weight.shape[1] % len(shifts):
            raise ValueError(
                f"{_OPERATORS[held.bits]} has a multiple of {len(shifts)} columns: the table has {weight.shape[1]:,}"
            )
        codes = (weight + held.half).view(torch.uint8)
        weight = torch.zeros_like(codes[:, :: len(shifts)])
        for column, shift in enumerate(shifts):
            weight |= codes[:, column :: len(shifts)] << shift
    zeros = held.zeros.to(dtype) if bool(held.zeros.any()) else None
    return ExecuTorchEmbedding(weight.contiguous(), held.scales.to(dtype), zeros, -held.half, held.half - 1)


def from_executorch(weight: Tensor, scales: Tensor, zero_points: Tensor | None = None, *, bits: int) -> Table:
    """Return the table of what ExecuTorch's embedding operators take, with its codes and scales.

    Rows are scale * (code - zero) in f32: to the bit where scales are of f16 and zeros are whole numbers, and to the
    last rounding elsewhere. Scales of f32 stay such, and those of f16 do if that holds them and the biases.

    Args:
        weight: (rows, dimension) int8 or uint8 of 8 bits; else (rows, dimension * bits / 8) uint8.
        scales: (rows,) or (rows, groups), for groups of a multiple of 8 columns or of the row.
        zero_points: As many, or None where a code of 0 stands for 0.
        bits: 8 for embedding_byte, 4 for embedding_4bit, 2 for embedding_2bit.

    Raises:
        TypeError: what should be a tensor is none.
        ValueError: types or shapes that the operator does not take; groups that no table has; a scale or a zero that is
            not finite.
    """
    for name, given in (("weight", weight), ("scales", scales), ("zero_points", zero_points)):
        if given is not None or name != "zero_points":
            check_type(given, Tensor, name, "a torch.Tensor")
    if checked_integer(bits, "bits") not in _OPERATORS:
        raise ValueError(f"bits must be 2, 4 or 8, not {bits}")
    if weight.dim() != 2 or (weight.dtype is not torch.uint8 and (bits, weight.dtype) != (8, torch.int8)):
        wanted = "int8 or uint8" if bits == 8 else "uint8"
        raise ValueError(f"weight must have two axes of {wanted}, not {tuple(weight.shape)} of {weight.dtype}")
    rows, dimension = len(weight), weight.shape[1] * 8 // bits
    groups = scales.shape[1] if scales.dim() == 2 else 1
    if scales.dim() not in (1, 2) or len(scales) != rows or not groups or dimension % groups:
        raise ValueError(
            f"scales of {tuple(scales.shape)} are not of rows, or of their groups, of {rows} x {dimension}"
        )
    if zero_points is not None and zero_points.shape != scales.shape:
        raise ValueError(f"zero_points are {tuple(zero_points.shape)}, and scales {tuple(scales.shape)}")
    codes = weight
    if bits < 8:
        parts = [weight >> shift & (1 << bits) - 1 for shift in _SHIFTS[bits]]
        codes = torch.stack(parts, dim=2).reshape(rows, dimension).view(torch.int8) - (1 << (bits - 1))
    numbers = scales.reshape(rows, groups).float()
    zeros = torch.zeros_like(numbers) if zero_points is None else zero_points.reshape(rows, groups).float()
    if weight.dtype is torch.uint8 and bits == 8:
        # As signed codes, of which 0 is 128 here.
        codes, zeros = (codes ^ 128).view(torch.int8), zeros - 128
    return SignedCodes(codes, numbers, zeros, bits).table(is_narrow=scales.dtype is torch.float16)
