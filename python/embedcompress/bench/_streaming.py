"""What readers of large files share: lines in one stream, a sample of rows, what was skipped, compact columns.

Memory grows with the rows that are kept and with the distinct values in them, not with the file.
"""

from __future__ import annotations

import gzip
import io
import math
import random
import warnings
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ._clicks import SPLITS, Clicks, Values

SHOWN = 5
"""Skipped lines whose problems are told."""
BLOCK_ROWS = 128
"""Few enough for their cells to stay in the cache."""
LONGEST_LINE = 1 << 20
_GZIP = b"\x1f\x8b"
_BELOW_ONE = math.nextafter(1.0, 0.0)

Row = TypeVar("Row")


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a plain or gzip file, with their ends.

    Raises:
        OSError: it can't be read.
        ValueError: a line has more than `LONGEST_LINE` bytes, or the gzip stream is broken.
    """
    number = 0
    with path.open("rb") as raw:
        zipped = raw.peek(len(_GZIP)).startswith(_GZIP)
        stream = io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 17) if zipped else raw
        try:
            for number, line in enumerate(iter(partial(stream.readline, LONGEST_LINE + 1), b""), 1):
                if len(line) > LONGEST_LINE:
                    raise ValueError(f"'{path}': line {number} has more than {LONGEST_LINE:,} bytes")
                yield line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"'{path}': the gzip stream is broken after line {number}: {error}") from None


class Skipped:
    """Lines that are no rows: how many, and what is wrong with the first few."""

    def __init__(self, unit: str = "line") -> None:
        self.unit = unit
        self.count = 0
        self.total = 0
        self.problems: list[str] = []
        self._before = (0, 0)

    def add(self, path: Path, number: int, problem: str, lines: int = 1) -> None:
        """Count a line, from 1, that something is wrong with, or several from there on."""
        self.count += lines
        if len(self.problems) < SHOWN:
            self.problems.append(f"{path.name} {self.unit} {number} {problem}")

    def end(self, path: Path, read: int) -> None:
        """Say how many lines a file had.

        Raises:
            ValueError: it had none, or more than half of them were skipped.
        """
        before, first = self._before
        skipped, problems = self.count - before, self.problems[first:]
        self.total += read
        self._before = self.count, len(self.problems)
        if not read:
            raise ValueError(f"'{path}' has no rows")
        if 2 * skipped > read:
            told = f", such as: {'; '.join(problems)}" if problems else ""
            raise ValueError(f"'{path}' has another format: {skipped:,} of {read:,} {self.unit}s are malformed{told}")

    def noted(self, data: Clicks) -> Clicks:
        """Return data that says what was skipped, after a warning if anything was."""
        if self.count:
            more = "; and more" if self.count > len(self.problems) else ""
            message = f"skipped {self.count:,} of {self.total:,} {self.unit}s: {'; '.join(self.problems)}{more}"
            warnings.warn(message, stacklevel=3)
        return replace(data, skipped=self.count, problems=tuple(self.problems))


def sampled(rows: Iterator[Row], sample: int | None, seed: int) -> Iterator[Row]:
    """Yield `sample` of the rows, each set of them as likely as any other, in their order; all of them if None.

    Algorithm L of Li, "Reservoir-sampling algorithms of time complexity O(n (1 + log(N/n)))", 1994.
    """
    if sample is None:
        yield from rows
        return
    kept = list(enumerate(islice(rows, sample)))
    if len(kept) == sample:
        rng = random.Random(seed)
        place, share = sample - 1, 1.0
        while True:
            share = min(share * math.exp(-rng.expovariate(1.0) / sample), _BELOW_ONE)
            passed = int(rng.expovariate(1.0) / -math.log1p(-share))
            place += passed + 1
            # The first of no rows is told from a row by an empty list.
            following = list(islice(rows, passed, passed + 1))
            if not following:
                break
            kept[int(rng.random() * sample)] = place, following[0]
        kept.sort(key=_place)
    for _, row in kept:
        yield row


def _place(numbered: tuple[int, Any]) -> int:
    return numbered[0]


class Cells:
    """Columns of rows, in blocks: fields as a number for each of their values, numbers, labels."""

    def __init__(self, fields: Sequence[str], numbers: Sequence[str], kind: str = "f") -> None:
        self._fields = {name: _Coded() for name in fields}
        self._numbers: dict[str, array[float]] = {name: array(kind) for name in numbers}
        self._labels: array[float] = array("f")

    def add(self, labels: Iterable[float], fields: Iterable[Iterable[Any]], numbers: Iterable[Iterable[float]]) -> None:
        """Add a block of rows, column by column."""
        self._labels.extend(labels)
        for coded, values in zip(self._fields.values(), fields, strict=True):
            coded.add(values)
        for column, given in zip(self._numbers.values(), numbers, strict=True):
            column.extend(given)

    @property
    def labels(self) -> Values:
        """(rows,) f32."""
        return np.frombuffer(self._labels, np.float32)

    @property
    def numbers(self) -> dict[str, Values]:
        """By name, (rows,)."""
        return {name: np.frombuffer(values, values.typecode) for name, values in self._numbers.items()}

    @property
    def fields(self) -> dict[str, Values]:
        """By name, (rows,) int32: the numbers of values, in order of their first use."""
        return {name: np.frombuffer(coded.numbers, np.int32) for name, coded in self._fields.items()}

    def values(self, name: str) -> list[Any]:
        """Return the distinct values of a field, in order of first use."""
        return list(self._fields[name].seen)


class _Coded:
    def __init__(self) -> None:
        self.seen: defaultdict[Any, int] = defaultdict()
        # A value that is new gets the number of those before it.
        self.seen.default_factory = self.seen.__len__
        self.numbers = array("i")

    def add(self, values: Iterable[Any]) -> None:
        self.numbers.extend(map(self.seen.__getitem__, values))


def blocks(rows: Iterator[Sequence[Any]]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the columns of some rows after the others."""
    while block := list(islice(rows, BLOCK_ROWS)):
        yield list(zip(*block, strict=True))


def check_options(by: str, sample: int | None, threshold: int) -> None:
    """Refuse, before anything is read, what no reader takes.

    Raises:
        ValueError: the message names the option.
    """
    if by not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {by!r}")
    if sample is not None and (not isinstance(sample, int) or isinstance(sample, bool) or sample < 1):
        raise ValueError(f"sample must be a whole number of rows from 1, not {sample!r}")
    if not isinstance(threshold, int) or isinstance(threshold, bool) or threshold < 0:
        raise ValueError(f"threshold must be a whole number from 0, not {threshold!r}")


def paths_of(path: str | Sequence[str]) -> list[Path]:
    """Return a file, or several in order.

    Raises:
        ValueError: there are none, or something else is given.
    """
    found = [path] if isinstance(path, str | Path) else path
    if not found or not isinstance(found, Sequence) or not all(isinstance(one, str | Path) for one in found):
        raise ValueError(f"path must be a file or a list of files, not {path!r}")
    return [Path(one).expanduser() for one in found]
