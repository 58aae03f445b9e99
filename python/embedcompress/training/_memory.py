"""Memory of tables that step by themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LINE = 64
"""Bytes of a cache line."""


def zeros(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return zeros that begin at a cache line, in huge pages where the system has them.

    A batch reads rows from all over a table. In pages of 4 KiB each row also takes a search for its page, and a row of
    64 bytes that begins within a line is in two of them. NumPy asks for huge pages, torch does not.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = np.zeros(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return torch.from_numpy(memory[start : start + size]).view(dtype).view(*shape)
