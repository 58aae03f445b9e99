"""Word vectors as word2vec's own program writes them: a line of two counts, then words and their floats."""

from __future__ import annotations

import os

import numpy as np

from .._atomic import AnyPath
from ._source import WEIGHT, Source, TensorInfo, malformed
from ._word_text import counts
from ._words import Rows, Words, checked_words

_BLOCK = 8 << 20
_LONGEST_WORD = 10_000


class WordBinary(Source):
    """A binary file of word vectors; it is read when the table is."""

    kind = "word2vec binary"

    def __init__(self, path: AnyPath, first: bytes):
        """Look at a file.

        Args:
            path: The file.
            first: Its first line.
        """
        super().__init__(path)
        self._words: Words | None = None
        self._start = len(first)
        rows, dimension = counts(first) or (0, 0)
        size = os.path.getsize(path)
        if dimension < 1 or self._start + rows * (4 * dimension + 1) > size:
            what = f"{rows:,} vectors of {dimension:,} floats"
            raise malformed(
                path, f"{self.kind}: its first line says {what}, which {size:,} bytes can't be: it is cut off"
            )
        self._info = TensorInfo(WEIGHT, "F32", (rows, dimension))

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """The table, called "weight"."""
        return (self._info,)

    def words(self, name: str) -> Words | None:
        """Return the word of each row."""
        if self._words is None:
            self.read(self._info, mmap=False)
        return self._words

    def read(self, info: TensorInfo, mmap: bool) -> Rows:
        """Return the rows."""
        count, dimension = info.shape
        rows = np.empty((count, dimension), np.float32)
        words: list[bytes] = []
        length = 4 * dimension
        with open(self.path, "rb") as file:
            file.seek(self._start)
            # What is held, where the next word begins in it, and where it begins in the file.
            held, at, offset = b"", 0, self._start
            while len(words) < count:
                space = held.find(b" ", at, at + _LONGEST_WORD)
                if space < 0 or space + 1 + length > len(held):
                    if space < 0 and len(held) - at >= _LONGEST_WORD:
                        raise self._wrong(len(words), offset + at, "there is no word with a space after it")
                    block = file.read(max(_BLOCK, length))
                    if not block:
                        raise self._wrong(len(words), offset + at, f"it ends before the {count:,} words it should have")
                    held, at, offset = held[at:] + block, 0, offset + at
                    continue
                # Some writers end each vector with a line's end, which then stands before the next word.
                words.append(held[at:space].lstrip(b"\n"))
                rows[len(words) - 1] = np.frombuffer(held, "<f4", dimension, space + 1)
                at = space + 1 + length
            rest = held[at : at + 2] + file.read(2)
        if rest.strip(b"\n"):
            raise self._wrong(count, offset + at, f"there is more than the {count:,} vectors of its first line")
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if bad.size:
            raise malformed(self.path, f"{self.kind}: the vector of word {bad[0] + 1:,} is not finite")
        broken = next((row for row, word in enumerate(words) if b"\n" in word), None)
        if broken is not None:
            raise malformed(
                self.path, f"{self.kind}: word {broken + 1:,} has a line's end: vectors are of another length"
            )
        self._words = checked_words(self.path, self.kind, words, lambda row: f"word {row + 1:,}")
        return rows

    def _wrong(self, row: int, offset: int, what: str) -> ValueError:
        return malformed(self.path, f"{self.kind}: word {row + 1:,}, at byte {offset:,}: {what}")
