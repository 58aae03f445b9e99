"""Embeddings that torchao's IntxWeightOnlyConfig has quantized: their codes taken over, and tables given back as such.

`IntxUnpackedToInt8Tensor` holds a signed code of 1 to 8 bits in a byte each, and for each group of columns a scale and
a zero: a value is scale * (code - zero). `Uniform` has codes from 0 on: with the half h = 2^(bits - 1), a code is h
more, and the bias is -(zero + h) * scale.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import Table, uniform
from .._checks import check_type
from .._export import Grouped
from .._uniform_rows import UniformRows

_NAME = "IntxUnpackedToInt8Tensor"


def from_torchao(weight: Tensor) -> Table:
    """Return the table of a weight that torchao's IntxWeightOnlyConfig has quantized, with its codes and scales.

    Rows are scale * (code - zero) in f32: to the bit where scales are of f16 or bf16, and to the last rounding where
    they are of f32. Scales of f32 stay such, and those of f16 and bf16 become f16 if that holds them and the biases.

    Args:
        weight: (rows, dimension), an IntxUnpackedToInt8Tensor: the weight of an embedding after `quantize_`, in groups
            of a multiple of 8 columns or of the row.

    Raises:
        TypeError: it is no such tensor.
        ValueError: its groups are none that a table has, a scale is not finite, or its layer quantizes inputs.
    """
    if type(weight).__name__ != _NAME:
        raise TypeError(f"weight must be torchao's {_NAME}, not {type(weight).__name__}")
    held: Any = weight
    if held.activation_quantization is not None:
        raise ValueError("weight is of a layer that quantizes its inputs, which an embedding does not have")
    bits = int(str(held.target_dtype).removeprefix("torch.int"))
    half = 1 << (bits - 1)
    rows, columns = held.block_size
    if rows != 1:
        raise ValueError(f"weight has scales of {rows} rows together: a table has them for rows or groups of columns")
    scales = held.scale.float()
    biases = scales * -(held.zero_point.float() + half)
    is_narrow = held.scale.dtype is not torch.float32 and all(_is_half(values) for values in (scales, biases))
    return uniform(
        (held.qdata.to(torch.int16) + half).to(torch.uint8),
        scales,
        biases,
        bits=bits,
        group=None if columns == weight.shape[1] else columns,
        scale_dtype="f16" if is_narrow else "f32",
    )


def _is_half(values: Tensor) -> bool:
    return bool(torch.equal(values.half().float(), values))


def to_torchao(table: Table, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a table as a weight that torchao's IntxWeightOnlyConfig makes, with the codes and scales that it has.

    Args:
        table: A `Uniform` of 1 to 8 bits each of whose biases is a whole number of scales, so that a signed code stands
            for 0: what `from_torchao` and `embedcompress.load` (GGUF's Q4_0, Q5_0 and Q8_0) take over is such.
        dtype: Of scales, and of the rows that torchao makes.

    Returns:
        (rows, dimension), an IntxUnpackedToInt8Tensor, for the weight of a torch.nn.Embedding.

    Raises:
        TypeError: it is no table.
        ValueError: torchao can't say what the table holds, or the dtype does not hold its scales.
        ImportError: torchao is not installed.
    """
    check_type(table, Table, "table", "an embedcompress.Table")
    from torchao.quantization import IntxUnpackedToInt8Tensor

    rows = UniformRows.of(table)
    if rows is None or rows.bits > 8 or rows.dimension % rows.group:
        raise ValueError(f"torchao has codes of 1 to 8 bits in groups of one width: the table is {table!r}")
    half = 1 << (rows.bits - 1)
    grouped, everything = Grouped(rows, rows.group), slice(0, rows.rows)
    scales, biases = (torch.from_numpy(part.astype("f4")) for part in grouped.parameters(everything))
    if not torch.equal(scales.to(dtype).float(), scales):
        raise ValueError(f"{dtype} does not hold all scales of the table")
    zeros = torch.where(scales == 0, 0.0, (-biases / scales).round() - half)
    if not torch.equal(scales * -(zeros + half), biases) or bool(((zeros < -half) | (zeros >= half)).any()):
        raise ValueError("the table has a bias that is no whole number of scales: torchao has zeros in their place")
    codes = torch.from_numpy(grouped.codes(everything)).to(torch.int16) - half
    kind: Any = IntxUnpackedToInt8Tensor
    result: Tensor = kind(
        qdata=codes.to(torch.int8),
        scale=scales.to(dtype),
        zero_point=zeros.to(torch.int8),
        target_dtype=getattr(torch, f"int{rows.bits}"),
        block_size=(1, rows.group),
        dtype=dtype,
        activation_quantization=None,
    )
    return result
