"""INT8 and INT16: a table on a grid, whose updates are rounded up or down at random.

Low-precision training as in Xu et al., "Agile and Accurate CTR Prediction Model Training for Massive-Scale Online
Advertising Systems", SIGMOD 2021, and the VLDB 2024 study (arXiv 2311.15578). Values are scale * c for codes c of 8 or
16 bits, with their sign. After each optimizer step, what moved is rounded to floor(value / scale + u) codes with u
uniform in 0 to 1: small updates are lost sometimes, but not in the mean.

The study has one scale of .01 for every table, which is coarse for small values and cuts large ones off. Here a grid
begins at twice the initial bound. It grows: where more than `CLIPPED` of the values that moved lie outside it, the
scale doubles. Scales have 8 significant bits, so that products with codes are exact.

The study holds codes while it trains. Here they are an f32 parameter whose values lie on the grid, so that any
optimizer of torch can train it: the rows are those of the study's way, but training takes the bytes of the full table,
as `training_bytes` says. With sparse gradients only the rows of the last batch are rounded.

Bytes: d or 2 d for each row, and 8 for the table (scope "table") or for each row (scope "row").
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ... import Method, Option, Table
from ..._options import choice
from ..._table import Array
from .._distinct import Distinct
from .._embedding import LearnedEmbedding, frozen_rows, numbers
from .._spec import Plan, Spec, refuse
from .._steps import Steps, rounded_at_random, touched

SCOPES = ("table", "row")
CLIPPED = 1e-3
"""The share of values outside the grid at which it grows."""


class Quantized(LearnedEmbedding):
    """What both widths share. A row whose codes would not be smaller stays f32, and so does the whole table."""

    bits: ClassVar[int]
    scale: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.scope = choice(options, "scope", SCOPES)
        self.steps = Steps(spec.seed)
        self.low, self.high = -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        initial = self.initial(spec.rows, spec.dimension)
        scale = short(2 * max(spec.sizes) ** -0.5 / self.high)
        self.register_buffer("scale", torch.full((spec.rows if self.scope == "row" else 1, 1), scale))
        if self.planned.knobs["is_quantized"]:
            initial = rounded_at_random(initial, self.scale, self.low, self.high, self.steps.generator())
        self.weight = nn.Parameter(initial)
        self._moving: Tensor | None = None

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """There is nothing to choose."""
        scales = spec.rows if choice(options, "scope", SCOPES) == "row" else 1
        size = spec.rows * spec.dimension * cls.bits // 8 + 8 * scales
        size, is_quantized = min((size, True), (spec.full_bytes, False))
        if size > spec.budget:
            raise refuse(cls.method.name, spec, size)
        return Plan(size, {"is_quantized": is_quantized}, {"ratio": cls.bits / 32})

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight, which lie on the grid."""
        batch = Distinct(ids)
        return batch.spread(batch.take(self.weight, self.spec.sparse))

    def before_step(self) -> None:
        """See which rows are about to move."""
        if self.planned.knobs["is_quantized"]:
            self._moving = touched(self.weight)

    @torch.no_grad()
    def after_step(self) -> None:
        """Round what moved."""
        if self.planned.knobs["is_quantized"]:
            self._round(self._moving)

    @torch.no_grad()
    def finish(self) -> None:
        """Round all rows, also those that the last step's gradient did not have."""
        if self.planned.knobs["is_quantized"]:
            self._round(None)
        super().finish()

    def _round(self, rows: Tensor | None) -> None:
        self.steps.next()
        values = self.weight.data if rows is None else self.weight.data[rows]
        scale = self.scale if rows is None or self.scope == "table" else self.scale[rows]
        grown = self._grown(values, scale)
        if self.scope == "table":
            if not torch.equal(grown, scale):
                # The whole table goes to the coarser grid.
                rows, values = None, self.weight.data
            self.scale.copy_(grown)
        elif rows is None:
            self.scale.copy_(grown)
        else:
            self.scale[rows] = grown
        random = self.steps.generator(values.device)
        values = rounded_at_random(values, grown, self.low, self.high, random)
        if rows is None:
            self.weight.data.copy_(values)
        else:
            self.weight.data[rows] = values

    def _grown(self, values: Tensor, scale: Tensor) -> Tensor:
        """Return scales that few of the values are outside of."""
        codes = (values / scale).abs_()
        # Values on the grid did not move, and say nothing about how far the others go.
        moved = (codes != codes.round()) | (codes > -self.low)
        grown = scale
        while True:
            outside = (codes > -self.low) & (codes < torch.inf)
            grows = outside.sum() > CLIPPED * moved.sum() if self.scope == "table" else outside.any(1, keepdim=True)
            if not bool(grows.any()):
                return grown
            factor = 1.0 + grows
            grown, codes = grown * factor, codes / factor

    def _frozen(self) -> Table:
        if not self.planned.knobs["is_quantized"]:
            return frozen_rows(self.weight)
        codes = (self.weight / self.scale).round_().clamp_(self.low, self.high) - self.low
        return uniform(numbers(codes).astype(f"<u{self.bits // 8}"), numbers(self.scale).ravel(), self.low)


def _entry(bits: int, codes: str) -> Method:
    return Method(
        name=f"int{bits}",
        title=f"INT{bits}",
        paper="Xu et al., SIGMOD 2021",
        kind="training",
        summary=f"codes of {bits} bits, rounded up or down at random after each step; the grid grows as needed",
        bytes_per_row=f"{codes} + 8 / n with a scale of the table, {codes} + 8 with scales of rows",
        cost="that of torch.nn.Embedding, and rounding what each step moves; training takes the full table",
        options=(Option("scope", "table or row", "table", "what shares a scale"),),
    )


class Int8(Quantized):
    """`training.embedding("int8", …)`."""

    bits = 8
    method: ClassVar[Method] = _entry(8, "d")


class Int16(Quantized):
    """`training.embedding("int16", …)`."""

    bits = 16
    method: ClassVar[Method] = _entry(16, "2 * d")


def short(number: float) -> float:
    """Return a number of 8 significant bits that is not less."""
    mantissa, exponent = math.frexp(number)
    return math.ldexp(math.ceil(mantissa * 256), exponent - 8)


def uniform(codes: np.ndarray[Any, Any], scales: np.ndarray[Any, Any], low: int) -> Table:
    """Return codes that count from `low`, times scales, as a table.

    Args:
        codes: (n, d) of 1 or 2 bytes.
        scales: (n,), or (1,) if the table has but one.
        low: What code 0 stands for.
    """
    rows, dimension = codes.shape
    bits = 8 * codes.itemsize
    parameters = np.stack([scales, scales * np.float32(low)], axis=1).astype("<f4")
    tree = {"kind": "uniform", "rows": rows, "dimension": dimension, "bits": bits, "group": dimension, "scale": "f32"}
    stored = codes.view(np.uint8)
    if len(scales) == rows:
        stored = np.concatenate([stored, parameters.view(np.uint8)], axis=1)
        tree |= {"tensors": {"rows": "rows"}}
        return Table.from_parts(tree, {"rows": Array("u8", stored)})
    tree |= {"scope": "table", "tensors": {"rows": "rows", "parameters": "parameters"}}
    return Table.from_parts(tree, {"rows": Array("u8", stored), "parameters": Array("f32", parameters[0])})
