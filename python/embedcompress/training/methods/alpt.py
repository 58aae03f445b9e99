"""ALPT: low-precision rows, each with a scale that is learnt.

Li et al., "Adaptive Low-Precision Training for Embeddings in Click-Through Rate Prediction", AAAI 2023 (arXiv
2212.05735). A row is scale * c for codes c of b bits, with their sign. Scales have the gradient of LSQ (Esser et al.,
ICLR 2020), divided by the root of (ids * d * (2^(b-1) - 1)); rows have that of the rounded row. Updates are rounded up
or down at random.

The study computes every batch twice: once for the rows, once with the updated rows for their scales, whose gradient
is zero where values are codes times scale. Here an update waits until its row is used again: that forward rounds it to
the nearest code and gives both gradients; `before_step` then rounds it at random. So one forward a step is enough, and
rows are what the frozen table has at any time.

A parameter is the logarithm of a scale: the study has another learning rate for scales, 2e-5 at scales of .01, or
0.2 % a step under Adam, which is 2e-3 for the logarithm. The first scales are such that codes reach .5 (option
`reach`), of about the magnitude that trained rows have; in the study they are .01 for any b.

Codes are held as f32 while training; `training_bytes` says so.

With an optimizer of the table's own there are codes of 8 or 4 bits and scales only, and the study's two passes; see
`LearntScales`. Rows of ids that are used often are f16 then (option `high_precision`); see `_high_precision`.

Bytes: ceil(d b / 8) + 4 for each row, and 4 * 2^b for the codes' values, in each run of fields; 2 d for rows of f16,
and 9/8 bits for each id where counts say which they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method, Table, codebook
from ..._expressions import described, plan_bytes
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._distinct import Distinct
from .._embedding import frozen_rows, numbers
from .._fused import FusedRows
from .._fused_embedding import FusedEmbedding
from .._high_precision import given_share, high_rows
from .._learnt_scales import LearntScales
from .._mixed_rows import MixedRows, mixed
from .._spec import Plan, Spec, refuse
from .._steps import Steps, rounded_at_random, touched

WIDTHS = (8, 4, 2)
"""Bits that the budget chooses from."""
OWN_WIDTHS = (8, 4)
"""Those of a table with an optimizer of its own."""
PASSES, SCALE_RATE = 2, 0.005
"""Of a table with an optimizer of its own, if not given."""


class ALPT(FusedEmbedding):
    """`training.embedding("alpt", …)`."""

    method: ClassVar[Method] = entry("alpt", WHILE_TRAINING)
    uses_counts: ClassVar[bool] = True
    looked_up: ClassVar[tuple[str, ...]] = ("weight", "log_scale")

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.bits: int = self.planned.knobs["bits"]
        self.low, self.high = -(1 << max(self.bits - 1, 0)), (1 << max(self.bits - 1, 0)) - 1
        self._first_scale: float = options["reach"] / (self.high + 1)
        if spec.optimizer is not None:
            self.fuse(mixed(spec, self.planned.knobs.get("f16_rows", [0]), self._own_rows))
            self.forget_counts()
            return
        for name in ("passes", "scale_rate"):
            if options[name] is not None:
                raise ValueError(f"{name} is for a table with an optimizer of its own: give optimizer, or leave it out")
        self.steps = Steps(spec.seed)
        # Not rounded yet: the first step that uses a row does it at random, as with any update.
        self.weight = nn.Parameter(self.initial(spec.rows, spec.dimension))
        if self.bits < 32:
            self.log_scale = nn.Parameter(torch.full((spec.rows, 1), math.log(self._first_scale)))

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take the widest codes that fit; with an optimizer of the table's own, beside as many rows of f16 as do."""
        own = WIDTHS if spec.optimizer is None else OWN_WIDTHS
        widths = own if options["bits"] is None else (options["bits"],)
        if spec.optimizer is not None and widths[0] not in OWN_WIDTHS:
            raise ValueError(f"bits must be 8 or 4 for a table with an optimizer of its own, not {widths[0]}")
        sizes = {bits: _stored_bytes(spec, bits, spec.rows) for bits in widths}
        # 32 bits stand for rows as they are, where codes and scales would not be smaller.
        sizes = {bits: size for bits, size in sizes.items() if size < spec.full_bytes} or {32: spec.full_bytes}
        share = given_share(options, spec, 32 not in sizes)
        plans = []
        for bits, size in sizes.items():
            knobs: dict[str, Any] = {"bits": bits}
            if share:
                size, knobs["f16_rows"] = high_rows(spec, share, partial(_stored_bytes, spec, bits))
            plans.append(Plan(size, knobs, {"ratio": bits / 32 + 1 / spec.dimension} if bits < 32 else {}))
        fitting = [plan for plan in plans if plan.stored_bytes <= spec.budget]
        if not fitting:
            raise refuse("alpt", spec, min(plan.stored_bytes for plan in plans))
        return max(fitting, key=lambda plan: plan.knobs["bits"])

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows rounded to their grids."""
        if self.fused is not None:
            return self.fused(ids)  # type: ignore[no-any-return]
        if self.bits == 32:
            return functional.embedding(ids, self.weight, sparse=self.spec.sparse)
        batch = Distinct(ids)
        values = batch.take(self.weight, self.spec.sparse)
        scales = batch.take(self.log_scale, self.spec.sparse).exp()
        factor = (max(values.shape[1] * len(ids), 1) * self.high) ** -0.5
        rounded: Tensor = LSQ.apply(values, scales, self.low, self.high, factor)  # type: ignore[no-untyped-call]
        return batch.spread(rounded)

    @torch.no_grad()
    def before_step(self) -> None:
        """Round the updates that this step's rows still had."""
        if self.bits == 32 or self.fused is not None:
            return
        self.steps.next()
        random = self.steps.generator(self.weight.device)
        rows = touched(self.weight)
        if rows is None:
            values, scales = self.weight.data, self.log_scale.data.exp()
            self.weight.data.copy_(rounded_at_random(values, scales, self.low, self.high, random))
        else:
            # Only so that the optimizer need not add up this gradient either.
            touched(self.log_scale)
            values, scales = (parameter.data.index_select(0, rows) for parameter in (self.weight, self.log_scale))
            rounded = rounded_at_random(values, scales.exp_(), self.low, self.high, random)
            self.weight.data.index_copy_(0, rows, rounded)

    def begin_second_pass(self) -> Sequence[Tensor]:
        """Return the rows of the step, if the table has an optimizer of its own and two passes."""
        return () if self._learnt is None else self._learnt.begin_second_pass()

    def end_second_pass(self, gradients: Sequence[Tensor | None] | None) -> None:
        """Learn scales, and write the rows of the step."""
        assert self._learnt is not None
        self._learnt.end_second_pass(gradients)

    @property
    def _learnt(self) -> LearntScales | None:
        """Its rows of codes, with an optimizer of its own."""
        rows = self.fused.low if isinstance(self.fused, MixedRows) else self.fused
        return rows if isinstance(rows, LearntScales) else None

    def _own_rows(self, spec: Spec) -> FusedRows:
        if self.bits == 32:
            return FusedRows(spec, "f32")
        passes, rate = self.options["passes"] or PASSES, self.options["scale_rate"]
        return LearntScales(spec, f"int{self.bits}", self._first_scale, passes, SCALE_RATE if rate is None else rate)

    def _frozen(self) -> Table:
        if self.fused is not None:
            return self.fused.frozen()
        if self.bits == 32:
            return frozen_rows(self.weight)
        scales = self.log_scale.exp()
        codes = (self.weight / scales).round_().clamp_(self.low, self.high) - self.low
        entries = np.arange(self.low, self.high + 1, dtype=np.float32)
        return codebook(numbers(codes).astype(np.uint8), entries, bits=self.bits, scales=numbers(scales).ravel())


def _stored_bytes(spec: Spec, bits: int, rows: int) -> int:
    """Return the bytes of codes and scales of so many rows."""
    fields: dict[str, Any] = {"bits": bits, "entries": "f32", "scope": "table", "row_scale": "f32"}
    return plan_bytes(described("codebook", rows, spec.dimension, **fields))


class LSQ(torch.autograd.Function):
    """Values rounded to multiples of a scale, with gradients to both.

    Values outside the grid have gradients too, other than in LSQ: rounding clamps them, so that they can come back.
    """

    @staticmethod
    def forward(context: Any, values: Tensor, scales: Tensor, low: int, high: int, factor: float) -> Tensor:
        """Return the nearest multiples within the grid.

        Args:
            context: Of torch.
            values: (n, d)
            scales: (n, 1)
            low: The least code.
            high: The largest code.
            factor: What gradients of scales are multiplied with.
        """
        exact = values / scales
        context.save_for_backward(exact)
        context.constants = low, high, factor
        # Limits are whole: rounding before or after them is the same.
        return exact.clamp(low, high).round_().mul_(scales)

    @staticmethod
    def backward(context: Any, slopes: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Pass the gradient through; scales have that of codes less values inside the grid, and of codes outside."""
        (exact,) = context.saved_tensors
        low, high, factor = context.constants
        inside = exact.clamp(low, high)
        of_scale = inside.round().sub_(exact.masked_fill(inside != exact, 0))
        return slopes, of_scale.mul_(slopes).sum(1, keepdim=True).mul_(factor), None, None, None
