"""Learned tables that are one array in a form of its own, if they have an optimizer of their own."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ._embedding import LearnedEmbedding
from ._fused import FusedRows
from ._fused_batches import Bags
from ._spec import Spec


class FusedEmbedding(LearnedEmbedding):
    """A learned table that is held in another form with an optimizer of its own; `fused` is it then, None elsewhere."""

    takes_optimizer: ClassVar[bool] = True
    fused: FusedRows | None

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.fused = None

    def fuse(self, rows: FusedRows) -> None:
        """Take rows of zeros as the table, and give them the initial values that it would have without an optimizer."""
        self.fused = rows
        rows.fill(self.initial_blocks(self.spec.rows, self.spec.dimension))

    def pooled(self, ids: Tensor, starts: Tensor, lengths: Tensor, weights: Tensor | None) -> Tensor:
        """Return pooled rows, (bags, d); sums and means are made while rows are read, and no row exists beside them."""
        assert self.mode is not None
        bags = Bags(ids, starts, self.mode, weights)
        if self.fused is None or not self.fused.can_pool(bags):
            return super().pooled(ids, starts, lengths, weights)
        return self.fused.pooled(bags)
