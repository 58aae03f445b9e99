"""A table as a text and integer tensors: the form in which it lies in a state_dict and in a traced graph.

The text is JSON: the expression tree, and the name and element type of each array. An array of floats or of unsigned
integers travels as signed integers of its width, so that no cast of a module to another float type can reach it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import FormatError, Table, _core
from .._reading import json_value

VERSION = 1

_TYPES: dict[str, tuple[type[np.generic], type[np.generic], torch.dtype]] = {
    "u8": (np.uint8, np.uint8, torch.uint8),
    "i8": (np.int8, np.int8, torch.int8),
    "u16": (np.uint16, np.int16, torch.int16),
    "i16": (np.int16, np.int16, torch.int16),
    "f16": (np.float16, np.int16, torch.int16),
    "bf16": (np.uint16, np.int16, torch.int16),
    "u32": (np.uint32, np.int32, torch.int32),
    "i32": (np.int32, np.int32, torch.int32),
    "f32": (np.float32, np.int32, torch.int32),
    "u64": (np.uint64, np.int64, torch.int64),
    "i64": (np.int64, np.int64, torch.int64),
    "f64": (np.float64, np.int64, torch.int64),
}
"""The element types of a table's arrays: NumPy's, the one it travels as, and that one in torch."""


class Expression(NamedTuple):
    """What a text says."""

    tree: str
    """JSON, as the core takes it."""
    names: tuple[str, ...]
    """Of the arrays, such as "inner.rows"."""
    dtypes: tuple[str, ...]
    rows: int
    dimension: int

    @property
    def keys(self) -> tuple[str, ...]:
        """The arrays' names as a module's buffers, which can't have dots in them, nor the name of a method."""
        return tuple(name.replace(".", "__") if name != "parameters" else "parameters_" for name in self.names)


def take_apart(table: Table) -> tuple[str, list[Tensor]]:
    """Return a table's text and its arrays, as tensors on the table's own memory."""
    tree, arrays = table.parts()
    tensors = []
    with warnings.catch_warnings():
        # torch has no read-only tensors and warns of an array that is one.
        warnings.simplefilter("ignore", UserWarning)
        for dtype, values in arrays.values():
            tensors.append(torch.from_numpy(values.view(_TYPES[dtype][1])))
    listed = [[name, array.dtype] for name, array in arrays.items()]
    text = json.dumps({"version": VERSION, "tree": tree, "arrays": listed}, separators=(",", ":"), sort_keys=True)
    return text, tensors


@lru_cache(maxsize=256)
def parse(text: str) -> Expression:
    """Read a text.

    Raises:
        FormatError: it isn't one, or is of another version.
    """
    try:
        fields: dict[str, Any] = json_value(text)
        if fields["version"] != VERSION:
            raise FormatError(f"the expression has version {fields['version']!r}; this embedcompress reads {VERSION}")
        tree, listed = fields["tree"], fields["arrays"]
        names = tuple(str(name) for name, _ in listed)
        dtypes = tuple(str(dtype) for _, dtype in listed)
        result = Expression(json.dumps(tree), names, dtypes, int(tree["rows"]), int(tree["dimension"]))
    except FormatError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"the expression of the table can't be read: {type(error).__name__}: {error}") from error
    unknown = sorted(set(dtypes) - set(_TYPES))
    if unknown:
        raise FormatError(f"the expression has arrays of the unknown type {unknown[0]!r}")
    if len(set(result.keys)) != len(names):
        raise FormatError("the expression has two arrays of the same name")
    return result


def assemble(text: str, tensors: Sequence[Tensor]) -> Table:
    """Build a table on the memory of CPU tensors; it takes microseconds.

    Raises:
        FormatError: text and tensors are not those of a table; the message says which rule they break.
    """
    expression = parse(text)
    if len(tensors) != len(expression.names):
        raise FormatError(f"the expression has {len(expression.names)} arrays, not {len(tensors)}")
    arrays = []
    for name, dtype, tensor in zip(expression.names, expression.dtypes, tensors, strict=True):
        native, _, carried = _TYPES[dtype]
        if tensor.dtype is not carried:
            raise FormatError(f"array {name!r} must be of {carried}, not {tensor.dtype}")
        arrays.append((name, dtype, tensor.contiguous().numpy().view(native)))
    table: Table = _core.assemble(expression.tree, tuple(arrays))
    return table


def as_bytes(text: str) -> Tensor:
    """Return a text as a tensor of its bytes."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def from_bytes(tensor: Tensor) -> str:
    """Return the text whose bytes a tensor holds.

    Raises:
        FormatError: they are not a text.
    """
    if tensor.dtype is not torch.uint8 or tensor.dim() != 1:
        raise FormatError(f"the expression must be uint8 and have one axis, not {tensor.dtype}, {tensor.dim()}")
    try:
        return bytes(tensor.tolist()).decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"the expression of the table can't be read: {error}") from error
