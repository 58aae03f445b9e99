"""`evaluate`: what a table costs against its source."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import _core
from ._table import Progress, Table, dense


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
    table: Table, weight: object, *, queries: int = 256, seed: int = 0, progress: Progress | None = None
) -> Evaluation:
    """Compare a table with what it was made of.

    Recall@10 takes rows of `weight` as queries. A query's true neighbours are the 10 other rows of the largest cosine;
    the recall is the share of them among its 10 nearest in the table, the query itself staying exact.

    Args:
        table: (rows, dimension).
        weight: The same shape; anything that `compress` takes.
        queries: How many rows to take as queries, at random; 0 leaves recall out. A table of up to 10 rows has none.
        seed: Of the choice of queries.
        progress: Called as progress(done, total) while errors are measured.

    Raises:
        ValueError: the shapes differ.
    """
    source = dense(weight)
    l2, cosine, worst, worst_row, mse = _core.evaluate(table, source, progress)
    recall = None
    if queries > 0 and source.rows > 10:
        chosen = np.random.default_rng(seed).permutation(source.rows)[:queries]
        recall = recall_of(table, source, chosen, neighbours(source, source, chosen))
    return Evaluation(
        normalized_l2=l2,
        mean_cosine=cosine,
        worst_row_l2=worst,
        worst_row=worst_row,
        mean_squared_error=mse,
        recall_at_10=recall,
        stored_bytes=table.stored_bytes,
        ratio=table.ratio,
    )


def recall_of(table: Table, source: Table, queries: np.ndarray[Any, Any], exact: np.ndarray[Any, Any]) -> float:
    """Return the share of the exact neighbours of some rows that are among their neighbours in `table`."""
    found = neighbours(table, source, queries)
    return float(np.mean([len(np.intersect1d(a, b)) / a.size for a, b in zip(exact, found, strict=True)]))


def neighbours(
    table: Table, source: Table, queries: np.ndarray[Any, Any], count: int = 10, block: int = 16_384
) -> np.ndarray[Any, Any]:
    """Return the `count` rows of `table` of the largest cosine with each query row of `source`, itself excluded."""
    wanted = _unit(source.lookup(queries.astype(np.int64)))
    best = np.full((len(queries), count), -np.inf, dtype=np.float32)
    ids = np.full((len(queries), count), -1, dtype=np.int64)
    for start in range(0, table.rows, block):
        stop = min(start + block, table.rows)
        scores = wanted @ _unit(table.decode(start, stop)).T
        own = np.flatnonzero((queries >= start) & (queries < stop))
        scores[own, queries[own] - start] = -np.inf
        keep = min(count, stop - start)
        top = np.argpartition(scores, -keep, axis=1)[:, -keep:]
        best = np.concatenate([best, np.take_along_axis(scores, top, axis=1)], axis=1)
        ids = np.concatenate([ids, top + start], axis=1)
        order = np.argpartition(best, -count, axis=1)[:, -count:]
        best = np.take_along_axis(best, order, axis=1)
        ids = np.take_along_axis(ids, order, axis=1)
    return ids


def _unit(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: np.ndarray[Any, Any] = np.divide(rows, norms, out=rows, where=norms > 0)
    return unit
