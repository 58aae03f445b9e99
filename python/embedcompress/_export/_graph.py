"""A graph of ONNX that is put together node by node, and its tensors, which are made when the file is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .._uniform_rows import row_blocks
from ._tensors import Tensor

Array = np.ndarray[Any, Any]


class Element(NamedTuple):
    """A type of elements."""

    number: int
    """What ONNX has for it."""
    width: int
    """Bytes."""


ELEMENTS = {
    "F32": Element(1, 4),
    "U8": Element(2, 1),
    "I32": Element(6, 4),
    "I64": Element(7, 8),
    "F16": Element(10, 2),
    "U64": Element(13, 8),
    "BF16": Element(16, 2),
}
_NAMES = {"float32": "F32", "float16": "F16", "uint8": "U8", "int32": "I32", "int64": "I64", "uint64": "U64"}
"""By NumPy's names."""


class Graph:
    """Nodes and tensors; each result has a name that no other has."""

    def __init__(self) -> None:
        self.nodes: list[tuple[str, str, list[str], str, dict[str, int]]] = []
        """Of each: domain, operator, names of inputs, name of the result, attributes."""
        self.tensors: dict[str, Tensor] = {}
        self._constants: dict[tuple[Any, ...], str] = {}

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: int) -> str:
        """Add a node and return the name of its result."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append((domain, operator, list(inputs), name, attributes))
        return name

    def tensor(self, dtype: str, shape: tuple[int, ...], part: Callable[[slice], Array]) -> str:
        """Add a tensor of rows and return its name.

        Args:
            dtype: Such as "F16".
            shape: Of its elements.
            part: Makes a block of rows.
        """
        columns = math.prod(shape[1:])

        def blocks() -> Iterable[Array]:
            return (np.ascontiguousarray(part(block)) for block in row_blocks(shape[0], columns))

        return self._added(Tensor(dtype, shape, shape[0] * columns * ELEMENTS[dtype].width, blocks))

    def rows_of(self, values: Array, dtype: str | None = None) -> str:
        """Add an array of rows, which need not be contiguous, and return its name."""
        return self.tensor(dtype or _NAMES[values.dtype.name], values.shape, lambda block: values[block])

    def constant(self, values: object, dtype: str = "int64") -> str:
        """Add a small array, or one number, and return its name; equal ones are one."""
        array = np.asarray(values, dtype)
        key = (dtype, array.shape, array.tobytes())
        if key not in self._constants:
            tensor = Tensor(_NAMES[dtype], array.shape, array.nbytes, lambda: [array])
            self._constants[key] = self._added(tensor)
        return self._constants[key]

    def _added(self, tensor: Tensor) -> str:
        name = f"tensor_{len(self.tensors)}"
        self.tensors[name] = tensor
        return name

    def cast(self, name: str, to: str) -> str:
        """Return a result in another type, by what tensors call it."""
        return self.add("Cast", name, to=ELEMENTS[to].number)

    def gather(self, values: str, ids: str) -> str:
        """Return rows: `values[ids]`."""
        return self.add("Gather", values, ids, axis=0)

    def columns(self, rows: str, which: Array) -> str:
        """Return columns of rows: `rows[..., which]`."""
        return self.add("Gather", rows, self.constant(which), axis=-1)

    def merged(self, rows: str, ids: str, columns: int) -> str:
        """Return rows whose last two axes become one of so many columns."""
        shape = self.add("Concat", self.add("Shape", ids), self.constant([columns]), axis=0)
        return self.add("Reshape", rows, shape)
