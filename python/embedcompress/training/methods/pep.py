"""PEP: numbers of the table shrink by learnt thresholds, and those that pass them are trained anew.

Liu, Gao, Chen, Jin and Li, "Learnable Embedding Sizes for Recommender Systems", ICLR 2021 (arXiv 2101.07577). In
"search" a number is w = sign(v) relu(|v| - sigmoid(s)), with a threshold s for each number, row or column, or one for
all. It ends as soon as no more numbers pass their thresholds than the budget has room for, and with the state that it
then has. The numbers with the largest |v| - sigmoid(s), as many as there is room for, make a mask; "retrain" begins
again from the initial values under it.

Thresholds begin at -15, where sigmoid(s) and all of its gradient are 3e-7, so that the loss alone never raises them. As
in the authors' code, weight decay does, which draws every s to 0: here s is a learnt number times (1 - decay)^t after t
steps of the search, which costs a step no pass over the table. How many numbers pass is estimated every ten steps, in
tables of more than 100,000 from a sample of so many.

Bytes: those of `_sparse`. In "search" there are up to two full tables, in "retrain" one and the mask.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._sparse import SAMPLE, Pruned, largest_mask
from .._spec import Spec

DECAY = 1e-3
LEFT = 1 / 16
"""Of every s, at the end of a search whose steps are known."""
INTERVAL = 10
"""Steps from one count of the numbers that pass to the next."""


class PEP(Pruned):
    """`training.embedding("pep", …)`."""

    method: ClassVar[Method] = entry("pep", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("weight",)
    stages: ClassVar[tuple[str, ...]] = ("search", "retrain")
    ends_with_last: ClassVar[tuple[str, ...]] = ("search",)
    threshold: nn.Parameter | None
    shrink: Tensor
    mask: Tensor | None

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        rows, dimension = spec.rows, spec.dimension
        granularity = options["granularity"]
        shapes = {"element": (rows, dimension), "row": (rows, 1), "dimension": (1, dimension), "global": (1, 1)}
        first = options["initial_threshold"]
        self.weight = nn.Parameter(self.initial(rows, dimension))
        self.threshold = nn.Parameter(torch.full(shapes[granularity], first))
        self.register_buffer("mask", None)
        self.register_buffer("shrink", torch.ones(()))
        self.is_planned = options["decay"] is not None
        self.decay = options["decay"] if self.is_planned else DECAY
        self.steps = 0
        """Steps of the search."""
        self.is_sparse_enough = False

    def rows(self, ids: Tensor) -> Tensor:
        """Return shrunken rows, or those under the mask."""
        rows = functional.embedding(ids, self.weight, sparse=self.spec.sparse)
        if self.mask is not None:
            return rows * self.mask[ids]
        assert self.threshold is not None
        threshold: Tensor = self.threshold
        if len(threshold) == self.num_embeddings:
            threshold = functional.embedding(ids, threshold, sparse=self.spec.sparse)
        return rows.sign() * functional.relu(rows.abs() - (threshold * self.shrink).sigmoid())

    def schedule(self, steps: int) -> None:
        """Have every s be a sixteenth of what is learnt at the end of the search: of -15, a threshold of .28."""
        if self.stage == "search" and not self.is_planned:
            self.decay = 1 - LEFT ** (1 / steps)

    @torch.no_grad()
    def after_step(self) -> None:
        """Bring thresholds nearer to 0, and see whether enough numbers are below them."""
        if self.threshold is None:
            return
        self.steps += 1
        self.shrink.mul_(1 - self.decay)
        if self.steps % INTERVAL == 0:
            self.is_sparse_enough = self.passing() <= self.nonzeros

    def is_over(self) -> bool | None:
        """Return whether the search has become as sparse as the budget wants it."""
        return self.is_sparse_enough if self.stage == "search" else None

    @torch.no_grad()
    def passing(self) -> int:
        """Return how many numbers are above their thresholds; of large tables, an estimate."""
        assert self.threshold is not None
        count = self.weight.numel()
        if count <= SAMPLE:
            return int((self.weight.abs() > (self.threshold * self.shrink).sigmoid()).sum())
        random = self.generator(self.steps, self.device)
        places = torch.randint(0, count, (SAMPLE,), generator=random, device=self.device)
        thresholds = self.threshold.expand_as(self.weight)
        row, column = places // self.embedding_dim, places % self.embedding_dim
        passed = self.weight[row, column].abs() > (thresholds[row, column] * self.shrink).sigmoid()
        return round(int(passed.sum()) / SAMPLE * count)

    def enter(self, stage: str) -> None:
        """Find the mask before the second stage, which begins from the initial values."""
        if stage == "retrain" and self.mask is None:
            initial = self.initial(*self.weight.shape).to(self.device)
            self.weight = nn.Parameter(initial * self._find_mask())
        super().enter(stage)

    def sparse_parameters(self) -> list[nn.Parameter]:
        """Return the table, and thresholds of which ids have their own."""
        found = super().sparse_parameters()
        if self.spec.sparse and self.threshold is not None and len(self.threshold) == self.num_embeddings:
            found.append(self.threshold)
        return found

    @torch.no_grad()
    def _find_mask(self) -> Tensor:
        """Put the mask in place of the thresholds."""
        assert self.threshold is not None
        self.mask = largest_mask(self.weight.abs() - (self.threshold * self.shrink).sigmoid(), self.nonzeros)
        self.threshold = None
        return self.mask

    def finish(self) -> None:
        """Take numbers outside the mask out; without a second stage, numbers are the shrunken ones."""
        mask = self.mask
        if mask is None:
            with torch.no_grad():
                shrunken = self.rows(torch.arange(self.num_embeddings, device=self.device))
            mask = self._find_mask()
            self.weight = nn.Parameter(shrunken)
        self.keep(mask)
        super().finish()

    def structure(self) -> dict[str, Any]:
        """Return whether there is a mask."""
        return {"is_masked": self.mask is not None}

    def restructure(self, structure: dict[str, Any]) -> None:
        """Take or leave the mask."""
        if structure["is_masked"] and self.mask is None:
            self.mask = torch.zeros_like(self.weight, dtype=torch.bool)
            self.threshold = None

    def get_extra_state(self) -> dict[str, Any]:
        """Return how far the search is, beside the stage."""
        search = {"steps": self.steps, "decay": self.decay, "is_sparse_enough": self.is_sparse_enough}
        return super().get_extra_state() | search

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.steps, self.decay = state["steps"], state["decay"]
        self.is_sparse_enough = state["is_sparse_enough"]
