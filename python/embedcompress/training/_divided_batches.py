"""A batch whose rows are in two tables."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ._fused import FusedRows
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
    def _kinds_and_rows(self) -> tuple[Tensor, Tensor]:
        """Whether each id's row is f16, and its number among the rows of its kind."""
        return self._kinds.split(self.whole.ids)

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """Which ids have rows of codes, and which of f16."""
        is_high, _ = self._kinds_and_rows
        return is_high.logical_not().nonzero().view(-1), is_high.nonzero().view(-1)

    @cached_property
    def ids(self) -> tuple[Tensor, Tensor]:
        """The numbers of rows of codes, and of those of f16."""
        _, rows = self._kinds_and_rows
        low, high = self._places
        return rows.index_select(0, low), rows.index_select(0, high)

    def _part(self, kind: int) -> Bags:
        """Return what rows of codes or of f16 add to each bag; an id that is no bag's is one of its own."""
        whole, places, ids = self.whole, self._places[kind], self.ids[kind]
        if isinstance(whole, Bags):
            # Where a bag begins among the ids of one kind.
            starts = torch.searchsorted(places, whole.starts)
            return Bags(ids, starts, "sum", None if whole.weights is None else whole.weights.index_select(0, places))
        is_high, _ = self._kinds_and_rows
        before = is_high.cumsum(0) - is_high.long()
        return Bags(ids, before if kind else torch.arange(len(before)) - before, "sum", None)

    @cached_property
    def _lengths(self) -> Tensor:
        """Of bags, (bags, 1)."""
        assert isinstance(self.whole, Bags)
        starts = self.whole.starts
        return torch.diff(starts, append=starts.new_tensor([len(self.whole.ids)]))[:, None]

    def gather(self, low: FusedRows, high: FusedRows) -> Tensor:
        """Return what the whole batch takes from both tables, (n, d)."""
        if isinstance(self.whole, Bags):
            pooled = low.gather(self._part(0)).add_(high.gather(self._part(1)))
            return pooled.div_(self._lengths.clamp(min=1)) if self.whole.mode == "mean" else pooled
        is_high, rows = self._kinds_and_rows
        few = 0 if len(self._places[0]) < len(self._places[1]) else 1
        tables = low, high
        # The kind that most ids have is read for all of them, which is faster than to put its rows where they belong.
        others = rows.masked_fill(is_high if few else is_high.logical_not(), 0)
        found = tables[1 - few].gather(Ids(others))
        return found.index_copy_(0, self._places[few], tables[few].gather(Ids(self.ids[few])))

    def joined(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the rows of the whole batch, (n, d), from those of either kind."""
        rows = low.new_empty(len(self), low.shape[1])
        return rows.index_copy(0, self._places[0], low).index_copy(0, self._places[1], high)

    def step(self, low: FusedRows, high: FusedRows, slopes: Tensor) -> None:
        """Move the rows of both tables against the gradients of what the batch took, (n, d)."""
        # An error of either table has to leave both as they are.
        self._check(slopes)
        if isinstance(self.whole, Bags) and self.whole.mode == "mean":
            slopes = slopes / self._lengths.clamp(min=1)
        for kind, rows in enumerate((low, high)):
            if rows.pools:
                rows.step(self._part(kind), slopes)
            else:
                rows.step(Ids(self.ids[kind]), slopes.index_select(0, self._places[kind]))

    def _check(self, slopes: Tensor) -> None:
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
