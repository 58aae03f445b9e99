"""MagSVD: rows in groups by their norm, and an SVD for each group; the larger the norms, the higher the rank.

The VLDB 2024 study's MagnitudeSVD (arXiv 2311.15578). Groups have equal sums of norms; a group of n_g rows has the rank
λ n_g^-0.3, and what a budget leaves after that goes to the groups in which a byte lowers the error most.

Bytes: those of the groups' SVDs, and which group each row is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .._methods import Method, Option
from .._routes import partition, remap
from .._table import Table
from ._compressor import BUDGET, Compressor, Request, budget_error, flag, integer, integer_if_given
from ._groups import assignment_bytes, by_norm
from ._inner import Inner
from ._linear import Basis, Moments, Steps, squared_norms
from .svd import CENTER, ELEMENT, INNER, Chooser, Plan, compose, element_of

EXPONENT = -0.3


class MagnitudeSVD(Compressor):
    """`compress(weight, "magsvd")`."""

    method: ClassVar[Method] = Method(
        name="magsvd",
        title="MagSVD",
        paper="Zhang et al., VLDB 2024, arXiv 2311.15578",
        kind="post-training",
        summary="an SVD for each group of rows of similar norm, of higher rank where norms are larger",
        bytes_per_row="those of svd with the group's rank, and log2(groups) / 8 or more",
        cost="four passes over the table, groups * d^3, and the inner method",
        options=(
            Option("groups", "an integer from 1 to 256", 4, "groups of rows"),
            Option(
                "rank", "an integer from 1 to d", None, "of the last group, whose norms are smallest; d / 4 by default"
            ),
            INNER,
            ELEMENT,
            CENTER,
            Option(
                BUDGET.name, BUDGET.values, None, "most bytes of the result; chooses ranks, and the inner method's bits"
            ),
        ),
    )
    has_inner: ClassVar[bool] = True

    def compress(self, request: Request) -> Table:
        """Return a partition of SVDs."""
        table, options = request.source, request.options
        inner = Inner(str(options["inner"]), request.inner, within="magsvd")
        plan = Plan(0, inner, element_of(options, inner.name, "magsvd"), flag(options, "center", "magsvd"))
        most = integer(options, "groups", "magsvd", 1, 256)
        rank = integer_if_given(options, "rank", "magsvd", 1, max(table.dimension, 1))
        if rank is not None and request.budget is not None:
            raise ValueError("give magsvd either a rank or a budget, not both")
        steps = Steps(request.progress, table.rows, (1, 2, 6))
        assignment = by_norm(np.sqrt(squared_norms(table, steps.next())), most)
        groups = [
            _Group(remap(table, map=np.flatnonzero(assignment == g)), plan, request.counted_rows / max(table.rows, 1))
            for g in range(int(assignment.max(initial=0)) + 1)
        ]
        found = Steps(steps.next(), table.rows, tuple(len(group.table) + 1 for group in groups))
        for group in groups:
            group.look(found.next())
        if request.budget is None:
            law = (rank or max(1, table.dimension // 4)) * len(groups[-1].table) ** -EXPONENT
            plans = [group.chooser.mixed(group.with_rank(plan, group.lawful(law))) for group in groups]
        else:
            shared = assignment_bytes(assignment)
            plans = _chosen(groups, plan, request.budget, shared)
        made = Steps(steps.next(), table.rows, tuple(len(group.table) + 1 for group in groups))
        tables = [compose(group.table, group.basis, one, made.next()) for group, one in zip(groups, plans, strict=True)]
        return partition(tables, assignment=assignment) if len(tables) > 1 else tables[0]


class _Group:
    """Rows of similar norm."""

    basis: Basis
    chooser: Chooser

    def __init__(self, table: Table, plan: Plan, scale: float):
        self.table = table
        self.rows = round(table.rows * scale)
        """That bytes are counted for."""
        self._center = plan.center

    def look(self, progress: Any) -> None:
        """Find the directions in which these rows vary."""
        self.basis = Basis.of(Moments.of(self.table, progress), self._center)
        self.chooser = Chooser(self.table, self.basis, self.rows)

    @property
    def highest(self) -> int:
        """The largest rank that is of use."""
        return max(1, min(self.table.rows, self.table.dimension))

    def lawful(self, law: float) -> int:
        """Return the rank that the study's law gives."""
        rank = round(float(law * max(self.table.rows, 1) ** EXPONENT))
        return min(max(rank, 1), self.highest)

    def with_rank(self, plan: Plan, rank: int) -> Plan:
        return Plan(rank, plan.inner, plan.element, plan.center)

    def bytes(self, plan: Plan, rank: int) -> int:
        return self.with_rank(plan, rank).bytes(self.rows, self.table.dimension)


def _chosen(groups: Sequence[_Group], plan: Plan, budget: int, shared: int) -> list[Plan]:
    """Return the groups' plans of the least error within a budget."""
    found: list[tuple[float, list[Plan]]] = []
    floors: list[int] = []
    for inner in plan.inner.choices():
        one = Plan(0, inner, plan.element, plan.center)
        floors.append(shared + sum(group.bytes(one, 1) for group in groups))
        if floors[-1] <= budget:
            ranks = _ranks(groups, one, budget - shared)
            lost = sum(g.chooser.lost(rank) * g.chooser.scale for g, rank in zip(groups, ranks, strict=True))
            found.append((lost, [group.with_rank(one, rank) for group, rank in zip(groups, ranks, strict=True)]))
    if not found:
        raise budget_error("magsvd", budget, min(floors))
    found.sort(key=lambda pair: pair[0])
    best, least = found[0][1], np.inf
    for lost, plans in found if len(found) > 1 else ():
        if lost >= least:
            break
        pairs = list(zip(groups, plans, strict=True))
        error = sum(group.chooser.error(group.chooser.likely(plan)) * group.chooser.scale for group, plan in pairs)
        if error < least:
            best, least = plans, error
    return [group.chooser.mixed(plan) for group, plan in zip(groups, best, strict=True)]


def _ranks(groups: Sequence[_Group], plan: Plan, budget: int) -> list[int]:
    """Return ranks by the study's law, as high as bytes allow, and then what the rest of the bytes buys."""

    def size(ranks: Sequence[int]) -> int:
        return sum(group.bytes(plan, rank) for group, rank in zip(groups, ranks, strict=True))

    def lawful(law: float) -> list[int]:
        return [group.lawful(law) for group in groups]

    low, high = 0.0, max(group.highest * group.table.rows**-EXPONENT for group in groups) + 1
    for _ in range(50):
        middle = (low + high) / 2
        if size(lawful(middle)) <= budget:
            low = middle
        else:
            high = middle
    ranks = lawful(low)
    spent = size(ranks)
    while True:
        best: tuple[float, int, int] | None = None
        for index, group in enumerate(groups):
            if ranks[index] < group.highest:
                cost = group.bytes(plan, ranks[index] + 1) - group.bytes(plan, ranks[index])
                gain = float(group.basis.energies[ranks[index]]) / max(cost, 1)
                if spent + cost <= budget and (best is None or gain > best[0]):
                    best = (gain, index, cost)
        if best is None:
            return ranks
        ranks[best[1]] += 1
        spent += best[2]
