"""DeepLight: the smallest numbers of the table are pruned step by step while training goes on.

Deng, Pan, Zhou, Kong, Flores and Lin, "DeepLight: Deep Lightweight Feature Interactions for Accelerating CTR
Predictions in Ad Serving", WSDM 2021 (arXiv 2002.06987). After plain training, every `interval` steps the smallest
|w| of the whole table become zero, so many that a part s_t = s (1 - 0.99^(t / decay_steps)) of them are; training may
bring them back until the next time. `finish()` prunes to the budget, and so do rows in eval mode in the last stage, so
that an evaluation is of what will be deployed. The paper's decay of 100 steps prunes 99.9 % of s after 68,732 steps; a
training of fewer gets there after three quarters of them.

Bytes: those of `_sparse`, for as many numbers as the budget has room for. The table is full while training.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method, Option
from ..._options import integer, number
from .._sparse import BYTES_PER_ROW, VALUES_OPTION, Pruned, largest_mask
from .._spec import Spec

BASE = 0.99
DECAY_STEPS = 100.0


class DeepLight(Pruned):
    """`training.embedding("deeplight", …)`."""

    method: ClassVar[Method] = Method(
        name="deeplight",
        title="DeepLight",
        paper="Deng et al., WSDM 2021, arXiv 2002.06987",
        kind="training",
        summary="the smallest numbers of the table become zero, more and more of them as training goes on",
        bytes_per_row=BYTES_PER_ROW,
        cost="a full table while training, and two passes over it every interval",
        options=(
            Option("interval", "an integer, at least 1", 10, "steps from one pruning to the next"),
            Option(
                "decay_steps",
                "a number above 0, or None",
                None,
                "steps in which the numbers left to prune fall by 1 %; None: 100, or what the training has steps for",
            ),
            VALUES_OPTION,
        ),
    )
    stages: ClassVar[tuple[str, ...]] = ("train", "prune")

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.interval = integer(options, "interval", 1)
        self.is_planned = options["decay_steps"] is not None
        self.decay_steps = number(options, "decay_steps", 1e-9) if self.is_planned else DECAY_STEPS
        self.steps = 0
        """Steps of the stage "prune"."""
        self.weight = nn.Parameter(self.initial(spec.rows, spec.dimension))

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight, or of what will be left of it."""
        is_pruned = self.stage == "prune" and not (self.training or self.is_finished)
        return functional.embedding(ids, self.pruned() if is_pruned else self.weight, sparse=self.spec.sparse)

    def schedule(self, steps: int) -> None:
        """Have all but a thousandth of the pruning done after three quarters of the steps."""
        if not self.is_planned:
            self.decay_steps = min(DECAY_STEPS, 0.75 * steps * math.log(BASE) / math.log(1e-3))

    def to_prune(self, steps: int) -> int:
        """Return how many numbers are zero after so many steps of pruning."""
        most = self.weight.numel() - self.nonzeros
        return int(most * (1 - BASE ** (steps / self.decay_steps)))

    def after_step(self) -> None:
        """Prune, every interval of the last stage."""
        if self.stage != "prune":
            return
        self.steps += 1
        if self.steps % self.interval == 0:
            count = self.weight.numel() - self.to_prune(self.steps)
            with torch.no_grad():
                self.weight.mul_(largest_mask(self.weight.abs(), count))

    def finish(self) -> None:
        """Prune to the budget."""
        self.keep(largest_mask(self.weight.detach().abs(), self.nonzeros))
        super().finish()

    def get_extra_state(self) -> dict[str, Any]:
        """Return how far the schedule is, beside the stage."""
        return super().get_extra_state() | {"steps": self.steps, "decay_steps": self.decay_steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.steps, self.decay_steps = state["steps"], state["decay_steps"]
