"""`recommend`: which method to take for a table and a budget, by trying them."""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _core
from ._arrays import as_array
from ._candidates import Candidate, candidates, floors, sample_of
from ._compress import budget_bytes, compress
from ._describe import describe
from ._evaluate import neighbours, recall_of
from ._routes import remap
from ._table import Progress, Table, dense

METRICS = ("l2", "cosine", "recall")
FINALISTS = 5
MARGIN = 1.25
"""What is worse than the best by more than this on the sample is not tried on the whole table."""
QUERIES = 256
LOOKUP_IDS = 4_000
LOOKUP_TURNS = 9


@dataclass(frozen=True)
class Recommendation:
    """A way to compress a table, and what it gave."""

    method: str
    options: Mapping[str, Any]
    """What `compress` is to be given beside the method, the budget included."""
    expression: str
    """The result's stores and routes in a line, with what the budget chose."""
    stored_bytes: int
    ratio: float
    """Stored bytes over those of f32."""
    normalized_l2: float
    """||X - Q(X)|| / ||X||; with counts, rows' squared norms count so many times."""
    mean_cosine: float
    """Mean over rows of the cosine between a row and its copy; with counts, over uses."""
    recall_at_10: float | None
    """As `evaluate` has it; with counts, queries are chosen by use. None for tables of up to 10 rows."""
    compress_seconds: float
    lookup_ns_per_row: float
    """Of random ids, or with counts, of ids as they are used; on one thread."""
    reason: str
    """A sentence."""

    def compress(self, weight: object, *, progress: Progress | None = None) -> Table:
        """Compress a table this way; it may be another than the one that was measured, but for counts."""
        return compress(weight, self.method, progress=progress, **self.options)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name; of arrays among the options, their shape."""
        options = {name: _plain(value) for name, value in self.options.items()}
        names = [name for name in self.__dataclass_fields__ if name != "options"]
        return {"method": self.method, "options": options} | {name: getattr(self, name) for name in names}


def recommend(
    weight: object,
    budget: int | float,
    *,
    counts: object | None = None,
    metric: str = "l2",
    sample: int = 16_384,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Recommendation]:
    """Try methods and hybrids on a table, and rank them.

    Those that are plausible for the budget are run on a sample of rows, with the knobs that the budget means for the
    whole table; the best few are then run on the whole of it and measured.

    Args:
        weight: (rows, dimension); anything that `compress` takes.
        budget: The most bytes, or a ratio of the f32 size, as for `compress`.
        counts: (rows,) numbers: how often each row is used. Errors are weighted by them.
        metric: What to rank by: "l2", the squared error; "cosine"; or "recall", recall@10 of `evaluate`.
        sample: Rows of the sample.
        seed: Of the sample and of the queries. Everything but times is the same again.
        progress: Called as progress(done, total) for every candidate; returning False stops with KeyboardInterrupt.

    Returns:
        The best few, best first.

    Raises:
        BudgetError: nothing is that small; the message names the least that any method can reach.
        ValueError: a metric of another name, or counts that are not one for each row.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
    if sample < 1:
        raise ValueError(f"sample must be at least 1, not {sample}")
    source = dense(weight)
    if source.rows == 0 or source.dimension == 0:
        raise ValueError("a table without values has nothing to compare")
    size = budget_bytes(budget, 4 * source.rows * source.dimension)
    judge = _Judge.of(source, _counts(counts, source), metric, seed)
    ids, sums = sample_of(source.rows, sample, judge.counts, seed)
    small = _Judge.of(remap(source, map=ids), sums, metric, seed)
    tried = candidates(source.rows, source.dimension, size, judge.counts is not None)
    clock = _Clock(progress, len(tried), FINALISTS)
    arrays = {} if sums is None else {"counts": sums, "weights": sums}
    losses: dict[int, float] = {}
    for index, candidate in enumerate(tried):
        # A budget that it can't meet, or values that it can't say.
        with contextlib.suppress(ValueError):
            if candidate.follows is None:
                losses[index] = small.loss(candidate.compress_sample(small.source, source.rows, size, arrays))
            else:
                losses[index] = min(
                    (loss for other, loss in losses.items() if tried[other].method == candidate.follows), default=np.inf
                )
        clock.tick()
    arrays = {} if judge.counts is None else {"counts": judge.counts, "weights": judge.counts}
    found = _measured(judge, [tried[index] for index in _best(losses)], size, arrays, clock)
    if not found:
        raise _refusal(source, tried, size, arrays)
    times = lookup_times([table for _, table, _ in found], judge.counts, seed)
    results = [
        _Result(candidate, candidate.with_arrays(arrays) | {"budget": size}, table, judge.figures(table), seconds, ns)
        for (candidate, table, seconds), ns in zip(found, times, strict=True)
    ]
    results.sort(key=lambda result: (judge.loss_of(result.figures), result.table.stored_bytes))
    clock.finish()
    return [_recommendation(place, results, len(tried), judge) for place in range(len(results))]


@dataclass(frozen=True)
class _Figures:
    normalized_l2: float
    mean_cosine: float
    recall: float | None


@dataclass(frozen=True)
class _Result:
    candidate: Candidate
    options: Mapping[str, Any]
    table: Table
    figures: _Figures
    seconds: float
    ns_per_row: float


@dataclass(frozen=True)
class _Judge:
    """Measures tables against their source."""

    source: Table
    counts: np.ndarray[Any, Any] | None
    metric: str
    queries: np.ndarray[Any, Any]
    neighbours: list[np.ndarray[Any, Any]] = field(default_factory=list)
    """Of the queries in the source; found when they are first needed."""

    @staticmethod
    def of(source: Table, counts: np.ndarray[Any, Any] | None, metric: str, seed: int) -> _Judge:
        queries = np.empty(0, np.int64)
        if source.rows > 10:
            random = np.random.default_rng(seed)
            if counts is None:
                queries = random.permutation(source.rows)[:QUERIES]
            else:
                used = int(np.count_nonzero(counts))
                count = min(QUERIES, used)
                queries = random.choice(source.rows, count, replace=False, p=counts / counts.sum())
        return _Judge(source, counts, metric, queries)

    def loss(self, table: Table) -> float:
        """Return what is to be small."""
        if self.metric == "recall":
            recall = self.recall(table)
            return 1.0 if recall is None else 1 - recall
        l2, cosine = self.errors(table)
        return l2 if self.metric == "l2" else 1 - cosine

    def loss_of(self, figures: _Figures) -> float:
        """Return the same of figures that are known."""
        if self.metric == "recall":
            return 1.0 if figures.recall is None else 1 - figures.recall
        return figures.normalized_l2 if self.metric == "l2" else 1 - figures.mean_cosine

    def figures(self, table: Table) -> _Figures:
        return _Figures(*self.errors(table), self.recall(table))

    def recall(self, table: Table) -> float | None:
        if len(self.queries) == 0:
            return None
        if not self.neighbours:
            self.neighbours.append(neighbours(self.source, self.source, self.queries))
        return recall_of(table, self.source, self.queries, self.neighbours[0])

    def errors(self, table: Table) -> tuple[float, float]:
        """Return the normalised l2 and the mean cosine, weighted by counts."""
        if self.counts is None:
            l2, cosine, *_ = _core.evaluate(table, self.source, None)
            return l2, cosine
        error = energy = cosines = 0.0
        count = max(1, (4 << 20) // (4 * self.source.dimension))
        for start in range(0, table.rows, count):
            stop = min(start + count, table.rows)
            weights = self.counts[start:stop]
            rows = self.source.decode(start, stop).astype(np.float64)
            copies = table.decode(start, stop).astype(np.float64)
            error += float(weights @ ((rows - copies) ** 2).sum(axis=1))
            energy += float(weights @ (rows**2).sum(axis=1))
            norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(copies, axis=1)
            # A row of zeros is its copy's like if that has zeros too.
            same = (np.abs(rows) + np.abs(copies)).sum(axis=1) == 0
            cosine = np.divide((rows * copies).sum(axis=1), norms, out=same.astype(np.float64), where=norms > 0)
            cosines += float(weights @ cosine)
        return (error / energy) ** 0.5 if energy else 0.0, cosines / float(self.counts.sum())


class _Clock:
    """Progress in candidates, of which those on the whole table count more."""

    WEIGHT = 4

    def __init__(self, progress: Progress | None, small: int, large: int):
        self._progress, self._total, self._done = progress, small + self.WEIGHT * large, 0

    def tick(self, steps: int = 1) -> None:
        self._done = min(self._done + steps, self._total)
        if self._progress is not None and self._progress(self._done, self._total) is False:
            raise KeyboardInterrupt

    def finish(self) -> None:
        self.tick(self._total - self._done)


def _counts(counts: object, source: Table) -> np.ndarray[Any, Any] | None:
    if counts is None:
        return None
    array = counts if isinstance(counts, np.ndarray) else as_array(counts, "counts")
    if array.shape != (source.rows,) or array.dtype.kind not in "iuf":
        raise ValueError(f"counts must be {source.rows} numbers, one for each row, not {array.shape} of {array.dtype}")
    array = array.astype(np.float64)
    if not (np.isfinite(array) & (array >= 0)).all() or not array.any():
        raise ValueError("counts must be finite and not negative, and not all of them zero")
    return array


def _best(losses: Mapping[int, float]) -> list[int]:
    """Return the finalists: the best two, as a sample can be wrong of one, and a few more that are not far behind."""
    ranked = sorted(losses, key=lambda index: (losses[index], index))
    limit = max(losses[ranked[0]] * MARGIN, 1e-9) if ranked else 0.0
    return [index for place, index in enumerate(ranked[:FINALISTS]) if place < 2 or losses[index] <= limit]


def _measured(
    judge: _Judge, finalists: Sequence[Candidate], size: int, arrays: Mapping[str, Any], clock: _Clock
) -> list[tuple[Candidate, Table, float]]:
    """Return the finalists' tables, and the seconds that making them took."""
    found: list[tuple[Candidate, Table, float]] = []
    for candidate in finalists:
        start = time.perf_counter()
        try:
            table = candidate.compress(judge.source, size, arrays)
        except ValueError:
            continue
        found.append((candidate, table, time.perf_counter() - start))
        clock.tick(clock.WEIGHT)
    return found


def _refusal(source: Table, tried: list[Candidate], size: int, arrays: Mapping[str, Any]) -> ValueError:
    """Return the error that says what is the least that any candidate needs."""
    known = [(int(match[1]), str(error)) for error in floors(source, tried, arrays)
             if (match := re.search(r"can reach is (\d+) bytes", str(error)))]  # fmt: skip
    error: type[ValueError] = _core.BudgetError
    if not known:
        return ValueError("no method can compress this table")
    least, text = min(known)
    return error(
        f"no method can meet a budget of {size} bytes: the least that any of them can reach is {least} bytes "
        f"({text.split(' ', 1)[0].rstrip(':')})"
    )


def lookup_times(tables: Sequence[Table], counts: np.ndarray[Any, Any] | None, seed: int) -> list[float]:
    """Return the processor time of a row in nanoseconds on one thread, by table; they take turns."""
    rows, dimension = tables[0].shape if tables else (1, 1)
    random = np.random.default_rng(seed)
    shape = (8, LOOKUP_IDS)
    ids = (
        random.integers(0, rows, shape)
        if counts is None
        else random.choice(rows, shape, p=counts / counts.sum()).astype(np.int64)
    )
    target = np.empty((LOOKUP_IDS, dimension), np.float32)
    seconds: list[list[float]] = [[] for _ in tables]
    threads = _core.get_num_threads()
    _core.set_num_threads(1)
    try:
        for turn in range(LOOKUP_TURNS + 1):
            for table, taken in zip(tables, seconds, strict=True):
                start = time.thread_time()
                for batch in ids:
                    table.lookup(batch, out=target)
                # The first turn warms up.
                if turn:
                    taken.append(time.thread_time() - start)
    finally:
        _core.set_num_threads(threads)
    return [statistics.median(taken) / ids.size * 1e9 for taken in seconds]


def _recommendation(place: int, results: Sequence[_Result], tried: int, judge: _Judge) -> Recommendation:
    result = results[place]
    return Recommendation(
        method=result.candidate.method,
        options=result.options,
        expression=describe(result.table),
        stored_bytes=result.table.stored_bytes,
        ratio=result.table.ratio,
        normalized_l2=result.figures.normalized_l2,
        mean_cosine=result.figures.mean_cosine,
        recall_at_10=result.figures.recall,
        compress_seconds=result.seconds,
        lookup_ns_per_row=result.ns_per_row,
        reason=_reason(place, results, tried, judge),
    )


def _reason(place: int, results: Sequence[_Result], tried: int, judge: _Judge) -> str:
    """Return a sentence with numbers: what speaks for the result, and how far it is from the best."""
    result, best = results[place], results[0]
    shown = {
        "l2": f"normalised l2 {result.figures.normalized_l2:.4g}",
        "cosine": f"mean cosine {result.figures.mean_cosine:.5f}",
        "recall": f"recall@10 {result.figures.recall or 0:.3f}",
    }[judge.metric]
    share = f"{100 * result.table.ratio:.3g} % of f32"
    if place == 0:
        text = f"The least loss of {tried} candidates: {shown} in {share}"
        if len(results) > 1:
            text += f", {_apart(judge, best, results[1])} {results[1].candidate}"
        return text + "."
    gains = []
    if result.ns_per_row < 0.8 * best.ns_per_row:
        gains.append(f"looked up {best.ns_per_row / result.ns_per_row:.1f} times as fast")
    if result.seconds < 0.5 * best.seconds:
        gains.append(f"made {best.seconds / max(result.seconds, 1e-6):.1f} times as fast")
    if result.table.stored_bytes < 0.98 * best.table.stored_bytes:
        gains.append(f"{100 * (1 - result.table.stored_bytes / best.table.stored_bytes):.0f} % smaller")
    behind = f"{shown} in {share}, {_behind(judge, result, best)} the best"
    return f"{behind[0].upper()}{behind[1:]}" + (f", but {' and '.join(gains)}." if gains else ".")


def _apart(judge: _Judge, best: _Result, other: _Result) -> str:
    ours, theirs = judge.loss_of(best.figures), judge.loss_of(other.figures)
    return f"{100 * (1 - ours / theirs):.1f} % less loss than" if theirs > 0 else "as good as"


def _behind(judge: _Judge, result: _Result, best: _Result) -> str:
    ours, least = judge.loss_of(result.figures), judge.loss_of(best.figures)
    return f"{100 * (ours / least - 1):.1f} % more loss than" if least > 0 else "no worse than"


def _plain(value: Any) -> Any:
    return f"array of {' x '.join(map(str, value.shape))}" if isinstance(value, np.ndarray) else value
