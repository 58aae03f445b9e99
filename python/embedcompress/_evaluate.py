"""`evaluate`: what a table costs against its source."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import _core
from ._files import as_table
from ._progress import ProgressOption, reporting
from ._table import Table


@dataclass(frozen=True)
class Evaluation:
    """What a table costs against its source."""

    normalized_l2: float
    """||X - Q(X)|| / ||X||, Frobenius norms: the normalised l2 loss of Guan et al. 2019."""
    mean_cosine: float
    """Mean over rows of the cosine between a row and its copy."""
    worst_row_l2: float
    """The largest over rows of ||x - q(x)|| / ||x||."""
    worst_row: int
    mean_squared_error: float
    recall_at_10: float | None
    """Share of the 10 nearest neighbours that are kept; None if it was not asked for."""
    stored_bytes: int
    ratio: float
    """Stored bytes over those of f32."""

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the figures by name."""
        return asdict(self)


def evaluate(
    table: Table, weight: object, *, queries: int = 256, seed: int = 0, progress: ProgressOption = None
) -> Evaluation:
    """Compare a table with what it was made of.

    Recall@10 takes rows of `weight` as queries. A query's true neighbours are the 10 other rows of the largest cosine,
    of equal ones (in f32) those of smaller numbers; the recall is the share of them among its 10 nearest in the table,
    the query itself staying exact. Memory does not grow with the table: what is mapped stays so.

    Args:
        table: (rows, dimension).
        weight: The same shape; anything that `compress` takes.
        queries: How many rows to take as queries, at random; 0 leaves recall out. A table of up to 10 rows has none.
        seed: Of the choice of queries.
        progress: Told of rows read; see `compress`.

    Raises:
        ValueError: the shapes differ, or a row of either is not finite (the message names it).
        KeyboardInterrupt: Ctrl-C, within half a second.
    """
    source = as_table(weight)
    with reporting(progress, "evaluate", "rows") as report:
        quality, recall = _core.evaluate(table, source, report, queries, 10, seed)
    return Evaluation(*quality, recall, table.stored_bytes, table.ratio)


def neighbours(table: Table, source: Table, queries: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Return the `count` rows of `table` of the largest cosine with each query row of `source`, itself excluded.

    Returns:
        (queries, count), best first; -1 where there are no more rows.
    """
    found = np.empty((len(queries), count), np.int64)
    _core.neighbours(table, source, queries.astype(np.int64), found, None)
    return found
