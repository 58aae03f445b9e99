"""AutoSrh: columns have weights that groups of ids share, learnt on validation data; the smallest products are pruned.

Kong, Cheng, Shen and Huang, "AutoSrh: An Embedding Dimensionality Search Framework for Tabular Data Prediction", TKDE
35(7), 2023 (its precursor DNIS is arXiv 2006.04466). Ids are in groups of near-equal size by how often they are used; a
row is E[id] * alpha[group]. alpha is 1 in "warmup", trained in "search" (its gradient is divided by the mean |gradient|
of its group, it is kept from 0 to 1, and its sum is added to the loss), and fixed in "retrain", which trains the
numbers with the largest |E * alpha| and has zeros in place of the others. With the schedule "gradual" there is the
stage "search" alone: as in `gmp`, more and more of the smallest products become zero from .3 to .9 of its steps. Three
passes are more than some data bears without overfitting. Each such pruning, every ten steps, reads the whole table, as
what is the smallest changes with alpha.

From "search" on, rows in eval mode have the largest |E * alpha| only, so that an evaluation is of what would be
deployed. The state before the search, all of whose alpha are 1, is scored like that, too, and kept if no state of the
search is better.

Bytes: those of `_sparse`; alpha is multiplied into the table. The table is full while training.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._gradual import PRUNED, cubic
from .._sparse import Pruned, largest_mask
from .._spec import Spec

BEGIN, END = 0.3, 0.9
"""Shares of the steps between which numbers are pruned gradually."""
INTERVAL = 10
"""Steps from one such pruning to the next."""


class AutoSrh(Pruned):
    """`training.embedding("autosrh", …)`. Fields share groups."""

    method: ClassVar[Method] = entry("autosrh", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("weight",)
    needs_counts: ClassVar[bool] = True
    stages: ClassVar[tuple[str, ...]] = ("warmup", "search", "retrain")
    group: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        groups = options["groups"]
        self.l1 = options["l1"]
        self.is_gradual = options["schedule"] == "gradual"
        self.steps = 0
        """Steps of weights and of alpha, if pruning is gradual."""
        self.total: int | None = None
        """Those that there are going to be, where that is known."""
        if self.is_gradual:
            self.stages = ("search",)  # type: ignore[misc]
            self.stage = "search"
        self.weight = nn.Parameter(self.initial(spec.rows, spec.dimension))
        self.alpha = nn.Parameter(torch.ones(groups, spec.dimension))
        assert spec.counts is not None
        order = np.argsort(-spec.counts, kind="stable")
        group = np.empty(spec.rows, np.uint8)
        group[order] = np.arange(spec.rows) * groups // spec.rows
        self.register_buffer("group", torch.from_numpy(group))
        self.forget_counts()

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows times the weights of their groups, or what will be left of them."""
        if self.stage != "warmup" and not (self.training or self.is_finished):
            return functional.embedding(ids, self.pruned())
        alpha = self.alpha if self.stage == "search" else self.alpha.detach()
        rows = functional.embedding(ids, self.weight, sparse=self.spec.sparse)
        if self.stage == "retrain":
            # What was pruned has no gradient.
            rows = rows * (rows.detach() != 0)
        return rows * alpha[self.group[ids].long()]

    def enter(self, stage: str) -> None:
        """Prune before retraining."""
        super().enter(stage)
        if stage == "retrain":
            self._prune(self.nonzeros)
            # Another parameter, as the moments of this one would move what was pruned off 0.
            self.weight = nn.Parameter(self.weight.detach())

    def schedule(self, steps: int) -> None:
        """Take the steps: after each one of weights there is one of alpha."""
        if self.is_gradual:
            self.total = 2 * steps

    @torch.no_grad()
    def _prune(self, count: int) -> None:
        self.weight.mul_(largest_mask(self.products().abs(), count))

    def products(self) -> Tensor:
        """Return the table times the weights of groups."""
        return self.weight * self.alpha[self.group.long()]

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Return alpha while it is searched for."""
        return [self.alpha] if self.stage == "search" else []

    def weight_parameters(self) -> list[nn.Parameter]:
        """Return the table only: alpha is fixed in the other stages."""
        return [self.weight]

    def regularization(self) -> Tensor:
        """Return the weighted sum of |alpha| while it is searched for."""
        return self.l1 * self.alpha.abs().sum() if self.stage == "search" else super().regularization()

    @torch.no_grad()
    def before_step(self) -> None:
        """Bring gradients of alpha to the same size in every group."""
        if self.stage == "search" and self.alpha.grad is not None:
            scale = self.alpha.grad.abs().mean(1, keepdim=True)
            self.alpha.grad.div_(torch.where(scale > 0, scale, 1))

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep alpha from 0 to 1; prune, if that is gradual."""
        if self.stage == "search":
            self.alpha.clamp_(0, 1)
        if self.total is None:
            return
        self.steps += 1
        share = self.pruned_share(self.total)
        if share and self.steps % INTERVAL == 0:
            self._prune(self.weight.numel() - int(share * (self.weight.numel() - self.nonzeros)))

    def pruned_share(self, total: int) -> float:
        """Return which share of the numbers to be pruned gradually is zero after the steps so far of so many."""
        return cubic((self.steps / total - BEGIN) / (END - BEGIN))

    def counts_scores(self) -> bool:
        """Return whether pruning has ended, where it is gradual and its steps are known."""
        return self.total is None or self.pruned_share(self.total) >= PRUNED

    @torch.no_grad()
    def finish(self) -> None:
        """Multiply alpha into the table, and prune that to the budget."""
        self.weight.copy_(self.products())
        self.alpha.fill_(1)
        self.keep(largest_mask(self.weight.abs(), self.nonzeros))
        super().finish()

    def get_extra_state(self) -> dict[str, Any]:
        """Return how far the pruning is, beside the stage."""
        return super().get_extra_state() | {"steps": self.steps, "total": self.total}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.steps, self.total = state["steps"], state["total"]
