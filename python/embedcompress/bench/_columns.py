"""Any CSV or Parquet file, by a description of its columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np

from ._clicks import Clicks, Values, crossed, order_of, split
from ._fixed import shown
from ._row_sources import Check, Row, from_csv, from_parquet
from ._streaming import Cells, Skipped, blocks, check_options, paths_of, sampled

CROSS = " x "
_BINARY = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}
_Source = Callable[[Path, Sequence[str], Check, Skipped], Iterator[Row]]


def csv_rows(
    path: str | Sequence[str],
    label: str,
    fields: Sequence[str],
    numbers: Sequence[str] = (),
    time: str | None = None,
    separator: str = ",",
    names: Sequence[str] = (),
    positive: float | str | None = None,
    sample: int | None = None,
    threshold: int = 0,
    shares: Sequence[float] = (0.8, 0.1),
    by: str = "temporal",
    seed: int = 0,
) -> Clicks:
    r"""Return the rows of a CSV file, plain or gzip, UTF-8.

    Every row is checked whole in what is used of it, whether the sample keeps it or not. Categories are told apart as
    text; an empty one is a value of its own. Numbers are shifted and scaled to mean 0 and variance 1 in training;
    missing ones (empty or NaN) become 0 after that, the mean.

    Args:
        path: The file, or a list of files in order of time.
        label: The column that says whether it is a click.
        fields: Columns of categories. "a x b" is a field of the combinations of the columns a and b (of as many as
            named), which need not be fields themselves.
        numbers: Columns of numbers.
        time: The column that orders the rows of a temporal split: by number if all are numbers, else by text, such as
            2013-01-31 or 2013-01-31T12:00. Without it rows are in the order of the file.
        separator: One character, such as "\t".
        names: Of the columns, if the file has no header.
        positive: What is 1 in the label's column. None: the column has 0 and 1, or false and true. A number: all that
            is at least as large. Text: this text.
        sample: Rows to keep of all files together; all of them if None.
        threshold: Categories that training uses fewer times share one id in their field.
        shares: Of rows that train and that validate; the rest is the test.
        by: "temporal" or "random".
        seed: Of the sample and of a random split.

    Raises:
        OSError: a file can't be read.
        ValueError: an option can't be; a file lacks a column, has no rows, or more than half of them are malformed.
    """
    if not isinstance(separator, str) or len(separator) != 1:
        raise ValueError(f"separator must be one character, not {separator!r}")
    columns = _texts("names", names)

    def source(file: Path, wanted: Sequence[str], check: Check, skipped: Skipped) -> Iterator[Row]:
        return from_csv(file, wanted, check, skipped, separator, columns)

    wanted = _Wanted(label, _texts("fields", fields), _texts("numbers", numbers), time, positive)
    return _read(path, source, wanted, "line", sample, threshold, shares, by, seed)


def parquet_rows(
    path: str | Sequence[str],
    label: str,
    fields: Sequence[str],
    numbers: Sequence[str] = (),
    time: str | None = None,
    positive: float | str | None = None,
    sample: int | None = None,
    threshold: int = 0,
    shares: Sequence[float] = (0.8, 0.1),
    by: str = "temporal",
    seed: int = 0,
) -> Clicks:
    """Return the rows of a Parquet file: what `csv_rows` makes of the same values as text; null is empty.

    Needs pyarrow. Rows are read in batches, of which pyarrow holds about one row group.

    Raises:
        OSError: a file can't be read.
        ValueError: as `csv_rows`; pyarrow is not installed; a column's values have no text.
    """
    wanted = _Wanted(label, _texts("fields", fields), _texts("numbers", numbers), time, positive)
    return _read(path, from_parquet, wanted, "row", sample, threshold, shares, by, seed)


@dataclass(frozen=True)
class _Wanted:
    """The columns of a file that are used, and what a row of them must be."""

    label: str
    fields: Sequence[str]
    numbers: Sequence[str]
    time: str | None
    positive: float | str | None

    @property
    def parts(self) -> list[str]:
        """Columns that fields consist of, once each."""
        return list(dict.fromkeys(chain.from_iterable(field.split(CROSS) for field in self.fields)))

    @property
    def columns(self) -> list[str]:
        """In the order of a row's cells: the label, the time if there is one, numbers, parts."""
        return [self.label, *([self.time] if self.time else []), *self.numbers, *self.parts]

    def check(self) -> Check:
        """Return what says what is wrong with a row, or None."""
        mark, first = self.mark(), 2 if self.time else 1
        numbers = list(enumerate(self.numbers, first))

        def problem(row: Row) -> str | None:
            if mark(row[0]) is None:
                expected = "0 or 1" if self.positive is None else "a number"
                return f"has {shown(row[0])} as label {self.label}, not {expected}"
            if self.time and not row[1]:
                return f"has no {self.time}"
            for place, name in numbers:
                cell = row[place]
                value = _number(cell) if cell else math.nan
                if value is None or math.isinf(value):
                    return f"has {shown(cell)} as {name}, not a number"
            return None

        return problem

    def mark(self) -> Callable[[str], float | None]:
        """Return what makes 0, 1 or, where it is neither, None of a label."""
        positive = self.positive

        @lru_cache(1024)
        def marked(cell: str) -> float | None:
            if positive is None:
                return _BINARY.get(cell.lower())
            if isinstance(positive, str):
                return float(cell == positive)
            value = _number(cell)
            return None if value is None or math.isnan(value) else float(value >= positive)

        return marked


def _read(
    path: str | Sequence[str],
    source: _Source,
    wanted: _Wanted,
    unit: str,
    sample: int | None,
    threshold: int,
    shares: Sequence[float],
    by: str,
    seed: int,
) -> Clicks:
    check_options(by, sample, threshold)
    if not wanted.fields:
        raise ValueError("fields must name a column at least")
    for option, given in (("fields", wanted.fields), ("numbers", wanted.numbers)):
        if len(set(given)) < len(given):
            raise ValueError(f"{option} name a column twice: {', '.join(given)}")
    if wanted.label in (*wanted.parts, *wanted.numbers):
        raise ValueError(f"{wanted.label!r} is the label: a model must not see it")
    if isinstance(wanted.positive, Sequence) and not isinstance(wanted.positive, str):
        raise ValueError(f"positive must be a number or a text, not {wanted.positive!r}")
    if len(shares) != 2 or min(shares) <= 0 or sum(shares) >= 1:
        raise ValueError(f"shares must be of training and of validation, and leave some for the test, not {shares!r}")
    files, skipped, check, mark = paths_of(path), Skipped(unit), wanted.check(), wanted.mark()
    rows = chain.from_iterable(source(file, wanted.columns, check, skipped) for file in files)
    times = [wanted.time] if wanted.time else []
    first = 1 + len(times) + len(wanted.numbers)
    # The time is kept as one more field, under a name that no column's part can have.
    cells = Cells([*wanted.parts, *(CROSS for _ in times)], wanted.numbers, "d")
    for columns in blocks(sampled(rows, sample, seed)):
        numbers = ((float(cell) if cell else math.nan for cell in column) for column in columns[1 + len(times) : first])
        cells.add(
            (mark(cell) or 0.0 for cell in columns[0]), columns[first:] + columns[1 : 1 + len(times)], list(numbers)
        )
    known = cells.fields
    fields = {field: crossed([known[part] for part in field.split(CROSS)]) for field in wanted.fields}
    order = order_of(by, len(cells.labels), seed)
    if times and by == "temporal":
        order = np.argsort(_ranks(cells.values(CROSS))[known[CROSS]], kind="stable")
    data = split(files[0].name, fields, cells.labels, order, shares, cells.numbers, threshold, standardise=True)
    return skipped.noted(data)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _ranks(values: list[str]) -> Values:
    """Return the places of texts in their order: that of numbers if they all are numbers, else of text."""
    found: Values = np.array(values, np.str_)
    # Whole numbers first: a float does not tell apart those of 17 digits, such as nanoseconds.
    for kind in (np.int64, np.float64):
        with suppress(ValueError, OverflowError):
            found = found.astype(kind)
            break
    return np.unique(found, return_inverse=True)[1]


def _texts(option: str, given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(one, str) for one in given):
        raise ValueError(f"{option} must be a list of columns, not {given!r}")
    return tuple(given)
