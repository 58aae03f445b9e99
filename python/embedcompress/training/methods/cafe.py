"""CAFE: ids that matter have rows of their own, the others share rows, and which is which is learnt.

Zhang et al., "CAFE: Towards Compact, Adaptive, and Fast Embedding for Large-scale Recommendation Models", SIGMOD 2024
(arXiv 2312.03256). The importance of an id is the sum of the norms of its rows' gradients, which fades by a factor
every `interval` steps. Then the most important ids become hot: each begins with a copy of the row that it shared. Ids
that are no longer hot go back to shared rows. Importance is tracked in the paper's sketch, of two ids for each row that
an id can have of its own; tracking="exact" has a number for every id, which takes 4 bytes for each while training, as
does the place of its row. Moments that an optimizer keeps for a row stay with the place. If counts are given, the first
hot ids are those that are used most.

The frozen table is a sum of the shared row, and of what a hot id's own row adds to it. Fields share both kinds of rows.

Bytes: 4 d for each shared row, 8 for the hash, and for hot ids the lesser of 4 d each and 72 for each 512 ids, which
say who is hot, or of 4 d + 5 d each (up to 256 columns), for rows of a sparse table. The sketch takes 32 for each own
row, and is not frozen; with it, rows while training are within the budget as well.

With bits, a shared row and what a hot id's row adds to it are codes, whose bytes take the place of 4 d above; there is
no sparse table. A hot row is kept in f32 as it is, and what is rounded is its difference from the shared row as codes
stand for that: so it does not move when the shared row does. Rows while training, and the sketch, come on top.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ... import Method, Table, combine, partition, remap, sparse
from ..._bisection import last_where
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._coded_rows import coded_table, rounded, straight_through
from .._counts import most_used
from .._embedding import LearnedEmbedding, frozen_rows, numbers
from .._formats import assignment_bytes, hash_bytes, sparse_bytes
from .._hashing import hashed, seeds
from .._importance import HotSketch, Importance, sketch_bytes
from .._new_rows import uniform_rows
from .._spec import Plan, Spec, refuse
from .._steps import Steps


class CAFE(LearnedEmbedding):
    """`training.embedding("cafe", …)`. Counts are used if given."""

    method: ClassVar[Method] = entry("cafe", WHILE_TRAINING)
    uses_counts: ClassVar[bool] = True
    takes_optimizer: ClassVar[bool] = True
    takes_bits: ClassVar[bool] = True
    looked_up: ClassVar[tuple[str, ...]] = ("weight",)
    compiles: ClassVar[str] = "what the sketch does depends on which ids a batch has"

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.interval, self.decay = options["interval"], options["decay"]
        self.hot: int = self.planned.knobs["hot"]
        self.shared: int = self.planned.knobs["shared"]
        self.seed = int(seeds(1, self.generator(1)))
        self.steps = Steps(spec.seed)
        self.tracked = self._tracker() if self.shared else None
        if self.tracked is not None and spec.counts is not None:
            self.tracked.begin(torch.from_numpy(most_used(spec.counts, self.hot)))
        # What is rounded of a hot row is another thing than what the array holds.
        self.weight = uniform_rows(self, self.hot + self.shared, spec.dimension, is_coded=False)
        self.forget_counts()

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Give hot ids their share, in the form that has room for more of them."""
        whole, book = spec.array_bytes(spec.rows), spec.array_bytes(0)
        if whole <= spec.budget:
            return Plan(whole, {"hot": spec.rows, "shared": 0, "form": "rows"})
        share, row, beside = options["hot"], _row_bytes(spec), hash_bytes() + book
        room = spec.budget - beside
        if room < row:
            raise refuse("cafe", spec, min(row + beside, whole))
        found: dict[str, int] = {}
        for form in ("partition", "sparse") if spec.bits is None else ("partition",):
            each, fixed = _hot_bytes(spec, form)

            def fits(hot: int, each: int = each, fixed: int = fixed) -> bool:
                used = _used(spec, hot, each, fixed, options["tracking"])
                return used - fixed <= share * (room - fixed) and used <= room - row

            found[form] = last_where(0, spec.rows - 1, fits)
        form = max(found, key=lambda form: found[form])
        hot = found[form]
        each, fixed = _hot_bytes(spec, form)
        shared = min((room - _used(spec, hot, each, fixed, options["tracking"])) // row, spec.rows)
        stored = beside + (hot * each + fixed if hot else 0) + shared * row
        return Plan(stored, {"hot": hot, "shared": shared, "form": form})

    def _tracker(self) -> Importance:
        """Return what keeps the importance of ids."""
        if self.options["tracking"] == "exact" or not self.hot:
            return Importance(self.spec.rows if self.hot else 0)
        return HotSketch(self.hot, int(seeds(1, self.generator(2))))

    def rows(self, ids: Tensor) -> Tensor:
        """Return own or shared rows."""
        places = self._places(ids)
        rows: Tensor = self.weight(places)
        if self.spec.bits is not None:
            rows = straight_through(rows, self._stood_for(rows.detach(), ids, places))
        if self.tracked is not None and self.hot and self.training and rows.requires_grad:
            rows.register_hook(lambda slopes: self._watch(ids, slopes))  # type: ignore[no-untyped-call]
        return rows

    def _places(self, ids: Tensor) -> Tensor:
        if self.tracked is None:
            return ids
        shared = self._shared_place(ids)
        if not self.hot:
            return shared
        place = self.tracked.places(ids)
        return torch.where(place < 0, shared, place)

    def _shared_place(self, ids: Tensor) -> Tensor:
        return self.hot + hashed(ids, self.shared, self.seed)

    def _stood_for(self, rows: Tensor, ids: Tensor, places: Tensor) -> Tensor:
        """Return rows as codes stand for them, of a hot id the sum of the shared row and of what its own adds."""
        assert self.spec.bits is not None
        if not self.hot or self.tracked is None:
            return rounded(rows, self.spec.bits)
        found = self._shared_rows(ids)
        hot = (places < self.hot).nonzero().view(-1)
        added = rounded(rows[hot] - found[hot], self.spec.bits)
        return found.index_copy(0, hot, found[hot] + added)

    def _shared_rows(self, ids: Tensor) -> Tensor:
        """Return the rows that ids share, or would share, as they are frozen."""
        rows = self.weight.values(self._shared_place(ids))
        return rows if self.spec.bits is None else rounded(rows, self.spec.bits)

    @torch.no_grad()
    def _watch(self, ids: Tensor, slopes: Tensor) -> None:
        assert self.tracked is not None
        self.tracked.add(ids, slopes.detach().norm(dim=1).to(self.tracked.score.dtype))

    @torch.no_grad()
    def after_step(self) -> None:
        """Choose hot ids, every so many steps."""
        if self.steps.next() % self.interval == 0 and self.tracked is not None and self.hot:
            risen, places = self.tracked.choose(self.hot)
            self.weight.write(places, self.weight.values(self._shared_place(risen)))
            self.tracked.score *= self.decay

    def _frozen(self) -> Table:
        if self.tracked is None:
            return self._table(self.weight.values())
        shared = self._table(self.weight.values(slice(self.hot, None)))
        cold = remap(shared, rows=self.num_embeddings, hash=self.seed)
        ids, places = self.tracked.hot()
        if not len(ids):
            return cold
        own = self.weight.values(places) - self._shared_rows(ids)
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
        return partition([zeros, self._table(own)], is_hot)

    def _table(self, rows: Tensor) -> Table:
        """Return rows as the table stores them."""
        return frozen_rows(rows) if self.spec.bits is None else coded_table(rows, self.spec.bits)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the frozen table; fewer than planned while there are fewer hot ids than places."""
        if self.tracked is None:
            return super().stored_bytes
        hot = int((self.tracked.place >= 0).sum())
        each, fixed = _hot_bytes(self.spec, self.planned.knobs["form"])
        return hash_bytes() + self.spec.array_bytes(self.shared) + (hot * each + fixed if hot else 0)


def _row_bytes(spec: Spec) -> int:
    """Return the bytes of a row of an array."""
    return spec.array_bytes(1) - spec.array_bytes(0)


def _used(spec: Spec, hot: int, each: int, fixed: int, tracking: str) -> int:
    """Return the bytes of hot ids, of the frozen table or with the sketch while training, whichever are more.

    With bits, training takes more than the budget anyway.
    """
    frozen = hot * each + fixed if hot else 0
    if tracking == "exact" or spec.bits is not None:
        return frozen
    return max(frozen, 4 * spec.dimension * hot + sketch_bytes(hot))


def _hot_bytes(spec: Spec, form: str) -> tuple[int, int]:
    """Return the bytes of a hot id, and those of any number of them beside that."""
    if form == "partition":
        marks = assignment_bytes(spec.rows) or spec.full_bytes
        return _row_bytes(spec), marks + spec.array_bytes(0)
    return sparse_bytes(spec.rows, spec.dimension, spec.dimension, layout="coo"), 0


def _sparse(values: np.ndarray[Any, Any], owners: np.ndarray[Any, Any], rows: int, dimension: int) -> Table:
    columns = np.resize(np.arange(dimension), len(values))
    return sparse(data=values, indices=columns, row_indices=owners, rows=rows, dimension=dimension, layout="coo")
