"""INT4, INT8 and INT16: a table on a grid, whose updates are rounded up or down at random.

Low-precision training as in Xu et al., "Agile and Accurate CTR Prediction Model Training for Massive-Scale Online
Advertising Systems", SIGMOD 2021, and the VLDB 2024 study (arXiv 2311.15578). Values are scale * c for codes c of 4,
8 or 16 bits, with their sign. After each optimizer step, what moved is rounded to floor(value / scale + u) codes with u
uniform in 0 to 1: small updates are lost sometimes, but not in the mean.

The study has one scale of .01 for every table, which is coarse for small values and cuts large ones off. Here a grid
begins at twice the initial bound. It grows: where more than `CLIPPED` of the values that moved lie outside it, the
scale doubles. Scales have 8 significant bits, so that products with codes are exact.

The study holds codes while it trains. Here they are an f32 parameter whose values lie on the grid, so that any
optimizer of torch can train it: the rows are those of the study's way, but training takes the bytes of the full table,
as `training_bytes` says. With sparse gradients only the rows of the last batch are rounded.

With an optimizer of the table's own there are codes and scales of rows only, as in the study; see `FusedRows`. Rows of
ids that are used often are f16 then, with 4 or 8 bits for the others (option `high_precision`); see `_high_precision`.

Bytes: d / 2, d or 2 d for each row, and 8 for the table (scope "table") or for each row (scope "row"); 2 d for rows of
f16, and 9/8 bits for each id where counts say which they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ... import Method, Table, uniform
from ..._expressions import described, plan_bytes
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._blocks import blocks
from .._distinct import Distinct
from .._embedding import frozen_rows, numbers
from .._fused import FusedRows
from .._fused_embedding import FusedEmbedding
from .._high_precision import given_share, high_rows
from .._mixed_rows import mixed
from .._spec import Plan, Spec, refuse
from .._steps import Steps, rounded_at_random, touched

CLIPPED = 1e-3
"""The share of values outside the grid at which it grows."""


class Quantized(FusedEmbedding):
    """What all widths share. A row whose codes would not be smaller stays f32, and so does the whole table."""

    looked_up: ClassVar[tuple[str, ...]] = ("weight",)
    bits: ClassVar[int]
    own_options: ClassVar[Mapping[str, Any]] = {"scope": "row"}
    scale: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.scope = options["scope"]
        self.low, self.high = -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        self.is_rounded = self.planned.knobs["is_quantized"] and spec.optimizer is None
        scale = short(2 * max(spec.sizes) ** -0.5 / self.high)
        if spec.optimizer is not None:
            if self.scope == "table":
                raise ValueError("scope must be 'row' for a table with an optimizer of its own")
            form = f"int{self.bits}" if self.planned.knobs["is_quantized"] else "f32"
            self.fuse(mixed(spec, self.planned.knobs.get("f16_rows", [0]), lambda own: FusedRows(own, form, scale)))
            self.forget_counts()
            return
        self.steps = Steps(spec.seed)
        initial = self.initial(spec.rows, spec.dimension)
        self.register_buffer("scale", torch.full((spec.rows if self.scope == "row" else 1, 1), scale))
        if self.is_rounded:
            self._take_multiples(initial, self.scale)
        self.weight = nn.Parameter(initial)
        self._moving: Tensor | None = None

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take as many rows of f16 as may be and fit, with an optimizer of the table's own; else nothing is chosen."""

        def codes(rows: int) -> int:
            own = described("uniform", rows, spec.dimension, bits=cls.bits, scale="f32", scope=options["scope"])
            return plan_bytes(own)

        size, is_quantized = min((codes(spec.rows), True), (spec.full_bytes, False))
        knobs: dict[str, Any] = {"is_quantized": is_quantized}
        if cls.uses_counts and (share := given_share(options, spec, is_quantized)):
            size, knobs["f16_rows"] = high_rows(spec, share, codes)
        if size > spec.budget:
            raise refuse(cls.method.name, spec, size)
        return Plan(size, knobs, {"ratio": cls.bits / 32})

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of the weight, which lie on the grid."""
        if self.fused is not None:
            return self.fused(ids)  # type: ignore[no-any-return]
        batch = Distinct(ids)
        return batch.spread(batch.take(self.weight, self.spec.sparse))

    def before_step(self) -> None:
        """See which rows are about to move."""
        if self.is_rounded:
            self._moving = touched(self.weight)

    @torch.no_grad()
    def after_step(self) -> None:
        """Round what moved."""
        if self.is_rounded:
            self._round(self._moving)

    @torch.no_grad()
    def finish(self) -> None:
        """Round all rows, also those that the last step's gradient did not have."""
        if self.is_rounded:
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
        self._take_multiples(values, grown)
        if rows is not None:
            self.weight.data[rows] = values

    def _take_multiples(self, values: Tensor, scale: Tensor) -> None:
        """Round values at random, in place."""
        random = self.steps.generator(values.device)
        for block in blocks(*values.shape):
            own = scale if self.scope == "table" else scale[block]
            values[block] = rounded_at_random(values[block], own, self.low, self.high, random)

    def _grown(self, values: Tensor, scale: Tensor) -> Tensor:
        """Return scales that few of the values are outside of."""
        if self.scope == "row":
            grown = scale.clone()
            for block in blocks(*values.shape):
                codes, doubling = (values[block] / scale[block]).abs_(), True
                while doubling:
                    factor = 1.0 + self._outside(codes).any(1, keepdim=True)
                    grown[block] *= factor
                    codes /= factor
                    doubling = bool((factor > 1).any())
            return grown
        doubled = 1.0
        while True:
            outside, moved = 0, 0
            for block in blocks(*values.shape):
                codes = (values[block] / scale).abs_()
                # Values on the grid did not move, and say nothing about how far the others go.
                moved += int(((codes != codes.round()) | (codes > -self.low)).sum())
                outside += int(self._outside(codes / doubled).sum())
            if outside <= CLIPPED * moved:
                return scale * doubled
            doubled *= 2

    def _outside(self, codes: Tensor) -> Tensor:
        """Return which magnitudes are beyond the grid; infinite ones are so at any scale."""
        return (codes > -self.low) & (codes < torch.inf)

    def _frozen(self) -> Table:
        if self.fused is not None:
            return self.fused.frozen()
        if not self.planned.knobs["is_quantized"]:
            return frozen_rows(self.weight)
        codes = np.empty(tuple(self.weight.shape), np.uint16 if self.bits > 8 else np.uint8)
        for block in blocks(*self.weight.shape):
            scale = self.scale if self.scope == "table" else self.scale[block]
            own = (self.weight[block] / scale).round_().clamp_(self.low, self.high) - self.low
            codes[block] = own.cpu().numpy()
        scales = numbers(self.scale).ravel()
        if self.scope == "table":
            scales = scales[0]
        return uniform(codes, scales, scales * np.float32(self.low), bits=self.bits)


class Int4(Quantized):
    """`training.embedding("int4", …)`."""

    bits = 4
    uses_counts = True
    method: ClassVar[Method] = entry("int4", WHILE_TRAINING)


class Int8(Quantized):
    """`training.embedding("int8", …)`."""

    bits = 8
    uses_counts = True
    method: ClassVar[Method] = entry("int8", WHILE_TRAINING)


class Int16(Quantized):
    """`training.embedding("int16", …)`."""

    bits = 16
    method: ClassVar[Method] = entry("int16", WHILE_TRAINING)


def short(number: float) -> float:
    """Return a number of 8 significant bits that is not less."""
    mantissa, exponent = math.frexp(number)
    return math.ldexp(math.ceil(mantissa * 256), exponent - 8)
