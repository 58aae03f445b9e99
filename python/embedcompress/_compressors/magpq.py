"""MagPQ: rows in groups by their norm, and product codes for each group; the larger the norms, the more code bits.

The VLDB 2024 study's MagnitudeProductQuantizer (arXiv 2311.15578). Groups have equal sums of norms, so that those of
large norms have few rows, which more bits cost little for. A budget is shared out so that the expected squared error of
all groups together is the least; where fewer groups are expected to do better, there are fewer.

Bytes: those of `pq` for each group, and which group each row is in: log2(groups) / 8 bytes a row or a little more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import _core
from .._methods import Method, Option
from .._routes import partition
from .._table import Table, dense
from . import _product_plan as product_plan
from ._compressor import (
    BUDGET,
    FLOAT_BYTES,
    Compressor,
    Request,
    budget_error,
    float_type,
    integer,
    integer_if_given,
)
from ._groups import assignment_bytes, by_norm
from ._linear import Steps, Values, squared_norms


@dataclass(frozen=True)
class _Group:
    rows: Values
    """Numbers of its rows, ascending."""
    energy: float
    """The sum of squared distances from the group's mean."""


class MagnitudeProduct(Compressor):
    """`compress(weight, "magpq")`."""

    method: ClassVar[Method] = Method(
        name="magpq",
        title="MagPQ",
        paper="Zhang et al., VLDB 2024, arXiv 2311.15578",
        kind="post-training",
        summary="product codes for each group of rows of similar norm, with more bits where norms are larger",
        bytes_per_row="those of pq with the group's parts and bits, and about log2(groups) / 8",
        cost="a pass over the table, and that of pq for each group",
        options=(
            Option("groups", "an integer from 1 to 64", 4, "groups of rows; with a budget, the most of them"),
            Option("parts", "an integer from 1 to d", None, "parts of a row; if not given, as many as have 4 columns"),
            Option(
                "bits",
                "an integer from 1 to 16",
                8,
                "bits of a code where norms are largest; each next group has one less",
            ),
            Option("entry_dtype", "one of 'f16', 'f32'", "f16", "type of a codebook's entries"),
            Option("rounds", "an integer from 1 to 100000", 25, "most rounds of k-means"),
            Option("seed", "an integer, at least 0", 0, "of the rows that are learned from"),
            Option(BUDGET.name, BUDGET.values, None, "most bytes of the result; chooses each group's parts and bits"),
        ),
    )

    def compress(self, request: Request) -> Table:
        """Return a partition of product codes."""
        table, options = request.source, dict(request.options)
        dimension = table.dimension
        most = integer(options, "groups", "magpq", 1, 64)
        bits = integer(options, "bits", "magpq", 1, 16)
        rounds, seed = integer(options, "rounds", "magpq", 1, 100_000), integer(options, "seed", "magpq", 0, 2**62)
        entries = float_type(options, "entry_dtype", "magpq")
        parts = integer_if_given(options, "parts", "magpq", 1, dimension) or -(-dimension // 4)
        norms = np.sqrt(squared_norms(table))
        if request.budget is None:
            groups = _groups(table, by_norm(norms, most))
            plans = [(parts, max(bits - index, 1)) for index in range(len(groups))]
        else:
            if request.given & {"parts", "bits"}:
                raise ValueError("give magpq either parts and bits or a budget, not both")
            groups, plans = _shared_out(table, norms, most, request.budget, FLOAT_BYTES[entries])
        made = []
        steps = Steps(request.progress, table.rows, tuple(len(group.rows) + 1 for group in groups))
        for group, (parts, width) in zip(groups, plans, strict=True):
            source = table if len(groups) == 1 else dense(table.lookup(group.rows))
            knobs = {"parts": parts, "bits": width, "entry_dtype": entries, "rounds": rounds, "seed": seed}
            made.append(_core.compress(source, None, "pq", json.dumps(knobs), steps.next()))
        if len(made) == 1:
            return made[0]
        assignment = np.zeros(table.rows, np.int64)
        for index, group in enumerate(groups):
            assignment[group.rows] = index
        return partition(made, assignment=assignment)


def _groups(table: Table, assignment: Values) -> list[_Group]:
    found = []
    for number in range(int(assignment.max(initial=0)) + 1):
        rows = np.flatnonzero(assignment == number)
        values = table.lookup(rows).astype(np.float64)
        energy = float(np.square(values - values.mean(axis=0)).sum()) if len(rows) else 0.0
        found.append(_Group(rows, energy))
    return found


def _shared_out(
    table: Table, norms: Values, most: int, budget: int, entry_bytes: int
) -> tuple[list[_Group], list[tuple[int, int]]]:
    """Return groups, and the parts and bits of each, of the least expected error within a budget.

    Raises:
        BudgetError: nothing is that small; the message names the bytes of the smallest.
    """
    found: tuple[float, list[_Group], list[product_plan.Plan]] | None = None
    for count in range(1, most + 1):
        assignment = by_norm(norms, count)
        groups = _groups(table, assignment)
        room = budget - assignment_bytes(assignment)
        plans = _cheapest_error(groups, table.dimension, room, entry_bytes)
        if plans is None:
            continue
        error = sum(group.energy * plan.error for group, plan in zip(groups, plans, strict=True))
        if found is None or error < found[0]:
            found = error, groups, plans
    if found is None:
        floor = product_plan.least_bytes(table.rows, table.dimension, entry_bytes)
        raise budget_error("magpq", budget, floor)
    return found[1], [(plan.parts, plan.bits) for plan in found[2]]


def _cheapest_error(
    groups: Sequence[_Group], dimension: int, room: int, entry_bytes: int
) -> list[product_plan.Plan] | None:
    """Return a plan for each group, of the least error together within so many bytes; None if there are none."""
    choices = [list(product_plan.plans(len(group.rows), dimension, room, entry_bytes)) for group in groups]
    if not all(choices):
        return None

    def at(price: float) -> list[product_plan.Plan]:
        """Return each group's best plan where a byte costs so much error."""
        return [min(plans, key=_cost(group.energy, price)) for group, plans in zip(groups, choices, strict=True)]

    def total(plans: Sequence[product_plan.Plan]) -> int:
        return sum(plan.stored_bytes for plan in plans)

    low, high = 0.0, 1.0 + sum(group.energy for group in groups)
    if total(at(high)) > room:
        return None
    for _ in range(60):
        price = (low + high) / 2 if low else high / 1e3
        if total(at(price)) > room:
            low = price
        else:
            high = price
        if low and high / low < 1.0001:
            break
    chosen = at(high)
    # What is left goes to whichever group gains most by it, as long as one does.
    while True:
        left = room - total(chosen)
        gains = [
            (group.energy * (plan.error - other.error), index, other)
            for index, (group, plan, plans) in enumerate(zip(groups, chosen, choices, strict=True))
            for other in plans
            if other.stored_bytes - plan.stored_bytes <= left and other.error < plan.error
        ]
        gain, index, better = max(gains, key=lambda one: one[0], default=(0.0, 0, None))
        if better is None or gain <= 0:
            return chosen
        chosen[index] = better


def _cost(energy: float, price: float) -> Callable[[product_plan.Plan], float]:
    return lambda plan: energy * plan.error + price * plan.stored_bytes
