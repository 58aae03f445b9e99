"""The uncompressed table, which every method is measured against.

With an optimizer of its own its rows can be bf16 or f16, which moved rows are rounded to, at random if the optimizer
says so. An optimizer of torch would lose what a step adds to such numbers: without one of its own they are f32.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from ... import Method, Table
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._embedding import frozen_rows
from .._fused import DTYPES, FusedEmbedding, FusedRows
from .._gathered import Gathered
from .._spec import Plan, Spec, refuse


class Full(FusedEmbedding, Gathered):
    """`training.embedding("full", …)`. Bytes: 4 n d, or 2 n d of bf16 or f16."""

    method: ClassVar[Method] = entry("full", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("weight",)

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        if spec.optimizer is not None:
            self.fuse(FusedRows(spec, options["dtype"]))
        elif options["dtype"] != "f32":
            raise ValueError(
                f"dtype {options['dtype']!r} is for a table with an optimizer of its own: give optimizer, such as "
                "training.RowwiseAdagrad(0.05), or leave dtype out"
            )
        else:
            self.weight = nn.Parameter(self.initial(spec.rows, spec.dimension))

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """There is nothing to choose."""
        size = spec.rows * spec.dimension * DTYPES[options["dtype"]].itemsize
        if size > spec.budget:
            raise refuse("full", spec, size)
        return Plan(size, {})

    def places(self, ids: Tensor) -> Tensor:
        """Return ids as they are."""
        return ids

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight."""
        return super().rows(ids) if self.fused is None else self.fused(ids)

    def _frozen(self) -> Table:
        return frozen_rows(self.weight) if self.fused is None else self.fused.frozen()
