"""Methods whose rows are those of one array, gathered as torch.nn.Embedding gathers them."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from ._embedding import LearnedEmbedding
from ._fused_batches import Bags
from ._rows import Rows


class Gathered(LearnedEmbedding):
    """A method that says which row of `weight` an id has; sums and means of bags are made while rows are read."""

    looked_up: ClassVar[tuple[str, ...]] = ("weight",)
    takes_optimizer: ClassVar[bool] = True
    weight: Rows

    @abstractmethod
    def places(self, ids: Tensor) -> Tensor:
        """Return the row of `weight` of (n,) int64 ids that are in range, (n,) int64."""

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight."""
        rows: Tensor = self.weight(self.places(ids))
        return rows

    def pooled(self, ids: Tensor, starts: Tensor, lengths: Tensor, weights: Tensor | None) -> Tensor:
        """Return pooled rows, (bags, d); sums and means are made while rows are read, and no row exists beside them."""
        assert self.mode is not None
        bags = Bags(self.places(ids), starts, self.mode, weights)
        if not self.weight.can_pool(bags):
            return super().pooled(ids, starts, lengths, weights)
        return self.weight.pooled(bags)
