"""AutoSrh: columns have weights that groups of ids share, learnt on validation data; the smallest products are pruned.

Kong, Cheng, Shen and Huang, "AutoSrh: An Embedding Dimensionality Search Framework for Tabular Data Prediction", TKDE
35(7), 2023 (its precursor DNIS is arXiv 2006.04466). Ids are in groups of near-equal size by how often they are used; a
row is E[id] * alpha[group]. alpha is 1 in "warmup", trained in "search" (its gradient is divided by the mean |gradient|
of its group, it is kept from 0 to 1, and its sum is added to the loss), and fixed in "retrain". `finish()` keeps the
largest |E * alpha|; rows in eval mode are pruned like that in "retrain" already, so that an evaluation is of what will
be deployed.

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
from .._sparse import Pruned, largest_mask
from .._spec import Spec


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
        if self.stage == "retrain" and not (self.training or self.is_finished):
            return functional.embedding(ids, self.pruned())
        alpha = self.alpha if self.stage == "search" else self.alpha.detach()
        return functional.embedding(ids, self.weight, sparse=self.spec.sparse) * alpha[self.group[ids].long()]

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
        """Keep alpha from 0 to 1."""
        if self.stage == "search":
            self.alpha.clamp_(0, 1)

    @torch.no_grad()
    def finish(self) -> None:
        """Multiply alpha into the table, and prune that to the budget."""
        self.weight.copy_(self.products())
        self.alpha.fill_(1)
        self.keep(largest_mask(self.weight.abs(), self.nonzeros))
        super().finish()
