"""The rules by which what people have becomes arrays that the compiled core takes: one for ids, one for numbers.

- Ids are integers of any dtype, int32 and int64 as they lie. Floats and bools are refused.
- Numbers are floats and integers: weights keep f32, f16 and bf16, everything else is cast to f32. The last digits of
  f64 are lost; an integer beyond 24 bits, or a float beyond f32's range, is refused.
- Strided and byte-swapped arrays are copied. What is hidden, by a mask or as a null, is refused; so are strings,
  objects and all that is no number, by the name of their dtype.

torch, pandas and others are never imported here: their values are recognised by modules that exist only if they do.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ._errors import InvalidIdError
from ._frames import from_frame, position_text

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

_NATIVE = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""The dtypes that weights keep, and what the core calls them."""
_SMALL_FLOATS = ("float8_", "float6_", "float4_")
"""How names of floats begin that NumPy doesn't have, and that f32 holds: those of the package ml_dtypes."""


def is_tensor(value: object) -> bool:
    """Whether this is a torch tensor."""
    torch_module = sys.modules.get("torch")
    return torch_module is not None and isinstance(value, torch_module.Tensor)


def has_integers(tensor: torch.Tensor) -> bool:
    """Whether the dtype of a tensor, or of what stands for one while a graph is traced, can be that of ids."""
    return not (tensor.is_floating_point() or tensor.is_complex() or str(tensor.dtype) == "torch.bool")


def coerced(value: object, name: str, rule: str | None) -> Array:
    """Return an array by a rule; the core calls this for what it can't read as it lies.

    Args:
        value: What a caller gave.
        name: What the function calls it.
        rule: "ids", "float32", or None to keep the elements, and their memory if they have any.
    """
    if rule == "ids":
        return as_ids(value, name)
    return as_array(value, name) if rule is None else as_numbers(value, name)


def as_array(value: object, name: str) -> Array:
    """Return an array with the elements of `value`, in their memory where it has some.

    Raises:
        TypeError: it is no array, or one of objects.
        ValueError: a mask hides elements, or it has no memory on the CPU.
    """
    return _found(value, name)[0]


def as_ids(value: object, name: str = "ids") -> Array:
    """Return ids as a C-contiguous array of int32 or int64.

    Args:
        value: Integers: an array, tensor, column or list.
        name: What the function calls it.

    Raises:
        TypeError: it is no array.
        ValueError: its dtype is not of integers; the message names it.
        InvalidIdError: an id of 2^63 or more.
    """
    array, dtype = _found(value, name)
    if array.dtype.kind not in "iu" or dtype == "bfloat16":
        hint = "; a mask chooses rows as table[mask] or np.flatnonzero(mask)" if dtype == "bool" else ""
        raise ValueError(f"{name} must be integers, not {dtype}{hint}")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size and int(array.max()) >= 2**63:
        place = int(np.argmax(array >= 2**63))
        bad = int(array.flat[place])
        message = f"id {bad} at position {place} of {name} is out of range: no table has 2^63 rows"
        raise InvalidIdError(message, id=bad, position=place)
    narrow = array.dtype.itemsize < 4 or (array.dtype.kind, array.dtype.itemsize) == ("i", 4)
    return np.asarray(array, np.int32 if narrow else np.int64, order="C")


def as_numbers(value: object, name: str, dtype: type[np.floating[Any]] = np.float32) -> Array:
    """Return numbers as a C-contiguous array of f32, or of f64.

    Args:
        value: An array, tensor, column or list.
        name: What the function calls it.
        dtype: np.float32 or np.float64.

    Raises:
        TypeError: it is no array, or one of objects.
        ValueError: its dtype is not of real numbers, or one of them is lost; the message names dtype and place.
    """
    array, found = _found(value, name)
    return _cast(array, found, name, np.dtype(dtype))


def as_matrix(weight: object, name: str = "weight") -> tuple[Array, str]:
    """Return a weight as a C-contiguous (rows, dimension) array and the name of its element type: f32, f16 or bf16.

    Raises:
        TypeError: it is no array, or one of objects.
        ValueError: it does not have two axes; its dtype is not of real numbers, or one of them is lost.
    """
    array, dtype = _found(weight, name)
    if array.ndim != 2:
        raise ValueError(f"{name} must have two axes, rows and columns, not {array.ndim}")
    if dtype not in _NATIVE:
        return _cast(array, dtype, name, np.dtype(np.float32)), "f32"
    # The core has no type of its own for bf16.
    array = array.view(np.uint16) if dtype == "bfloat16" else array
    return np.asarray(array, array.dtype.newbyteorder("="), order="C"), _NATIVE[dtype]


def _found(value: object, name: str) -> tuple[Array, str]:
    """Return the elements of a value, and the name of their dtype; bf16 of torch is in uint16."""
    if is_tensor(value):
        return _from_tensor(value, name)  # type: ignore[arg-type]
    value = from_frame(value, name)
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(value, masked.MaskedArray):
        hidden = masked.getmaskarray(value)
        if hidden.any():
            place = position_text(int(np.argmax(hidden)), hidden.shape)
            raise ValueError(
                f"{name} has a mask, which hides {int(hidden.sum())} elements, the first at {place}: fill them, as "
                f"{name}.filled(0), or take {name}.data to ignore the mask"
            )
        value = value.data
    try:
        array = np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(f"{name} must have rows of one length") from None
    if array.dtype.kind == "O":
        array = _stacked(array, value, name)
    if array.size == 0 and isinstance(value, (list, tuple)):
        # NumPy takes an empty list for floats.
        array = array.astype(np.int64)
    # Not the length of strings, which "str96" has in bits.
    return array, array.dtype.name.rstrip("0123456789") if array.dtype.kind in "SU" else array.dtype.name


def _stacked(array: Array, value: object, name: str) -> Array:
    """Return an array of arrays, such as a column of vectors, as one with an axis more."""
    if array.ndim == 0:
        hint = f": use {name}.toarray()" if hasattr(value, "toarray") else ""
        raise TypeError(f"{name} must be an array, not {type(value).__name__}{hint}")
    if array.ndim != 1 or not array.size or not all(isinstance(row, (list, tuple, np.ndarray)) for row in array):
        whose = f", of {type(array.flat[0]).__name__}" if array.size else ""
        raise TypeError(f"{name} must be an array of numbers, not {type(value).__name__} of object{whose}")
    lengths = {np.shape(row) for row in array}
    if len(lengths) > 1:
        raise ValueError(f"{name} must have rows of one length, not of {' and '.join(map(str, sorted(lengths)[:2]))}")
    rows = np.stack([np.asarray(row) for row in array])
    if rows.dtype.kind == "O":
        raise TypeError(f"{name} must be an array of numbers, not {type(value).__name__} of object")
    return rows


def _from_tensor(tensor: torch.Tensor, name: str) -> tuple[Array, str]:
    import torch

    if tensor.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, not on {tensor.device}")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor, not {tensor.layout}: use {name}.to_dense()")
    if tensor.is_quantized:
        raise ValueError(f"{name} must be numbers, not {tensor.dtype}: use {name}.dequantize()")
    plain = tensor.detach().resolve_conj().resolve_neg()
    if plain.dtype == torch.bfloat16:
        return plain.view(torch.uint16).numpy(), "bfloat16"
    dtype = str(plain.dtype).removeprefix("torch.")
    if dtype.startswith("float8_"):
        # f32 has them all, and NumPy has none of them.
        plain = plain.float()
    try:
        array = plain.numpy()
    except TypeError:
        raise ValueError(f"{name} must be numbers, not {tensor.dtype}") from None
    return array, dtype


def _cast(array: Array, dtype: str, name: str, target: np.dtype[Any]) -> Array:
    """Return numbers as floats of a type; refuse those that are lost."""
    if dtype == "bfloat16" and array.dtype.kind == "u":
        wide = array.astype(np.uint32, order="C") << 16
        return wide.view(np.float32).astype(target, copy=False)
    is_small = dtype in _NATIVE or dtype.startswith(_SMALL_FLOATS)
    if array.dtype.kind not in "iuf" and not is_small:
        raise ValueError(f"{name} must be real numbers, not {dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(target, order="C", copy=False)
    digits = np.finfo(target).nmant + 1
    if array.dtype.kind in "iu" and array.dtype.itemsize * 8 > digits:
        large = array > 2**digits
        if array.dtype.kind == "i":
            large |= array < -(2**digits)
        _refuse(large, array, name, f"{target} holds integers of up to {digits} bits; round it before")
    elif array.dtype.kind == "f" and array.dtype.itemsize > target.itemsize:
        _refuse(np.isinf(result) & np.isfinite(array), array, name, f"{target} can't hold that")
    return result


def _refuse(lost: Array, array: Array, name: str, reason: str) -> None:
    if not lost.any():
        return
    place = int(np.argmax(lost))
    raise ValueError(f"{name} has {array.flat[place]} at {position_text(place, array.shape)}: {reason}")
