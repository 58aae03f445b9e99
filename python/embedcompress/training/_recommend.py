"""`recommend`: which method to train for fields and a budget, from measurements of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import BudgetError
from .._bisection import last_where
from .._checks import check_type, checked_number
from .._methods import FULL
from .._report import figure
from ._advice import Advice, Choice, Refused
from ._growth import Cost, Growth, is_far
from ._registry import METHODS, plan
from ._rules import Curve, Estimate, Evidence, Rules, committed_rules
from ._spec import Spec
from ._words import nothing_left, reason, time_steps

NOISE = 1.0
"""Standard errors of a difference within which losses are not told apart: the one-standard-error rule."""


@dataclass(frozen=True)
class _Limits:
    """What is asked of a method, the budget in bytes."""

    spec: Spec
    train_memory: float
    latency: float
    cold: bool
    evidence: Evidence
    growth: Growth | None

    @property
    def f32(self) -> int:
        return self.spec.full_bytes

    @property
    def far(self) -> bool:
        """Whether the evidence is of a table of another size."""
        return is_far(self.spec.rows, self.evidence.rows)

    def at(self, curve: Curve, size: int) -> Estimate:
        """Return what to expect of a method with so many bytes at this number of rows.

        Bytes are those that were measured at this size, if any were, and so is the time where the evidence is far.
        Otherwise both are of the evidence, the time grown to this number of rows.
        """
        share = size / self.f32
        estimate = curve.at(share)
        if self.growth is None:
            return estimate
        cost = self.cost(curve, size)
        if cost is not None:
            estimate = replace(estimate, training_ratio=cost.training_ratio)
            if self.far:
                return replace(estimate, training_time=cost.time)
        share = self.same(curve, share)
        slower = self.growth.slower(curve.method, (self.spec.rows, share), (self.evidence.rows, share))
        return replace(estimate, training_time=estimate.training_time * slower)

    def cost(self, curve: Curve, size: int) -> Cost | None:
        """Return what training of a method costs with so many bytes; None if it was not measured at this size."""
        place = self.spec.rows, self.same(curve, size / self.f32)
        if self.growth is None or not self.growth.covers(curve.method, place):
            return None
        return self.growth.curves[curve.method].at(*place)

    def same(self, curve: Curve, share: float) -> float:
        """Return the budget of growth that makes the same table, or the one that is given if there is none."""
        known = self.growth.curves.get(curve.method) if self.growth else None
        budgets = known.budgets if known else ()
        return next((one for one in budgets if curve.is_same(one, share)), share)

    def broken(self, estimate: Estimate) -> str:
        """Return the limit that is not kept; empty if all are."""
        if estimate.training_ratio * self.f32 > self.train_memory:
            return "train_memory"
        return "latency" if estimate.lookup_ns > self.latency else ""

    def loss(self, estimate: Estimate) -> float:
        return estimate.cold_loss if self.cold else estimate.loss

    def largest(self, curve: Curve) -> int:
        """Return the most bytes that a method was measured with."""
        return int(curve.points[-1].budget * self.f32)

    def why_smaller(self, advice: Advice) -> str:
        """Return why advice is not for the whole budget, as a sentence; empty if it is."""
        curve = self.evidence.curves[advice.method]
        most = min(self.spec.budget, self.largest(curve))
        if advice.budget >= min(self.spec.budget, self.f32):
            return ""
        if advice.budget >= most:
            return f"Give it {advice.budget:,} bytes: more was not measured."
        broken = self.broken(self.at(curve, most))
        why = {"train_memory": "more breaks the limit of training memory", "latency": "with more it is too slow"}
        return f"Give it {advice.budget:,} bytes: {why.get(broken, 'it was worse with more')}."


@dataclass(frozen=True)
class _Option:
    """A method at a budget that it can meet."""

    method: str
    budget: int
    estimate: Estimate


def recommend(
    fields: Sequence[int],
    embedding_dim: int,
    *,
    budget: int | float,
    counts: object | None = None,
    train_memory: float | None = None,
    latency: float | None = None,
    cold: bool = False,
    rules: Rules | None = None,
) -> Choice:
    """Rank the methods that learn a table by the AUC that they are expected to lose.

    What a budget makes possible is solved; what it costs is read off measurements of the data set whose number of rows
    is most like the one that is given. Where `embedcompress bench scale` had a table of as many rows, bytes of training
    are those, and so is the time if the data set has not about as many. Otherwise the time is that of the data set,
    grown with the rows as it did in `bench scale`. What is further than a factor of three from the sizes that were
    measured is said to be extrapolated.

    Losses that differ by less than a standard error, of the seeds that are usual at that budget, have one rank; within
    it, what trains faster comes first, in quarters of the uncompressed table's time, and then what is looked up faster.
    A budget at which a method was not measured never comes first if another was. A smaller budget than the one that is
    given is advised where a method is better there by more than the noise, where only that keeps within the limits, and
    where more was not measured.

    Args:
        fields: Ids of each categorical field.
        embedding_dim: Columns of a row.
        budget: The most bytes of the frozen table, or a ratio of the f32 size.
        counts: How often each id is used, one field's after the other's; some methods need it.
        train_memory: The most bytes of parameters and buffers in training; the optimizer's moments come on top.
        latency: The most nanoseconds of a row's lookup, on one thread of the machine of the results.
        cold: Whether to rank by the quarter of rows whose ids are seen the least.
        rules: Fitted to other results, by `embedcompress bench fit`; see `read_rules`.

    Raises:
        BudgetError: no method can meet the budget; the message has the least bytes.
        ValueError: no method is within the other limits, or arguments that do not agree.
    """
    for name, value in (("train_memory", train_memory), ("latency", latency)):
        if value is not None and not checked_number(value, name) > 0:
            raise ValueError(f"{name} must be above 0, not {value}")
    sizes = [int(size) for size in fields]
    spec = Spec.of(sum(sizes), embedding_dim, budget, counts, sizes)
    if rules is None:
        rules = committed_rules()
    check_type(rules, Rules, "rules", "Rules")
    evidence = rules.nearest(spec.rows)
    limits = _Limits(spec, train_memory or math.inf, latency or math.inf, cold, evidence, rules.growth)
    options: list[_Option] = []
    refused: list[Refused] = []
    for method in METHODS:
        tried = _options(method, evidence.curves.get(method), limits)
        if isinstance(tried, Refused):
            refused.append(tried)
        else:
            options += tried
    if not options:
        raise nothing_left(refused, spec.budget)
    found = [_advice(rank, option, rules, limits) for rank, option in _ranked(options, limits)]
    advice = [
        replace(one, reason=reason(place, found, cold, evidence.rows, limits.why_smaller(one)))
        for place, one in enumerate(found)
    ]
    return Choice(advice, refused, evidence, rules)


def _options(method: str, curve: Curve | None, limits: _Limits) -> list[_Option] | Refused:
    """Return a method at the budgets at which it may be best and keeps within the limits, or why there is none."""
    spec = limits.spec
    try:
        floor = _floor(method, spec)
    except ValueError as error:
        return Refused(method, "arguments", None, None, f"{error}.")
    if floor > spec.budget:
        share = f"{100 * floor / limits.f32:.3g} % of f32"
        return Refused(method, "budget", floor, floor, f"{method} needs {floor:,} bytes at least, {share}.")
    if curve is None:
        return Refused(method, "results", floor, None, f"{method} has no figures from {limits.evidence.name}.")
    most = max(floor, min(spec.budget, limits.largest(curve)))
    tried = {most, floor} | {int(point.budget * limits.f32) for point in curve.points}

    def trains_in(size: int) -> float:
        return limits.at(curve, size).training_ratio * limits.f32

    if math.isfinite(limits.train_memory) and trains_in(floor) <= limits.train_memory:
        tried.add(last_where(floor, most, lambda size: trains_in(size) <= limits.train_memory))
    estimates = {size: limits.at(curve, size) for size in sorted(tried) if floor <= size <= most}
    kept = [_Option(method, size, estimate) for size, estimate in estimates.items() if not limits.broken(estimate)]
    if kept:
        return [option for option in kept if not option.estimate.extrapolated] or kept
    least = min(map(trains_in, estimates))
    if least > limits.train_memory:
        text = f"{method} trains in {math.ceil(least):,} bytes at least, going by what was measured."
        return Refused(method, "train_memory", floor, least, text)
    fastest = min(one.lookup_ns for one in estimates.values() if one.training_ratio * limits.f32 <= limits.train_memory)
    return Refused(method, "latency", floor, fastest, f"{method} took {figure(fastest, 3)} ns for a row at least.")


def _floor(method: str, spec: Spec) -> int:
    """Return the least bytes that a method can be stored in.

    Raises:
        ValueError: it can't be had for these arguments at all.
    """
    try:
        return int(_plan(method, spec, 1).stored_bytes)
    except BudgetError as error:
        if error.floor is None:
            raise
        return error.floor


def _plan(method: str, spec: Spec, size: int) -> Any:
    return plan(method, spec.rows, spec.dimension, budget=size, counts=spec.counts, fields=spec.sizes)


def _ranked(options: Sequence[_Option], limits: _Limits) -> list[tuple[int, _Option]]:
    """Return one option of each method with its rank, best first."""
    left = sorted(options, key=lambda option: (limits.loss(option.estimate), option.method, option.budget))
    found: list[tuple[int, _Option]] = []
    for rank in range(1, len(METHODS) + 1):
        measured = [option for option in left if not option.estimate.extrapolated]
        pool = measured if rank == 1 and measured else left
        if not pool:
            break
        most = limits.loss(pool[0].estimate) + _noise(pool[0], limits)
        same = [option for option in pool if limits.loss(option.estimate) <= most]
        # Of a method's budgets that are as good, the largest.
        chosen = {option.method: option for option in sorted(same, key=lambda option: option.budget)}
        found += [(rank, option) for option in sorted(chosen.values(), key=_cost)]
        left = [option for option in left if option.method not in chosen]
    return found


def _cost(option: _Option) -> tuple[int, float, int, str]:
    estimate = option.estimate
    return time_steps(estimate.training_time), estimate.lookup_ns, option.budget, option.method


def _noise(option: _Option, limits: _Limits) -> float:
    """Return the difference in loss from which on options are told apart; 0 where it is unknown."""
    usual = limits.evidence.deviation(option.budget / limits.f32, limits.cold)
    return 0.0 if usual is None else NOISE * usual * math.sqrt(2 / _seeds(option))


def _seeds(option: _Option) -> int:
    return min(len(point.seeds) for point in option.estimate.points)


def _advice(rank: int, option: _Option, rules: Rules, limits: _Limits) -> Advice:
    """Return an option as it is told, but for the reason."""
    method, estimate, evidence = option.method, option.estimate, limits.evidence
    share = option.budget / limits.f32
    cost = limits.cost(evidence.curves[method], option.budget)
    unmeasured = {
        "budget": estimate.extrapolated, "rows": limits.far, "training": limits.far and cost is None,
    }  # fmt: skip
    planned = _plan(method, limits.spec, option.budget)
    others = [one for one in rules.evidence if one is not evidence and method in one.curves]
    return Advice(
        method=method,
        rank=rank,
        budget=option.budget,
        knobs=planned.knobs,
        stored_bytes=planned.stored_bytes,
        ratio=planned.stored_bytes / limits.f32,
        auc_loss=estimate.loss,
        auc_loss_error=_error(option, estimate.error, evidence.deviation(share, cold=False)),
        cold_auc_loss=estimate.cold_loss,
        cold_auc_loss_error=_error(option, estimate.cold_error, evidence.deviation(share, cold=True)),
        training_bytes=round(estimate.training_ratio * limits.f32),
        state_bytes=None if cost is None else round(cost.state_ratio * limits.f32),
        training_time=estimate.training_time,
        lookup_ns_per_row=estimate.lookup_ns,
        beyond=tuple(name for name, is_so in unmeasured.items() if is_so),
        reason="",
        cells=evidence.cells(method, estimate.points),
        elsewhere={one.name: there.loss for one in others if not (there := one.curves[method].at(share)).extrapolated},
    )


def _error(option: _Option, own: float | None, usual: float | None) -> float | None:
    """Return the standard error of a loss: a few seeds can agree by chance, so no less than is usual."""
    if option.method == FULL:
        return 0.0
    if option.estimate.extrapolated:
        return None
    known = [] if own is None else [own]
    if usual is not None:
        known.append(usual / math.sqrt(_seeds(option)))
    return max(known, default=None)
