"""`load`, `save`, `verify` and `contents`: tables in safetensors files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from . import _core
from ._atomic import AnyPath
from ._checks import check_type
from ._metadata import metadata_text
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
    plain: tuple[str, ...]
    """The names of the tensors that are no table's."""
    metadata: dict[str, str]
    has_digests: bool
    """Whether it has a digest of each tensor, which `verify` checks."""


def load(
    path: AnyPath,
    name: str | None = None,
    *,
    mmap: bool = True,
    verify: bool = False,
    progress: Progress | None = None,
) -> Table:
    """Open a table that `save` wrote, or a tensor of any safetensors checkpoint as a dense table.

    Args:
        path: A safetensors file.
        name: The table, or the two-dimensional f32, f16 or bf16 tensor; None takes the only one.
        mmap: Leave the arrays in the file, to be read as rows are looked up: opening then takes the same time for any
            size. A file that is shortened meanwhile, or can't be read, makes every call on the table raise OSError; one
            that is written into changes rows. Otherwise they are read now, and no others of the file.
        verify: Read all of the table's arrays and check every rule over them, which lookups else check row by row, and
            their digests where the file has some (`save(digests=True)`).
        progress: Told of the bytes that `verify` has read; see `embedcompress._table.Progress`.

    Raises:
        FormatError: the file breaks a rule of its format, or has no such table; the message says which.
        OSError: it can't be read.
        KeyboardInterrupt: Ctrl-C while arrays are verified.
    """
    table: Table = _core.load(path, name, mmap, verify, progress)
    return table


def verify(path: AnyPath, *, progress: Progress | None = None) -> None:
    """Check all of a safetensors file: the rules over each array of each table, and the digest of each tensor.

    Args:
        path: A file with tables; of any other its header is checked, and its digests if it has some.
        progress: Told of bytes; see `embedcompress._table.Progress`.

    Raises:
        FormatError: the file breaks a rule; the message names the node and the row, or the tensor.
        OSError: it can't be read.
        KeyboardInterrupt: Ctrl-C.
    """
    _core.file_verify(path, progress)


def save(
    path: AnyPath,
    tables: Mapping[str, Table],
    *,
    metadata: Mapping[str, str] | None = None,
    digests: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write several tables under their names to one safetensors file, atomically.

    Args:
        path: The file; it appears complete or not at all.
        tables: By the names that `load` takes.
        metadata: Strings to store beside the tables.
        digests: Write the SHA-256 of each array, which `verify` and `load(verify=True)` check; some 4 seconds a GB.
        progress: Told of bytes; see `embedcompress._table.Progress`.

    Raises:
        OSError: the file can't be written; what was there before still is.
    """
    check_type(tables, Mapping, "tables", "a mapping of names to tables")
    _core.save(path, tuple(tables.items()), (), metadata_text(metadata, digests), progress)


def contents(path: AnyPath) -> Contents:
    """Return what a safetensors file holds, in time independent of the size of its tensors."""
    listed = json.loads(_core.file_contents(path))
    return Contents(
        is_table_file=listed["is_table_file"],
        tables=tuple(listed["tables"]),
        tensors=tuple(TensorInfo(t["name"], t["dtype"], tuple(t["shape"])) for t in listed["tensors"]),
        plain=tuple(listed["plain"]),
        metadata=listed["metadata"],
        has_digests=listed["has_digests"],
    )
