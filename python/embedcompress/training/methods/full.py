"""The uncompressed table, which every method is measured against."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from ... import Method, Table
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._embedding import frozen_rows
from .._fused import FusedEmbedding
from .._gathered import Gathered
from .._spec import Plan, Spec, refuse


class Full(FusedEmbedding, Gathered):
    """`training.embedding("full", …)`. Bytes: 4 n d."""

    method: ClassVar[Method] = entry("full", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("weight",)

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        if spec.optimizer is not None:
            self.fuse("f32")
        else:
            self.weight = nn.Parameter(self.initial(spec.rows, spec.dimension))

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """There is nothing to choose."""
        if spec.full_bytes > spec.budget:
            raise refuse("full", spec, spec.full_bytes)
        return Plan(spec.full_bytes, {})

    def places(self, ids: Tensor) -> Tensor:
        """Return ids as they are."""
        return ids

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight."""
        return super().rows(ids) if self.fused is None else self.fused(ids)

    def _frozen(self) -> Table:
        return frozen_rows(self.weight) if self.fused is None else self.fused.frozen()
