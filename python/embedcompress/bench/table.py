"""`embedcompress bench table`: every post-training method on one table, by error, neighbours kept, and times.

Figures of a line: the expression that a call led to, its bytes, normalised l2 and cosine (as `evaluate`), recall@10 of
random rows, the seconds of `compress`, of the wall and of the processors, and processor nanoseconds of looking up a row
at random on one thread. A line whose request has `recommend`, a budget, is what `recommend` puts first. One whose
request has `spectrum` has the variances that the bound on the error of any method follows from.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import embedcompress as ec

from .._progress import Progress
from .._report import machine
from ._calls import Call
from ._lines import Line, Lines, key
from ._measured import Measured, digest
from ._spectrum import MOST_COLUMNS, Spectrum

BENCH = "table"
BUDGETS = (0.5, 0.25, 0.13, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)
QUERIES = 256
LIMIT_SECONDS = 120.0
LOOKUP_IDS = 4_000
LOOKUP_BATCHES, LOOKUP_TURNS = 8, 9


def subject(name: str, weight: ec.Table, queries: int) -> dict[str, Any]:
    """Return the part of a line's request that says which table is measured, and on how many queries."""
    return {
        "table": name,
        "rows": weight.rows,
        "dimension": weight.dimension,
        "digest": digest(weight),
        "queries": queries,
    }


def run(
    name: str,
    weight: ec.Table,
    calls: Sequence[Call],
    out: Path,
    *,
    recommend: Sequence[float] = (),
    queries: int = QUERIES,
    limit: float = LIMIT_SECONDS,
    progress: Progress | None = None,
) -> list[Line]:
    """Measure what the file has no line of, and return the lines of the calls, the recommendations and the spectrum.

    Args:
        name: Of the table, in its lines.
        weight: The table.
        calls: What is measured.
        out: The file, which gets a line when a cell is done and is in order at the end.
        recommend: Budgets that `recommend` is asked for too.
        queries: Random rows whose nearest neighbours are searched.
        limit: Most seconds of the processors of a call of `compress`.
        progress: Called as progress(done, total), in cells.

    Raises:
        ValueError: the file has lines of another benchmark, or another process is writing to it.
    """

    def judge(table: ec.Table) -> dict[str, Any]:
        quality = ec.evaluate(table, weight, queries=queries)
        return {
            "normalized_l2": quality.normalized_l2,
            "mean_cosine": quality.mean_cosine,
            "recall_at_10": quality.recall_at_10,
            "lookup_ns_per_row": _lookup_nanoseconds(table),
        }

    measured = Measured(weight, subject(name, weight, queries), judge, limit)
    with Lines(out, BENCH) as lines:
        found = measured.run(BENCH, calls, lines, progress)
        for budget in recommend:
            request = measured.subject | {"recommend": budget}
            if key(request) not in lines.found:
                lines.add({"bench": BENCH, "request": request, "machine": machine()} | _first(weight, budget))
            found.append(lines.found[key(request)])
        if weight.dimension <= MOST_COLUMNS:
            request = measured.subject | {"spectrum": "covariance"}
            if key(request) not in lines.found:
                figures = Spectrum.of(weight).as_figures()
                lines.add({"bench": BENCH, "request": request, "machine": machine(), "figures": figures})
            found.append(lines.found[key(request)])
        lines.sort(line["request"] for line in found)
    return found


def _lookup_nanoseconds(table: ec.Table) -> float:
    """Return the processor time of looking up a random row, on one thread."""
    ids = np.random.default_rng(0).integers(0, table.rows, (LOOKUP_BATCHES, LOOKUP_IDS))
    target = np.empty((LOOKUP_IDS, table.dimension), np.float32)
    taken = []
    threads = ec.get_num_threads()
    ec.set_num_threads(1)
    try:
        for turn in range(LOOKUP_TURNS + 1):
            start = time.thread_time()
            for batch in ids:
                table.lookup(batch, out=target)
            # The first turn warms up.
            if turn:
                taken.append(time.thread_time() - start)
    finally:
        ec.set_num_threads(threads)
    return statistics.median(taken) / ids.size * 1e9


def _first(weight: ec.Table, budget: float) -> Line:
    """Return what `recommend` puts first for a budget, or its refusal."""
    start, start_cpu = time.perf_counter(), time.process_time()
    try:
        first, *_ = ec.recommend(weight, budget)
    except ec.BudgetError as error:
        return {"refused": str(error), "floor": None}
    return {
        "figures": {
            "method": first.method,
            "options": {name: value for name, value in first.as_dict()["options"].items() if name != "budget"},
            "expression": first.expression,
            "stored_bytes": first.stored_bytes,
            "normalized_l2": first.normalized_l2,
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - start_cpu,
        }
    }
