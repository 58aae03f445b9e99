"""`load`, `save` and `contents`: tables in safetensors files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike

from . import _core
from ._table import Progress, Table


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a file."""

    name: str
    dtype: str
    """As safetensors names it, such as "F32"."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Contents:
    """What a safetensors file holds."""

    is_table_file: bool
    """Whether embedcompress wrote it."""
    tables: tuple[str, ...]
    """The names that `load` takes."""
    tensors: tuple[TensorInfo, ...]
    metadata: dict[str, str]


def load(path: str | PathLike[str], name: str | None = None, *, mmap: bool = True) -> Table:
    """Open a table that `save` wrote, or a tensor of any safetensors checkpoint as a dense table.

    Args:
        path: A safetensors file.
        name: The table, or the two-dimensional f32, f16 or bf16 tensor; None takes the only one.
        mmap: Leave the arrays in the file, to be read as rows are looked up: opening then takes the same time for any
            size. The file must not be shortened meanwhile. Otherwise they are read now, and no others of the file.

    Raises:
        FormatError: the file breaks a rule of its format, or has no such table; the message says which.
        OSError: it can't be read.
    """
    table: Table = _core.load(path, name, mmap)
    return table


def save(
    path: str | PathLike[str],
    tables: Mapping[str, Table],
    *,
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write several tables under their names to one safetensors file, atomically.

    Raises:
        OSError: the file can't be written; what was there before still is.
    """
    _core.save(path, tuple(tables.items()), json.dumps(dict(metadata or {})), progress)


def contents(path: str | PathLike[str]) -> Contents:
    """Return what a safetensors file holds, in time independent of the size of its tensors."""
    listed = json.loads(_core.file_contents(path))
    return Contents(
        is_table_file=listed["is_table_file"],
        tables=tuple(listed["tables"]),
        tensors=tuple(TensorInfo(t["name"], t["dtype"], tuple(t["shape"])) for t in listed["tensors"]),
        metadata=listed["metadata"],
    )
