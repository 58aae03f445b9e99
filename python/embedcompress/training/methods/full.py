"""The uncompressed table, which every method is measured against."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from ... import Method, Table
from .._embedding import LearnedEmbedding, frozen_rows
from .._spec import Plan, Spec, refuse


class Full(LearnedEmbedding):
    """`training.embedding("full", …)`. Bytes: 4 n d."""

    method: ClassVar[Method] = Method(
        name="full",
        title="Full",
        paper="-",
        kind="training",
        summary="a row of its own for every id",
        bytes_per_row="4 * d",
        cost="that of torch.nn.Embedding",
        options=(),
    )

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.weight = nn.Parameter(self.initial(spec.rows, spec.dimension))

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """There is nothing to choose."""
        if spec.full_bytes > spec.budget:
            raise refuse("full", spec, spec.full_bytes)
        return Plan(spec.full_bytes, {})

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight."""
        return functional.embedding(ids, self.weight, sparse=self.spec.sparse)

    def _frozen(self) -> Table:
        return frozen_rows(self.weight)
