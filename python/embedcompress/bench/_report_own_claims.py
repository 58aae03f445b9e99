"""Our own claims, held against the results: on hybrids, on pruning, and on compressing after training."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .._report import size
from ._report_findings import Finding, best, compared, doubt, shown, verdict
from ._report_train import Group
from ._variants import AFTER_TRAINING, HYBRIDS

LOST_BY_THE_BEST = {0.5: 0.003}
"""By budget: what of AUC the best of pruning is said to lose at most."""
LOST_BY_EACH = {0.1: 0.02}
"""The same of every method that prunes."""


def own_findings(here: Sequence[Group]) -> list[Finding]:
    """Return what one data set under one head says of every claim that it can be asked about.

    Args:
        here: All groups, those without figures included.
    """
    made = [group for group in here if group.lines]
    full = best([group for group in made if group.is_full])
    results: list[Finding | None] = []
    for budget in sorted({group.budget for group in made} - {1.0}, reverse=True):
        there = [group for group in here if group.budget == budget]
        results += [_hybrids(there, budget), _hybrid_beside_full(there, budget, full)]
        results += [_pruning(there, budget, full), _learned(there, budget)]
    return [finding for finding in results if finding is not None]


def _best_of(here: Sequence[Group], *families: str) -> Group | None:
    return best([group for group in here if group.lines and group.family in families])


def _best_but(here: Sequence[Group], *families: str) -> Group | None:
    return best([group for group in here if group.lines and group.family not in families])


def _hybrids(here: Sequence[Group], budget: float) -> Finding | None:
    hybrid = _best_of(here, HYBRIDS)
    others = {
        "the best other method that learns its table": _best_but(here, HYBRIDS, AFTER_TRAINING),
        "the best table that was compressed after training": _best_of(here, AFTER_TRAINING),
    }
    rivals = {name: group for name, group in others.items() if group is not None}
    if hybrid is None or not rivals:
        return None
    compared_with = (f"{compared(hybrid, group)} {name}, {shown(group)}" for name, group in rivals.items())
    return Finding(
        f"Low-bit hybrids are better than every method that is no hybrid at {100 * budget:g} %.",
        _together([verdict(hybrid, group) for group in rivals.values()]),
        f"The best hybrid is {shown(hybrid)}, {', and '.join(compared_with)}.",
    )


def _hybrid_beside_full(here: Sequence[Group], budget: float, full: Group | None) -> Finding | None:
    hybrid = _best_of(here, HYBRIDS)
    if hybrid is None or full is None:
        return None
    return Finding(
        f"The best hybrid at {100 * budget:g} % is better than the uncompressed table.",
        verdict(hybrid, full),
        f"{shown(hybrid)} is {_distance(hybrid, full)} the uncompressed {shown(full)}.",
    )


def _pruning(here: Sequence[Group], budget: float, full: Group | None) -> Finding | None:
    by_method: dict[str, list[Group]] = {}
    for group in here:
        if group.lines and group.family == "pruning":
            by_method.setdefault(group.method, []).append(group)
    # Of each method, the options that serve it best.
    served = (max(found, key=lambda group: group.mean("auc")) for found in by_method.values())
    pruned = sorted(served, key=lambda group: -group.mean("auc"))
    if not pruned or full is None:
        return None
    listed = "; ".join(f"{shown(group)}, {_distance(group, full)} it" for group in pruned)
    evidence = f"The uncompressed table is {shown(full)}. {listed}."
    if budget in LOST_BY_THE_BEST:
        most = LOST_BY_THE_BEST[budget]
        claim = f"Pruning at {100 * budget:g} % loses no more than {most:g} of AUC."
        return Finding(claim, _kept(pruned[0], full, most), evidence)
    if budget in LOST_BY_EACH:
        most = LOST_BY_EACH[budget]
        claim = f"Pruned tables at {100 * budget:g} % keep AUC to within {most:g}, whichever method prunes."
        return Finding(claim, _together([_kept(group, full, most) for group in pruned]), evidence)
    return None


def _learned(here: Sequence[Group], budget: float) -> Finding | None:
    learned = _best_but(here, AFTER_TRAINING)
    compressed = _best_of(here, AFTER_TRAINING)
    claim = f"Learning a small table beats compressing the trained one afterwards at {100 * budget:g} %."
    if learned is None:
        return None
    if compressed is not None:
        evidence = f"{shown(learned)} is {_distance(learned, compressed)} {shown(compressed)}."
        return Finding(claim, verdict(learned, compressed), evidence)
    floors = [(group.label, group.floor) for group in here if group.family == AFTER_TRAINING and group.floor]
    if not floors:
        return None
    listed = ", ".join(f"{label} {size(floor)}" for label, floor in floors)
    return Finding(
        claim,
        "confirmed",
        f"{shown(learned)}; afterwards no table gets as small, with the least bytes of each: {listed}.",
    )


def _distance(first: Group, second: Group) -> str:
    """Return how far a group is above or below another, with the standard error if it is known."""
    apart, noise = first.mean("auc") - second.mean("auc"), doubt(first, second)
    error = "" if math.isinf(noise) else f" (standard error {noise / 2:.4f})"
    return f"{abs(apart):.4f}{error} {'below' if apart < 0 else 'above'}"


def _kept(group: Group, full: Group, most: float) -> str:
    """Return what a group says of a claim that it loses so much at most."""
    lost, noise = full.mean("auc") - group.mean("auc"), doubt(full, group)
    if lost + noise <= most:
        return "confirmed"
    return "contradicted" if lost - noise > most else "open"


def _together(verdicts: Sequence[str]) -> str:
    """Return the verdict on a claim that all parts of have to hold."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "open" if "open" in verdicts else "confirmed"
