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
from typing import Any, ClassVar

import numpy as np

from .. import _core
from .._methods import Method, Option
from .._routes import partition, remap
from .._table import Progress, Table, dense
from . import _product_plan as product_plan
from ._compressor import BUDGET, Compressor, Request

Values = np.ndarray[Any, Any]

_SIZES = {"f16": 2, "f32": 4}
_BLOCK_BYTES = 8 << 20


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
        most = _integer(options, "groups", 1, 64)
        bits = _integer(options, "bits", 1, 16)
        rounds, seed = _integer(options, "rounds", 1, 100_000), _integer(options, "seed", 0, 2**62)
        entries = options["entry_dtype"]
        if entries not in _SIZES:
            raise ValueError(f"magpq: entry_dtype must be one of 'f16', 'f32', not {entries!r}")
        norms = _norms(table)
        if request.budget is None:
            given = options["parts"]
            parts = -(-dimension // 4) if given is None else _integer(options, "parts", 1, dimension)
            groups = _groups(table, norms, most)
            plans = [(parts, max(bits - index, 1)) for index in range(len(groups))]
        else:
            if request.given & {"parts", "bits"}:
                raise ValueError("give magpq either parts and bits or a budget, not both")
            groups, plans = _shared_out(table, norms, most, request.budget, _SIZES[entries])
        made = []
        done = 0
        for group, (parts, width) in zip(groups, plans, strict=True):
            source = table if len(groups) == 1 else dense(table.lookup(group.rows))
            knobs = {"parts": parts, "bits": width, "entry_dtype": entries, "rounds": rounds, "seed": seed}
            watch = _part(request.progress, done, len(group.rows), table.rows)
            made.append(_core.compress(source, None, "pq", json.dumps(knobs), watch))
            done += len(group.rows)
        if len(made) == 1:
            return made[0]
        return partition(made, assignment=_assignment(groups, table.rows))


def _part(progress: Progress | None, start: int, rows: int, total: int) -> Progress | None:
    """Return the callback of a step that is some of the rows."""
    if progress is None:
        return None
    return lambda done, of: progress(start + rows * done // max(of, 1), total)


def _norms(table: Table) -> Values:
    norms = np.empty(table.rows)
    step = max(1, _BLOCK_BYTES // (4 * table.dimension))
    for start in range(0, table.rows, step):
        values = table.decode(start, min(start + step, table.rows))
        if not np.isfinite(values).all():
            row, column = (int(index) for index in np.argwhere(~np.isfinite(values))[0])
            raise ValueError(
                f"row {start + row} has {values[row, column]} in column {column}; every value must be finite"
            )
        norms[start : start + len(values)] = np.linalg.norm(values.astype(np.float64), axis=1)
    return norms


def _groups(table: Table, norms: Values, count: int) -> list[_Group]:
    """Return groups of equal sums of norms, the largest norms first; fewer where some would have no rows."""
    order = np.argsort(-norms, kind="stable")
    before = np.cumsum(norms[order]) - norms[order]
    total = float(norms.sum())
    shares = before / total if total > 0 else before
    numbers = np.minimum((shares * count).astype(np.int64), count - 1)
    found = []
    for number in np.unique(numbers) if len(norms) else [0]:
        rows = np.sort(order[numbers == number])
        values = table.lookup(rows).astype(np.float64)
        energy = float(np.square(values - values.mean(axis=0)).sum()) if len(rows) else 0.0
        found.append(_Group(rows, energy))
    return found


def _assignment(groups: Sequence[_Group], rows: int) -> Values:
    assignment = np.zeros(rows, np.int64)
    for index, group in enumerate(groups):
        assignment[group.rows] = index
    return assignment


def _partition_bytes(groups: Sequence[_Group], rows: int) -> int:
    """Return what it takes to say which group each row is in."""
    if len(groups) == 1:
        return 0
    one = dense(np.zeros((1, 1), np.float32))
    empty = [remap(one, rows=len(group.rows), modulo=1) for group in groups]
    return partition(empty, assignment=_assignment(groups, rows)).stored_bytes - len(groups) * one.stored_bytes


def _shared_out(
    table: Table, norms: Values, most: int, budget: int, entry_bytes: int
) -> tuple[list[_Group], list[tuple[int, int]]]:
    """Return groups, and the parts and bits of each, of the least expected error within a budget.

    Raises:
        BudgetError: nothing is that small; the message names the bytes of the smallest.
    """
    found: tuple[float, list[_Group], list[product_plan.Plan]] | None = None
    for count in range(1, most + 1):
        groups = _groups(table, norms, count)
        room = budget - _partition_bytes(groups, table.rows)
        plans = _cheapest_error(groups, table.dimension, room, entry_bytes)
        if plans is None:
            continue
        error = sum(group.energy * plan.error for group, plan in zip(groups, plans, strict=True))
        if found is None or error < found[0]:
            found = error, groups, plans
    if found is None:
        floor = product_plan.least_bytes(table.rows, table.dimension, entry_bytes)
        refusal: type[ValueError] = _core.BudgetError
        raise refusal(f"magpq cannot meet a budget of {budget} bytes: the least it can reach is {floor} bytes")
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


def _integer(options: dict[str, Any], name: str, low: int, high: int) -> int:
    value = options[name]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"magpq: {name} must be an integer from {low} to {high}, not {value!r}")
    return value
