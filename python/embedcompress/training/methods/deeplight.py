"""DeepLight: the smallest numbers of the table are pruned step by step while training goes on.

Deng, Pan, Zhou, Kong, Flores and Lin, "DeepLight: Deep Lightweight Feature Interactions for Accelerating CTR
Predictions in Ad Serving", WSDM 2021 (arXiv 2002.06987). After plain training, every `interval` steps the smallest
|w| of the whole table become zero, so many that a part s_t = s (1 - 0.99^(t / decay_steps)) of them are; training may
bring them back until the next time. `finish()` prunes to the budget, and so do rows in eval mode in the last stage, so
that an evaluation is of what will be deployed. The paper's decay of 100 steps prunes 99.9 % of s after 68,732 steps; a
training of fewer gets there after three quarters of them.

No step reads a whole table of more than 100,000 numbers: the threshold of |w| is the quantile of a sample (see
`_sparse.sampled_threshold`), and does not fall. With sparse gradients it is applied to a row when that is next used,
which leaves of a row that no step moves between what pruning all rows at once would; what `finish()` leaves is exact.

Bytes: those of `_sparse`, for as many numbers as the budget has room for. The table is full while training.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._sparse import SAMPLE, Pruned, largest_mask, sampled_threshold
from .._spec import Spec
from .._steps import touched

BASE = 0.99
DECAY_STEPS = 100.0


class DeepLight(Pruned):
    """`training.embedding("deeplight", …)`."""

    method: ClassVar[Method] = entry("deeplight", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("weight",)
    stages: ClassVar[tuple[str, ...]] = ("train", "prune")
    threshold: Tensor
    is_current: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.interval = options["interval"]
        self.is_planned = options["decay_steps"] is not None
        self.decay_steps = options["decay_steps"] if self.is_planned else DECAY_STEPS
        self.steps = 0
        """Steps of the stage "prune"."""
        self.weight = nn.Parameter(self.initial(spec.rows, spec.dimension))
        self.is_sampled = self.weight.numel() > SAMPLE
        self.is_lazy = self.is_sampled and spec.sparse
        """Whether the threshold is applied row by row."""
        self.register_buffer("threshold", torch.zeros(()))
        # Rows that were moved since the threshold was found: it was applied to them before.
        self.register_buffer("is_current", torch.zeros(spec.rows * self.is_lazy, dtype=torch.bool), persistent=False)
        self._current: list[Tensor] = []

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight, or of what will be left of it."""
        if self.stage != "prune" or self.is_finished:
            return functional.embedding(ids, self.weight, sparse=self.spec.sparse)
        if not self.training:
            return functional.embedding(ids, self.pruned())
        rows = functional.embedding(ids, self.weight, sparse=self.spec.sparse)
        if not self.is_lazy:
            return rows
        # Pruned numbers have gradients, as zeros in the table have.
        late = (rows.detach().abs() < self.threshold) & ~self.is_current[ids][:, None]
        return rows - torch.where(late, rows.detach(), 0)

    def schedule(self, steps: int) -> None:
        """Have all but a thousandth of the pruning done after three quarters of the steps."""
        if not self.is_planned:
            self.decay_steps = min(DECAY_STEPS, 0.75 * steps * math.log(BASE) / math.log(1e-3))

    def to_prune(self, steps: int) -> int:
        """Return how many numbers are zero after so many steps of pruning."""
        most = self.weight.numel() - self.nonzeros
        return int(most * (1 - BASE ** (steps / self.decay_steps)))

    @torch.no_grad()
    def before_step(self) -> None:
        """Apply the threshold to the rows that the optimizer is going to move, if it was not since it was found."""
        if self.stage != "prune" or not self.is_lazy or self.weight.grad is None:
            return
        rows = touched(self.weight)
        late = (~self.is_current).nonzero().view(-1) if rows is None else rows[~self.is_current[rows]]
        values = self.weight[late]
        self.weight.index_copy_(0, late, values * (values.abs() >= self.threshold))
        self.is_current[late] = True
        self._current.append(late)

    @torch.no_grad()
    def after_step(self) -> None:
        """Prune, every interval of the last stage."""
        if self.stage != "prune":
            return
        self.steps += 1
        if self.steps % self.interval:
            return
        count, total = self.to_prune(self.steps), self.weight.numel()
        if not self.is_sampled:
            self.weight.mul_(largest_mask(self.weight.abs(), total - count))
            return
        found = sampled_threshold(self.weight, count / total, self.generator(self.steps, self.device))
        self.threshold.copy_(torch.maximum(self.threshold, found))
        if self.is_lazy:
            self._forget()
        else:
            self.weight.mul_(self.weight.abs() >= self.threshold)

    def _forget(self) -> None:
        """Have the threshold applied to every row, when it is next used."""
        for rows in self._current:
            self.is_current[rows] = False
        self._current = []

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
        self._forget()
