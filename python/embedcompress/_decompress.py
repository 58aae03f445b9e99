"""Tables written back as plain f32, some rows at a time: arrays, tensors, and word vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from ._atomic import write_file
from ._export import Tensor, write_safetensors
from ._progress import Progress
from ._sources import shown
from ._table import Table

ENDINGS = {
    ".npy": "an array",
    ".safetensors": "tensors",
    ".txt": "word2vec text",
    ".vec": "word2vec text",
    ".bin": "word2vec binary",
}
"""What a file is written as, by how its name ends."""
_ROWS = 1 << 14
"""Rows that are decoded at a time."""


def decompress(
    path: str, tables: Mapping[str, Table], words: Sequence[str] | None, progress: Progress | None = None
) -> None:
    """Write the rows of tables to a file, atomically, in memory that does not grow with them.

    Args:
        path: The file, with one of `ENDINGS`.
        tables: By their names; several go into a .safetensors file only.
        words: The word of each row, for word vectors.
        progress: Told of rows; see `compress`.

    Raises:
        ValueError: word vectors are asked for, and there is no vocabulary, or a word that the kind has no place for.
        OSError: the file can't be written; what was there before still is.
    """
    ending = Path(path).suffix.lower()
    blocks = _Blocks(tables, progress)
    if ending == ".safetensors":
        write_file(path, lambda file: _write_tensors(file, tables, blocks))
        return
    ((name, table),) = tables.items()
    if ending == ".npy":
        write_file(path, lambda file: _write_array(file, name, table, blocks))
        return
    checked = _checked(path, table, words)
    write = _write_text if ending in (".txt", ".vec") else _write_binary
    write_file(path, lambda file: write(file, name, table, blocks, checked))


class _Blocks:
    """The rows of tables, some at a time."""

    def __init__(self, tables: Mapping[str, Table], progress: Progress | None):
        self._tables = tables
        self._progress = progress
        self._total = sum(table.rows for table in tables.values())
        self._done = 0

    def of(self, name: str) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
        """Give the first row and the values of each block; KeyboardInterrupt if the progress says to stop."""
        table = self._tables[name]
        for start in range(0, table.rows, _ROWS):
            block = table.decode(start, min(start + _ROWS, table.rows))
            yield start, block
            self._done += len(block)
            if self._progress is not None and self._progress(self._done, self._total) is False:
                raise KeyboardInterrupt


def _write_array(file: IO[bytes], name: str, table: Table, blocks: _Blocks) -> None:
    npy.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": table.shape})
    for _, block in blocks.of(name):
        file.write(block.astype("<f4", copy=False).data)


def _write_tensors(file: IO[bytes], tables: Mapping[str, Table], blocks: _Blocks) -> None:
    def rows(name: str) -> Iterator[np.ndarray[Any, Any]]:
        return (block.astype("<f4", copy=False) for _, block in blocks.of(name))

    tensors = {
        name: Tensor("F32", table.shape, 4 * table.rows * table.dimension, partial(rows, name))
        for name, table in tables.items()
    }
    write_safetensors(file, tensors, {}, None)


def _checked(path: str, table: Table, words: Sequence[str] | None) -> Sequence[str]:
    """Return words that word vectors can have.

    Raises:
        ValueError: there are none, not one a row, or one with a blank, which ends a word.
    """
    if words is None:
        raise ValueError(
            f"{shown(path)} would be word vectors, and the table has no vocabulary: write .npy or .safetensors"
        )
    if len(words) != table.rows:
        raise ValueError(f"the vocabulary has {len(words):,} words, and the table {table.rows:,} rows")
    blank = next((row for row, word in enumerate(words) if not word or any(c in word for c in " \t\r\n")), None)
    if blank is not None:
        raise ValueError(
            f"the word of row {blank}, {words[blank]!r}, is empty or has a blank, which ends a word in word2vec's files"
        )
    return words


def _write_text(file: IO[bytes], name: str, table: Table, blocks: _Blocks, words: Sequence[str]) -> None:
    file.write(f"{table.rows} {table.dimension}\n".encode())
    for start, block in blocks.of(name):
        # The shortest text that reads as the same f32.
        lines = [f"{words[start + at]} {' '.join(map(str, row))}\n" for at, row in enumerate(block)]
        file.write("".join(lines).encode())


def _write_binary(file: IO[bytes], name: str, table: Table, blocks: _Blocks, words: Sequence[str]) -> None:
    file.write(f"{table.rows} {table.dimension}\n".encode())
    for start, block in blocks.of(name):
        rows = block.astype("<f4", copy=False)
        file.write(b"".join(words[start + at].encode() + b" " + row.tobytes() + b"\n" for at, row in enumerate(rows)))
