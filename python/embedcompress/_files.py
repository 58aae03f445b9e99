"""`load`, `save`, `verify`, `contents` and `vocabulary`: tables in files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from . import _core
from ._atomic import AnyPath
from ._checks import check_type
from ._errors import FormatError
from ._metadata import metadata_text
from ._progress import Progress, ProgressOption, reporting
from ._sources import Safetensors, Source, TensorInfo, named, open_source, safetensors_header
from ._table import Table, dense
from ._vocabulary import PREFIX, vocabulary_entry


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    is_table_file: bool
    """Whether embedcompress wrote it."""
    tables: tuple[str, ...]
    """The names that `load` takes without more: tables, or tensors of two axes of floats, or else of small integers."""
    tensors: tuple[TensorInfo, ...]
    plain: tuple[str, ...]
    """The names of the tensors that are no table's."""
    metadata: dict[str, str]
    has_digests: bool
    """Whether it has a digest of each tensor, which `verify` checks."""
    kind: str
    """What the file is in words, such as "a safetensors file" or "word2vec text"."""


_LOOK_FURTHER = ("not_a_table_file", "ambiguous_table", "not_a_matrix", "no_such_table")
"""What the core says of tensors of types and shapes that it does not map."""
_MOST_HEADER = 4 << 20
"""Bytes of a header that is looked through again in Python: no real checkpoint has as many, a hostile file may."""


def load(
    path: AnyPath,
    name: str | None = None,
    *,
    axis: int | None = None,
    mmap: bool = True,
    verify: bool = False,
    progress: ProgressOption = None,
) -> Table:
    """Open a table that `save` wrote, or a tensor of a file of almost any kind as a dense table.

    What a file is, its first bytes say, not its name: safetensors (a file, the index of a sharded checkpoint, a folder
    with either), .npy and .npz, word2vec and GloVe text, word2vec binary, and with packages of their own Parquet and
    Arrow columns of vectors (pyarrow), checkpoints of torch.save (torch, weights only) and GGUF (gguf). Tables that are
    quantized as `Uniform` can hold, GGUF's Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 and MLX's layers, keep their codes, scales
    and biases to the bit; docs/files.md has more of them.

    Args:
        path: A file, or a folder with safetensors files.
        name: The table, or the tensor, column or array; None takes the only one. What has no name is "weight", and a
            layer's name stands for its weight's.
        axis: For a tensor of more than two axes: the last that numbers rows, from 0 on. The axes after it are columns,
            in their order. Of (26, 1000, 64), axis=1 makes 26,000 rows of 64 columns.
        mmap: Leave the arrays in the file, to be read as rows are looked up: opening then takes the same time for any
            size. A file that is shortened meanwhile, or can't be read, makes every call on the table raise OSError; one
            that is written into changes rows. Otherwise they are read now, and no others of the file. Kinds that are
            not f32, f16 or bf16 as they lie are read now, into f32: f64, i8, u8, i16, u16, FP8, text; so are codes that
            are taken over, and other quantized types of GGUF, into f32.
        verify: Read all of the table's arrays and check every rule over them, which lookups else check row by row, and
            their digests where the file has some (`save(digests=True)`). Files of other kinds are checked as they are
            read.
        progress: Told of the bytes that `verify` has read; see `compress`.

    Raises:
        FormatError: the file is of no kind that is read, breaks a rule of its kind, has no such table, or several; or a
            package that its kind needs is not installed. The message names the file and says which, and where.
        OSError: it can't be read.
        KeyboardInterrupt: Ctrl-C while arrays are verified.
    """
    with reporting(progress, "verify", "B") as report:
        return _load(path, name, axis, mmap, verify, report)


def _load(
    path: AnyPath, name: str | None, axis: int | None, mmap: bool, verify: bool, progress: Progress | None
) -> Table:
    header = safetensors_header(path) if axis is None else None
    if header is not None:
        try:
            table: Table = named(path, lambda: _core.load(path, name, mmap, verify, progress))
            return table
        except FormatError as error:
            if error.rule not in _LOOK_FURTHER or header > _MOST_HEADER:
                raise
    source = open_source(path)
    if isinstance(source, Safetensors):
        return source.table(name, axis=axis, mmap=mmap, verify=verify, progress=progress)
    return source.table(name, axis=axis, mmap=mmap)


def is_path(weight: object) -> bool:
    """Whether this is the path of a file rather than a table or an array."""
    return isinstance(weight, (str, os.PathLike))


def as_table(weight: object) -> Table:
    """Return a table, an array, or the only table of a file of that path, as a table."""
    return load(weight) if is_path(weight) else dense(weight)  # type: ignore[arg-type]


def as_source(weight: object, name: str) -> tuple[Table, dict[str, str]]:
    """Return what `as_table` does, and the entry of metadata that keeps a file's vocabulary under a table's name."""
    if not is_path(weight):
        return dense(weight), {}
    source = open_source(weight)  # type: ignore[arg-type]
    table, words = source.table(), source.words(source.only())
    return table, {} if words is None else vocabulary_entry(name, words)


def vocabulary(path: AnyPath, name: str | None = None) -> tuple[str, ...] | None:
    """Return what each row of a table stands for; None if the file does not say.

    Word vectors have words, and what `compress_to_file` and the command line make of them keeps them, in the metadata
    of the file, under "vocabulary." and the table's name, one a line.

    Args:
        path: A file of any kind that `load` takes.
        name: The table; None takes the only one.

    Raises:
        FormatError, OSError: as `load`.
    """
    source = open_source(path)
    return source.words(source.only() if name is None else name)


def verify(path: AnyPath, *, progress: ProgressOption = None) -> None:
    """Check all of a safetensors file: the rules over each array of each table, and the digest of each tensor.

    Args:
        path: A file with tables; of any other its header is checked, and its digests if it has some.
        progress: Told of bytes; see `compress`.

    Raises:
        FormatError: the file breaks a rule; the message names the node and the row, or the tensor.
        OSError: it can't be read.
        KeyboardInterrupt: Ctrl-C.
    """
    source = open_source(path)
    if not isinstance(source, Safetensors):
        raise FormatError(f"'{os.fsdecode(path)}' is {source.kind}: only safetensors files can be verified")
    with reporting(progress, "verify", "B") as report:
        named(path, lambda: _core.file_verify(path, report))


def save(
    path: AnyPath,
    tables: Mapping[str, Table],
    *,
    metadata: Mapping[str, str] | None = None,
    digests: bool = False,
    progress: ProgressOption = None,
) -> None:
    """Write several tables under their names to one safetensors file, atomically.

    Args:
        path: The file; it appears complete or not at all.
        tables: By the names that `load` takes.
        metadata: Strings to store beside the tables.
        digests: Write the SHA-256 of each array, which `verify` and `load(verify=True)` check; some 4 seconds a GB.
        progress: Told of bytes; see `compress`.

    Raises:
        OSError: the file can't be written; what was there before still is.
    """
    check_type(tables, Mapping, "tables", "a mapping of names to tables")
    with reporting(progress, "save", "B") as report:
        _core.save(path, tuple(tables.items()), (), metadata_text(metadata, digests), report)


def contents(path: AnyPath) -> Contents:
    """Return what a file holds; of safetensors and .npy in time independent of the size of its tensors."""
    source: Source = open_source(path)
    if isinstance(source, Safetensors):
        return Contents(
            is_table_file=source.is_table_file,
            tables=source.names,
            tensors=source.tensors,
            plain=source.plain,
            metadata={key: value for key, value in source.metadata.items() if not key.startswith(PREFIX)},
            has_digests=source.has_digests,
            kind=source.kind,
        )
    names = tuple(tensor.name for tensor in source.tensors)
    return Contents(False, source.names, source.tensors, names, {}, False, source.kind)
