"""Embeddings that torchao's IntxWeightOnlyConfig has quantized: their codes taken over, and tables given back as such.

`IntxUnpackedToInt8Tensor` holds a signed code of 1 to 8 bits in a byte each, and for each group of columns a scale and
a zero in i8.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import Table
from ._signed import SignedCodes, check_scales

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
    rows, _ = held.block_size
    if rows != 1:
        raise ValueError(f"weight has scales of {rows} rows together: a table has them for rows or groups of columns")
    bits = int(str(held.target_dtype).removeprefix("torch.int"))
    found = SignedCodes(held.qdata, held.scale.float(), held.zero_point.float(), bits)
    return found.table(is_narrow=held.scale.dtype is not torch.float32)


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
    held = SignedCodes.of(table, range(1, 9), "torchao")
    check_scales(held.scales, dtype)
    if bool(((held.zeros < -held.half) | (held.zeros >= held.half)).any()):
        raise ValueError("the table has a zero that is none of its codes, as torchao's are")
    from torchao.quantization import IntxUnpackedToInt8Tensor

    kind: Any = IntxUnpackedToInt8Tensor
    result: Tensor = kind(
        qdata=held.codes,
        scale=held.scales.to(dtype),
        zero_point=held.zeros.to(torch.int8),
        target_dtype=getattr(torch, f"int{held.bits}"),
        block_size=(1, held.group),
        dtype=dtype,
        activation_quantization=None,
    )
    return result
