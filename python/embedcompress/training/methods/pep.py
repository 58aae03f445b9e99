"""PEP: numbers of the table shrink by learnt thresholds, and those that pass them are trained anew.

Liu, Gao, Chen, Jin and Li, "Learnable Embedding Sizes for Recommender Systems", ICLR 2021 (arXiv 2101.07577). In
"search" a number is w = sign(v) relu(|v| - sigmoid(s)), with a threshold s for each number, row or column, or one for
all. The numbers with the largest |v| - sigmoid(s), as many as the budget has room for, make a mask; "retrain" begins
again from the initial values under it.

Bytes: those of `_sparse`. In "search" there are up to two full tables, in "retrain" one and the mask. Thresholds begin
at -15: at the study's -150 their gradient is zero in f32.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._sparse import Pruned, largest_mask
from .._spec import Spec


class PEP(Pruned):
    """`training.embedding("pep", …)`."""

    method: ClassVar[Method] = entry("pep", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("weight",)
    stages: ClassVar[tuple[str, ...]] = ("search", "retrain")
    threshold: nn.Parameter | None
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

    def rows(self, ids: Tensor) -> Tensor:
        """Return shrunken rows, or those under the mask."""
        rows = functional.embedding(ids, self.weight, sparse=self.spec.sparse)
        if self.mask is not None:
            return rows * self.mask[ids]
        assert self.threshold is not None
        threshold: Tensor = self.threshold
        if len(threshold) == self.num_embeddings:
            threshold = functional.embedding(ids, threshold, sparse=self.spec.sparse)
        return rows.sign() * functional.relu(rows.abs() - threshold.sigmoid())

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
        self.mask = largest_mask(self.weight.abs() - self.threshold.sigmoid(), self.nonzeros)
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
