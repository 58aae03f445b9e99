"""`embedcompress bench retrieval`: searching vectors in a compressed corpus, by every post-training method.

Queries stay exact, and so does the arithmetic: a score is the inner product of an f32 query and a decoded vector.
Figures of a line, beside those of compressing:

- `recall_at_1`, `_10`, `_100`: the share of the k vectors of the largest exact inner products that are found as such;
- `rank_correlation`: Spearman's, of exact and found scores of the exact 100, the mean over queries;
- `accuracy`, `exact_accuracy`: the share of queries whose label the nearest vectors' vote says, compressed and exact;
- `agreement`: the share of queries where both votes are the same;
- `bytes_per_vector`, all that is stored included; `normalized_l2`, `mean_cosine`: as `evaluate`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import embedcompress as ec

from .._progress import Progress
from ._calls import Call
from ._lines import Line, Lines
from ._measured import Measured, digest

BENCH = "retrieval"
BUDGETS = (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125)
LIMIT_SECONDS = 120.0
DEPTHS = (1, 10, 100)
VOTERS = 15
"""Nearest vectors that vote on a query's label."""
_BLOCK, _QUERY_BLOCK = 16_384, 256

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Search:
    """What is searched, and what for."""

    name: str
    """For the lines."""
    corpus: Array
    """(vectors, dimension) f32."""
    queries: Array
    """(queries, dimension) f32."""
    labels: Array | None = None
    """Of the corpus, whole numbers from 0; None without an end task."""
    query_labels: Array | None = None

    def __post_init__(self) -> None:
        if self.corpus.ndim != 2 or self.queries.ndim != 2 or self.corpus.shape[1] != self.queries.shape[1]:
            shapes = f"{self.corpus.shape} and {self.queries.shape}"
            raise ValueError(f"the corpus and the queries must be vectors of the same dimension, not of {shapes}")
        if len(self.corpus) < DEPTHS[-1] or not len(self.queries):
            raise ValueError(f"a corpus of {DEPTHS[-1]} vectors or more and a query are needed, "
                             f"not {len(self.corpus)} and {len(self.queries)}")  # fmt: skip
        for what, vectors in (("corpus", self.corpus), ("queries", self.queries)):
            bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            if bad.size:
                raise ValueError(f"vector {bad[0]} of the {what} is not finite")
        if (self.labels is None) != (self.query_labels is None):
            raise ValueError("labels are needed of both the corpus and the queries, or of neither")
        for what, labels, vectors in (
            ("corpus", self.labels, self.corpus),
            ("queries", self.query_labels, self.queries),
        ):
            if labels is not None and labels.shape != (len(vectors),):
                raise ValueError(f"the labels of the {what} must be {len(vectors)} numbers, not {labels.shape}")

    def request(self) -> dict[str, Any]:
        """Return the part of a line's request that says what is searched and what for."""
        request = {
            "corpus": self.name,
            "rows": len(self.corpus),
            "dimension": self.corpus.shape[1],
            "digest": digest(ec.dense(self.corpus)),
            "queries": len(self.queries),
            "queries_digest": digest(ec.dense(self.queries)),
        }
        if self.labels is not None and self.query_labels is not None:
            both = np.concatenate([self.labels, self.query_labels]).astype("<i8")
            request |= {"labels_digest": hashlib.sha256(both.tobytes()).hexdigest()[:16], "voters": VOTERS}
        return request


def held_out(name: str, vectors: Array, labels: Array, count: int, seed: int = 0) -> Search:
    """Return a search for some vectors, chosen at random, among the others.

    Raises:
        ValueError: too few would be left.
    """
    order = np.random.default_rng(seed).permutation(len(vectors))
    queries, corpus = order[:count], order[count:]
    return Search(name, vectors[corpus], vectors[queries], labels[corpus], labels[queries])


def run(
    search: Search,
    calls: Sequence[Call],
    out: Path,
    *,
    limit: float = LIMIT_SECONDS,
    progress: Progress | None = None,
) -> list[Line]:
    """Measure what the file has no line of, and return the lines of the calls.

    Args:
        search: The corpus and the queries.
        calls: What is measured.
        out: The file, which gets a line when a cell is done and is in order at the end.
        limit: Most seconds of the processors of a call of `compress`.
        progress: Called as progress(done, total), in cells.

    Raises:
        ValueError: the file has lines of another benchmark, or another process is writing to it.
    """
    weight = ec.dense(search.corpus)
    measured = Measured(weight, search.request(), Judge(search, weight), limit)
    with Lines(out, BENCH) as lines:
        found = measured.run(BENCH, calls, lines, progress)
        lines.sort(line["request"] for line in found)
    return found


class Judge:
    """Compares searches of a compressed corpus with the exact ones."""

    def __init__(self, search: Search, weight: ec.Table) -> None:
        self._search, self._weight = search, weight
        self._exact = nearest(weight, search.queries, DEPTHS[-1])
        self._exact_ranks = _ranks(self._scores(weight))
        self._exact_votes = None if search.labels is None else vote(search.labels[self._exact[:, :VOTERS]])

    def __call__(self, table: ec.Table) -> dict[str, Any]:
        """Return the figures of a compressed corpus."""
        found = nearest(table, self._search.queries, DEPTHS[-1])
        quality = ec.evaluate(table, self._weight, queries=0)
        figures: dict[str, Any] = {
            "bytes_per_vector": table.stored_bytes / table.rows,
            "normalized_l2": quality.normalized_l2,
            "mean_cosine": quality.mean_cosine,
        }
        figures |= {f"recall_at_{depth}": recall(self._exact[:, :depth], found[:, :depth]) for depth in DEPTHS}
        figures["rank_correlation"] = _correlation(self._exact_ranks, _ranks(self._scores(table)))
        if self._search.labels is not None and self._exact_votes is not None:
            votes = vote(self._search.labels[found[:, :VOTERS]])
            figures |= {
                "accuracy": float(np.mean(votes == self._search.query_labels)),
                "exact_accuracy": float(np.mean(self._exact_votes == self._search.query_labels)),
                "agreement": float(np.mean(votes == self._exact_votes)),
            }
        return figures

    def _scores(self, table: ec.Table) -> Array:
        """Return the scores of the exact nearest vectors of each query."""
        parts = []
        for start in range(0, len(self._exact), _QUERY_BLOCK):
            ids, queries = (array[start : start + _QUERY_BLOCK] for array in (self._exact, self._search.queries))
            parts.append(np.einsum("qkd,qd->qk", table.lookup(ids), queries))
        return np.concatenate(parts)


def nearest(table: ec.Table, queries: Array, count: int) -> Array:
    """Return the ids of the vectors of the largest inner product with each query, the largest first."""
    result = np.empty((len(queries), count), np.int64)
    for first in range(0, len(queries), 8 * _QUERY_BLOCK):
        part = queries[first : first + 8 * _QUERY_BLOCK]
        scores: Array = np.empty((len(part), 0), np.float32)
        ids: Array = np.empty((len(part), 0), np.int64)
        for start in range(0, table.rows, _BLOCK):
            stop = min(start + _BLOCK, table.rows)
            block = part @ table.decode(start, stop).T
            scores = np.concatenate([scores, block], axis=1)
            ids = np.concatenate([ids, np.broadcast_to(np.arange(start, stop), block.shape)], axis=1)
            if scores.shape[1] > count:
                kept = np.argpartition(scores, -count, axis=1)[:, -count:]
                scores, ids = (np.take_along_axis(array, kept, axis=1) for array in (scores, ids))
        # Of equal scores, the lower id is first.
        order = np.lexsort((ids, -scores), axis=1)
        result[first : first + len(part)] = np.take_along_axis(ids, order, axis=1)
    return result


def recall(exact: Array, found: Array) -> float:
    """Return the share of ids that are found, the mean over queries."""
    return float(np.mean([np.isin(one, other).mean() for one, other in zip(exact, found, strict=True)]))


def vote(labels: Array) -> Array:
    """Return the most frequent label of each row; of several, the lowest."""
    classes = np.unique(labels)
    counts = np.stack([(labels == one).sum(axis=1) for one in classes], axis=1)
    winners: Array = classes[counts.argmax(axis=1)]
    return winners


def _ranks(scores: Array) -> Array:
    """Return each row's ranks; equal scores share the mean of theirs."""
    parts = []
    for row in scores:
        less = (row[:, None] > row[None, :]).sum(axis=1)
        equal = (row[:, None] == row[None, :]).sum(axis=1)
        parts.append(less + (equal - 1) / 2)
    return np.array(parts)


def _correlation(one: Array, other: Array) -> float:
    """Return the mean over rows of the correlation; 0 for a row that does not vary."""
    a, b = (array - array.mean(axis=1, keepdims=True) for array in (one, other))
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return float(np.mean(np.divide((a * b).sum(axis=1), norms, out=np.zeros(len(a)), where=norms > 0)))
