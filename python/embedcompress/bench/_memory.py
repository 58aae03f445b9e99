"""Memory for the tables of every contender: whole cache lines, and huge pages for large ones.

NumPy asks the system for huge pages, but lets an array begin 16 bytes into a cache line, so that a row of 64 bytes lies
in two. PyTorch aligns rows, but does not ask for huge pages. Here both get both, as this library's own tables do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_HUGE_PAGE = 2 << 20
_CACHE_LINE = 64


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array with nothing in it yet, which begins with a cache line, and a large one with a huge page."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    alignment = _HUGE_PAGE if size >= _HUGE_PAGE else _CACHE_LINE
    memory = np.empty(size + alignment, np.uint8)
    start = -memory.ctypes.data % alignment
    return memory[start : start + size].view(dtype).reshape(shape)


def copy(values: NDArray[Any], dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Return a copy in such memory, of another type if one is given."""
    result = empty(values.shape, values.dtype if dtype is None else dtype)
    result[...] = values
    return result
