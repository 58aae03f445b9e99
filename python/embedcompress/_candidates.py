"""What `recommend` tries: methods and hybrids that may be best for a table's shape and a budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _core
from ._compress import compress
from ._registry import composed, methods
from ._table import Table

SAME_FORMAT = frozenset({"sym", "gss", "asym", "aciq", "hist_apprx", "hist_brute", "greedy"})
"""Methods that choose ranges of rows for the format of least_squares, whose error is not larger in any of the measured
tables."""
LOSSY_INNER = ("least_squares", "eden")
GROUPS = (16, 32, 64, 128)
PRODUCT_BITS = range(4, 13)
SAMPLE_ROUNDS = 8
"""Of k-means for product codes on the sample."""
CODES_TRIED = 2
"""Layouts of product codes: those with the most bits in a row, and 8 bits."""


@dataclass(frozen=True)
class Candidate:
    """A call of `compress`."""

    method: str
    options: Mapping[str, Any]
    """Beside the budget."""
    parts: int | None = None
    """Of product codes: how many a budget for the whole table has room for, as far as can be said before."""

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
        if compressor:
            return compressor(sample, budget, None, None, options, rows)
        if self.parts is not None:
            return compress(sample, self.method, parts=self.parts, rounds=SAMPLE_ROUNDS, **options)
        return compress(sample, self.method, budget=budget * sample.rows // rows, **options)

    def with_arrays(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options, with arrays in the place of their names."""
        return {name: arrays.get(name, value) for name, value in self.options.items()}

    def __str__(self) -> str:
        """Return it as a call has it."""
        return ", ".join([self.method, *(f"{name}={value}" for name, value in self.options.items())])


def candidates(rows: int, dimension: int, budget: int, sample_rows: int, has_counts: bool) -> list[Candidate]:
    """Return what is worth trying.

    Args:
        rows: Of the table.
        dimension: Its columns.
        budget: Bytes.
        sample_rows: Rows that product codes have to be learned from at first.
        has_counts: Whether it is known how often rows are used.
    """
    known = {method.name: method for method in methods() if method.kind == "post-training"}
    found: list[Candidate] = []
    for name, method in known.items():
        options = {option.name for option in method.options}
        if name in SAME_FORMAT or "budget" not in options:
            continue
        if {"parts", "bits"} <= options:
            found += _product_codes(name, rows, dimension, budget, sample_rows)
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
        found += [_weighted(one) for one in found if one.method in ("kmeans_cls", "pq", "opq", "rq")]
    return found


def _weighted(candidate: Candidate) -> Candidate:
    return Candidate(candidate.method, {**candidate.options, "weights": "weights"}, candidate.parts)


def _product_codes(name: str, rows: int, dimension: int, budget: int, sample_rows: int) -> Iterator[Candidate]:
    """Return layouts of a method that has parts and codebooks of 2^bits entries."""
    layouts: list[tuple[int, int, int]] = []
    for bits in PRODUCT_BITS:
        if 8 << bits > max(sample_rows, 2048):
            break
        parts = _most_parts(name, bits, rows, dimension, budget)
        if parts:
            layouts.append((parts * bits, bits, parts))
    chosen = sorted(layouts, key=lambda layout: (-layout[0], layout[1]))[:CODES_TRIED]
    chosen += [layout for layout in layouts if layout[1] == 8 and layout not in chosen]
    for _, bits, parts in chosen:
        yield Candidate(name, {"bits": bits}, parts)


def _most_parts(name: str, bits: int, rows: int, dimension: int, budget: int) -> int:
    """Return how many parts there are bytes for: codes, entries in f16, and of opq a rotation in f32."""
    entry = 2 * dimension << bits
    if name == "rq":
        return _fitting(lambda parts: rows * -(-parts * bits // 8) + entry * parts, budget, dimension)
    shared = entry + (4 * dimension * dimension if name == "opq" else 0)
    return _fitting(lambda parts: rows * -(-parts * bits // 8) + shared, budget, dimension)


def _fitting(size: Any, budget: int, most: int) -> int:
    """Return the largest number up to `most` whose size is within a budget; 0 if there is none."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if size(middle) <= budget:
            low = middle
        else:
            high = middle - 1
    return low


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
