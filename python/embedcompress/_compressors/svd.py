"""SVD: rows as coordinates in the directions in which the table varies most, and a matrix that leads back.

Eckart & Young 1936; a baseline of the VLDB 2024 study (arXiv 2311.15578). The directions are the eigenvectors of the
d x d Gram matrix in f64, which is exact and reads the table once; the factor costs a second pass and n * rank floats of
memory. The factor is compressed by any method (`inner`). Then its columns are first mixed by an orthogonal matrix where
that lowers the error, and the matrix is fitted anew to the factor as it became, for the least squared error.

Bytes: those of n rows of `rank` columns, and rank * d * (2 or 4) + d * 4 for the table. At most d = 8192 or so: the
eigenvectors take d^3 operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._methods import Method, Option
from .._routes import project
from .._table import Progress, Table
from ._compressor import (
    BUDGET,
    FLOAT_BYTES,
    Compressor,
    Request,
    budget_error,
    choice,
    flag,
    integer_if_given,
    largest,
)
from ._inner import PLAIN, Inner
from ._linear import Basis, Moments, Steps, Values, coordinates, fitted, mixing

SAMPLE_ROWS = 2048
"""Rows on which ranks and widths are compared."""

ELEMENTS = ("auto", "f32", "f16")


@dataclass(frozen=True)
class Plan:
    """What an SVD is to be made of."""

    rank: int
    inner: Inner
    element: str
    """Of the matrix: f32 or f16."""
    center: bool
    mixes: bool = False
    """Whether the factor's columns are mixed."""

    def bytes(self, rows: int, dimension: int) -> int:
        """Return the bytes of the result."""
        return self.inner.bytes(rows, self.rank) + self.table_bytes(dimension)

    def table_bytes(self, dimension: int) -> int:
        """Return the bytes of the matrix and the bias."""
        return self.rank * dimension * FLOAT_BYTES[self.element] + 4 * dimension * self.center

    def matrix(self, basis: Basis) -> Values:
        """Return the directions of the factor's columns, (d, rank)."""
        directions = basis.directions[:, : self.rank]
        return directions @ mixing(self.rank, seed=0) if self.mixes else directions


def compose(table: Table, basis: Basis, plan: Plan, progress: Progress | None = None) -> Table:
    """Return a table as a factor and a matrix."""
    rough = plan.inner.name not in PLAIN
    steps = Steps(progress, table.rows, (1, 3, 1) if rough else (1,))
    directions = plan.matrix(basis)
    known = coordinates(table, basis.mean, directions, steps.next())
    factor = plan.inner.compress(known, steps.next() if rough else None)
    matrix, bias = directions.T, basis.mean
    if rough:
        factor = _unrotated(factor)
        matrix, bias = fitted(table, factor, plan.center, steps.next())
    return project(factor, matrix, bias if plan.center else None, element=plan.element)


def _unrotated(factor: Table) -> Table:
    """Return what a rotation rotates: the matrix that is fitted to it rotates as well."""
    tree, arrays = factor.parts()
    if tree["kind"] != "rotate":
        return factor
    inner = tree["children"]["inner"]
    return Table.from_parts(inner, {name: arrays[name] for name in _names(inner)})


def _names(tree: Mapping[str, Any]) -> list[str]:
    inner = [name for child in tree.get("children", {}).values() for name in _names(child)]
    return [*tree.get("tensors", {}).values(), *inner]


class Chooser:
    """Chooses rank, bits and mixing for a table of which the basis is known."""

    def __init__(self, table: Table, basis: Basis, rows: int):
        """Take a sample.

        Args:
            table: What the basis is of.
            basis: Of the table.
            rows: Of the table that bytes are counted for.
        """
        self.basis = basis
        self.rows = rows
        self.dimension = table.dimension
        step = max(1, table.rows // SAMPLE_ROWS)
        chosen = np.arange(0, table.rows, step)[:SAMPLE_ROWS]
        self.scale = table.rows / max(len(chosen), 1)
        """Rows of the table for each of the sample."""
        self._sample = table.lookup(chosen).astype(np.float64) - basis.mean
        self._energies = ((self._sample @ basis.directions) ** 2).sum(axis=0)

    def rank(self, plan: Plan, budget: int, least: int, most: int) -> int:
        """Return the largest rank within a budget; 0 if there is none."""

        def size(rank: int) -> int:
            return _with_rank(plan, rank).bytes(self.rows, self.dimension)

        return largest("svd", budget, least, most, size) if size(least) <= budget else 0

    def lost(self, rank: int) -> float:
        """Return the sample's squared error of the rank alone: what no inner method goes below."""
        return float(self._energies[rank:].sum())

    def error(self, plan: Plan) -> float:
        """Return the squared error of the sample, without fitting the matrix anew."""
        directions = plan.matrix(self.basis)
        factor = self._sample @ directions
        found = plan.inner.compress(factor.astype(np.float32)).decode()
        return float(((self._sample - found @ directions.T) ** 2).sum())

    def mixed(self, plan: Plan) -> Plan:
        """Return the plan, with mixing where that lowers the error."""
        other = self.likely(plan)
        if other is plan or not len(self._sample):
            return plan
        return other if self.error(other) < self.error(plan) else plan

    def likely(self, plan: Plan) -> Plan:
        """Return the plan, with mixing where that mostly lowers the error: where a row's columns share a range."""
        if not plan.inner.is_by_row or plan.inner.name in PLAIN or plan.rank < 2:
            return plan
        return Plan(plan.rank, plan.inner, plan.element, plan.center, mixes=True)

    def best(self, plan: Plan, budget: int, ranks: range, method: str) -> Plan:
        """Return the plan of the least error within a budget: its rank, and the bits of the inner method.

        Args:
            plan: All else.
            budget: Bytes.
            ranks: From the least to the largest that may be chosen.
            method: Named in the error.

        Raises:
            BudgetError: nothing is that small.
        """
        found: list[Plan] = []
        floor: int | None = None
        for inner in plan.inner.choices():
            one = Plan(0, inner, plan.element, plan.center)
            rank = self.rank(one, budget, ranks[0], ranks[-1])
            if rank:
                found.append(self.likely(_with_rank(one, rank)))
            else:
                least = _with_rank(one, ranks[0]).bytes(self.rows, self.dimension)
                floor = least if floor is None else min(floor, least)
        if not found:
            raise budget_error(method, budget, floor or 0)
        found.sort(key=lambda plan: self.lost(plan.rank))
        best, lowest = found[0], np.inf
        for one in found if len(found) > 1 else ():
            if self.lost(one.rank) >= lowest:
                break
            error = self.error(one)
            if error < lowest:
                best, lowest = one, error
        return self.mixed(_with_rank(best, best.rank, mixes=False))


def _with_rank(plan: Plan, rank: int, mixes: bool | None = None) -> Plan:
    return Plan(rank, plan.inner, plan.element, plan.center, plan.mixes if mixes is None else mixes)


def element_of(options: Mapping[str, Any], inner: str, method: str) -> str:
    """Return the matrix's element type: that of the factor's precision if it is not given."""
    element = choice(options, "element", method, ELEMENTS, f"one of {', '.join(ELEMENTS)}")
    if element == "auto":
        return "f32" if inner == "dense" else "f16"
    return element


RANK = Option("rank", "an integer from 1 to d", None, "columns of the factor; half of the table's if not given")
INNER = Option(
    "inner", "dense, f16, bf16 or a method's name", "dense", "what compresses the factor; its options can be given too"
)
ELEMENT = Option(
    "element", "auto, f32 or f16", "auto", "type of the matrix; auto is f32 if inner is dense, and f16 otherwise"
)
CENTER = Option("center", "true or false", True, "whether the mean row is taken out, for 4 d bytes")


class SVD(Compressor):
    """`compress(weight, "svd")`."""

    method: ClassVar[Method] = Method(
        name="svd",
        title="SVD",
        paper="Eckart & Young 1936; Zhang et al., VLDB 2024, arXiv 2311.15578",
        kind="post-training",
        summary="the directions in which rows vary most, and each row's coordinates there, compressed by any method",
        bytes_per_row="those of `inner` for rank columns; rank * d * (2 for f16, 4 for f32) + 4 * d for the table",
        cost="two passes over the table, d^3 once, and the inner method",
        options=(
            RANK,
            INNER,
            ELEMENT,
            CENTER,
            Option(
                BUDGET.name, BUDGET.values, None, "most bytes of the result; chooses rank, and the inner method's bits"
            ),
        ),
    )
    has_inner: ClassVar[bool] = True

    def compress(self, request: Request) -> Table:
        """Return factor times matrix."""
        table, options = request.source, request.options
        inner = Inner(str(options["inner"]), request.inner, within="svd")
        plan = Plan(0, inner, element_of(options, inner.name, "svd"), flag(options, "center", "svd"))
        most = max(table.dimension, 1)
        rank = integer_if_given(options, "rank", "svd", 1, most)
        steps = Steps(request.progress, table.rows, (1, 4))
        if rank is not None and request.budget is not None and not inner.has_free_bits:
            raise ValueError(
                "give svd either a rank or a budget, or let the budget choose the bits of its inner method"
            )
        basis = Basis.of(Moments.of(table, steps.next()), plan.center)
        last = steps.next()
        chooser = Chooser(table, basis, request.counted_rows)
        if request.budget is None:
            return compose(table, basis, chooser.mixed(_with_rank(plan, rank or -(-table.dimension // 2))), last)
        ranks = range(rank, rank + 1) if rank else range(1, max(1, min(most, table.rows)) + 1)
        plan = chooser.best(plan, request.budget, ranks, "svd")
        while (result := compose(table, basis, plan, last)).stored_bytes > request.budget:
            # Only where rows of the inner method have no fixed size, so that its bytes were an estimate.
            if plan.rank == ranks[0]:
                raise budget_error("svd", request.budget, result.stored_bytes)
            share = request.budget / result.stored_bytes
            plan = _with_rank(plan, max(ranks[0], min(plan.rank - 1, int(plan.rank * share))))
        return result
