"""Avazu's ten days of clicks on mobile advertisements, as Kaggle has them: train.csv, plain or gzip, with a header."""

from __future__ import annotations

import numpy as np

from ._clicks import Clicks, last_part, order_of, split
from ._fixed import ANYTHING, HEXADECIMAL, HOUR, LABEL, WHOLE, Layout
from ._streaming import Cells, Skipped, blocks, check_options, paths_of, sampled

_HEXADECIMAL = (
    "site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category", "device_id", "device_ip",
    "device_model",
)  # fmt: skip
_LATER = ("device_type", "device_conn_type", *(f"C{index}" for index in range(14, 22)))
FIELDS = ("hour", "C1", "banner_pos", *_HEXADECIMAL, *_LATER)

_LAYOUT = Layout(
    b",",
    {"id": ANYTHING, "click": LABEL, "hour": HOUR, "C1": WHOLE, "banner_pos": WHOLE}
    | dict.fromkeys(_HEXADECIMAL, HEXADECIMAL)
    | dict.fromkeys(_LATER, WHOLE),
)


def avazu(path: str, by: str = "temporal", seed: int = 0, sample: int | None = None, threshold: int = 0) -> Clicks:
    """Return the study's preprocessing of Avazu's clicks: 22 fields, no numbers.

    The column id is dropped. The column hour, YYMMDDHH, is a field as it is: each hour of each day is a value, so with
    a temporal split training sees none of those of the last day; `threshold=1` makes them one. A missing category is
    one of its own. Every line is checked whole, whether the sample keeps it or not.

    Args:
        path: The file.
        by: "temporal": in order of the hours, the last day is halved, its first half the test and its second the
            validation part, as in the study. "random": 80 % to train, 10 % to validate, 10 % to test.
        seed: Of the sample and of a random split.
        sample: Rows to keep of the whole file; all of them if None.
        threshold: Categories that training uses fewer times share one id in their field.

    Raises:
        OSError: the file can't be read.
        ValueError: an option can't be; the file has another header, no rows, or more than half of its lines are
            malformed.
    """
    check_options(by, sample, threshold)
    file, *others = paths_of(path)
    if others:
        raise ValueError(f"Avazu's data is one file, not {len(others) + 1}")
    skipped = Skipped()
    cells = Cells(FIELDS, ())
    for _, label, *fields in blocks(
        map(_LAYOUT.cells, sampled(_LAYOUT.rows(file, skipped, header=True), sample, seed))
    ):
        cells.add(map(float, label), fields, ())
    order, shares = order_of(by, len(cells.labels), seed), (0.8, 0.1)
    if by == "temporal":
        hours = np.array([int(hour) for hour in cells.values("hour")])[cells.fields["hour"]]
        days = hours // 100
        if days.min() == days.max():
            raise ValueError(f"'{file}': a temporal split needs two days at least, and all hours are of one")
        order, shares = last_part(np.argsort(hours, kind="stable"), int(np.sum(days == days.max())))
    return skipped.noted(split("avazu", cells.fields, cells.labels, order, shares, threshold=threshold))
