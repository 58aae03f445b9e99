"""Hash: ids share the rows of a smaller table, id x the row x mod m."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ... import Method, Table, remap
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._fields import of_field
from .._gathered import Gathered
from .._new_rows import uniform_rows
from .._spec import Plan, Spec, refuse


class Hash(Gathered):
    """`training.embedding("hash", …)`: each field has rows in proportion to its size.

    Bytes: 4 d for each row; with bits, those of a row's codes and scales, and of what codes stand for in each field.
    """

    takes_bits: ClassVar[bool] = True

    method: ClassVar[Method] = entry("hash", WHILE_TRAINING)
    first: Tensor
    count: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        counts = self.planned.knobs["rows"]
        self.register_buffer("count", torch.tensor(counts), persistent=False)
        self.register_buffer("first", self.count.cumsum(0) - self.count, persistent=False)
        self.weight = uniform_rows(self, sum(counts), spec.dimension)

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Share rows out among fields."""
        row = spec.array_bytes(1) - spec.array_bytes(0)
        # Each field's table has a codebook if rows are codes.
        total = (spec.budget - len(spec.sizes) * spec.array_bytes(0)) // row
        if total < len(spec.sizes):
            raise refuse("hash", spec, len(spec.sizes) * spec.array_bytes(1))
        counts = shared_out(min(total, spec.rows), spec.sizes)
        ratio = min(spec.budget / spec.full_bytes, 1)
        study = [-int(-ratio * size // 1) for size in spec.sizes]
        size = sum(spec.array_bytes(count) for count in counts)
        return Plan(size, {"rows": counts}, {"rows": study, "ratio": sum(study) / spec.rows})

    def places(self, ids: Tensor) -> Tensor:
        """Return rows of the smaller table."""
        field, local = self.fields.split(ids)
        places = local % of_field(self.count, field)
        return places if field is None else places + self.first[field]

    def _frozen(self) -> Table:
        def table(first: int, count: int, size: int) -> Table:
            rows = self.weight.frozen(slice(first, first + count))
            return rows if count == size else remap(rows, rows=size, modulo=count)

        fields = zip(self.first.tolist(), self.planned.knobs["rows"], self.spec.sizes, strict=True)
        return self.per_field(table(*field) for field in fields)


def shared_out(total: int, sizes: tuple[int, ...]) -> list[int]:
    """Return whole numbers in proportion to sizes, at least 1 and at most the size each, that add up to a total."""
    exact = np.asarray(sizes) * (total / sum(sizes))
    counts = np.clip(np.floor(exact).astype(np.int64), 1, sizes)
    while (left := total - int(counts.sum())) != 0:
        step = 1 if left > 0 else -1
        able = np.flatnonzero(counts < sizes if left > 0 else counts > 1)
        order = able[np.argsort(-step * (exact - counts)[able], kind="stable")]
        counts[order[: abs(left)]] += step
    return [int(count) for count in counts]
