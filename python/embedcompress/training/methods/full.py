"""The uncompressed table, which every method is measured against.

With an optimizer of its own its rows can be bf16 or f16, which moved rows are rounded to, at random if the optimizer
says so. An optimizer of torch would lose what a step adds to such numbers: without one of its own they are f32.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ... import Method, Table
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._fused import DTYPES
from .._gathered import Gathered
from .._new_rows import uniform_rows
from .._spec import Plan, Spec, refuse


class Full(Gathered):
    """`training.embedding("full", …)`. Bytes: 4 n d, 2 n d of bf16 or f16, or those of codes."""

    method: ClassVar[Method] = entry("full", WHILE_TRAINING)
    takes_bits: ClassVar[bool] = True

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.weight = uniform_rows(self, spec.rows, spec.dimension, form=options["dtype"])

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """There is nothing to choose; ValueError for a type that needs an optimizer of the table's own without one."""
        if spec.optimizer is None and options["dtype"] != "f32":
            raise ValueError(
                f"dtype {options['dtype']!r} is for a table with an optimizer of its own: give optimizer, such as "
                "training.RowwiseAdagrad(0.05), or leave dtype out"
            )
        size = spec.rows * spec.dimension * DTYPES[options["dtype"]].itemsize
        if spec.bits is not None:
            size = spec.array_bytes(spec.rows)
        if size > spec.budget:
            raise refuse("full", spec, size)
        return Plan(size, {})

    def places(self, ids: Tensor) -> Tensor:
        """Return ids as they are."""
        return ids

    def _frozen(self) -> Table:
        return self.weight.frozen()
