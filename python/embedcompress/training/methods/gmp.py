"""Gradual magnitude pruning: one pass over the data, in which the smallest numbers of the table become zero.

Zhu and Gupta, "To Prune, or Not to Prune: Exploring the Efficacy of Pruning for Model Compression", 2017 (arXiv
1710.01878). The table is pruned as in `_gradual`: from `begin` to `end`, shares of the steps of the training, the part
of its zeros rises as s (1 - (1 - t)^3) with t from 0 to 1. Where the number of steps is not known, nothing is pruned
before `finish()`.

Bytes: those of `_sparse`, for as many numbers as the budget has room for. The table is full while training.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ... import Method
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._gradual import GraduallyPruned, cubic
from .._spec import Plan, Spec


class GMP(GraduallyPruned):
    """`training.embedding("gmp", …)`."""

    method: ClassVar[Method] = entry("gmp", WHILE_TRAINING)

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.begin, self.end = options["begin"], options["end"]
        self.total: int | None = None
        """Steps of the training."""

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Keep as many numbers as fit.

        Raises:
            ValueError: pruning would not begin before it ends.
        """
        if not options["begin"] < options["end"]:
            raise ValueError(f"gmp: begin must be below end, not {options['begin']} and {options['end']}")
        return super().plan(spec, **options)

    def schedule(self, steps: int) -> None:
        """Take the steps that begin and end are shares of."""
        self.total = steps

    def pruned_share(self, steps: int) -> float:
        """Return which share of the numbers to be pruned is zero after so many steps."""
        if self.total is None:
            return 0.0
        return cubic((steps / self.total - self.begin) / (self.end - self.begin))

    def counts_scores(self) -> bool:
        """Return whether pruning has ended, or whether `finish()` is going to do all of it."""
        return self.total is None or super().counts_scores()

    def get_extra_state(self) -> dict[str, Any]:
        """Return the steps of the training, beside those done."""
        return super().get_extra_state() | {"total": self.total}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.total = state["total"]
