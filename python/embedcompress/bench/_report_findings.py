"""What claims are made of: groups of cells that are compared, and what that says.

A difference counts if it is more than twice its standard error over the seeds; with one seed nothing is said to be
confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ._report_train import Group


@dataclass(frozen=True)
class Finding:
    """What the results say of a claim."""

    claim: str
    verdict: str
    """confirmed, contradicted, or open, where the difference is within the noise."""
    evidence: str
    """Numbers."""


def error(group: Group, name: str = "auc") -> float:
    """Return the standard error of a mean over seeds; infinity with one seed, of which it can't be known."""
    return group.spread(name) / math.sqrt(len(group.lines)) if len(group.lines) > 1 else math.inf


def doubt(first: Group, second: Group) -> float:
    """Return twice the standard error of the difference of two groups; infinity if one of them has one seed."""
    return 2 * math.hypot(error(first), error(second))


def best(made: Sequence[Group]) -> Group | None:
    """Return the group with the largest AUC."""
    return max(made, key=lambda group: group.mean("auc"), default=None)


def compared(first: Group, second: Group) -> str:
    """Return "above", "below" or "within the noise of"; "beside" where the noise can't be known."""
    apart, noise = first.mean("auc") - second.mean("auc"), doubt(first, second)
    if math.isinf(noise):
        return "beside"
    return "within the noise of" if abs(apart) <= noise else "above" if apart > 0 else "below"


def shown(group: Group) -> str:
    """Return a method with its AUC, linked to its row."""
    spread = f" ± {group.spread():.4f}" if len(group.lines) > 1 else ""
    return f"[{group.label} {group.mean('auc'):.4f}{spread}](#{group.anchor})"


def verdict(first: Group, second: Group) -> str:
    """Return what the groups say of a claim that the first is better."""
    return {"above": "confirmed", "below": "contradicted"}.get(compared(first, second), "open")
