"""Hot and cold: the rows that count most compressed with care, and all others hard.

How much a row counts is how often it is used (`counts`; frequency-grouped precision, as in SHARK, CIKM 2023, and MPE,
2024), or, if nothing is known of that, its squared norm: what it can add to the table's error. With a budget, it may
also be the product of both. Any method compresses either part. A budget decides how many rows are hot, and, where they
are not given, the bits of both parts: what minimises the error of a sample, weighted by counts.

Bytes: those of both parts, and which part each row is in; nothing for that where counts fall with the row's number, as
in vocabularies that are sorted by frequency.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import _core
from .._arrays import as_array
from .._bisection import last_where
from .._methods import Method, Option
from .._routes import partition, remap
from .._table import Table
from ._compressor import BUDGET, Compressor, Request, budget_error
from ._groups import assignment_bytes
from ._inner import Inner
from ._linear import Steps, Values, squared_norms

SAMPLE_ROWS = 4096
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""Hot rows that are tried where the cold ones take whatever bytes are left."""
BOOK_BITS = 8
"""Of codebooks that a sample's bytes have to be counted without."""


@dataclass(frozen=True)
class Order:
    """Rows by how much they count."""

    ids: Values
    """The one that counts most first."""
    by_number: bool
    """Whether they are in the order of their numbers, so that nothing has to say which part a row is in."""

    @staticmethod
    def by(importance: Values) -> Order:
        """Return the order of falling importance."""
        if (np.diff(importance) <= 0).all():
            return Order(np.arange(len(importance)), by_number=True)
        return Order(np.argsort(-importance, kind="stable"), by_number=False)


@dataclass(frozen=True)
class Split:
    """What the two parts are to be."""

    order: Order
    hot_rows: int
    hot: Inner
    cold: Inner
    cold_bytes: int | None = None
    """A budget for the cold rows; None if their method has no knob left."""


class HotCold(Compressor):
    """`compress(weight, "hot_cold", counts=...)`."""

    method: ClassVar[Method] = Method(
        name="hot_cold",
        title="Hot and cold",
        paper="Zhang et al. (SHARK), CIKM 2023, arXiv 2308.09395",
        kind="post-training",
        summary="rows that are used most, or are largest, by one method, and all others by another",
        bytes_per_row="share * those of `hot` + (1 - share) * those of `cold`; 1 / 8 or more unless counts fall",
        cost="two passes over the table, both methods, and widths tried on a sample",
        options=(
            Option(
                "counts", "(rows,) numbers, at least 0", None, "how often each row is used; squared norms if not given"
            ),
            Option(
                "hot", "dense, f16, bf16 or a method's name", "least_squares", "compresses the rows that count most"
            ),
            Option("cold", "a method's name", "least_squares", "compresses the others"),
            Option("hot_bits", "an integer", None, "bits of `hot`; 8, or what a budget chooses"),
            Option("cold_bits", "an integer", None, "bits of `cold`; 2, or what a budget chooses"),
            Option("share", "a number from 0 to 1", None, "rows that are hot; 0.1, or what a budget chooses"),
            Option(BUDGET.name, BUDGET.values, None, "most bytes of the result; chooses what is not given"),
        ),
    )
    has_inner: ClassVar[bool] = True
    arrays: ClassVar[frozenset[str]] = frozenset({"counts"})

    def compress(self, request: Request) -> Table:
        """Return a partition of hot and cold rows."""
        table, options = request.source, request.options
        share = options["share"]
        is_number = isinstance(share, (int, float)) and not isinstance(share, bool)
        if share is not None and not (is_number and 0 <= share <= 1):
            raise ValueError(f"hot_cold: share must be a number from 0 to 1, not {share!r}")
        if share is not None and request.budget is not None:
            raise ValueError("give hot_cold either a share or a budget, not both")
        steps = Steps(request.progress, table.rows, (1, 8))
        counts = _counts(options["counts"], table)
        norms = squared_norms(table, steps.next())
        hot, cold = (_inner(request, part) for part in ("hot", "cold"))
        if request.budget is None:
            split = Split(
                Order.by(norms if counts is None else counts),
                round(table.rows * (0.1 if share is None else share)),
                hot.with_bits(8) if hot.has_free_bits else hot,
                cold.with_bits(2) if cold.has_free_bits else cold,
            )
            return _compose(table, split, Steps(steps.next(), table.rows, (1, 1)))
        making = steps.next()
        # Rows that are used as often count by their norms, but an order by counts may be that of their numbers.
        orders = [Order.by(norms)] if counts is None else [Order.by(counts), Order.by(counts * norms)]
        found = [pair for order in orders for pair in _Solver(request, order, counts, hot, cold).solve()]
        refusal: ValueError | None = None
        for _, split in sorted(found, key=lambda pair: pair[0]):
            try:
                return _compose(table, split, Steps(making, table.rows, (1, 1)))
            except _core.BudgetError as error:
                refusal = error
        refused: type[ValueError] = _core.BudgetError
        raise refused(f"hot_cold: {refusal}")


def _inner(request: Request, part: str) -> Inner:
    """Return the method of one part, with the options that begin with its name."""
    options = {name[len(part) + 1 :]: value for name, value in request.inner.items() if name.startswith(f"{part}_")}
    stray = [name for name in request.inner if not name.startswith(("hot_", "cold_"))]
    if stray:
        raise ValueError(
            f"hot_cold has no option '{min(stray)}'; those of its parts begin with hot_ or cold_, such as cold_bits"
        )
    if request.options[f"{part}_bits"] is not None:
        options["bits"] = request.options[f"{part}_bits"]
    return Inner(str(request.options[part]), options, within="hot_cold")


def _counts(given: object, table: Table) -> Values | None:
    if given is None:
        return None
    counts = given if isinstance(given, np.ndarray) else as_array(given, "counts")
    if counts.shape != (table.rows,) or counts.dtype.kind not in "iuf":
        raise ValueError(f"counts must be {table.rows} numbers, one for each row, not {counts.shape} of {counts.dtype}")
    counts = counts.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(counts) & (counts >= 0)))
    if len(bad):
        raise ValueError(f"counts has {counts[bad[0]]} for row {bad[0]}; a count is finite and not negative")
    return counts


class _Solver:
    """Finds the split of the least error within a budget."""

    def __init__(self, request: Request, order: Order, counts: Values | None, hot: Inner, cold: Inner):
        table = request.source
        self.order = order
        self.table, self.hot, self.cold = table, hot, cold
        self.budget = request.budget or 0
        self.rows = request.counted_rows
        self.scale = self.rows / max(table.rows, 1)
        self.map_bytes = 0 if order.by_number else _map_bytes(self.rows)
        # In the order of importance, so that the first of them stand for the hot rows, each for those up to the next.
        starts = np.linspace(0, table.rows, min(SAMPLE_ROWS, table.rows), endpoint=False).astype(np.int64)
        self.sample = table.lookup(order.ids[starts])
        known = np.ones(table.rows) if counts is None else counts[order.ids]
        weights = np.add.reduceat(known, starts) if len(starts) else known
        self.weights = weights if weights.sum() > 0 else np.ones(len(starts))

    def solve(self) -> list[tuple[float, Split]]:
        """Return splits with their errors; several in case that the best one's parts are larger than was thought."""
        return [self._by_bits()] if _has_fixed_rows(self.cold) else self._by_share()

    def _errors(self, part: Inner, rows: slice = slice(None)) -> Values:
        """Return the weighted error of each row of the sample."""
        values = self.sample[rows]
        difference = values - part.compress(values).decode()
        errors: Values = self.weights[rows] * (difference.astype(np.float64) ** 2).sum(axis=1)
        return errors

    def _by_bits(self) -> tuple[float, Split]:
        """Try every pair of widths, each with as many hot rows as there are bytes for."""
        hots, colds = list(self.hot.choices()), list(self.cold.choices())
        floor = min(cold.bytes(self.rows, self.table.dimension) for cold in colds)
        # Sums of errors of the first rows of the sample, from none to all.
        known: dict[str, Values] = {}

        def sums(part: Inner) -> Values:
            if str(part) not in known:
                known[str(part)] = np.concatenate([[0.0], np.cumsum(self._errors(part))])
            return known[str(part)]

        best: tuple[float, Split] | None = None
        for cold in colds:
            for hot in hots:
                hot_rows = self._most(hot, cold)
                if hot_rows is None:
                    continue
                edge = round(hot_rows / max(self.rows, 1) * len(self.sample))
                error = float(sums(hot)[edge] + sums(cold)[-1] - sums(cold)[edge])
                if best is None or error < best[0]:
                    best = (error, Split(self.order, self._scaled(hot_rows), hot, cold))
        if best is None:
            raise budget_error("hot_cold", self.budget, floor)
        return best

    def _most(self, hot: Inner, cold: Inner) -> int | None:
        """Return the most hot rows; None if not even cold rows fit, or hot rows take no more bytes than cold ones."""
        dimension = self.table.dimension
        if hot.bytes(self.rows, dimension) <= self.budget:
            return self.rows
        if cold.bytes(self.rows, dimension) > self.budget:
            return None

        def fits(hot_rows: int) -> bool:
            parts = hot.bytes(hot_rows, dimension) + cold.bytes(self.rows - hot_rows, dimension)
            return parts + self.map_bytes <= self.budget

        return last_where(0, self.rows, fits)

    def _by_share(self) -> list[tuple[float, Split]]:
        """Try some shares of hot rows, and give the cold ones what bytes are left."""
        found: list[tuple[float, Split]] = []
        for hot in self.hot.choices((8, 6, 4)):
            for share in SHARES[1:]:
                hot_rows = round(share * self.rows)
                left = self.budget - hot.bytes(hot_rows, self.table.dimension) - self.map_bytes
                error = self._error_of(hot, share, left) if left > 0 else np.inf
                if error < np.inf:
                    found.append((error, Split(self.order, self._scaled(hot_rows), hot, self.cold, left)))
        none = Split(self.order, 0, self.hot, self.cold, self.budget)
        return [*found, (self._error_of(self.hot, 0.0, self.budget), none)]

    def _error_of(self, hot: Inner, share: float, left: int) -> float:
        """Return the sample's error where cold rows have so many bytes; infinity if they can't do with them."""
        from .._compress import compress

        edge = round(share * len(self.sample))
        values = self.sample[edge:]
        # Codebooks are as large for the sample as for the table.
        books = min(4 * self.table.dimension * 2**BOOK_BITS, left // 2)
        scaled = books + int((left - books) * len(self.sample) / max(self.rows, 1))
        try:
            found = compress(values, self.cold.name, budget=scaled, **self.cold.options).decode()
        except ValueError:
            return np.inf
        error = float((self.weights[edge:, None] * (values - found).astype(np.float64) ** 2).sum())
        return error + (float(self._errors(hot, slice(edge)).sum()) if edge else 0.0)

    def _scaled(self, hot_rows: int) -> int:
        """Return how many rows of this table so many of the counted ones are."""
        return min(self.table.rows, round(hot_rows / self.scale)) if self.rows != self.table.rows else hot_rows


def _has_fixed_rows(part: Inner) -> bool:
    """Whether every row takes the same bytes, and widths are all there is to choose."""
    return part.is_by_row or not {"parts", "clusters", "rank", "groups"} & part.known


def _map_bytes(rows: int) -> int:
    """Return what it takes to say which of two parts each row is in."""
    if rows < 2:
        return 0
    assignment = np.zeros(rows, np.int64)
    assignment[rows // 2 :] = 1
    return assignment_bytes(assignment)


def _compose(table: Table, split: Split, steps: Steps) -> Table:
    """Return the rows in their parts; no partition where all of them are in one."""
    from .._compress import compress

    def part(inner: Inner, ids: Values, budget: int | None) -> Table:
        progress = steps.next()
        rows = table.slice(0, table.rows) if len(ids) == table.rows else remap(table, map=ids)
        if budget is None:
            return inner.compress_table(rows, progress)
        return compress(rows, inner.name, budget=budget, progress=progress, **inner.options)

    hot_ids, cold_ids = (np.sort(ids) for ids in np.split(split.order.ids, [split.hot_rows]))
    if len(hot_ids) == 0 or len(cold_ids) == 0:
        steps.next()
        inner, budget = (split.hot, None) if len(hot_ids) else (split.cold, split.cold_bytes)
        return part(inner, np.arange(table.rows), budget)
    parts = [part(split.hot, hot_ids, None), part(split.cold, cold_ids, split.cold_bytes)]
    if split.order.by_number:
        return partition(parts)
    assignment = np.ones(table.rows, np.int64)
    assignment[hot_ids] = 0
    return partition(parts, assignment=assignment)
