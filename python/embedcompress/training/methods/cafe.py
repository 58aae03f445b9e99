"""CAFE: ids that matter have rows of their own, the others share rows, and which is which is learnt.

Zhang et al., "CAFE: Towards Compact, Adaptive, and Fast Embedding for Large-scale Recommendation Models", SIGMOD 2024
(arXiv 2312.03256). The importance of an id is the sum of the norms of its rows' gradients, which fades by a factor
every `interval` steps. Then the most important ids become hot: each begins with a copy of the row that it shared. Ids
that are no longer hot go back to shared rows. The paper tracks importance in a sketch of a few ids; here each id has a
number, which takes 4 bytes for each id while training, as does the place of its row. Moments that an optimizer keeps
for a row stay with the place. If counts are given, the first hot ids are those that are used most.

The frozen table is a sum of the shared row, and of what a hot id's own row adds to it. Fields share both kinds of rows.

Bytes: 4 d for each shared row, 8 for the hash, and for hot ids the lesser of 4 d each and 72 for each 512 ids, which
say who is hot, or of 4 d + 5 d each (up to 256 columns), for rows of a sparse table.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method, Option, Table, combine, partition, remap, sparse
from ..._options import integer, number
from .._embedding import LearnedEmbedding, frozen_rows, numbers
from .._hashing import hashed, seeds
from .._spec import Plan, Spec, refuse
from .._steps import Steps

STAYS = 1.25
"""How much more important an id must be than a hot one whose place it takes."""


class CAFE(LearnedEmbedding):
    """`training.embedding("cafe", …)`. Counts are used if given."""

    method: ClassVar[Method] = Method(
        name="cafe",
        title="CAFE",
        paper="Zhang et al., SIGMOD 2024, arXiv 2312.03256",
        kind="training",
        summary="ids whose gradients are large have rows of their own, the others share rows; moves ids while training",
        bytes_per_row="4 * d * (shared + hot) / n + 0.14, or 4 * d * shared / n + 9 * d * hot / n",
        cost="that of torch.nn.Embedding, norms of gradients, and choosing hot ids every so many steps",
        options=(
            Option("hot", "a number from 0 to 1", 0.9, "the share of the budget for ids with rows of their own"),
            Option("interval", "an integer, at least 1", 100, "steps between choices of hot ids"),
            Option("decay", "a number from 0 to 1", 0.98, "what remains of importance after an interval"),
        ),
    )
    place: Tensor
    importance: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.interval, self.decay = integer(options, "interval", 1), number(options, "decay", 0, 1)
        self.hot: int = self.planned.knobs["hot"]
        self.shared: int = self.planned.knobs["shared"]
        self.seed = int(seeds(1, self.generator(1)))
        self.steps = Steps(spec.seed)
        # A hot id's place among the rows, or -1.
        place = torch.full((spec.rows,), -1, dtype=torch.int32)
        if not self.shared:
            place = torch.arange(spec.rows, dtype=torch.int32)
        elif spec.counts is not None:
            first = np.argsort(-spec.counts, kind="stable")[: self.hot]
            place[torch.from_numpy(first)] = torch.arange(self.hot, dtype=torch.int32)
        self.register_buffer("place", place)
        self.register_buffer("importance", torch.zeros(spec.rows))
        self.weight = nn.Parameter(self.initial(self.hot + self.shared, spec.dimension))

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Give hot ids their share, in the form that has room for more of them."""
        share, row = number(options, "hot", 0, 1), 4 * spec.dimension
        if spec.full_bytes <= spec.budget:
            return Plan(spec.full_bytes, {"hot": spec.rows, "shared": 0, "form": "rows"})
        room = spec.budget - 8
        if room < row:
            raise refuse("cafe", spec, min(row + 8, spec.full_bytes))
        found: dict[str, int] = {}
        for form in ("partition", "sparse"):
            each, fixed = _hot_bytes(spec, form)
            hot = math.floor(share * (room - fixed) / each)
            found[form] = max(0, min(hot, spec.rows - 1, (room - fixed - row) // each))
        form = max(found, key=lambda form: found[form])
        hot = found[form]
        used = 8 + (hot * _hot_bytes(spec, form)[0] + _hot_bytes(spec, form)[1] if hot else 0)
        shared = min((spec.budget - used) // row, spec.rows)
        return Plan(used + shared * row, {"hot": hot, "shared": shared, "form": form})

    def rows(self, ids: Tensor) -> Tensor:
        """Return own or shared rows."""
        place = self.place[ids].long()
        if self.shared:
            place = torch.where(place < 0, self._shared_place(ids), place)
        rows = functional.embedding(place, self.weight, sparse=self.spec.sparse)
        if self.training and rows.requires_grad and self.shared and self.hot:
            rows.register_hook(lambda slopes: self._watch(ids, slopes))  # type: ignore[no-untyped-call]
        return rows

    def _shared_place(self, ids: Tensor) -> Tensor:
        return self.hot + hashed(ids, self.shared, self.seed)

    @torch.no_grad()
    def _watch(self, ids: Tensor, slopes: Tensor) -> None:
        self.importance.index_add_(0, ids, slopes.detach().norm(dim=1).to(self.importance.dtype))

    @torch.no_grad()
    def after_step(self) -> None:
        """Choose hot ids, every so many steps."""
        if self.steps.next() % self.interval == 0 and self.shared and self.hot:
            self._choose()
            self.importance *= self.decay

    def _choose(self) -> None:
        is_hot = self.place >= 0
        # Ids that were not seen do not become hot, and hot ones stay where they are as important as others.
        key = torch.where(is_hot, self.importance * STAYS, torch.where(self.importance > 0, self.importance, -1.0))
        best = key.topk(self.hot).indices
        chosen = torch.zeros_like(is_hot)
        chosen[best[key[best] >= 0]] = True
        risen, fallen = (chosen & ~is_hot).nonzero().ravel(), (is_hot & ~chosen).nonzero().ravel()
        taken = torch.zeros(self.hot, dtype=torch.bool, device=self.place.device)
        taken[self.place[is_hot & chosen].long()] = True
        free = (~taken).nonzero().ravel()[: len(risen)]
        self.weight.data[free] = self.weight.data[self._shared_place(risen)]
        self.place[fallen] = -1
        self.place[risen] = free.int()

    def _frozen(self) -> Table:
        if not self.shared:
            return frozen_rows(self.weight[self.place.long()])
        cold = remap(frozen_rows(self.weight[self.hot :]), rows=self.num_embeddings, hash=self.seed)
        ids = (self.place >= 0).nonzero().ravel()
        if not len(ids):
            return cold
        own = self.weight[self.place[ids].long()] - self.weight[self._shared_place(ids)]
        return combine([cold, self._additions(numbers(ids), own)], "sum")

    def _additions(self, ids: np.ndarray[Any, Any], own: Tensor) -> Table:
        """Return a table of what hot ids' own rows add, and zeros elsewhere."""
        rows, dimension = self.num_embeddings, self.embedding_dim
        if self.planned.knobs["form"] == "sparse":
            return _sparse(numbers(own).ravel(), np.repeat(ids, dimension), rows, dimension)
        is_hot = np.zeros(rows, np.uint8)
        is_hot[ids] = 1
        nothing = np.zeros(0)
        zeros = _sparse(nothing.astype(np.float32), nothing.astype(np.int64), rows - len(ids), dimension)
        return partition([zeros, frozen_rows(own)], is_hot)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the frozen table; fewer than planned while there are fewer hot ids than places."""
        if not self.shared:
            return super().stored_bytes
        hot = int((self.place >= 0).sum())
        each, fixed = _hot_bytes(self.spec, self.planned.knobs["form"])
        return 8 + 4 * self.embedding_dim * self.shared + (hot * each + fixed if hot else 0)


def _hot_bytes(spec: Spec, form: str) -> tuple[int, int]:
    """Return the bytes of a hot id, and those of any number of them beside that."""
    if form == "partition":
        return 4 * spec.dimension, 72 * -(-spec.rows // 512)
    column = 1 if spec.dimension <= 2**8 else 2 if spec.dimension <= 2**16 else 4
    return (4 + column + (4 if spec.rows < 2**32 else 8)) * spec.dimension, 0


def _sparse(values: np.ndarray[Any, Any], owners: np.ndarray[Any, Any], rows: int, dimension: int) -> Table:
    columns = np.resize(np.arange(dimension), len(values))
    return sparse(data=values, indices=columns, row_indices=owners, rows=rows, dimension=dimension, layout="coo")
