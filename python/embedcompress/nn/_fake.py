"""Fake quantization: weights and activations rounded to what b-bit codes can say, with straight-through gradients.

Q-BERT (Shen et al. 2020, arXiv 1909.05840) has one range for each group of a weight and one for each activation. The
gradient passes through the rounding as it is, and is zero where a value is clipped (Bengio et al. 2013, arXiv
1308.3432).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from .. import Table, _core
from .._checks import check_type, checked_number
from .._group_quantize import check, group_bytes, group_ranges, group_table
from .._groups import Groups
from ._operators import runs_eagerly

RANGES = ("min_max", "moving_average", "least_squares")


@dataclass(frozen=True)
class Quantization:
    """How a weight is quantized; `embedcompress.group_quantize` has the options that are not described here.

    Attributes:
        bits: Of a code, 1 to 8.
        group: "tensor", "rows", "columns" or "blocks".
        groups: How many groups of rows or columns a matrix has; each has ceil(rows or columns / groups) of them.
        block: Columns of a block, or None for the row.
        ranges: "min_max": of the weights as they are. "moving_average": the least and the largest, each averaged over
            the steps of training. "least_squares": the range of least squared error that the method of that name of
            `embedcompress.compress` finds, on the CPU, again whenever weights have changed.
        momentum: Of the moving average: new = momentum * old + (1 - momentum) * now.
        scale_dtype: Of the scales and biases that are stored; training rounds to it too.

    Raises:
        ValueError: an option out of range.
    """

    bits: int = 4
    group: Literal["tensor", "rows", "columns", "blocks"] = "columns"
    groups: int = 128
    block: int | None = 64
    ranges: Literal["min_max", "moving_average", "least_squares"] = "min_max"
    momentum: float = 0.99
    scale_dtype: Literal["f16", "f32"] = "f16"

    def __post_init__(self) -> None:
        check(self.bits, self.ranges, self.scale_dtype, RANGES)
        check_momentum(self.momentum)
        self.layout(1, 1)

    def layout(self, rows: int, columns: int) -> Groups:
        """Return the groups of a matrix."""
        return Groups.of(self.group, rows, columns, self.groups, self.block)

    def stored_bytes(self, rows: int, columns: int) -> int:
        """Return the bytes that a matrix takes; `embedcompress.group_quantize` says the formulas."""
        return group_bytes(self.layout(rows, columns), self.bits, self.scale_dtype)


def check_momentum(momentum: float) -> None:
    """Refuse a momentum outside [0, 1)."""
    if not 0 <= checked_number(momentum, "momentum") < 1:
        raise ValueError(f"momentum must be at least 0 and below 1, not {momentum!r}")


class _Rounded(torch.autograd.Function):
    """scale * code + bias of the nearest code; gradients pass where the value is not clipped."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, bias: Tensor, layout: Groups, levels: int) -> Tensor:
        # Either way the bits are the same.
        if runs_eagerly(values.detach()) and values.numel():
            result, kept, clipped = _rounded_by_the_core(values.detach(), scale, bias, layout, levels)
        else:
            scale, bias = layout.spread(scale), layout.spread(bias)
            # A constant group, whose scale is 0, has the code 0 only.
            codes = ((values - bias) / torch.where(scale > 0, scale, torch.inf)).round_()
            kept, clipped = (codes >= 0) & (codes <= levels), True
            result = codes.clamp_(0, levels) * scale + bias
        ctx.save_for_backward(kept if clipped else None)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (kept,) = ctx.saved_tensors
        passed = gradients[0] if kept is None else torch.where(kept, gradients[0], 0)
        return passed, None, None, None, None


def _rounded_by_the_core(
    values: Tensor, scale: Tensor, bias: Tensor, layout: Groups, levels: int
) -> tuple[Tensor, Tensor, bool]:
    """Return the rounded values, which of them are not clipped, and whether any is."""
    values = values.contiguous()
    result, kept = torch.empty_like(values), torch.empty(values.shape, dtype=torch.bool)
    rows, columns = layout.extent
    clipped = _core.fake_quantize(
        values.numpy(),
        scale.contiguous().numpy(),
        bias.contiguous().numpy(),
        rows,
        columns,
        levels,
        result.numpy(),
        kept.numpy().view(np.uint8),
    )
    return result, kept, clipped > 0


def rounded(values: Tensor, scale: Tensor, bias: Tensor, layout: Groups, bits: int) -> Tensor:
    """Return the nearest values that codes can say, with straight-through gradients.

    Args:
        values: f32, (rows, columns).
        scale: f32, a number for each group, as `Groups.join` has them; 0 where all codes are 0.
        bias: The same.
        layout: The groups.
        bits: Of a code.
    """
    result: Tensor = _Rounded.apply(values, scale, bias, layout, 2**bits - 1)  # type: ignore[no-untyped-call]
    return result


class FakeQuantizedWeight(nn.Module):
    """A parametrization (torch.nn.utils.parametrize) that rounds a weight to what its codes will say.

    Tied weights share one. Rounding is done in f32, and the result has the weight's dtype. A moving average counts each
    change of the weight once, in training mode, however often the weight is used between two steps.

    Args:
        settings: How.
        rows: Of the weight.
        columns: Of the weight.
    """

    low: Tensor
    high: Tensor
    settings: Quantization
    layout: Groups

    def __init__(self, settings: Quantization, rows: int, columns: int) -> None:
        super().__init__()
        check_type(settings, Quantization, "settings", "a Quantization")
        self.settings, self.layout = settings, settings.layout(rows, columns)
        if settings.ranges == "moving_average":
            # Nothing has been seen yet.
            self.register_buffer("low", torch.full(self.layout.shape, torch.inf))
            self.register_buffer("high", torch.full(self.layout.shape, -torch.inf))
        self._seen: tuple[Any, ...] | None = None
        self._chosen: tuple[Tensor, Tensor] | None = None

    def forward(self, weight: Tensor) -> Tensor:
        """Return the rounded weight."""
        scale, bias = self.ranges(weight)
        return rounded(weight.float(), scale, bias, self.layout, self.settings.bits).to(weight.dtype)

    @torch.no_grad()
    def ranges(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale and the bias of each group, as they will be stored, in f32."""
        values = weight.detach().float()
        if self.settings.ranges == "least_squares":
            return self._least_squares(weight, values)
        low, high = (self.layout.reduced(values, bound) for bound in (torch.amin, torch.amax))
        if self.settings.ranges == "moving_average":
            low, high = self._averaged(weight, low, high)
        last = 2**self.settings.bits - 1
        scale = (high - low) / last
        if self.settings.group == "tensor" or self.settings.scale_dtype == "f32":
            return scale, low
        # As the core rounds: small numbers of f16 are 2^-24 apart, and a scale that lost much would leave the end of
        # the range more than a step away from the last code.
        nearest = scale.half().float()
        short = (scale < 2**-14) & ((scale - nearest) * last > nearest)
        return torch.where(short, nearest + 2**-24, nearest), low.half().float()

    def _averaged(self, weight: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        first = bool(torch.isinf(self.low).any())
        state = _state(weight)
        if first or (self.training and state != self._seen):
            momentum = 0.0 if first else self.settings.momentum
            self.low.copy_(momentum * self.low + (1 - momentum) * low if momentum else low)
            self.high.copy_(momentum * self.high + (1 - momentum) * high if momentum else high)
            self._seen = state
        return self.low, self.high

    def _least_squares(self, weight: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        # The sum also tells a weight that was written through .data, which no version counts.
        state = (*_state(weight), float(values.sum()))
        if self._chosen is None or state != self._seen:
            s = self.settings
            found = group_ranges(values.cpu().contiguous(), self.layout, s.bits, s.ranges, s.scale_dtype)
            self._chosen = tuple(torch.from_numpy(numbers).to(weight.device) for numbers in found)  # type: ignore[assignment]
            self._seen = state
        assert self._chosen is not None
        return self._chosen

    @torch.no_grad()
    def table(self, weight: Tensor) -> Table:
        """Return the packed form of a weight, whose rows are what `forward` returns.

        Raises:
            ValueError: a weight, a scale or a bias that is not finite.
        """
        values = weight.detach().float().cpu().contiguous()
        scale, bias = (numbers.contiguous().cpu().numpy() for numbers in self.ranges(weight))
        return group_table(values, self.layout, (scale, bias), self.settings.bits, self.settings.scale_dtype)

    def extra_repr(self) -> str:
        """Name the settings."""
        s = self.settings
        return f"bits={s.bits}, group={s.group!r}, count={self.layout.count}, ranges={s.ranges!r}"


def _state(weight: Tensor) -> tuple[Any, ...]:
    """Return what changes when a weight does."""
    return weight.data_ptr(), weight._version


class FakeQuantizedActivation(nn.Module):
    """Rounds activations to what b-bit codes can say, in one range: a moving average of the least and the largest.

    The first batch sets the range, in any mode; each later one moves it, in training mode. Padding counts as well.

    Attributes:
        low: The least value that can be said; infinite before the first batch.
        high: The largest one.
        frozen: Whether the range stays, as in a converted model.

    Args:
        bits: Of a code, 1 to 8.
        momentum: new = momentum * old + (1 - momentum) * now.

    Raises:
        ValueError: an option out of range.
    """

    low: Tensor
    high: Tensor

    def __init__(self, bits: int = 8, momentum: float = 0.99) -> None:
        super().__init__()
        check(bits, "min_max", "f32")
        check_momentum(momentum)
        self.bits, self.momentum, self.frozen = bits, momentum, False
        self.register_buffer("low", torch.tensor(torch.inf))
        self.register_buffer("high", torch.tensor(-torch.inf))

    @property
    def has_range(self) -> bool:
        """Whether a batch has been seen."""
        return bool(self.low <= self.high)

    def forward(self, input: Tensor) -> Tensor:
        """Return the rounded activations, in their dtype."""
        if not input.dtype.is_floating_point or input.numel() == 0:
            return input
        self._observe(input.detach())
        low, high = self.low.float(), self.high.float()
        scale = (high - low) / (2**self.bits - 1)
        lines = input.float().reshape(1, -1)
        layout = Groups("tensor", 1, lines.shape[1], 1)
        return rounded(lines, scale, low, layout, self.bits).reshape(input.shape).to(input.dtype)

    @torch.no_grad()
    def _observe(self, input: Tensor) -> None:
        if not self.has_range:
            momentum = 0.0
        elif self.training and not self.frozen:
            momentum = self.momentum
        else:
            return
        for held, now in ((self.low, input.amin()), (self.high, input.amax())):
            held.copy_(momentum * held + (1 - momentum) * now if momentum else now)

    def extra_repr(self) -> str:
        """Name the bits and the range."""
        return f"bits={self.bits}, range=[{self.low.item():.4g}, {self.high.item():.4g}]"
