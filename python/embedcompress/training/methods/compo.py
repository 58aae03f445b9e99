"""CompoEmb: a row is the product of a row by quotient and a row by remainder (the QR trick).

Shi, Mudigere, Naumov and Yang, "Compositional Embeddings Using Complementary Partitions", KDD 2020 (arXiv 1909.02107).
e(x) = Q[x div k] * R[x mod k], with ceil(n / k) rows in Q and k in R. All fields have the same k, as in the VLDB study;
a field that is too small for it has the k of its fewest rows, and one that would not shrink stays as it is.

Bytes: 4 d (ceil(n / k) + k). The least is about 8 d sqrt(n). With bits, those of codes of both arrays of each field.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from ... import Method, Table, combine, remap
from ..._bisection import first_where
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._embedding import LearnedEmbedding
from .._fields import of_field
from .._new_rows import given_rows, uniform_rows
from .._spec import Plan, Spec, refuse


class Compositional(LearnedEmbedding):
    """`training.embedding("compo", …)`."""

    method: ClassVar[Method] = entry("compo", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("quotient", "remainder")
    takes_optimizer: ClassVar[bool] = True
    takes_bits: ClassVar[bool] = True
    divisor: Tensor
    first_quotient: Tensor
    first_remainder: Tensor
    is_plain: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.operation = options["operation"]
        divisors: list[int] = self.planned.knobs["k"]
        # A field that stays as it is has the divisor 1, and no remainders.
        self.quotients = [-(-size // k) for size, k in zip(spec.sizes, divisors, strict=True)]
        self.remainders = [0 if k == 1 else k for k in divisors]
        for name, counts in (("first_quotient", self.quotients), ("first_remainder", self.remainders)):
            ends = torch.tensor(counts).cumsum(0)
            self.register_buffer(name, ends - torch.tensor(counts), persistent=False)
        self.register_buffer("divisor", torch.tensor(divisors), persistent=False)
        self.register_buffer("is_plain", torch.tensor(self.remainders) == 0, persistent=False)
        self.quotient = uniform_rows(self, sum(self.quotients), spec.dimension)
        # Rows of remainders begin near the neutral element, or products would begin near zero. The last one is it.
        is_product = self.operation == "product"
        self.neutral = sum(self.remainders)
        bound = 0.5 if is_product else None
        remainder = self.initial(self.neutral + 1, spec.dimension, purpose=1, bound=bound) + float(is_product)
        remainder[-1] = float(is_product)
        self.remainder = given_rows(spec, remainder, is_padded=True)

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take the smallest k that fits."""

        def size(k: int) -> int:
            return sum(_bytes(spec, n, d) for n, d in zip(spec.sizes, _divisors(spec, k), strict=True))

        most = math.isqrt(max(spec.sizes)) + 1
        if size(most) > spec.budget:
            raise refuse("compo", spec, size(most))
        k = first_where(1, most, lambda k: size(k) <= spec.budget)
        return Plan(size(k), {"k": _divisors(spec, k)}, _study(spec))

    def rows(self, ids: Tensor) -> Tensor:
        """Return products or sums of both rows."""
        field, local = self.fields.split(ids)
        divisor = of_field(self.divisor, field)
        quotient = torch.div(local, divisor, rounding_mode="floor")
        remainder = local - quotient * divisor + of_field(self.first_remainder, field)
        remainder = torch.where(of_field(self.is_plain, field), self.neutral, remainder)
        left: Tensor = self.quotient(quotient + of_field(self.first_quotient, field))
        right: Tensor = self.remainder(remainder)
        return left * right if self.operation == "product" else left + right

    def _frozen(self) -> Table:
        def table(index: int) -> Table:
            size, k = self.spec.sizes[index], self.planned.knobs["k"][index]
            first, second = int(self.first_quotient[index]), int(self.first_remainder[index])
            left = self.quotient.frozen(slice(first, first + self.quotients[index]))
            if k == 1:
                return left
            right = self.remainder.frozen(slice(second, second + k))
            parts = [remap(left, rows=size, divisor=k), remap(right, rows=size, modulo=k)]
            return combine(parts, self.operation)

        return self.per_field(table(index) for index in range(len(self.spec.sizes)))


def _bytes(spec: Spec, size: int, k: int) -> int:
    if k == 1:
        return spec.array_bytes(size)
    return spec.array_bytes(-(-size // k)) + spec.array_bytes(k)


def _divisors(spec: Spec, k: int) -> list[int]:
    """Return each field's k: 1 where there is nothing to gain, so that no field has fewer bytes with a smaller k."""
    found = []
    for size in spec.sizes:
        own = min(k, max(1, math.isqrt(size)))
        found.append(own if _bytes(spec, size, own) < _bytes(spec, size, 1) else 1)
    return found


def _study(spec: Spec) -> dict[str, Any]:
    """Return the study's k, by bisection for a real number from 1 to the root of all rows; it may pass the budget."""

    def rows(k: float) -> int:
        return sum(min(size, math.ceil(size / k) + math.ceil(k)) for size in spec.sizes)

    low, high = 1.0, math.sqrt(spec.rows)
    wanted = spec.budget / (4 * spec.dimension)
    if rows(high) > wanted:
        return {"k": None, "ratio": rows(high) / spec.rows}
    while high - low > 0.5:
        middle = (low + high) / 2
        if rows(middle) > wanted:
            low = middle
        else:
            high = middle
    k = math.ceil(low)
    return {"k": k, "ratio": rows(k) / spec.rows}
