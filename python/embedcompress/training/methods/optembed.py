"""OptEmbed: fields have a norm that rows must pass, and a number of columns, found in a table trained for all numbers.

Lyu, Tang, Zhu, Guo, Zhang, Tang and Liu, "OptEmbed: Learning Optimal Embedding Table for Click-through Rate
Prediction", CIKM 2022 (arXiv 2208.04482). In "supernet" a row of field f is kept if the sum of its |numbers| passes
t_f, which has a gradient of its own making, and every id of a batch has the first k columns only, k at random.
`search(score)` looks for the columns of each field by evolution; without it they are those of most energy per byte.
"retrain" goes on with the rows and columns that were chosen.

Bytes: 4 for each number kept, and where rows are dropped the fewer of a map's and a partition's; see `_kept_rows`.
If one column of the rows that pass would be over the budget, rows of small norm are dropped until it is not. The
table is full in "supernet". Thresholds move by steps of their own size, in `after_step`, not by the optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method, Table
from ..._bisection import first_where
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._embedding import LearnedEmbedding, numbers
from .._evolution import evolve
from .._fields import of_field
from .._kept_rows import kept_bytes, kept_rows, marks_bytes
from .._spec import Plan, Spec, refuse

_DRAWS = 1000
"""The first purpose of generators for steps."""


class OptEmbed(LearnedEmbedding):
    """`training.embedding("optembed", …)`."""

    method: ClassVar[Method] = entry("optembed", WHILE_TRAINING)
    uses_counts: ClassVar[bool] = True
    looked_up: ClassVar[tuple[str, ...]] = ("weight",)
    stages: ClassVar[tuple[str, ...]] = ("supernet", "retrain")
    compiles: ClassVar[str] = "training draws random columns from a generator of its own"
    dims: Tensor
    cutoff: Tensor
    place: Tensor | None
    threshold: nn.Parameter

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.alpha = options["alpha"]
        self.rate = options["threshold_rate"]
        self.rounds = options["rounds"]
        self.draws = 0
        """Batches that had random columns."""
        self.kept: list[int] = []
        """Rows of each field that were chosen."""
        self.is_chosen = False
        """Whether columns were chosen."""
        self.weight = nn.Parameter(self.initial(spec.rows, spec.dimension))
        self.threshold = nn.Parameter(torch.zeros(len(spec.sizes)))
        self.register_buffer("dims", torch.full((len(spec.sizes),), spec.dimension))
        self.register_buffer("cutoff", torch.tensor(-torch.inf))
        self.register_buffer("place", None)
        self._slope: Tensor | None = None

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Training decides; at least one column of one row of any field has to fit."""
        floor = max(4 + marks_bytes(size, 1) for size in spec.sizes)
        if floor > spec.budget:
            raise refuse("optembed", spec, floor)
        return Plan(min(spec.budget, spec.full_bytes), {})

    @property
    def stored_bytes(self) -> int:
        """Bytes of the frozen table; at most the budget until rows are chosen."""
        return self.planned.stored_bytes if self.place is None else self._bytes(self.kept, self.dims.tolist())

    def _bytes(self, kept: list[int], dims: list[int]) -> int:
        return sum(kept_bytes(*field) for field in zip(self.spec.sizes, kept, dims, strict=True))

    def widths(self, draw: int, count: int) -> Tensor:
        """Return how many columns each id of a batch has, (count,)."""
        device = self.device
        high = self.embedding_dim + 1
        return torch.randint(1, high, (count,), generator=self.generator(_DRAWS + draw, device), device=device)

    def rows(self, ids: Tensor) -> Tensor:
        """Return the first columns of rows that are kept."""
        field, _ = self.fields.split(ids)
        width = of_field(self.dims, field)
        if self.place is not None:
            empty = len(self.weight) - 1
            rows = functional.embedding(self.place[ids], self.weight, padding_idx=empty, sparse=self.spec.sparse)
            return rows * self._prefix(width)
        rows = functional.embedding(ids, self.weight, sparse=self.spec.sparse)
        over = rows.abs().sum(1) - of_field(self.threshold, field)
        kept = _step(over)
        if self.training:
            width = self.widths(self.draws, len(ids))
            self.draws += 1
        else:
            kept = kept * (rows.abs().sum(1) > self.cutoff)
        return rows * kept[:, None] * self._prefix(width)

    def _prefix(self, width: Tensor) -> Tensor:
        """Return 1 for the first columns, and 0 for the others, (n, d)."""
        return (torch.arange(self.embedding_dim, device=width.device) < width[:, None]).to(self.weight.dtype)

    def regularization(self) -> Tensor:
        """Return what makes thresholds rise."""
        return self.alpha * torch.exp(-self.threshold).sum() if self.place is None else super().regularization()

    def weight_parameters(self) -> list[nn.Parameter]:
        """Return the table only."""
        return [self.weight]

    def before_step(self) -> None:
        """Take the gradient of thresholds away from the optimizer."""
        self._slope, self.threshold.grad = self.threshold.grad, None

    @torch.no_grad()
    def after_step(self) -> None:
        """Move thresholds."""
        if self._slope is not None and self.place is None:
            self.threshold.sub_(self._slope, alpha=self.rate)
        self._slope = None

    # Choosing

    def _field_of_rows(self, counts: tuple[int, ...] | list[int]) -> Tensor:
        sizes = torch.tensor(counts, device=self.device)
        return torch.repeat_interleave(torch.arange(len(sizes), device=self.device), sizes)

    @torch.no_grad()
    def _choose_rows(self) -> Tensor:
        """Set the cutoff, the least with which one column of each field fits; return which rows are kept."""
        norm = self.weight.abs().sum(1)
        field = self._field_of_rows(self.spec.sizes)
        # As `rows` has it: in f32, a difference is above 0 exactly where one number is above the other.
        passed = norm - self.threshold[field] > 0
        cutoffs = torch.cat([norm.new_tensor([-torch.inf]), torch.unique(norm[passed])])

        def kept(index: int) -> Tensor:
            return passed & (norm > cutoffs[index])

        def fits(index: int) -> bool:
            counts = self._counts(field, kept(index))
            return self._bytes(counts, [1] * len(counts)) <= self.spec.budget

        place = first_where(0, len(cutoffs) - 1, fits)
        self.cutoff.copy_(cutoffs[place])
        return kept(place)

    def _counts(self, field: Tensor, kept: Tensor) -> list[int]:
        return [int(count) for count in torch.bincount(field[kept], minlength=len(self.fields))]

    @torch.no_grad()
    def _proposal(self, kept: Tensor, counts: list[int]) -> list[int]:
        """Return the columns of each field; the next that fits has the most energy for each of its bytes."""
        squares = self.weight.square() * kept[:, None]
        if self.spec.counts is not None:
            squares = squares * torch.from_numpy(self.spec.counts).to(squares)[:, None]
        field = self._field_of_rows(self.spec.sizes)
        energy = squares.new_zeros(len(counts), self.embedding_dim).index_add(0, field, squares).cpu().numpy()
        dims = np.ones(len(counts), np.int64)
        left = self.spec.budget - self._bytes(counts, dims.tolist())
        price = np.array(
            [kept_bytes(n, k, 2) - kept_bytes(n, k, 1) for n, k in zip(self.spec.sizes, counts, strict=True)]
        )
        while len(open_ := np.flatnonzero((dims < self.embedding_dim) & (price <= left) & (price > 0))):
            best = open_[np.argmax(energy[open_, dims[open_]] / price[open_])]
            # Wider rows may take a form of other bytes.
            wider = dims.copy()
            wider[best] += 1
            size = self._bytes(counts, wider.tolist())
            if size > self.spec.budget:
                price[best] = self.spec.budget + 1
                continue
            dims, left = wider, self.spec.budget - size
        return [int(dim) for dim in dims]

    def search(self, score: Callable[[], float]) -> None:
        """Choose the columns of each field by evolution, of those that fit the budget."""
        if self.place is not None:
            return
        kept = self._choose_rows()
        counts = self._counts(self._field_of_rows(self.spec.sizes), kept)

        def scored(dims: tuple[int, ...]) -> float:
            self.dims.copy_(torch.tensor(dims))
            return float(score())

        def fits(dims: tuple[int, ...]) -> bool:
            return self._bytes(counts, list(dims)) <= self.spec.budget

        was_training = self.training
        self.eval()
        random = np.random.default_rng(self.spec.seed)
        first = tuple(self._proposal(kept, counts))
        best = evolve(first, self.embedding_dim, scored, fits, self.rounds, random)
        self.train(was_training)
        self.dims.copy_(torch.tensor(best))
        self.is_chosen = True

    def enter(self, stage: str) -> None:
        """Drop rows and columns before the second stage."""
        if stage == "retrain":
            self._shrink()
        super().enter(stage)

    def _shrink(self) -> None:
        if self.place is not None:
            return
        kept = self._choose_rows()
        self.kept = self._counts(self._field_of_rows(self.spec.sizes), kept)
        if not self.is_chosen:
            self.dims.copy_(torch.tensor(self._proposal(kept, self.kept)))
            self.is_chosen = True
        count = sum(self.kept)
        # The last row is that of ids which were dropped.
        self.place = torch.where(kept, kept.cumsum(0) - 1, count).to(torch.int32)
        weight = self.weight.detach()[kept] * self._prefix(self.dims[self._field_of_rows(self.kept)])
        self.weight = nn.Parameter(torch.cat([weight, weight.new_zeros(1, self.embedding_dim)]))

    def finish(self) -> None:
        """Leave nothing but what was chosen."""
        self._shrink()
        super().finish()

    def _frozen(self) -> Table:
        assert self.place is not None
        rows = torch.split(self.weight[:-1], self.kept)
        is_kept = torch.split(self.place < len(self.weight) - 1, list(self.spec.sizes))
        fields = zip(rows, is_kept, self.dims.tolist(), strict=True)
        return self.per_field(
            kept_rows(numbers(table[:, :dim]), numbers(mask), self.embedding_dim) for table, mask, dim in fields
        )

    # State

    def structure(self) -> dict[str, Any]:
        """Return which rows are kept, as counts."""
        return {"is_shrunken": self.place is not None, "kept": list(self.kept), "is_chosen": self.is_chosen}

    def restructure(self, structure: dict[str, Any]) -> None:
        """Take the shape of a table of kept rows."""
        self.kept, self.is_chosen = list(structure["kept"]), structure["is_chosen"]
        if structure["is_shrunken"]:
            self.place = torch.zeros(self.num_embeddings, dtype=torch.int32, device=self.device)
            self.weight = nn.Parameter(self.weight.new_zeros(sum(self.kept) + 1, self.embedding_dim))

    def get_extra_state(self) -> dict[str, Any]:
        """Return how many batches had random columns, beside the stage."""
        return super().get_extra_state() | {"draws": self.draws}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.draws = state["draws"]


def _step(over: Tensor) -> Tensor:
    """Return 1 above 0; the gradient is that of a function that rises around 0, quickest there."""
    distance = over.detach().abs()
    slope = torch.where(distance > 1, 0, (2 - 4 * distance).clamp(min=0.4))
    return (over > 0).to(over.dtype) + slope * (over - over.detach())
