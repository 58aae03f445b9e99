"""Criteo's logs of displayed advertisements as they are downloaded: Kaggle's week, and the Terabyte data of 24 days.

Tab-separated, no header: a label, 13 whole numbers, 26 categories of 8 hexadecimal digits. Numbers and categories may
be missing, numbers may be negative.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ._clicks import Clicks, Values, last_part, order_of, split
from ._fixed import HEXADECIMAL, LABEL, WHOLE, Layout
from ._streaming import Cells, Skipped, blocks, check_options, paths_of, sampled

NUMBERS = tuple(f"I{index}" for index in range(1, 14))
FIELDS = tuple(f"C{index}" for index in range(1, 27))
LAYOUTS = ("kaggle", "terabyte")
DAYS_OF_KAGGLE = 7

_LAYOUT = Layout(b"\t", {"label": LABEL} | dict.fromkeys(NUMBERS, WHOLE) | dict.fromkeys(FIELDS, HEXADECIMAL))
_FIRST_FIELD = 1 + len(NUMBERS)
_DAY = re.compile(r"day_([0-9]+)(?:\.gz)?")


def criteo(
    path: str | Sequence[str],
    by: str = "temporal",
    seed: int = 0,
    layout: str = "kaggle",
    sample: int | None = None,
    threshold: int = 0,
) -> Clicks:
    """Return the study's preprocessing of Criteo's logs.

    A number x becomes log(x + 1) if it is above 0, else 0, also where it is missing; a missing category is one of its
    own. Every line is checked whole, whether the sample keeps it or not.

    Args:
        path: Kaggle: the file, train.txt. Terabyte: the folder of day_0, day_1, …, or a list of such files in order of
            time. Each plain or gzip.
        by: "temporal": the last seventh (Kaggle) or the last day (Terabyte) is halved, its first half the test and its
            second the validation part, as in the study. "random": 80 % to train, 10 % to validate, 10 % to test.
        seed: Of the sample and of a random split.
        layout: "kaggle" or "terabyte".
        sample: Rows to keep of the whole file, or of all files together; all of them if None.
        threshold: Categories that training uses fewer times share one id in their field.

    Raises:
        OSError: a file can't be read.
        ValueError: an option can't be; a file has no rows, or more than half of its lines are malformed.
    """
    check_options(by, sample, threshold)
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    files = _files(path, layout)
    if layout == "terabyte" and by == "temporal" and len(files) < 2:
        raise ValueError(f"'{files[0]}': a temporal split of the Terabyte data needs two days at least")
    skipped = Skipped()
    lines = sampled(
        ((day, line) for day, file in enumerate(files) for line in _LAYOUT.rows(file, skipped)), sample, seed
    )
    cells = Cells(FIELDS, NUMBERS)
    of_last_day = 0
    for label, *columns in blocks([*_LAYOUT.cells(line), day] for day, line in lines):
        days = columns.pop()
        of_last_day += days.count(len(files) - 1)
        cells.add(map(float, label), columns[_FIRST_FIELD - 1 :], map(_logarithms, columns[: _FIRST_FIELD - 1]))
    order, shares = order_of(by, len(cells.labels), seed), (0.8, 0.1)
    if by == "temporal":
        order, shares = last_part(order, of_last_day if layout == "terabyte" else len(order) // DAYS_OF_KAGGLE)
    return skipped.noted(split("criteo", cells.fields, cells.labels, order, shares, cells.numbers, threshold))


def _logarithms(column: Sequence[bytes]) -> Iterator[float]:
    given = np.fromiter((float(cell or 0) for cell in column), np.float64, len(column))
    values: Values = np.log1p(np.maximum(given, 0))
    return iter(values.tolist())


def _files(path: str | Sequence[str], layout: str) -> list[Path]:
    """Return the files in order of time."""
    found = paths_of(path)
    if layout == "kaggle" and len(found) > 1:
        raise ValueError("the Kaggle data is one file; several days have the layout terabyte")
    if layout == "kaggle" or len(found) > 1 or not found[0].is_dir():
        return found
    days: dict[int, Path] = {}
    for file in sorted(found[0].iterdir()):
        if named := _DAY.fullmatch(file.name):
            if (day := int(named[1])) in days:
                raise ValueError(f"'{found[0]}' has two files of one day: {days[day].name} and {file.name}")
            days[day] = file
    if not days:
        raise ValueError(f"'{found[0]}' has no file day_0, day_1, …, plain or .gz")
    return [days[day] for day in sorted(days)]
