"""Methods whose rows are those of one tensor, gathered as torch.nn.Embedding gathers them."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn
from torch.nn import functional

from ._embedding import LearnedEmbedding


class Gathered(LearnedEmbedding):
    """A method that says which row of `weight` an id has; sums and means of bags are made while rows are read."""

    weight: nn.Parameter

    @abstractmethod
    def places(self, ids: Tensor) -> Tensor:
        """Return the row of `weight` of (n,) int64 ids that are in range, (n,) int64."""

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight."""
        return functional.embedding(self.places(ids), self.weight, sparse=self.spec.sparse)

    def pooled(self, ids: Tensor, starts: Tensor, lengths: Tensor, weights: Tensor | None) -> Tensor:
        """Return pooled rows, (bags, d)."""
        # Sparse gradients of a maximum are not torch's to give, nor are rows without a bag its to leave out.
        if self.mode is None or self.mode == "max":
            return super().pooled(ids, starts, lengths, weights)
        return functional.embedding_bag(
            self.places(ids),
            self.weight,
            starts,
            mode=self.mode,
            sparse=self.spec.sparse,
            per_sample_weights=None if weights is None else weights.to(self.weight.dtype),
        )
