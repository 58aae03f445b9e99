"""Tables whose smallest numbers become zero, more and more of them, in the course of the training.

Every `interval` steps the smallest |w| of the whole table become zero, as many as a schedule says; training may bring
them back until the next time. `finish()` prunes to the budget, and so do rows in eval mode in that stage, so that an
evaluation is of what will be deployed.

No step reads a whole table of more than 100,000 numbers: the threshold of |w| is the quantile of a sample (see
`_sparse.sampled_threshold`), and does not fall. With sparse gradients it is applied to a row when that is next used,
which leaves of a row that no step moves between what pruning all rows at once would; what `finish()` leaves is exact.
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
        # Rows that were moved since the threshold was found: it was applied to them before.
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
        """Return how far the pruning is, beside the stage."""
        return super().get_extra_state() | {"steps": self.steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.steps = state["steps"]
        self._forget()
