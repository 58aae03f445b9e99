"""Word vectors as text: word2vec's, which begins with a line of two counts, and GloVe's, which does not.

The core reads lines of the plain form. Here is what it stops at: words with spaces in them, as GloVe 840B has some, and
lines that are wrong, with the error that says what is wrong with them.
"""

from __future__ import annotations

import math
import os
from typing import IO

import numpy as np

from .. import _core
from .._atomic import AnyPath
from ._source import WEIGHT, Source, TensorInfo, malformed
from ._words import Rows, Words, checked_words

_BLOCK = 8 << 20
_LONGEST_LINE = 64 << 20
_AT_ONCE = 4096
"""Lines that the core reads in a call."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class WordText(Source):
    """A text of word vectors. Looking at it counts its lines; it is read when the table is."""

    def __init__(self, path: AnyPath, first: bytes):
        """Look at a file.

        Args:
            path: The file.
            first: Its first line.
        """
        super().__init__(path)
        self._words: tuple[str, ...] | None = None
        header = counts(first)
        self._has_header = header is not None
        self.kind = "word2vec text" if self._has_header else "GloVe text"
        lines = _count_lines(path)
        if header is not None:
            rows, dimension = header
            # A number takes a digit and a blank, and a word as many.
            if dimension < 1 or 2 * rows * (dimension + 1) > os.path.getsize(path) + 2:
                size = os.path.getsize(path)
                text = first.decode(errors="replace").strip()
                raise malformed(path, f"{self.kind}: line 1 says '{text}' vectors, which {size:,} bytes can't be")
        else:
            rows, dimension = lines, numbers_at_the_end(tokens(first))
        self._info = TensorInfo(WEIGHT, "F32", (rows, dimension))

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """The table, called "weight"."""
        return (self._info,)

    def read(self, info: TensorInfo, mmap: bool) -> Rows:
        """Return the rows."""
        with open(self.path, "rb") as file:
            rows, words = self._read(file, *info.shape)
        self._words = words
        return rows

    def words(self, name: str) -> tuple[str, ...] | None:
        """Return the word of each row."""
        if self._words is None:
            self.read(self._info, mmap=False)
        return self._words

    def _read(self, file: IO[bytes], capacity: int, dimension: int) -> tuple[Rows, Words]:
        rows = np.empty((capacity, dimension), np.float32)
        spans = np.empty((_AT_ONCE, 2), np.int64)
        words: list[bytes] = []
        first_line = 1
        if self._has_header:
            file.readline()
            first_line = 2
        elif file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            file.seek(0)
        held = b""
        while True:
            read = file.read(_BLOCK)
            held += read
            # Whole lines only, but for the last one.
            whole = held.rfind(b"\n") + 1 if read else len(held)
            if not whole and read and len(held) > _LONGEST_LINE:
                raise malformed(self.path, f"{self.kind}: line {first_line + len(words)} is longer than any vector")
            at = 0
            while at < whole:
                done = len(words)
                if done < capacity:
                    part = rows[done : done + _AT_ONCE]
                    count, length = _core.read_vectors(memoryview(held)[at:whole], part, spans[: len(part)])
                    words += [held[at + start : at + end] for start, end in spans[:count].tolist()]
                    at += length
                    if count:
                        continue
                end = held.find(b"\n", at, whole)
                end = whole if end < 0 else end
                line = held[at:end]
                if not line.strip():
                    if held[end:].strip() or file.read(1):
                        raise malformed(self.path, f"{self.kind}: line {first_line + done} is empty")
                    at = whole
                    continue
                if done == capacity:
                    raise malformed(
                        self.path, f"{self.kind}: line {first_line + done} follows the {capacity:,} words of line 1"
                    )
                word, rows[done] = self._line(line, dimension, first_line + done)
                words.append(word)
                at = end + 1
            held = held[whole:]
            if not read:
                break
        if self._has_header and len(words) < capacity:
            raise malformed(
                self.path,
                f"{self.kind}: line 1 says {capacity:,} words, and it ends after {len(words):,}: it is cut off",
            )
        return rows[: len(words)], checked_words(self.path, self.kind, words, lambda row: f"line {first_line + row}")

    def _line(self, line: bytes, dimension: int, number: int) -> tuple[bytes, list[float]]:
        """Read a line that the core has not read.

        Raises:
            FormatError: it is no word with as many finite numbers.
        """
        place = f"{self.kind}: line {number}"
        parts = tokens(line)
        if line[:1] in b" \t" and len(parts) == dimension:
            parts.insert(0, b"")
        if len(parts) < dimension + 1 or any(_number(part) is not None for part in parts[1:-dimension]):
            found = max(len(parts) - 1, 0)
            raise malformed(
                self.path, f"{place} has {found} numbers after its word, and not {dimension} as line 1 says"
            )
        values = []
        for part in parts[-dimension:]:
            value = _number(part)
            if value is None or not math.isfinite(value) or abs(value) > float(np.finfo(np.float32).max):
                shown = part[:40].decode(errors="replace")
                raise malformed(self.path, f"{place} has '{shown}' where a finite number in f32 must be")
            values.append(value)
        return b" ".join(parts[:-dimension]), values


def tokens(line: bytes) -> list[bytes]:
    """Return what stands between blanks."""
    return [part for part in line.translate(_BLANKS).split(b" ") if part]


_BLANKS = bytes.maketrans(b"\t\r\n", b"   ")


def counts(line: bytes) -> tuple[int, int] | None:
    """Return rows and dimension of word2vec's first line; None if it is none."""
    parts = tokens(line)
    if len(parts) != 2 or not all(part.isdigit() and len(part) < 16 for part in parts):
        return None
    return int(parts[0]), int(parts[1])


def numbers_at_the_end(parts: list[bytes]) -> int:
    """Return how many numbers follow the word, which may be a number as well, or have several parts."""
    count = 0
    while count < len(parts) - 1 and _number(parts[-1 - count]) is not None:
        count += 1
    return count


def _number(text: bytes) -> float | None:
    """Return a decimal number, or nan or inf; None for other text."""
    try:
        return None if b"_" in text else float(text)
    except ValueError:
        return None


def _count_lines(path: AnyPath) -> int:
    count, last = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")
