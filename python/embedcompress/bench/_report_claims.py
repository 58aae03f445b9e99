"""Claims of the VLDB 2024 study, held against the results; those on variants are in `_report_own_claims`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .._report import percent, size
from ._report_findings import Finding, best, compared, error, shown, verdict
from ._report_own_claims import own_findings
from ._report_train import Group
from ._variants import AFTER_TRAINING, HYBRIDS

QUANTIZATION = ("quantization", "codes")


def findings(found: Sequence[Group], data: str, head: str) -> list[Finding]:
    """Return what one data set under one head says of every claim that it can be asked about."""
    all_of_them = [group for group in found if (group.data, group.head) == (data, head)]
    here = [group for group in all_of_them if group.lines]
    budgets = sorted({group.budget for group in here} - {1.0})
    if not budgets:
        return []
    results = [
        _contest(here, budgets[0], "At tiny budgets ({}) methods that share rows win.", ("sharing",)),
        _contest(here, budgets[-1], "At moderate budgets ({}) quantization wins: fewer bits, or codes.", QUANTIZATION),
        _naive(here, budgets[0]),
        _lossless(here),
        _floors(all_of_them, budgets),
        _ranking_moves(here, budgets),
    ]
    return [finding for finding in results if finding is not None] + own_findings(all_of_them)


def _contest(here: Sequence[Group], budget: float, claim: str, families: Sequence[str]) -> Finding | None:
    made = [group for group in here if group.budget == budget and group.family not in (HYBRIDS, AFTER_TRAINING)]
    ours = best([group for group in made if group.family in families])
    theirs = best([group for group in made if group.family not in families])
    if ours is None or theirs is None:
        return None
    return Finding(
        claim.format(f"{100 * budget:g} %"),
        verdict(ours, theirs),
        f"The best of them is {shown(ours)}, {compared(ours, theirs)} the best of the others, {shown(theirs)}.",
    )


def _naive(here: Sequence[Group], budget: float) -> Finding | None:
    made = {group.label: group for group in here if group.budget == budget}
    first = best([group for label, group in made.items() if label != "hash"])
    if "hash" not in made or first is None:
        return None
    return Finding(
        f"Hashing ids to fewer rows is visibly worse than the best method at {100 * budget:g} %.",
        verdict(first, made["hash"]),
        f"{shown(first)} beside {shown(made['hash'])}: {first.mean('auc') - made['hash'].mean('auc'):.4f} apart.",
    )


def _lossless(here: Sequence[Group]) -> Finding | None:
    full = best([group for group in here if group.is_full])
    if full is None:
        return None
    if math.isinf(error(full)):
        return None
    equal = [group for group in here if not group.is_full and compared(group, full) not in ("below", "beside")]
    least = min(equal, key=lambda group: group.mean("ratio"), default=None)
    if least is None:
        return Finding("A table can shrink at no cost in quality.", "contradicted", f"All are below {shown(full)}.")
    return Finding(
        "A table can shrink at no cost in quality.",
        "confirmed",
        f"The smallest that is not below the uncompressed {shown(full)} is {shown(least)}, in "
        f"{percent(least.mean('ratio'))} of the bytes.",
    )


def _floors(all_of_them: Sequence[Group], budgets: Sequence[float]) -> Finding | None:
    floors: dict[str, int] = {}
    for group in all_of_them:
        if not group.lines and group.floor:
            floors[group.label] = group.floor
    free = sorted({group.label for group in all_of_them if group.lines and group.budget == budgets[0]})
    if not floors:
        return None
    listed = ", ".join(f"{label} {size(floor)}" for label, floor in sorted(floors.items(), key=lambda one: -one[1]))
    return Finding(
        "Some methods have floors, whatever the data is.",
        "confirmed",
        f"Refused at one budget or more, with the least bytes of each: {listed}. At {100 * budgets[0]:g} % there are "
        f"left: {', '.join(free)}.",
    )


def _ranking_moves(here: Sequence[Group], budgets: Sequence[float]) -> Finding | None:
    winners = [best([group for group in here if group.budget == budget]) for budget in reversed(budgets)]
    made = [winner for winner in winners if winner is not None]
    if len(made) < 2:
        return None
    names = {winner.method for winner in made}
    return Finding(
        "No method is the best at every budget.",
        "confirmed" if len(names) > 1 else "contradicted",
        "; ".join(f"at {100 * winner.budget:g} % {shown(winner)}" for winner in made) + ".",
    )
