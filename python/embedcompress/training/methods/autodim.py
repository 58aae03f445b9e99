"""AutoDim: each field has as many columns as a search finds, and a matrix that makes all of them as wide.

Zhao, Liu, Liu, Tang, Guo, Shi, Wang, Gao and Long, "AutoDim: Field-aware Embedding Dimension Search in Recommender
Systems", WWW 2021 (arXiv 2006.14827, by the title "Memory-efficient Embedding for Recommendations"). In "search" each
candidate of 2, 4, ... d columns has a table of its own (or the first columns of one, with tables="shared"), a matrix
for each field, and a batch norm; a row is their mean with weights of a Gumbel softmax of alpha, at a temperature that
falls. Each field then takes the most probable candidate; where the budget has no room for them, those of the largest
product of probabilities that were found to fit. "retrain" goes on with their tables and matrices, into which the batch
norm is multiplied.

Bytes: 4 (n_f d_f + d_f d + d) for each field, or 4 n_f d where that is less: the matrix is multiplied into the table
then. In "search" tables have 2 + 4 + ... + d columns.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method, Table, project
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._by_field import ByField
from .._embedding import LearnedEmbedding, frozen_rows, numbers
from .._spec import Plan, Spec, refuse
from .._widths import candidates_of, field_bytes, most_probable

_DRAWS = 1000
"""The first purpose of generators for steps."""
_EPSILON = 1e-5
_MOMENTUM = 0.1
_COLDEST = 0.01


class AutoDim(LearnedEmbedding):
    """`training.embedding("autodim", …)`."""

    method: ClassVar[Method] = entry("autodim", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("table", "flat")
    stages: ClassVar[tuple[str, ...]] = ("search", "retrain")
    compiles: ClassVar[str] = "the search draws random numbers from a generator of its own"
    alpha: nn.Parameter | None
    table: nn.Parameter | None
    matrix: nn.Parameter
    bias: nn.Parameter | None
    flat: nn.Parameter | None
    mean: Tensor | None
    variance: Tensor | None
    width: Tensor
    begin: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.is_shared = options["tables"] == "shared"
        self.anneal_steps: float = options["anneal_steps"]
        self.candidates = candidates_of(spec.dimension)
        self.draws = 0
        """Batches that had random weights."""
        self.steps = 0
        """Steps of the search."""
        self.dims: list[int] = []
        """Columns of each field once they are chosen; d where there is no matrix."""
        fields, kinds, dimension = len(spec.sizes), len(self.candidates), spec.dimension
        self.alpha = nn.Parameter(torch.zeros(fields, kinds))
        self.table = nn.Parameter(self.initial(spec.rows, dimension if self.is_shared else sum(self.candidates)))
        matrices = [
            self.initial(fields, width, dimension, purpose=1 + index, bound=width**-0.5)
            for index, width in enumerate(self.candidates)
        ]
        self.matrix = nn.Parameter(torch.cat(matrices, 1))
        self.register_buffer("mean", torch.zeros(fields, kinds, dimension))
        self.register_buffer("variance", torch.ones(fields, kinds, dimension))
        self.flat = self.bias = None

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Training decides; the fewest bytes of each field have to fit."""
        candidates = candidates_of(spec.dimension)
        sizes = [[field_bytes(size, width, spec.dimension) for width in candidates] for size in spec.sizes]
        if (floor := sum(map(min, sizes))) > spec.budget:
            raise refuse("autodim", spec, floor)
        return Plan(min(spec.budget, sum(map(max, sizes))), {"candidates": candidates})

    @property
    def stored_bytes(self) -> int:
        """Bytes of the frozen table; at most the budget until columns are chosen."""
        if not self.dims:
            return self.planned.stored_bytes
        fields = zip(self.spec.sizes, self.dims, strict=True)
        return sum(field_bytes(size, width, self.embedding_dim) for size, width in fields)

    @property
    def temperature(self) -> float:
        """Of the softmax over candidates."""
        return max(_COLDEST, 1 - self.steps / self.anneal_steps)

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the candidates' mean, or of the chosen ones."""
        field, local = self.fields.split(ids)
        index = torch.zeros_like(ids) if field is None else field
        if self.dims:
            return self._chosen_rows(index, local)
        assert self.table is not None
        by_field = ByField(index, len(self.fields))
        wide = functional.embedding(ids, self.table, sparse=self.spec.sparse)
        if not self.training:
            assert self.mean is not None and self.variance is not None
            combined, scales = self._combined(self.variance)
            return by_field.product(wide, combined) - (self.mean * scales).sum(1)[index]
        # Batch norm is linear in rows: less their mean, they are multiplied with one matrix for all candidates.
        tiles, ones = by_field.tiled(wide), by_field.tiled(torch.ones_like(wide[:, :1]))
        count = by_field.sums(ones.sum(1))[:, :, None]
        mean = by_field.sums(tiles.sum(1))[:, None] / count.clamp(min=1)
        centred = (tiles - mean[by_field.owner]) * ones
        covariance = by_field.sums(torch.bmm(centred.transpose(1, 2), centred)) / count.clamp(min=1)
        means, variances = [], []
        for start, matrix in self._matrices():
            columns = slice(start, start + matrix.shape[1])
            means.append(torch.bmm(mean[:, :, columns], matrix)[:, 0])
            variances.append((torch.bmm(covariance[:, columns, columns], matrix) * matrix).sum(1).clamp(min=0))
        variance = torch.stack(variances, 1)
        self._follow(torch.stack(means, 1), variance, count)
        combined, _ = self._combined(variance)
        return by_field.untiled(torch.bmm(centred, combined[by_field.owner]))

    def _matrices(self) -> list[tuple[int, Tensor]]:
        """Return the first column of each candidate, and its matrices, (fields, columns, d)."""
        return list(zip(self._starts(), torch.split(self.matrix, self.candidates, 1), strict=True))

    def _combined(self, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return matrices that make rows of the candidates' mean, and what normed rows are multiplied with in it.

        Args:
            variance: Of the rows of each candidate, (fields, candidates, d).

        Returns:
            (fields, columns, d) of all columns of the table; (fields, candidates, d)
        """
        assert self.table is not None
        scales = self._weights()[:, :, None] * (variance + _EPSILON).rsqrt()
        columns = self.table.shape[1]
        parts = [
            functional.pad(matrix * scale[:, None], (0, 0, start, columns - start - matrix.shape[1]))
            for (start, matrix), scale in zip(self._matrices(), scales.unbind(1), strict=True)
        ]
        return torch.stack(parts).sum(0), scales

    def _starts(self) -> list[int]:
        """Return the first column of each candidate."""
        if self.is_shared:
            return [0] * len(self.candidates)
        return [sum(self.candidates[:place]) for place in range(len(self.candidates))]

    def noise(self, draw: int) -> Tensor:
        """Return the Gumbel noise of a batch, (fields, candidates)."""
        shape = (len(self.fields), len(self.candidates))
        return -torch.empty(shape).exponential_(generator=self.generator(_DRAWS + draw)).log()

    def _weights(self) -> Tensor:
        """Return the weight of each candidate, (fields, candidates)."""
        assert self.alpha is not None
        scores = self.alpha.log_softmax(1)
        if self.training:
            scores = scores + self.noise(self.draws).to(scores.device)
            self.draws += 1
        return (scores / self.temperature).softmax(1)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running means and variances of fields that a batch has, (fields, candidates, d) each.

        Args:
            mean: Of the rows of each candidate.
            variance: Likewise.
            count: The batch's rows of each field, (fields, 1, 1).
        """
        assert self.mean is not None and self.variance is not None
        unbiased = variance * count / (count - 1).clamp(min=1)
        moved = (_MOMENTUM * (count > 0)).expand_as(mean)
        self.mean.lerp_(mean, moved)
        self.variance.lerp_(unbiased, moved)

    def _chosen_rows(self, field: Tensor, local: Tensor) -> Tensor:
        assert self.flat is not None and self.bias is not None
        width = self.width[field][:, None]
        column = torch.arange(self.matrix.shape[1], device=field.device)
        places = self.begin[field][:, None] + local[:, None] * width + column
        nowhere = len(self.flat) - 1
        places = torch.where(column < width, places, nowhere)
        rows = functional.embedding(places, self.flat, padding_idx=nowhere, sparse=self.spec.sparse).squeeze(2)
        if min(self.dims) == self.embedding_dim:
            return rows
        products = ByField(field, len(self.fields)).product(rows, self.matrix) + self.bias[field]
        return torch.where(width == self.embedding_dim, rows, products) if self._has_plain else products

    @property
    def _has_plain(self) -> bool:
        return max(self.dims) == self.embedding_dim

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Return alpha while it is searched for."""
        return [] if self.alpha is None else [self.alpha]

    def after_step(self) -> None:
        """Let the temperature fall."""
        if not self.dims:
            self.steps += 1

    # Choosing

    def enter(self, stage: str) -> None:
        """Choose columns before the second stage."""
        if stage == "retrain":
            self._choose()
        super().enter(stage)

    def finish(self) -> None:
        """Leave nothing but what was chosen."""
        self._choose()
        super().finish()

    @torch.no_grad()
    def _choose(self) -> None:
        """Take the most probable columns that fit, and the tables and matrices that they have."""
        if self.dims:
            return
        assert self.alpha is not None and self.table is not None
        assert self.mean is not None and self.variance is not None
        sizes, dimension = self.spec.sizes, self.embedding_dim
        prices = [[field_bytes(size, width, dimension) for width in self.candidates] for size in sizes]
        chosen = most_probable(self.alpha.log_softmax(1).tolist(), prices, self.spec.budget)
        starts, tables = self._starts(), torch.split(self.table, list(sizes))
        matrices = torch.split(self.matrix, self.candidates, 1)
        parts, dims, found = [], [], []
        for field, (index, size) in enumerate(zip(chosen, sizes, strict=True)):
            width = self.candidates[index]
            scale = (self.variance[field, index] + _EPSILON).rsqrt()
            matrix, bias = matrices[index][field] * scale, -self.mean[field, index] * scale
            part = tables[field][:, starts[index] : starts[index] + width]
            if field_bytes(size, width, dimension) == 4 * size * dimension:
                part, width = part @ matrix + bias, dimension
            parts.append(part.reshape(-1))
            dims.append(width)
            found.append((matrix, bias))
        self._reshape(dims)
        assert self.flat is not None and self.bias is not None
        self.flat.copy_(torch.cat([*parts, self.flat.new_zeros(1)])[:, None])
        for field, (matrix, bias) in enumerate(found):
            if dims[field] < dimension:
                self.matrix[field, : len(matrix)] = matrix
                self.bias[field] = bias

    def _reshape(self, dims: list[int]) -> None:
        """Replace candidates by tables of chosen columns, all zeros."""
        self.dims = dims
        device, fields, dimension = self.device, len(dims), self.embedding_dim
        self.register_buffer("width", torch.tensor(dims, device=device), persistent=False)
        counts = torch.tensor(self.spec.sizes, device=device) * self.width
        self.register_buffer("begin", counts.cumsum(0) - counts, persistent=False)
        # The last number is that of columns that a field does not have.
        self.flat = nn.Parameter(torch.zeros(int(counts.sum()) + 1, 1, device=device))
        self.matrix = nn.Parameter(torch.zeros(fields, max(dims), dimension, device=device))
        self.bias = nn.Parameter(torch.zeros(fields, dimension, device=device))
        self.alpha = self.table = self.mean = self.variance = None

    def _frozen(self) -> Table:
        assert self.flat is not None and self.bias is not None
        counts = [size * width for size, width in zip(self.spec.sizes, self.dims, strict=True)]
        tables = []
        for field, part in enumerate(torch.split(self.flat[:-1, 0], counts)):
            width = self.dims[field]
            table = frozen_rows(part.reshape(-1, width))
            if width < self.embedding_dim:
                table = project(table, numbers(self.matrix[field, :width]), numbers(self.bias[field]))
            tables.append(table)
        return self.per_field(tables)

    # State

    def structure(self) -> dict[str, Any]:
        """Return the columns of each field, if they are chosen."""
        return {"dims": list(self.dims)}

    def restructure(self, structure: dict[str, Any]) -> None:
        """Take the shapes of chosen columns."""
        if structure["dims"]:
            self._reshape(list(structure["dims"]))

    def get_extra_state(self) -> dict[str, Any]:
        """Return how far the search is, beside the stage."""
        return super().get_extra_state() | {"draws": self.draws, "steps": self.steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.draws, self.steps = state["draws"], state["steps"]
