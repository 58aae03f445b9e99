"""MDE: rows of large fields are narrow, and a matrix for each field makes them wide.

Ginart, Naumov, Mudigere, Yang and Zou, "Mixed Dimension Embeddings with Application to Memory-Efficient Recommendation
Systems", ISIT 2021 (arXiv 1909.11810). A field of n rows has scale d (n_min / n)^alpha columns, at least 1; alpha is
the least that fits with the scale 1. Where not even alpha = 1 does, the scale is the largest; so one field can be
compressed too. What rounding leaves of the budget widens fields. One that would not shrink stays as it is.

Bytes: 4 w (n + d) of a field of w columns. With bits, those of codes of narrow rows, and 4 w d of a matrix, which stays
f32 as it has few numbers, and all ids depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ... import Method, Table, project
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._embedding import LearnedEmbedding, numbers
from .._fields import of_field
from .._grouped import grouped_product
from .._new_rows import uniform_rows
from .._plain import PlainFields
from .._rows import Rows
from .._spec import Plan, Spec, largest

STEPS = 1 << 20
"""Of alpha and of the scale."""


class MDE(LearnedEmbedding):
    """`training.embedding("mde", …)`. Fields of the same width share a table while training."""

    method: ClassVar[Method] = entry("mde", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("plain", "tables", "matrices")
    takes_optimizer: ClassVar[bool] = True
    takes_bits: ClassVar[bool] = True
    compiles: ClassVar[str] = "shapes of products depend on which ids a batch has"
    group: Tensor
    first: Tensor
    matrix: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        found: list[int] = self.planned.knobs["widths"]
        self.widths = sorted({width for width in found if width < spec.dimension})
        group, first, matrix = [], [], []
        rows, matrices = [0] * (len(self.widths) + 1), [0] * (len(self.widths) + 1)
        for size, width in zip(spec.sizes, found, strict=True):
            # Plain fields count as those of one more width.
            index = self.widths.index(width) if width < spec.dimension else len(self.widths)
            group.append(index)
            first.append(rows[index])
            matrix.append(matrices[index])
            rows[index] += size
            matrices[index] += 1
        for name, numbers_of_fields in (("group", group), ("first", first), ("matrix", matrix)):
            self.register_buffer(name, torch.tensor(numbers_of_fields), persistent=False)
        self.plain = PlainFields(self, [width == spec.dimension for width in found])
        # Products of both begin as far from zero as rows of a full table do.
        self.tables, self.matrices = nn.ModuleList(), nn.ModuleList()
        for index, width in enumerate(self.widths):
            self.tables.append(uniform_rows(self, rows[index], width, purpose=2 * index + 2))
            matrix_size, bound = width * spec.dimension, math.sqrt(3 / width)
            self.matrices.append(
                uniform_rows(self, matrices[index], matrix_size, purpose=2 * index + 1, bound=bound, is_coded=False)
            )

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take the widest fields that fit: first by the scale, then by alpha, then one by one."""
        is_any = options["widths"] == "any"
        alpha = options["alpha"]

        def knobs(step: int) -> tuple[float, float]:
            if alpha is not None:
                return alpha, step / STEPS
            return (1.0, step / STEPS) if step <= STEPS else ((2 * STEPS - step) / STEPS, 1.0)

        def rounded(wanted: float) -> int:
            return _whole(wanted, spec.dimension) if is_any else _power(wanted, spec.dimension)

        def widths(step: int) -> list[int]:
            return [rounded(width) for width in _wanted(spec, *knobs(step))]

        def size(step: int) -> int:
            return _stored_bytes(spec, widths(step))

        step = largest("mde", spec, 0, STEPS if alpha is not None else 2 * STEPS, size)
        found, exact = widths(step), _wanted(spec, *knobs(step))
        for index in sorted(range(len(found)), key=lambda index: -exact[index] / found[index]):
            width = found[index]
            found[index] = min(width + 1 if is_any else 2 * width, spec.dimension)
            if _stored_bytes(spec, found) > spec.budget:
                found[index] = width
        final = [
            width if _narrow_bytes(spec, rows, width) < spec.array_bytes(rows) else spec.dimension
            for rows, width in zip(spec.sizes, found, strict=True)
        ]
        chosen = dict(zip(("alpha", "scale"), knobs(step), strict=True))
        return Plan(_stored_bytes(spec, final), {**chosen, "widths": final}, _study(spec))

    def rows(self, ids: Tensor) -> Tensor:
        """Return narrow rows times matrices."""
        return self.plain.beside(*self.fields.split(ids), self._products)

    def _products(self, field: Tensor | None, local: Tensor) -> Tensor:
        places = local + of_field(self.first, field)
        owner = of_field(self.matrix, field).expand(len(local))
        if len(self.widths) == 1:
            return self._of_width(0, places, owner)
        group = of_field(self.group, field)
        rows = torch.zeros(len(local), self.embedding_dim, device=local.device)
        for index in range(len(self.widths)):
            here = (group == index).nonzero().view(-1)
            made = self._of_width(index, places[here], owner[here])
            rows = rows.index_copy(0, here, made.to(rows.dtype))
        return rows

    def _of_width(self, index: int, places: Tensor, owner: Tensor) -> Tensor:
        table, matrices = self._rows_of(index)
        narrow: Tensor = table(places)
        wide = grouped_product(narrow[:, None], owner, matrices)
        return wide.view(len(places), self.embedding_dim)

    def _rows_of(self, index: int) -> tuple[Rows, Rows]:
        """Return the rows and the matrices of a width."""
        return cast(Rows, self.tables[index]), cast(Rows, self.matrices[index])

    def _frozen(self) -> Table:
        def table(index: int) -> Table:
            group = int(self.group[index])
            if group == len(self.widths):
                return self.plain.frozen(index)
            start = int(self.first[index])
            table, matrices = self._rows_of(group)
            wide = matrices.values()[int(self.matrix[index])]
            narrow = table.frozen(slice(start, start + self.spec.sizes[index]))
            return project(narrow, numbers(wide.view(-1, self.spec.dimension)))

        return self.per_field(table(index) for index in range(len(self.spec.sizes)))


def _wanted(spec: Spec, alpha: float, scale: float) -> list[float]:
    """Return each field's width before it is rounded."""
    least = min(spec.sizes)
    return [scale * spec.dimension * (least / rows) ** alpha for rows in spec.sizes]


def _whole(width: float, dimension: int) -> int:
    return min(max(round(width), 1), dimension)


def _power(width: float, dimension: int) -> int:
    whole = _whole(width, dimension)
    return dimension if whole == dimension else min(1 << round(math.log2(whole)), dimension)


def _words(rows: int, width: int, dimension: int) -> int:
    return width * (rows + dimension)


def _narrow_bytes(spec: Spec, rows: int, width: int) -> int:
    """Return the bytes of a field's narrow rows, and of its matrix, which is f32."""
    return spec.array_bytes(rows, width) + 4 * width * spec.dimension


def _stored_bytes(spec: Spec, widths: Sequence[int]) -> int:
    fields = zip(spec.sizes, widths, strict=True)
    return sum(min(spec.array_bytes(rows), _narrow_bytes(spec, rows, width)) for rows, width in fields)


def _study(spec: Spec) -> dict[str, Any]:
    """Return the study's alpha, by bisection down to 1e-3; it may pass the budget."""
    wanted = min(spec.budget, spec.full_bytes) / 4
    d = spec.dimension

    def widths(alpha: float) -> list[int]:
        return [_power(width, d) for width in _wanted(spec, alpha, 1)]

    def words(alpha: float) -> int:
        fields = zip(spec.sizes, widths(alpha), strict=True)
        return sum(rows * d if width == d else _words(rows, width, d) for rows, width in fields)

    low, high = 0.0, 1.0
    if words(high) > wanted:
        return {"alpha": None, "ratio": 4 * words(high) / spec.full_bytes}
    while high - low > 1e-3:
        middle = (low + high) / 2
        if words(middle) > wanted:
            low = middle
        else:
            high = middle
    alpha = min((low, high), key=lambda end: abs(words(end) - wanted))
    return {"alpha": alpha, "widths": widths(alpha), "ratio": 4 * words(alpha) / spec.full_bytes}
