"""How training grows with the rows of a table, from `embedcompress bench scale`.

The time of a step is taken over that of the uncompressed table of as many rows, bytes over those in f32. Between the
sizes and the budgets that were measured all of them are power laws; beyond the sizes, they stay as they are at the
nearest. Beyond the budgets, the time does, too; of the bytes, as many as the budget grow with it, and so do their
moments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

FAR = 3.0
"""Up to so many times the rows, or as few of them, a measurement stands for a table of another size."""
MOMENTS = 2
"""Of Adam, for each parameter."""

Place = tuple[int, float]
"""Rows, and a share of the f32 size."""


def is_far(one: float, other: float) -> bool:
    """Return whether a figure is too large or too small to be taken for another."""
    return abs(math.log(one / other)) > math.log(FAR) + 1e-9


@dataclass(frozen=True)
class Cost:
    """What training costs at a number of rows and a budget."""

    rows: int
    budget: float
    """Share of the f32 size, as all ratios."""
    time: float
    """Of a step, over that of the uncompressed table of as many rows."""
    training_ratio: float
    """Bytes of parameters and buffers over those of f32."""
    state_ratio: float
    """The same of all that is there after a step: gradients and the optimizer's state, too."""


@dataclass(frozen=True)
class GrowthCurve:
    """The costs of a method."""

    method: str
    points: tuple[Cost, ...]

    @property
    def budgets(self) -> tuple[float, ...]:
        """Shares of the f32 size that were measured, ascending."""
        return tuple(sorted({point.budget for point in self.points}))

    def covers(self, rows: int, budget: float) -> bool:
        """Return whether a size and a budget are near or between those that were measured."""
        near = self._near(budget)
        return bool(near) and _is_covered(rows, near)

    def at(self, rows: int, budget: float) -> Cost:
        """Return what to expect at a number of rows and a share of the f32 size."""
        sizes = self._near(budget) or sorted({point.rows for point in self.points})
        costs = [
            _with_budget(sorted((one for one in self.points if one.rows == size), key=_budget), budget)
            for size in sizes
        ]
        return _between(costs, _rows, rows)

    def _near(self, budget: float) -> list[int]:
        """Return the sizes at which the budget is near or between those that were measured, ascending."""
        found = []
        for size in sorted({point.rows for point in self.points}):
            if _is_covered(budget, [point.budget for point in self.points if point.rows == size]):
                found.append(size)
        return found


@dataclass(frozen=True)
class Growth:
    """The costs of all methods, under one head and one way of training."""

    data: str
    head: str
    settings: Mapping[str, Any]
    machines: tuple[str, ...]
    curves: Mapping[str, GrowthCurve]

    def slower(self, method: str, here: Place, there: Place) -> float:
        """Return how many times a method's time, over that of the uncompressed table, grows; 1 if it was not measured.

        Args:
            method: One that learns a table.
            here: Rows, and a share of the f32 size, to which it grows.
            there: Those from which.
        """
        curve = self.curves.get(method)
        return 1.0 if curve is None else curve.at(*here).time / curve.at(*there).time

    def covers(self, method: str, place: Place) -> bool:
        """Return whether rows and a share of the f32 size are near or between those that a method was measured at."""
        return method in self.curves and self.curves[method].covers(*place)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of rows that were measured, ascending."""
        return tuple(sorted({point.rows for curve in self.curves.values() for point in curve.points}))


def growth_of(found: Mapping[str, Any]) -> Growth:
    """Return what a file of rules says of it.

    Raises:
        ValueError: there is no method, or one without points.
    """
    if not found["curves"] or not all(one["points"] for one in found["curves"]):
        raise ValueError("growth without points")
    curves = {
        one["method"]: GrowthCurve(one["method"], tuple(Cost(**point) for point in one["points"]))
        for one in found["curves"]
    }
    return Growth(**{**found, "machines": tuple(found["machines"]), "curves": curves})


def _is_covered(wanted: float, measured: Sequence[float]) -> bool:
    """Return whether something is between the least and the most that was measured, or not far from them."""
    return not is_far(wanted, min(max(wanted, min(measured)), max(measured)))


def _with_budget(costs: Sequence[Cost], budget: float) -> Cost:
    """Return a cost at a share of the f32 size, from those of one number of rows, by their budgets.

    Beyond these, what is as large as the nearest budget is taken for what is stored, which grows with it, up to the
    uncompressed table: who holds that grows no more. What a method has beside that, such as something of every id or
    the gradients of a batch, stays.
    """
    found = _between(costs, _budget, budget)
    stored = min(found.training_ratio, found.budget)
    more = min(stored * (budget / found.budget - 1), max(1 - found.training_ratio, 0))
    moments = min(found.state_ratio - found.training_ratio, MOMENTS * stored) * (budget / found.budget - 1)
    return replace(
        found,
        budget=budget,
        training_ratio=found.training_ratio + more,
        state_ratio=found.state_ratio + more + moments,
    )


def _between(costs: Sequence[Cost], place: Callable[[Cost], float], wanted: float) -> Cost:
    """Return a cost on the power law between two of them, or that of the nearest; they ascend by their place."""
    low = max((one for one in costs if place(one) <= wanted), key=place, default=costs[0])
    high = min((one for one in costs if place(one) >= wanted), key=place, default=costs[-1])
    first, last = place(low), place(high)
    share = 0.0 if last <= first else math.log(wanted / first) / math.log(last / first)

    def power(name: str) -> float:
        return float(getattr(low, name) ** (1 - share) * getattr(high, name) ** share)

    return Cost(round(power("rows")), *map(power, ("budget", "time", "training_ratio", "state_ratio")))


def _budget(cost: Cost) -> float:
    return cost.budget


def _rows(cost: Cost) -> float:
    return cost.rows
