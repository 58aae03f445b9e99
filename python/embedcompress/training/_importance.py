"""How important ids are, and where the rows of those are that have one of their own: of every id, or in a sketch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .. import _core
from ._hashing import hashed

STAYS = 1.25
"""How much more important an id must be than a hot one whose place it takes."""
DEPTH = 4
"""Slots of a bucket of the sketch, as in the paper."""
SLOTS_PER_ROW = 2
"""Slots of the sketch for each row that an id can have of its own."""


class Importance(nn.Module):
    """Slots, each of an id: its importance, and the place of its own row, or -1. Here every id has a slot."""

    score: Tensor
    place: Tensor

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.register_buffer("score", torch.zeros(slots))
        self.register_buffer("place", torch.full((slots,), -1, dtype=torch.int32))

    def slots(self, ids: Tensor) -> Tensor:
        """Return the slot of each id, or -1."""
        return ids

    def ids(self, slots: Tensor) -> Tensor:
        """Return the id of each slot."""
        return slots

    def places(self, ids: Tensor) -> Tensor:
        """Return the place of each id's own row, or -1."""
        return self.place[self.slots(ids)].long()

    def begin(self, ids: Tensor) -> None:
        """Give ids rows of their own before anything is known, the first of them the first row."""
        self.place[ids] = torch.arange(len(ids), dtype=torch.int32, device=self.place.device)

    def add(self, ids: Tensor, norms: Tensor) -> None:
        """Add to the importance of ids, of which some may come several times."""
        self.score.index_add_(0, ids, norms)

    def choose(self, count: int) -> tuple[Tensor, Tensor]:
        """Give `count` rows to the most important ids.

        Returns:
            The ids that had none, and the places of the rows that they have now.
        """
        is_hot = self.place >= 0
        # Ids that were not seen do not become hot, and hot ones stay where they are as important as others.
        key = torch.where(is_hot, self.score * STAYS, torch.where(self.score > 0, self.score, -1.0))
        best = key.topk(min(count, len(key))).indices
        chosen = torch.zeros_like(is_hot)
        chosen[best[key[best] >= 0]] = True
        risen, fallen = (chosen & ~is_hot).nonzero().ravel(), (is_hot & ~chosen).nonzero().ravel()
        taken = torch.zeros(count, dtype=torch.bool, device=self.place.device)
        taken[self.place[is_hot & chosen].long()] = True
        free = (~taken).nonzero().ravel()[: len(risen)]
        self.place[fallen] = -1
        self.place[risen] = free.int()
        return self.ids(risen), free

    def hot(self) -> Tensor:
        """Return the ids that have a row of their own, in order, and its place, (2, n)."""
        slots = (self.place >= 0).nonzero().ravel()
        ids, order = self.ids(slots).sort()
        return torch.stack([ids, self.place[slots[order]].long()])


class HotSketch(Importance):
    """CAFE's sketch: an id has a slot of the bucket that its hash says, if it is among the most important ones there.

    As in SpaceSaving, an id without a slot takes that of the least important one of its bucket, and adds to what that
    had; a hot one counts as `STAYS` times as important. Of a batch's ids that are new to a bucket, the `DEPTH` that
    are most important in the batch take part, the most important one last.
    """

    key: Tensor

    def __init__(self, rows: int, seed: int) -> None:
        """Take the number of rows that ids can have of their own, and the seed of the hash."""
        self.buckets = _buckets(rows)
        super().__init__(self.buckets * DEPTH)
        self.seed = seed
        self.register_buffer("key", torch.full((self.buckets * DEPTH,), -1))

    def slots(self, ids: Tensor) -> Tensor:
        """Return the slot of each id, or -1."""
        bucket = self._bucket(ids)
        is_here = _buckets_of(self.key, bucket) == ids[:, None]
        number = (is_here * torch.arange(1, DEPTH + 1, device=ids.device)).sum(1)
        return torch.where(number == 0, -1, bucket * DEPTH + number - 1)

    def ids(self, slots: Tensor) -> Tensor:
        """Return the id of each slot."""
        return self.key[slots]

    def places(self, ids: Tensor) -> Tensor:
        """Return the place of each id's own row, or -1."""
        if self._is_in_core():
            found = torch.empty(len(ids), dtype=torch.int64, device="cpu")
            _core.hot_sketch_places(*self._arrays(), ids.contiguous().numpy(), found.numpy())
            return found
        slots = self.slots(ids)
        return torch.where(slots < 0, -1, self.place[slots.clamp(min=0)].long())

    def begin(self, ids: Tensor) -> None:
        """Give ids rows of their own; those for which their bucket has no slot have none."""
        bucket = self._bucket(ids)
        order = bucket.argsort(stable=True)
        slots = bucket[order] * DEPTH + _rank(bucket[order])
        is_in = slots < (bucket[order] + 1) * DEPTH
        self.key[slots[is_in]] = ids[order[is_in]]
        self.place[slots[is_in]] = order[is_in].int()

    def add(self, ids: Tensor, norms: Tensor) -> None:
        """Add to the importance of ids."""
        if self._is_in_core():
            _core.hot_sketch_add(*self._arrays(), ids.contiguous().numpy(), norms.contiguous().numpy())
            return
        found, back = torch.unique(ids, return_inverse=True)
        sums = norms.new_zeros(len(found)).index_add_(0, back, norms)
        slots = self.slots(found)
        self.score.index_add_(0, slots.clamp(min=0), torch.where(slots < 0, 0, sums))
        new = ((slots < 0) & (sums > 0)).nonzero().view(-1)
        new = new[sums[new].argsort(descending=True, stable=True)]
        bucket, order = self._bucket(found[new]).sort(stable=True)
        new, rank = new[order], _rank(bucket)
        for turn in reversed(range(DEPTH)):
            mine = (rank == turn).nonzero().view(-1)
            if len(mine):
                self._replace(bucket[mine], found[new[mine]], sums[new[mine]])

    def _replace(self, bucket: Tensor, ids: Tensor, sums: Tensor) -> None:
        """Put ids into the cheapest slots of buckets, no two of them the same."""
        score = _buckets_of(self.score, bucket)
        cost = torch.where(_buckets_of(self.place, bucket) >= 0, score * STAYS, score)
        cost = cost.masked_fill_(_buckets_of(self.key, bucket) < 0, -1.0)
        victim = bucket * DEPTH + cost.argmin(1)
        self.key[victim] = ids
        self.score[victim] += sums
        self.place[victim] = -1

    def _is_in_core(self) -> bool:
        """Return whether the core of this library does the work: where the numbers are float32 ones in its memory."""
        return self.score.device.type == "cpu" and self.score.dtype == torch.float32

    def _arrays(self) -> tuple[Any, Any, Any, int]:
        return self.key.numpy(), self.score.numpy(), self.place.numpy(), self.seed

    def _bucket(self, ids: Tensor) -> Tensor:
        return hashed(ids, self.buckets, self.seed)


def _buckets_of(slots: Tensor, bucket: Tensor) -> Tensor:
    """Return what the slots of buckets have, (n, DEPTH)."""
    return slots.view(-1, DEPTH).index_select(0, bucket)


def sketch_bytes(rows: int) -> int:
    """Return the bytes of the sketch for so many own rows: an id, its importance and a place for each slot."""
    return 16 * DEPTH * _buckets(rows) if rows else 0


def _buckets(rows: int) -> int:
    return -(-SLOTS_PER_ROW * rows // DEPTH)


def _rank(ordered: Tensor) -> Tensor:
    """Return how many equal numbers are before each one, of numbers that rise."""
    return torch.arange(len(ordered), device=ordered.device) - torch.searchsorted(ordered, ordered)
