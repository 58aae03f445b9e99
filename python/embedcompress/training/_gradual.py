"""Tables whose smallest numbers become zero, more and more of them, in the course of the training.

Every `interval` steps the smallest |w| of the whole table become zero, as many as a schedule says; training may bring
them back until the next time. `finish()` prunes to the budget, and so do rows in eval mode in that stage, so that an
evaluation is of what will be deployed.

In a table of more than 100,000 numbers the threshold of |w| is the quantile of a sample (see
`_sparse.sampled_threshold`), and does not fall. With sparse gradients no step reads the whole of such a table: a
threshold is applied to a row when that row is next used. A row that is not used does not change, so the last threshold,
which is the largest, gives it the same zeros as all thresholds one after the other. What `finish()` leaves is exact.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._sparse import SAMPLE, Pruned, largest_mask, sampled_threshold
from ._spec import Spec
from ._steps import touched

PRUNED = 0.999
"""The share of what is to be pruned from which on pruning has ended, as far as scores are concerned."""


def cubic(done: float) -> float:
    """Return the share of what is to be pruned that is, of Zhu and Gupta (2017): quick at first, slow in the end.

    Args:
        done: How far the pruning is; 0 before it begins, and 1 from its end on.
    """
    return 1 - (1 - min(max(done, 0.0), 1.0)) ** 3


class GraduallyPruned(Pruned):
    """A method whose one stage prunes."""

    looked_up: ClassVar[tuple[str, ...]] = ("weight",)
    stages: ClassVar[tuple[str, ...]] = ("prune",)
    threshold: Tensor
    is_current: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.interval = options["interval"]
        self.steps = 0
        """Steps of the training."""
        self.weight = nn.Parameter(self.initial(spec.rows, spec.dimension))
        self.is_sampled = self.weight.numel() > SAMPLE
        self.is_lazy = self.is_sampled and spec.sparse
        """Whether the threshold is applied row by row."""
        self.register_buffer("threshold", torch.zeros(()))
        # Rows that were moved since the threshold was found: it was applied to them before. A state has it beside the
        # count of steps, so that tables with sparse and with dense gradients take each other's.
        self.register_buffer("is_current", torch.zeros(spec.rows * self.is_lazy, dtype=torch.bool), persistent=False)
        self._current: list[Tensor] = []

    @abstractmethod
    def pruned_share(self, steps: int) -> float:
        """Return which share of the numbers to be pruned is zero after so many steps."""

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight, or of what will be left of it."""
        rows = functional.embedding(ids, self.weight, sparse=self.spec.sparse)
        if not (self.training or self.is_finished):
            return rows * (functional.embedding(ids, self.pruned()) != 0)
        if self.is_finished or not self.is_lazy:
            return rows
        # Pruned numbers have gradients, as zeros in the table have.
        late = (rows.detach().abs() < self.threshold) & ~self.is_current[ids][:, None]
        return rows - torch.where(late, rows.detach(), 0)

    def counts_scores(self) -> bool:
        """Return whether pruning has ended: a state from before would be pruned at once, which is another method."""
        return self.pruned_share(self.steps) >= PRUNED

    def to_prune(self, steps: int) -> int:
        """Return how many numbers are zero after so many steps."""
        return int((self.weight.numel() - self.nonzeros) * self.pruned_share(steps))

    @torch.no_grad()
    def before_step(self) -> None:
        """Apply the threshold to the rows that the optimizer is going to move, if it was not since it was found."""
        if not self.is_lazy or self.weight.grad is None:
            return
        rows = touched(self.weight)
        late = (~self.is_current).nonzero().view(-1) if rows is None else rows[~self.is_current[rows]]
        values = self.weight[late]
        self.weight.index_copy_(0, late, values * (values.abs() >= self.threshold))
        self.is_current[late] = True
        self._current.append(late)

    @torch.no_grad()
    def after_step(self) -> None:
        """Prune, every interval."""
        self.steps += 1
        if self.steps % self.interval:
            return
        count, total = self.to_prune(self.steps), self.weight.numel()
        if not count:
            return
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
        """Return how far the pruning is and which rows it has reached, beside the stage."""
        current = self.is_current if self.is_lazy and not self.is_finished else None
        return super().get_extra_state() | {"steps": self.steps, "current": current}

    @torch.no_grad()
    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.steps, current = state["steps"], state["current"]
        if current is not None and not self.is_lazy:
            late = (~current).to(self.device)[:, None] & (self.weight.abs() < self.threshold)
            self.weight.masked_fill_(late, 0)
        if self.is_lazy:
            # Where gradients were dense, every threshold was applied to all rows.
            self.is_current.copy_(torch.ones_like(self.is_current) if current is None else current)
            self._current = [self.is_current.nonzero().view(-1)]
