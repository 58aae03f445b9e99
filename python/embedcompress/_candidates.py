"""What `recommend` tries: methods and hybrids that may be best for a table's shape and a budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _core
from ._compress import compress
from ._compressors import _product_plan as product_plan
from ._registry import composed, methods
from ._table import Table

SAME_FORMAT = frozenset({"sym", "gss", "asym", "aciq", "hist_apprx", "hist_brute", "greedy"})
"""Methods that choose ranges of rows for the format of least_squares, whose error is not larger in any of the measured
tables."""
LOSSY_INNER = ("least_squares", "eden")
GROUPS = (16, 32, 64, 128)
SAMPLE_ROUNDS, SAMPLE_TURNS = 8, 4
"""Of k-means for product codes on the sample, and of the rotation."""
LAYOUTS_TRIED = 3
"""Of pq, each with another number of bits. A rotation helps only parts of several columns, and takes long to learn: of
opq, one layout is tried, of parts of 2 columns or more."""
RESIDUAL_BITS, RESIDUAL_LEVELS = 8, 24
"""Of rq, whose time grows with levels."""


@dataclass(frozen=True)
class Candidate:
    """A call of `compress`."""

    method: str
    options: Mapping[str, Any]
    """Beside the budget."""
    parts: int | None = None
    """Of product codes: how many a budget for the whole table has room for, as far as can be said before."""
    follows: str | None = None
    """A method that does about as well on any sample, where this one's knobs can't be those of the whole table."""

    def compress(self, table: Table, budget: int, arrays: Mapping[str, Any]) -> Table:
        """Compress the whole table.

        Args:
            table: All rows.
            budget: Bytes.
            arrays: `counts` and `weights`, for the options that are named so.
        """
        return compress(table, self.method, budget=budget, **self.with_arrays(arrays))

    def compress_sample(self, sample: Table, rows: int, budget: int, arrays: Mapping[str, Any]) -> Table:
        """Compress a sample with the knobs that the budget means for a table of so many rows."""
        options = self.with_arrays(arrays)
        compressor = composed(self.method)
        if compressor and self.parts is None:
            return compressor(sample, budget, None, None, options, rows)
        if self.parts is not None:
            turns: dict[str, Any] = {"turns": SAMPLE_TURNS} if self.method == "opq" else {}
            return compress(sample, self.method, parts=self.parts, rounds=SAMPLE_ROUNDS, **turns, **options)
        return compress(sample, self.method, budget=budget * sample.rows // rows, **options)

    def with_arrays(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options, with arrays in the place of their names."""
        return {name: arrays.get(name, value) for name, value in self.options.items()}

    def __str__(self) -> str:
        """Return it as a call has it."""
        return ", ".join([self.method, *(f"{name}={value}" for name, value in self.options.items())])


def candidates(rows: int, dimension: int, budget: int, has_counts: bool) -> list[Candidate]:
    """Return what is worth trying.

    Args:
        rows: Of the table.
        dimension: Its columns.
        budget: Bytes.
        has_counts: Whether it is known how often rows are used.
    """
    known = {method.name: method for method in methods() if method.kind == "post-training"}
    found: list[Candidate] = []
    for name, method in known.items():
        options = {option.name for option in method.options}
        if name in SAME_FORMAT or "budget" not in options:
            continue
        if {"parts", "bits"} <= options:
            found += _product_codes(name, rows, dimension, budget)
        elif name != "hot_cold":
            found.append(Candidate(name, {}))
    found += [Candidate("least_squares", {"group": group}) for group in GROUPS if group < dimension]
    inners = [name for name in LOSSY_INNER if name in known]
    for outer in ("svd", "magsvd"):
        found += [Candidate(outer, {"inner": inner}) for inner in ("f16", *inners)]
    use: dict[str, Any] = {"counts": "counts"} if has_counts else {}
    found += [Candidate("hot_cold", {**use, "hot": inner, "cold": inner}) for inner in inners]
    if has_counts:
        found.append(Candidate("hot_cold", {**use, "hot": "f16"}))
        if "pq" in known:
            found.append(Candidate("hot_cold", {**use, "cold": "pq"}))
        found += [_weighted(one) for one in found if one.method in ("kmeans_cls", "pq", "rq")]
    return found


def _weighted(candidate: Candidate) -> Candidate:
    return Candidate(candidate.method, {**candidate.options, "weights": "weights"}, candidate.parts)


def _product_codes(name: str, rows: int, dimension: int, budget: int) -> Iterator[Candidate]:
    """Return a method of product codes with the layouts that are expected to do best."""
    if name == "rq":
        # A level's entries are as wide as a row.
        level = rows + (2 * dimension << RESIDUAL_BITS)
        # A budget buys no more than 2 bits a column of it.
        if 1 <= budget // level <= min(RESIDUAL_LEVELS, max(2 * dimension // RESIDUAL_BITS, 1)):
            yield Candidate(name, {"bits": RESIDUAL_BITS}, budget // level)
        return
    if name == "magpq":
        yield Candidate(name, {}, follows="pq")
        return
    room = budget - (2 * dimension * dimension if name == "opq" else 0)
    best: dict[int, product_plan.Plan] = {}
    for plan in product_plan.plans(rows, dimension, room, entry_bytes=2):
        if plan.bits not in best or plan.error < best[plan.bits].error:
            best[plan.bits] = plan
    layouts = sorted(best.values(), key=lambda plan: plan.error)[: LAYOUTS_TRIED if name == "pq" else 1]
    for plan in layouts:
        if name == "pq" or 2 * plan.parts <= dimension:
            yield Candidate(name, {"bits": plan.bits}, plan.parts)


def sample_of(rows: int, size: int, counts: np.ndarray[Any, Any] | None, seed: int) -> tuple[Any, Any]:
    """Return rows that stand for all, and how much each of them counts.

    They are one at random of each stretch of rows that follow each other, by number, or by counts where there are any.

    Returns:
        Ids, rising, and the sum of the counts of each one's stretch; None without counts.
    """
    size = min(size, rows)
    order = np.arange(rows) if counts is None else np.argsort(-counts, kind="stable")
    starts = np.linspace(0, rows, size, endpoint=False).astype(np.int64)
    lengths = np.diff(np.append(starts, rows))
    chosen = order[starts + (np.random.default_rng(seed).random(size) * lengths).astype(np.int64)]
    by_id = np.argsort(chosen, kind="stable")
    if counts is None:
        return chosen[by_id], None
    return chosen[by_id], np.add.reduceat(counts[order], starts)[by_id]


def floors(table: Table, found: list[Candidate], arrays: Mapping[str, Any]) -> Iterator[ValueError]:
    """Return what the candidates say that they need at least."""
    for candidate in found:
        try:
            candidate.compress(table, 0, arrays)
        except _core.BudgetError as error:
            yield error
        except ValueError:
            continue
