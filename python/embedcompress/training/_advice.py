"""What `recommend` returns: advice, and what was refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._labels import label
from .._report import figure, percent, size
from .._shown import Shown
from ._rules import Evidence, Rules


@dataclass(frozen=True)
class Advice:
    """A method to train, and what to expect of it."""

    method: str
    options: Mapping[str, Any]
    """For `embedding`, beside the budget, such as bits of the arrays: what the method was measured with."""
    rank: int
    """Advice of one rank is within the noise of seeds."""
    budget: int
    """Bytes, for `embedding`; less than what was given where that serves better, or the limits."""
    knobs: Mapping[str, Any]
    """What the budget chooses, as `plan` has it."""
    stored_bytes: int
    ratio: float
    """Stored bytes over those of f32."""
    auc_loss: float
    """AUC of the uncompressed table, less that of the method."""
    auc_loss_error: float | None
    """Its standard error over seeds, and no less than what is usual; None if it is not known."""
    cold_auc_loss: float
    """The same of the quarter of rows whose ids were seen the least."""
    cold_auc_loss_error: float | None
    training_bytes: int
    """Parameters and buffers while it trains; gradients and the optimizer's moments come on top."""
    state_bytes: int | None
    """With these, of Adam and, where the method allows, sparse gradients of a batch as large as that of the results,
    2,048 rows of 26 ids in the committed ones: `Choice.growth.settings["batch"]`; None if it was not measured at this
    size."""
    training_time: float
    """Over that of the uncompressed table of as many rows. If "rows" is in `beyond` and "training" is not, of a step
    of `bench scale`; else of a whole training of `bench train`."""
    lookup_ns_per_row: float
    """Of the frozen table on one thread, on the machine of the results."""
    beyond: tuple[str, ...]
    """What was not measured, so that something is extrapolated: "budget", a share of bytes such as this; "rows", losses
    of a table of about as many; "training", time and bytes of training at this size; `bench scale`
    measures methods without options, so that of one with options this is always so where "rows" is."""
    reason: str
    """A sentence or two."""
    cells: tuple[str, ...]
    """The requests of the results that this rests on, as data/head/method/budget: seeds."""
    elsewhere: Mapping[str, float]
    """The loss in AUC at this share of bytes on other data and under other heads, where that was measured."""

    @property
    def label(self) -> str:
        """Return the method with its options, such as "robe(bits=4, block=4)"."""
        return label(self.method, self.options)

    @property
    def extrapolated(self) -> bool:
        """Whether something of it is."""
        return bool(self.beyond)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name, and whether it is extrapolated."""
        plain = {
            "options": dict(self.options),
            "knobs": dict(self.knobs),
            "cells": list(self.cells),
            "elsewhere": dict(self.elsewhere),
        }
        plain |= {"beyond": list(self.beyond)}
        found = {name: plain.get(name, getattr(self, name)) for name in self.__dataclass_fields__}
        return found | {"extrapolated": self.extrapolated}


@dataclass(frozen=True)
class Refused:
    """A method that is no choice."""

    method: str
    options: Mapping[str, Any]
    """As advice has them."""
    limit: str
    """What speaks against it: "budget", "train_memory", "latency", "arguments" or "results", which has no figures."""
    floor: int | None
    """The least bytes that it can be stored in; None if it is not known."""
    least: float | None
    """The least that it reaches of the limit, in bytes or nanoseconds."""
    reason: str
    """A sentence."""

    @property
    def label(self) -> str:
        """Return the method with its options."""
        return label(self.method, self.options)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return found | {"options": dict(self.options)}


HEADER = ("", "method", "bytes", "of f32", "AUC lost", "cold rows", "trains in", "with Adam", "time", "lookup")
MARKS = {"budget": "b", "rows": "r", "training": "t"}
"""What stands behind a method for what of it is extrapolated."""


def _row(one: Advice) -> Sequence[str]:
    mark = f" ({''.join(MARKS[kind] for kind in one.beyond)})" if one.beyond else ""
    return (
        str(one.rank),
        one.label + mark,
        size(one.stored_bytes),
        percent(one.ratio),
        _loss(one.auc_loss, one.auc_loss_error),
        _loss(one.cold_auc_loss, one.cold_auc_loss_error),
        size(one.training_bytes),
        "-" if one.state_bytes is None else size(one.state_bytes),
        f"x {one.training_time:.2f}",
        f"{figure(one.lookup_ns_per_row, 3)} ns",
    )


def _loss(loss: float, error: float | None) -> str:
    return f"{loss:.4f}" + ("" if error is None else f" ± {error:.4f}")


class Choice(Shown[Advice]):
    """Advice, best first, which prints as a table.

    Attributes:
        refused: Methods that are no choice, with their floors.
        evidence: The data set and the head that figures are from.
        results: The files of results that rules were fitted to, their digests, and machines.
        growth: Where training at other numbers of rows is from; None if it is not known.
    """

    def __init__(self, advice: Sequence[Advice], refused: Sequence[Refused], evidence: Evidence, rules: Rules) -> None:
        super().__init__(advice, HEADER, _row, 2)
        self.refused = list(refused)
        self.evidence = evidence
        self.results = rules.results
        self.growth = rules.growth
