"""Claims of the VLDB 2024 study, and our own, held against the results: each confirmed, contradicted or open.

A difference counts if it is more than twice its standard error over the seeds; with one seed nothing is said to be
confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .._report import percent, size
from ._report_train import Group, family

QUANTIZATION = ("quantization", "codes")
STAGED = ("pep", "autosrh")
"""Methods that prune, of several stages."""
STAGES = " It trains in stages, each of as many epochs as another method has in all; its own papers give it more."


@dataclass(frozen=True)
class Finding:
    """What the results say of a claim."""

    claim: str
    verdict: str
    """confirmed, contradicted, or open, where the difference is within the noise."""
    evidence: str
    """Numbers."""


def findings(found: Sequence[Group], data: str, head: str) -> list[Finding]:
    """Return what one data set under one head says of every claim that it can be asked about."""
    here = [group for group in found if (group.data, group.head) == (data, head) and group.lines]
    budgets = sorted({group.budget for group in here} - {1.0})
    if not budgets:
        return []
    results = [
        _contest(here, budgets[0], "At tiny budgets ({}) methods that share rows win.", ("sharing",)),
        _contest(here, budgets[-1], "At moderate budgets ({}) quantization wins: fewer bits, or codes.", QUANTIZATION),
        _naive(here, budgets[0]),
        _lossless(here),
        _floors([group for group in found if (group.data, group.head) == (data, head)], budgets),
        _ranking_moves(here, budgets),
        _pruning(here, budgets),
    ]
    return [finding for finding in results if finding is not None]


def error(group: Group, name: str = "auc") -> float:
    """Return the standard error of a mean over seeds; infinity with one seed, of which it can't be known."""
    return group.spread(name) / math.sqrt(len(group.lines)) if len(group.lines) > 1 else math.inf


def best(made: Sequence[Group]) -> Group | None:
    """Return the group with the largest AUC."""
    return max(made, key=lambda group: group.mean("auc"), default=None)


def compared(first: Group, second: Group) -> str:
    """Return "above", "below" or "within the noise of"; "beside" where the noise can't be known."""
    apart = first.mean("auc") - second.mean("auc")
    noise = 2 * math.hypot(error(first), error(second))
    if math.isinf(noise):
        return "beside"
    return "within the noise of" if abs(apart) <= noise else "above" if apart > 0 else "below"


def shown(group: Group) -> str:
    """Return a method with its AUC, linked to its row."""
    spread = f" ± {group.spread():.4f}" if len(group.lines) > 1 else ""
    return f"[{group.method} {group.mean('auc'):.4f}{spread}](#{group.anchor})"


def _verdict(first: Group, second: Group) -> str:
    return {"above": "confirmed", "below": "contradicted"}.get(compared(first, second), "open")


def _contest(here: Sequence[Group], budget: float, claim: str, families: Sequence[str]) -> Finding | None:
    made = [group for group in here if group.budget == budget]
    ours = best([group for group in made if family(group.method) in families])
    theirs = best([group for group in made if family(group.method) not in families])
    if ours is None or theirs is None:
        return None
    return Finding(
        claim.format(f"{100 * budget:g} %"),
        _verdict(ours, theirs),
        f"The best of them is {shown(ours)}, {compared(ours, theirs)} the best of the others, {shown(theirs)}.",
    )


def _naive(here: Sequence[Group], budget: float) -> Finding | None:
    made = {group.method: group for group in here if group.budget == budget}
    first = best([group for group in made.values() if group.method != "hash"])
    if "hash" not in made or first is None:
        return None
    return Finding(
        f"Hashing ids to fewer rows is visibly worse than the best method at {100 * budget:g} %.",
        _verdict(first, made["hash"]),
        f"{shown(first)} beside {shown(made['hash'])}: {first.mean('auc') - made['hash'].mean('auc'):.4f} apart.",
    )


def _lossless(here: Sequence[Group]) -> Finding | None:
    full = best([group for group in here if group.method == "full"])
    if full is None:
        return None
    if math.isinf(error(full)):
        return None
    equal = [group for group in here if group.method != "full" and compared(group, full) not in ("below", "beside")]
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
            floors[group.method] = group.floor
    free = sorted({group.method for group in all_of_them if group.lines and group.budget == budgets[0]})
    if not floors:
        return None
    listed = ", ".join(f"{method} {size(floor)}" for method, floor in sorted(floors.items(), key=lambda one: -one[1]))
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


def _pruning(here: Sequence[Group], budgets: Sequence[float]) -> Finding | None:
    for budget in reversed(budgets):
        made = [group for group in here if group.budget == budget]
        pruned = best([group for group in made if family(group.method) == "pruning"])
        other = best([group for group in made if family(group.method) != "pruning"])
        if pruned and other:
            verdicts = {"below": "contradicted", "beside": "open"}
            return Finding(
                f"Pruning keeps quality at {100 * budget:g} %.",
                verdicts.get(compared(pruned, other), "confirmed"),
                f"The best of it is {shown(pruned)} beside {shown(other)}." + (STAGES if _is_staged(pruned) else ""),
            )
    return None


def _is_staged(group: Group) -> bool:
    """Return whether a method that prunes trained in several stages: AutoSrh does unless it prunes gradually."""
    options = group.lines[0]["request"].get("options", {})
    return group.method in STAGED and options.get("schedule") != "gradual"


def advice(found: Sequence[Group], data: str, head: str) -> list[str]:
    """Return a sentence for each budget: what to take, what does as well, and what is cheaper."""
    here = [group for group in found if (group.data, group.head) == (data, head) and group.lines]
    full = best([group for group in here if group.method == "full"])
    sentences = []
    for budget in sorted({group.budget for group in here} - {1.0}, reverse=True):
        made = [group for group in here if group.budget == budget]
        first = best(made)
        if first is None:
            continue
        text = f"**Up to {100 * budget:g} % of the bytes** take {shown(first)}"
        if full is not None:
            apart = first.mean("auc") - full.mean("auc")
            text += f", {abs(apart):.4f} {'above' if apart >= 0 else 'below'} the uncompressed table"
        if len(first.lines) > 1:
            text += _as_good(first, [group for group in made if compared(group, first) == "within the noise of"])
        cold = max(made, key=lambda group: group.mean("cold_auc"))
        if cold is not first:
            text += f". For rows whose ids are rare, {cold.method} is best ({cold.mean('cold_auc'):.4f})"
        sentences.append(text + ".")
    return sentences


def _as_good(first: Group, like: Sequence[Group]) -> str:
    """Return what is as good as the best, and who of them costs the least."""
    others = [group for group in like if group is not first]
    if not others:
        return ""
    quick = min(like, key=lambda group: group.median("lookup_ns_per_row"))
    cheap = min(like, key=lambda group: group.median("train_seconds"))
    small = min(like, key=lambda group: group.mean("training_bytes"))
    return (
        f"; within the noise of it: {', '.join(shown(group) for group in others)}. Of these {cheap.method} trains "
        f"fastest ({cheap.median('train_seconds'):.0f} s), the table of {small.method} needs the least memory while it "
        f"trains ({size(round(small.mean('training_bytes')))}), and {quick.method} is looked up fastest "
        f"({quick.median('lookup_ns_per_row'):.0f} ns a row)"
    )
