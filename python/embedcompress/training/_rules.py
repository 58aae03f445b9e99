"""What is known of methods from measurements: curves over the budget, fitted by `embedcompress bench fit`.

They are of the size of table of their data; how time and bytes of training grow with it is in `_growth`.

A point stands for budgets from the bytes that its tables had to the budget that they were given, as any of these makes
the same table. Between points, losses are linear in the logarithm of the budget, and bytes, seconds and nanoseconds
are power laws. Below the smallest budget everything stays as it is there but losses, which go on as they rose
between the last two; above the largest everything but training bytes, which grow like the budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .._labels import label
from .._methods import FULL
from .._reading import json_value, read_whole
from ._growth import Growth, growth_of

FORMAT = 3
SLACK = 0.99
"""A budget that is less by a hundredth is the same: budgets are whole bytes."""


@dataclass(frozen=True)
class Point:
    """Means over the seeds of cells that differ in nothing else."""

    budget: float
    """Share of the f32 size, as all ratios."""
    seeds: tuple[int, ...]
    ratio: float
    """Stored."""
    loss: float
    """AUC of the uncompressed table of the same seed, less the method's."""
    error: float | None
    """The standard error of the mean; None of one seed."""
    cold_loss: float
    """The same of rows whose ids were seen the least."""
    cold_error: float | None
    training_ratio: float
    """Bytes of parameters and buffers over those of f32."""
    training_time: float
    """Seconds over those of the uncompressed table."""
    lookup_ns: float
    """Of a row of the frozen table, on one thread."""


@dataclass(frozen=True)
class Estimate:
    """What to expect at a budget."""

    loss: float
    error: float | None
    cold_loss: float
    cold_error: float | None
    training_ratio: float
    training_time: float
    lookup_ns: float
    extrapolated: bool
    """Whether the budget is smaller or larger than what was measured."""
    points: tuple[Point, ...]
    """What it rests on: one, or two."""


@dataclass(frozen=True)
class Curve:
    """A method with its options on a data set under a head."""

    method: str
    points: tuple[Point, ...]
    """By budget, ascending."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For `embedding`, beside the budget."""

    @property
    def label(self) -> str:
        """Return the method with its options."""
        return label(self.method, self.options)

    def at(self, budget: float) -> Estimate:
        """Return what to expect at a share of the f32 size."""
        nodes = self._nodes()
        beyond = budget / nodes[-1][0]
        budget = min(budget, nodes[-1][0])
        below = [node for node in nodes if node[0] <= budget]
        above = [node for node in nodes if node[0] >= budget]
        (low, first), (high, last) = below[-1] if below else nodes[0], above[0]
        share = 0.0 if not below or low == high else math.log(budget / low) / math.log(high / low)
        points = (first,) if first == last else (first,) if share == 0 else (last,) if share == 1 else (first, last)
        rise = cold_rise = 0.0
        if not below and len(self.points) > 1:
            one, other = self.points[:2]
            points = (one, other)
            steps = math.log(low / budget) / math.log(other.budget / one.budget)
            rise, cold_rise = (
                steps * max(0.0, value) for value in (one.loss - other.loss, one.cold_loss - other.cold_loss)
            )
        return Estimate(
            loss=_line(first.loss, last.loss, share) + rise,
            error=_error(first.error, last.error, share),
            cold_loss=_line(first.cold_loss, last.cold_loss, share) + cold_rise,
            cold_error=_error(first.cold_error, last.cold_error, share),
            training_ratio=_power(first.training_ratio, last.training_ratio, share) * max(1.0, beyond),
            training_time=_power(first.training_time, last.training_time, share),
            lookup_ns=_power(first.lookup_ns, last.lookup_ns, share),
            extrapolated=not below or beyond > 1 / SLACK,
            points=points,
        )

    def is_same(self, one: float, other: float) -> bool:
        """Return whether two budgets are of one point, which makes the same table."""
        least, most = min(one, other), max(one, other)
        return any(point.ratio <= least and most <= point.budget for point in self.points)

    def _nodes(self) -> list[tuple[float, Point]]:
        nodes: list[tuple[float, Point]] = []
        before = 0.0
        for point in self.points:
            least = max(min(point.ratio, SLACK * point.budget), before)
            nodes += [(least, point), (point.budget, point)] if least > before else [(point.budget, point)]
            before = point.budget
        return nodes


@dataclass(frozen=True)
class Evidence:
    """All methods on a data set under a head."""

    data: str
    head: str
    rows: int
    """Of the table: ids of all fields."""
    settings: Mapping[str, Any]
    full: Mapping[str, Any]
    """The uncompressed table: its `auc`, `cold_auc`, `train_seconds` and `seeds`."""
    spread: tuple[Mapping[str, float], ...]
    """By budget: the standard deviation over seeds of `loss` and `cold_loss` that is usual. Empty if it is unknown."""
    curves: Mapping[str, Curve]
    """By label."""

    @property
    def name(self) -> str:
        """Return the data set and the head."""
        return f"{self.data}/{self.head}"

    def deviation(self, budget: float, cold: bool) -> float | None:
        """Return the usual standard deviation over seeds, at the measured budget that is nearest."""
        if not self.spread:
            return None
        nearest = min(self.spread, key=lambda one: abs(math.log(one["budget"] / budget)))
        return nearest["cold_loss" if cold else "loss"]

    def variants(self, method: str) -> list[Mapping[str, Any]]:
        """Return the options that a method was measured with; none are the first."""
        found = [curve.options for curve in self.curves.values() if curve.method == method]
        return sorted(found, key=len)

    def cells(self, name: str, points: Sequence[Point]) -> tuple[str, ...]:
        """Return the requests of points, and of the uncompressed tables that they are compared with.

        Args:
            name: The label of a curve.
            points: Of it.
        """
        full = [f"{self.name}/{FULL}/1: {_seeds(sorted({seed for point in points for seed in point.seeds}))}"]
        own = [f"{self.name}/{name}/{point.budget:g}: {_seeds(point.seeds)}" for point in points]
        return tuple(dict.fromkeys(own + full))


@dataclass(frozen=True)
class Rules:
    """Everything that was fitted to files of results."""

    results: Mapping[str, Any]
    """The `files`, each with its `sha256` and how many `cells` it has, the `machines` of what was trained, and what was
    `left_out`, in sentences."""
    evidence: tuple[Evidence, ...]
    growth: Growth | None
    """None: how training grows with the rows was not measured."""

    def nearest(self, rows: int) -> Evidence:
        """Return the data set whose rows are most like as many, under the head with which most was measured."""
        return min(self.evidence, key=lambda one: (abs(math.log(one.rows / rows)), -_measured(one)))


def read_rules(path: str | Path) -> Rules:
    """Return rules from a file that `embedcompress bench fit` wrote.

    Raises:
        ValueError: the file is not one, or is one of another version.
    """
    other = None
    try:
        found = json_value(read_whole(Path(path)))
        if found["format"] != FORMAT:
            other = int(found["format"])
            raise ValueError
        growth = None if found["growth"] is None else growth_of(found["growth"])
        rules = Rules(found["results"], tuple(_evidence(one) for one in found["evidence"]), growth)
        if rules.evidence:
            return rules
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    if other is not None:
        raise ValueError(
            f"'{path}' has rules of format {other}; this version reads format {FORMAT}: fit them again with "
            "`embedcompress bench fit`"
        )
    raise ValueError(f"'{path}' has no rules of `embedcompress bench fit`")


@cache
def committed_rules() -> Rules:
    """Return the rules that come with the library, fitted to train.jsonl and scale.jsonl of docs/results."""
    return read_rules(Path(__file__).with_name("rules.json"))


def _evidence(found: dict[str, Any]) -> Evidence:
    curves = [
        Curve(
            one["method"],
            tuple(Point(**point | {"seeds": tuple(point["seeds"])}) for point in one["points"]),
            dict(one["options"]),
        )
        for one in found["curves"]
        if one["points"]
    ]
    by_label = {curve.label: curve for curve in curves}
    return Evidence(**found | {"spread": tuple(found["spread"]), "curves": by_label})


def _measured(evidence: Evidence) -> int:
    return sum(len(point.seeds) for curve in evidence.curves.values() for point in curve.points)


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {' '.join(map(str, seeds))}"


def _line(first: float, last: float, share: float) -> float:
    return first + share * (last - first)


def _power(first: float, last: float, share: float) -> float:
    return float(first ** (1 - share) * last**share)


def _error(first: float | None, last: float | None, share: float) -> float | None:
    return None if first is None or last is None else _line(first, last, share)
