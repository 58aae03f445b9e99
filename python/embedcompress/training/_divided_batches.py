"""A batch whose rows are in two tables."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ._fused_batches import Bags, Ids
from ._high_precision import Flags, Ranges


class DividedBatch:
    """Ids or bags, and what of them each table has. Bags are pooled in both, and added up."""

    def __init__(self, whole: Ids | Bags, kinds: Ranges | Flags) -> None:
        """Take a batch.

        Args:
            whole: The batch, of ids of the whole table.
            kinds: Says which rows are f16, and where.
        """
        self.whole, self._kinds = whole, kinds

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What must not change until backward."""
        return self.whole.tensors

    def __len__(self) -> int:
        """Return how many rows or bags there are."""
        return len(self.whole)

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor, Tensor]:
        """Which ids have rows of f16, which have not, and the numbers of their rows."""
        is_high, rows = self._kinds.split(self.whole.ids)
        return is_high.nonzero().view(-1), is_high.logical_not().nonzero().view(-1), rows

    @cached_property
    def high(self) -> Ids | Bags:
        """What has rows of f16."""
        return self._part(self._places[0])

    @cached_property
    def low(self) -> Ids | Bags:
        """What has rows of codes."""
        return self._part(self._places[1])

    def _part(self, places: Tensor) -> Ids | Bags:
        whole, ids = self.whole, self._places[2].index_select(0, places)
        if isinstance(whole, Ids):
            return Ids(ids)
        # Where a bag begins among the ids of one kind.
        starts = torch.searchsorted(places, whole.starts)
        return Bags(ids, starts, "sum", None if whole.weights is None else whole.weights.index_select(0, places))

    @cached_property
    def _lengths(self) -> Tensor:
        """Of bags, (bags, 1)."""
        assert isinstance(self.whole, Bags)
        starts = self.whole.starts
        return torch.diff(starts, append=starts.new_tensor([len(self.whole.ids)]))[:, None]

    def joined(self, high: Tensor, low: Tensor) -> Tensor:
        """Return what the whole batch takes, (n, d), from what its parts take."""
        if isinstance(self.whole, Ids):
            rows = low.new_empty(len(self), low.shape[1])
            return rows.index_copy_(0, self._places[1], low).index_copy_(0, self._places[0], high)
        pooled = low.add_(high)
        return pooled.div_(self._lengths.clamp(min=1)) if self.whole.mode == "mean" else pooled

    def divided(self, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of what the parts take, from those of the whole batch, (n, d)."""
        if isinstance(self.whole, Ids):
            return slopes.index_select(0, self._places[0]), slopes.index_select(0, self._places[1])
        own = slopes / self._lengths.clamp(min=1) if self.whole.mode == "mean" else slopes
        return own, own

    def check(self, slopes: Tensor) -> None:
        """Raise ValueError for a gradient that is not finite; that of an empty bag does not matter."""
        if bool(slopes.sum().isfinite()):
            return
        is_bad = slopes.isfinite().logical_not().any(1)
        if isinstance(self.whole, Bags):
            is_bad &= self._lengths[:, 0] > 0
        if bool(is_bad.any()):
            place = int(is_bad.nonzero()[0])
            column = int(slopes[place].isfinite().logical_not().nonzero()[0])
            raise ValueError(
                f"gradients must be finite, but the one at position {place} has {float(slopes[place, column])} in "
                f"column {column}"
            )
