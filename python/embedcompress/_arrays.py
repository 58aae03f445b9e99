"""Makes arrays that the compiled core takes out of what people have.

torch is never imported here: a tensor is recognised by its type's module, which exists only if torch does.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def is_tensor(value: object) -> bool:
    """Whether this is a torch tensor."""
    torch_module = sys.modules.get("torch")
    return torch_module is not None and isinstance(value, torch_module.Tensor)


def _refuse_mask(value: object, name: str) -> None:
    """Refuse an array with a mask, which nothing here would heed."""
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise ValueError(f"{name} must not have a mask: fill the masked elements, or take .data to ignore the mask")


def _from_tensor(tensor: torch.Tensor, name: str) -> tuple[np.ndarray[Any, Any], str]:
    import torch

    if tensor.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, not on {tensor.device}")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor, not {tensor.layout}")
    plain = tensor.detach().resolve_conj().resolve_neg()
    if plain.dtype == torch.bfloat16:
        return plain.view(torch.uint16).numpy(), "bf16"
    array = plain.numpy()
    return array, array.dtype.name


def as_array(value: object, name: str) -> np.ndarray[Any, Any]:
    """Return an array of `value`, which has no plain buffer of its own: a tensor, a list, a number, a kind of array.

    The core calls this for ids, offsets, weights and outputs. A list of integers becomes int64, and weights become
    float32; what is already an array or a tensor keeps its dtype.
    """
    if is_tensor(value):
        return _from_tensor(value, name)[0]  # type: ignore[arg-type]
    _refuse_mask(value, name)
    array = np.asarray(value)
    if array.dtype.kind == "O":
        raise TypeError(f"{name} must be an array, not {type(value).__name__}")
    if isinstance(value, (list, tuple, range, int, float)):
        if array.size == 0:
            # NumPy takes an empty list for floats.
            return array.astype(np.float32 if name == "per_sample_weights" else np.int64)
        if array.dtype.kind in "iuf" and name == "per_sample_weights":
            return array.astype(np.float32)
    return array


def as_matrix(weight: object) -> tuple[np.ndarray[Any, Any], str]:
    """Return `weight` as a C-contiguous (rows, dimension) array and the name of its element type.

    Raises:
        ValueError: it does not have two axes, is strided or byte-swapped, or is not of f32, f16 or bf16.
    """
    if is_tensor(weight):
        array, dtype = _from_tensor(weight, "weight")  # type: ignore[arg-type]
    else:
        _refuse_mask(weight, "weight")
        array = np.asarray(weight)
        if array.dtype.kind == "O":
            raise TypeError(f"weight must be an array, not {type(weight).__name__}")
        if array.dtype.kind == "f" and isinstance(weight, (list, tuple)):
            array = array.astype(np.float32)
        dtype = array.dtype.name
    if not array.dtype.isnative:
        raise ValueError("weight must be in native byte order; use weight.astype(weight.dtype.newbyteorder('='))")
    names = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "bf16": "bf16"}
    if dtype not in names:
        raise ValueError(f"weight must be float32, float16 or bfloat16, not {dtype}")
    if array.ndim != 2:
        raise ValueError(f"weight must have two axes, rows and columns, not {array.ndim}")
    if not array.flags.c_contiguous:
        raise ValueError("weight must be C-contiguous; use numpy.ascontiguousarray(weight)")
    if names[dtype] == "bf16":
        array = array.view(np.uint16)
    return array, names[dtype]
