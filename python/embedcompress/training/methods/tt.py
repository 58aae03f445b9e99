"""TT-Rec: a row is the product of three small matrices, chosen by three digits of its id.

Yin, Acun, Liu and Wu, "TT-Rec: Tensor Train Compression for Deep Learning Recommendation Models", MLSys 2021 (arXiv
2101.11714). The id x is i0 + N0 (i1 + N1 i2), and its row core0[i0] (d0, R) times core1[i1] (R, d1 R) times core2[i2]
(R, d2). Sizes of digits are near the cube root of the rows, the rank R is that of all fields, as in the VLDB study; a
field that would not shrink stays as it is.

Bytes: 4 R (N0 d0 + N1 d1 R + N2 d2) of a field. With bits, those of codes, a slice of a core being a row of them.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from ... import Method, Table, tensor_train
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._distinct import Distinct
from .._embedding import LearnedEmbedding, numbers
from .._fields import of_field
from .._formats import SHORT
from .._grouped import grouped_product
from .._new_rows import given_rows
from .._plain import PlainFields
from .._rows import Rows
from .._spec import MOST_COLUMNS, Plan, Spec, largest
from .._steps import touched
from .._train_products import takes, train_products

MOST_RANK = 1000
"""As in the study."""


class TTRec(LearnedEmbedding):
    """`training.embedding("tt", …)`."""

    method: ClassVar[Method] = entry("tt", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("plain", "core0", "core1", "core2")
    takes_optimizer: ClassVar[bool] = True
    takes_bits: ClassVar[bool] = True
    compiles: ClassVar[str] = "shapes of products depend on which ids a batch has"
    digit0: Tensor
    digit1: Tensor
    first0: Tensor
    first1: Tensor
    first2: Tensor
    core0: Rows
    core1: Rows
    core2: Rows

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.rank: int = self.planned.knobs["rank"]
        self.columns: tuple[int, int, int] = self.planned.knobs["columns"]
        is_plain: list[bool] = self.planned.knobs["plain"]
        slices = [(0, 0, 0) if plain else digits(n) for n, plain in zip(spec.sizes, is_plain, strict=True)]
        self.slices = [list(position) for position in zip(*slices, strict=True)]
        for position, counts in enumerate(self.slices):
            ends = torch.tensor(counts).cumsum(0)
            self.register_buffer(f"first{position}", ends - torch.tensor(counts), persistent=False)
        self.register_buffer("digit0", torch.tensor(self.slices[0]).clamp(min=1), persistent=False)
        self.register_buffer("digit1", torch.tensor(self.slices[1]).clamp(min=1), persistent=False)
        self.plain = PlainFields(self, is_plain, purpose=3)
        if not all(is_plain):
            rank = self.rank
            # Numbers of rows are sums of rank^2 products of three: they begin as far from zero as those of `initial`.
            deviation = (1 / (3 * max(spec.sizes) * rank**2)) ** (1 / 6)
            for position, width in enumerate(_widths(self.columns, rank)):
                values = without_centre((sum(self.slices[position]), width), self.generator(position))
                self.add_module(f"core{position}", given_rows(spec, values * deviation))

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take the largest rank that fits; it is the study's."""
        columns = column_factors(spec.dimension)
        full = [spec.array_bytes(size) for size in spec.sizes]

        def size(rank: int) -> int:
            found = [_stored_bytes(spec, size, columns, rank) for size in spec.sizes]
            return sum(min(pair) for pair in zip(full, found, strict=True))

        # Short rows of codes have a table of what codes stand for: more bytes than those of a larger rank may be.
        long = next(rank for rank in range(1, MOST_RANK) if min(_widths(columns, rank)) > SHORT)
        rank = largest("tt", spec, 1, MOST_RANK, size, rising_from=1 if spec.bits is None else long)
        is_plain = [_stored_bytes(spec, n, columns, rank) >= whole for n, whole in zip(spec.sizes, full, strict=True)]
        return Plan(size(rank), {"rank": rank, "columns": columns, "plain": is_plain})

    def rows(self, ids: Tensor) -> Tensor:
        """Return products of slices of the cores."""
        batch = Distinct(ids)
        return batch.spread(self.plain.beside(*self.fields.split(batch.ids), self._products))

    def _products(self, field: Tensor | None, local: Tensor) -> Tensor:
        (d0, d1, d2), rank = self.columns, self.rank
        n0, n1 = of_field(self.digit0, field), of_field(self.digit1, field)
        rest = torch.div(local, n0, rounding_mode="floor")
        last = torch.div(rest, n1, rounding_mode="floor")
        row0 = local - rest * n0 + of_field(self.first0, field)
        row1 = rest - last * n1 + of_field(self.first1, field)
        right = self.core2.once(last + of_field(self.first2, field)).view(-1, rank, d2)
        if takes(right):
            left = self.core0.once(row0).view(-1, d0, rank)
            return train_products(left, self.core1, right, row1, d1).view(len(local), self.embedding_dim)
        # Ids that have the same two first digits share the larger product.
        pairs, back = torch.unique(row1 * len(self.core0) + row0, return_inverse=True)
        row1 = torch.div(pairs, len(self.core0), rounding_mode="floor")
        left = self.core0.once(pairs - row1 * len(self.core0)).view(-1, d0, rank)
        middle = grouped_product(left, row1, self.core1).view(-1, d0 * d1 * rank)
        products = torch.bmm(middle.index_select(0, back).view(-1, d0 * d1, rank), right)
        return products.reshape(len(local), self.embedding_dim)

    def before_step(self) -> None:
        """Tell optimizers that sparse gradients have each row once: they add up nothing."""
        for parameter in self.parameters():
            touched(parameter)

    def _frozen(self) -> Table:
        (d0, d1, d2), rank = self.columns, self.rank

        def table(index: int) -> Table:
            if self.planned.knobs["plain"][index]:
                return self.plain.frozen(index)
            cores = (self.core0, self.core1, self.core2)
            starts = [int(first[index]) for first in (self.first0, self.first1, self.first2)]
            places = [slice(start, start + self.slices[part][index]) for part, start in enumerate(starts)]
            rows = self.spec.sizes[index]
            if self.spec.bits is not None:
                coded = [core.frozen(place) for core, place in zip(cores, places, strict=True)]
                return tensor_train(coded, rows=rows, columns=(d0, d1, d2), ranks=(rank, rank))
            shapes = ((-1, d0, rank), (-1, rank, d1, rank), (-1, rank, d2))
            parts = [
                numbers(core.values(place).view(shape))
                for core, place, shape in zip(cores, places, shapes, strict=True)
            ]
            return tensor_train(parts, rows=rows)

        return self.per_field(table(index) for index in range(len(self.spec.sizes)))


def column_factors(dimension: int) -> tuple[int, int, int]:
    """Return three rising factors of the dimension that are as near each other as can be."""
    return min(
        (
            (first, second, dimension // first // second)
            for first in range(1, dimension + 1)
            if dimension % first == 0
            for second in range(first, dimension + 1)
            if dimension // first % second == 0 and dimension // first // second >= second
        ),
        key=sum,
    )


def digits(rows: int) -> tuple[int, int, int]:
    """Return how many values each digit of a field's ids has, least significant first."""
    last = math.ceil(round(rows ** (1 / 3), 9))
    middle = math.ceil(math.sqrt(rows / last))
    return math.ceil(rows / last / middle), middle, last


def _widths(columns: tuple[int, int, int], rank: int) -> tuple[int, int, int]:
    """Return the numbers of a slice of each core."""
    return columns[0] * rank, rank * columns[1] * rank, rank * columns[2]


def _stored_bytes(spec: Spec, rows: int, columns: tuple[int, int, int], rank: int) -> int:
    """Return the bytes of a field's cores."""
    widths = _widths(columns, rank)
    if spec.bits is not None and max(widths) > MOST_COLUMNS:
        # Slices of codes are rows of a table, and this is more than any budget.
        return 1 << 62
    return sum(spec.array_bytes(count, width) for count, width in zip(digits(rows), widths, strict=True))


def without_centre(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return normal numbers of more than two deviations, made as large as normal numbers are.

    Products of these are less often near zero than those of numbers with a centre; the paper samples them.
    """
    low = math.erf(math.sqrt(2))
    tail = torch.empty(shape).uniform_(low, 1 - 1e-6, generator=generator)
    sign = torch.empty(shape).uniform_(-1, 1, generator=generator)
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    return torch.erfinv(tail) * math.sqrt(2 / (1 + 4 * density / (1 - low))) * sign.sign()
