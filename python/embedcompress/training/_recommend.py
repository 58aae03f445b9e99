"""`recommend`: which method to train for fields and a budget, from measurements of all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import BudgetError
from .._bisection import last_where
from .._checks import check_type, checked_number
from .._labels import label
from .._methods import FULL
from .._report import figure
from ._advice import Advice, Choice, Refused
from ._limits import Limits
from ._registry import METHODS, plan
from ._rules import Curve, Estimate, Rules, committed_rules
from ._spec import Plan, Spec
from ._words import nothing_left, reason, time_steps

NOISE = 1.0
"""Standard errors of a difference within which losses are not told apart: the one-standard-error rule."""


@dataclass(frozen=True)
class _Option:
    """A method with options at a budget that it can meet."""

    curve: Curve
    budget: int
    estimate: Estimate

    @property
    def label(self) -> str:
        return self.curve.label


def recommend(
    fields: Sequence[int],
    embedding_dim: int,
    *,
    budget: int | float | str,
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
    A method that was measured with options, such as arrays in codes of few bits, is a choice of its own with them: see
    `Advice.options`. Time of training then grows with the rows as that of the method without options.

    A budget at which a method was not measured never comes first if another was. A smaller budget than the one that is
    given is advised where a method is better there by more than the noise, where only that keeps within the limits, and
    where more was not measured.

    Args:
        fields: Ids of each categorical field.
        embedding_dim: Columns of a row.
        budget: The most bytes of the frozen table, or a ratio of the f32 size; as for `embedding`.
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
    limits = Limits(spec, train_memory or math.inf, latency or math.inf, cold, evidence, rules.growth)
    options: list[_Option] = []
    refused: list[Refused] = []
    for method in METHODS:
        for variant in evidence.variants(method) or [{}]:
            tried = _options(method, variant, limits)
            if isinstance(tried, Refused):
                refused.append(tried)
            else:
                options += tried
    if not options:
        raise nothing_left(refused, spec.budget)
    found = [_advice(rank, option, rules, limits) for rank, option in _ranked(options, limits)]
    advice = [
        replace(one, reason=reason(place, found, cold, evidence.rows, limits.notes(one)))
        for place, one in enumerate(found)
    ]
    return Choice(advice, refused, evidence, rules)


def _options(method: str, options: Mapping[str, Any], limits: Limits) -> list[_Option] | Refused:
    """Return a method at the budgets at which it may be best and keeps within the limits, or why there is none."""
    spec = limits.spec
    name = label(method, options)
    try:
        floor = _floor(method, options, spec)
    except ValueError as error:
        return Refused(method, options, "arguments", None, None, f"{error}.")
    if floor > spec.budget:
        text = f"{name} needs {floor:,} bytes at least, {100 * floor / limits.f32:.3g} % of f32."
        return Refused(method, options, "budget", floor, floor, text)
    if (curve := limits.evidence.curves.get(name)) is None:
        text = f"{name} has no figures from {limits.evidence.name}."
        return Refused(method, options, "results", floor, None, text)
    most = max(floor, min(spec.budget, limits.largest(curve)))
    tried = {most, floor} | {int(point.budget * limits.f32) for point in curve.points}

    def trains_in(size: int) -> float:
        return limits.at(curve, size).training_ratio * limits.f32

    if math.isfinite(limits.train_memory) and trains_in(floor) <= limits.train_memory:
        tried.add(last_where(floor, most, lambda size: trains_in(size) <= limits.train_memory))
    estimates = {size: limits.at(curve, size) for size in sorted(tried) if floor <= size <= most}
    kept = [_Option(curve, size, estimate) for size, estimate in estimates.items() if not limits.broken(estimate)]
    if kept:
        return [option for option in kept if not option.estimate.extrapolated] or kept
    least = min(map(trains_in, estimates))
    if least > limits.train_memory:
        text = f"{name} trains in {math.ceil(least):,} bytes at least, going by what was measured."
        return Refused(method, options, "train_memory", floor, least, text)
    fastest = min(one.lookup_ns for one in estimates.values() if one.training_ratio * limits.f32 <= limits.train_memory)
    text = f"{name} took {figure(fastest, 3)} ns for a row at least."
    return Refused(method, options, "latency", floor, fastest, text)


def _floor(method: str, options: Mapping[str, Any], spec: Spec) -> int:
    """Return the least bytes that a method can be stored in.

    Raises:
        ValueError: it can't be had for these arguments at all.
    """
    try:
        return int(_plan(method, options, spec, 1).stored_bytes)
    except BudgetError as error:
        if error.floor is None:
            raise
        return error.floor


def _plan(method: str, options: Mapping[str, Any], spec: Spec, size: int) -> Plan:
    return plan(method, spec.rows, spec.dimension, budget=size, counts=spec.counts, fields=spec.sizes, **options)


def _ranked(options: Sequence[_Option], limits: Limits) -> list[tuple[int, _Option]]:
    """Return one option of each method and its options with its rank, best first."""
    left = sorted(options, key=lambda option: (limits.loss(option.estimate), option.label, option.budget))
    found: list[tuple[int, _Option]] = []
    rank = 0
    while left:
        rank += 1
        measured = [option for option in left if not option.estimate.extrapolated]
        pool = measured if rank == 1 and measured else left
        most = limits.loss(pool[0].estimate) + _noise(pool[0], limits)
        same = [option for option in pool if limits.loss(option.estimate) <= most]
        # Of a method's budgets that are as good, the largest.
        chosen = {option.label: option for option in sorted(same, key=lambda option: option.budget)}
        found += [(rank, option) for option in sorted(chosen.values(), key=_cost)]
        left = [option for option in left if option.label not in chosen]
    return found


def _cost(option: _Option) -> tuple[int, float, int, str]:
    estimate = option.estimate
    return time_steps(estimate.training_time), estimate.lookup_ns, option.budget, option.label


def _noise(option: _Option, limits: Limits) -> float:
    """Return the difference in loss from which on options are told apart; 0 where it is unknown."""
    usual = limits.evidence.deviation(option.budget / limits.f32, limits.cold)
    return 0.0 if usual is None else NOISE * usual * math.sqrt(2 / _seeds(option))


def _seeds(option: _Option) -> int:
    return min(len(point.seeds) for point in option.estimate.points)


def _advice(rank: int, option: _Option, rules: Rules, limits: Limits) -> Advice:
    """Return an option as it is told, but for the reason."""
    curve, estimate, evidence = option.curve, option.estimate, limits.evidence
    share = option.budget / limits.f32
    cost = limits.cost(curve, option.budget)
    unmeasured = {
        "budget": estimate.extrapolated, "rows": limits.far, "training": limits.far and cost is None,
    }  # fmt: skip
    planned = _plan(curve.method, curve.options, limits.spec, option.budget)
    others = [one for one in rules.evidence if one is not evidence and curve.label in one.curves]
    elsewhere = [(one, one.curves[curve.label].at(share)) for one in others]
    return Advice(
        method=curve.method,
        options=dict(curve.options),
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
        cells=evidence.cells(curve.label, estimate.points),
        elsewhere={one.name: there.loss for one, there in elsewhere if not there.extrapolated},
    )


def _error(option: _Option, own: float | None, usual: float | None) -> float | None:
    """Return the standard error of a loss: a few seeds can agree by chance, so no less than is usual."""
    if option.label == FULL:
        return 0.0
    if option.estimate.extrapolated:
        return None
    known = [] if own is None else [own]
    if usual is not None:
        known.append(usual / math.sqrt(_seeds(option)))
    return max(known, default=None)
