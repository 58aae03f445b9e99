"""Tensors that are written to files of other programs, some rows at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from .._progress import Progress

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Tensor:
    """A tensor that is yet to be made.

    Attributes:
        dtype: As the file's format names it.
        shape: Of its elements.
        byte_count: Of all of it.
        blocks: Makes its bytes, C-contiguous arrays of whole rows, one block after the other.
    """

    dtype: str
    shape: tuple[int, ...]
    byte_count: int
    blocks: Callable[[], Iterable[Array]]


def write_blocks(file: IO[bytes], tensors: Mapping[str, Tensor], align: int, progress: Progress | None) -> None:
    """Write the bytes of tensors, each of which is followed by zeros up to a multiple of `align` bytes.

    Raises:
        KeyboardInterrupt: the progress says to stop.
    """
    total, done = sum(tensor.byte_count for tensor in tensors.values()), 0
    for tensor in tensors.values():
        for block in tensor.blocks():
            file.write(block.reshape(-1).view(np.uint8).data)
            done += block.nbytes
            if progress is not None and progress(done, total) is False:
                raise KeyboardInterrupt
        file.write(bytes(-tensor.byte_count % align))


def write_safetensors(
    file: IO[bytes], tensors: Mapping[str, Tensor], metadata: Mapping[str, str], progress: Progress | None
) -> None:
    """Write a safetensors file of plain tensors."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.byte_count
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    # Data starts at a multiple of 8 bytes.
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    write_blocks(file, tensors, 1, progress)
