"""Arrays of rows in codes of few bits: what they are trained as is what they are stored as.

Numbers are held as floats, for an optimizer of torch, and rounded whenever they are read; gradients pass through the
rounding as if it were not there (the straight-through estimator; Bengio, Léonard and Courville, 2013, arXiv 1308.3432).
Rows of up to `SHORT` numbers have one scale, and codes stand for odd multiples of half of it: 2 bits are -1.5, -.5, .5
and 1.5 scales, of which none is lost on a zero. Longer rows have a scale and a bias for each 32 numbers. Both come from
the largest numbers, and are f16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import Table, codebook, uniform
from ._distinct import Distinct
from ._embedding import numbers
from ._formats import SHORT
from ._fused_batches import Bags
from ._rows import ParameterRows, ParameterUse, Use
from ._spec import Spec


class CodedRows(ParameterRows):
    """Rows in a parameter that are rounded to codes when they are read, and frozen as these codes.

    A last row that never moves is not rounded: it is no part of what is frozen.
    """

    def __init__(self, spec: Spec, rows: int, dimension: int, is_padded: bool = False) -> None:
        super().__init__(spec, rows, dimension, is_padded)
        assert spec.bits is not None
        self.bits = spec.bits

    def forward(self, places: Tensor) -> Tensor:
        """Return the rounded rows at (n,) int64 places, (n, d), each rounded once."""
        return self.once(places)

    def once(self, places: Tensor) -> Tensor:
        """Return the same."""
        batch = Distinct(places)
        rows = batch.take(self.elements, self.is_sparse, self.is_padded)
        found = straight_through(rows, self.stood_for(rows.detach(), batch.ids))
        if self.is_padded:
            found = torch.where((batch.ids == len(self) - 1)[:, None], rows, found)
        return batch.spread(found)

    def take(self, places: Tensor) -> Tensor:
        """Return the same for places that rise."""
        rows = super().take(places)
        return straight_through(rows, self.stood_for(rows.detach(), places))

    def stood_for(self, rows: Tensor, places: Tensor) -> Tensor:
        """Return (n, d) rows that are at some places as their codes stand for them."""
        return rounded(rows, self.bits)

    def can_pool(self, bags: Bags) -> bool:
        """Return False: rows are rounded before they are summed."""
        return False

    def use(self) -> Use:
        """Begin a use of the array by a kernel of its own."""
        return _CodedUse(self)

    def frozen(self, part: slice = slice(None)) -> Table:
        """Return a table of the codes of some rows; ValueError if a number is not finite, which has no code."""
        first = part.indices(len(self))[0]
        return coded_table(self.elements.detach()[part], self.bits, first, len(self))


def coded_table(values: Tensor, bits: int, first: int = 0, of: int | None = None) -> Table:
    """Return a table of the codes of (n, d) rows; ValueError if a number is not finite, which has no code.

    Args:
        values: The rows.
        bits: Of a code.
        first: Number of the first row in the array that errors speak of.
        of: Rows of that array; those of `values` if not given.
    """
    rows, dimension = values.shape
    if not bool((is_finite := values.isfinite().all(1)).all()):
        bad = int((~is_finite).nonzero()[0]) + first
        raise ValueError(
            f"row {bad} of an array of {rows if of is None else of} rows of {dimension} numbers has one that is not "
            "finite, for which there is no code: training has diverged"
        )
    if dimension <= SHORT:
        codes, scales = short_codes(values, bits)
        entries = np.arange(1 << bits, dtype=np.float16) - np.float16(half_range(bits))
        packed = numbers(codes).astype(np.uint8)
        return codebook(packed, entries, bits=bits, scales=numbers(scales)[:, 0].astype(np.float16))
    codes, scales, biases = long_codes(values, bits)
    packed = numbers(codes).astype(np.uint8).reshape(rows, codes.shape[1] * SHORT)[:, :dimension]
    pair = (numbers(one)[..., 0].astype(np.float16) for one in (scales, biases))
    return uniform(np.ascontiguousarray(packed), *pair, bits=bits, group=SHORT)


def half_range(bits: int) -> float:
    """Return the largest multiple of the scale that a code of a short row stands for."""
    return ((1 << bits) - 1) / 2


def rounded(rows: Tensor, bits: int) -> Tensor:
    """Return (n, d) rows as their codes stand for them."""
    if rows.shape[1] <= SHORT:
        codes, scales = short_codes(rows, bits)
        return codes.sub_(half_range(bits)).mul_(scales)
    codes, scales, biases = long_codes(rows, bits)
    found = codes.mul_(scales).add_(biases).flatten(1)
    return found[:, : rows.shape[1]]


def short_codes(rows: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return codes from 0 on, (n, d), and the scale of each row, (n, 1), all as f32; f16 holds the scales."""
    reach = half_range(bits)
    exact = rows.abs().amax(1, keepdim=True) / reach
    # Rows of zeros, or next to it, have the scale 0, and any code: none stands for 0.
    scales = torch.where(exact > 2**-25, reaching(exact, reach), 0)
    codes = rows / torch.where(scales > 0, scales, 1)
    return codes.add_(reach).round_().clamp_(0, 2 * reach), scales


def long_codes(rows: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return codes, (n, groups, SHORT), and scales and biases, (n, groups, 1); the last codes may be of no column."""
    most = (1 << bits) - 1
    missing = -rows.shape[1] % SHORT
    # A last group that is short has copies of its last number: they change neither of its ends.
    padded = torch.cat([rows, rows[:, -1:].expand(-1, missing)], 1) if missing else rows
    groups = padded.reshape(len(rows), padded.shape[1] // SHORT, SHORT)
    biases = halves(groups.amin(2, keepdim=True))
    # The bias may have been rounded up to more than the largest number.
    scales = reaching((groups.amax(2, keepdim=True) - biases).clamp(min=0) / most, most)
    codes = (groups - biases) / torch.where(scales > 0, scales, 1)
    return codes.round_().clamp_(0, most), scales, biases


def halves(values: Tensor) -> Tensor:
    """Return the nearest numbers that f16 holds."""
    return values.clamp(-65504, 65504).half().float()


def reaching(scales: Tensor, last: float) -> Tensor:
    """Return the nearest scales that f16 holds, or the next larger where `last` would end more than a step short."""
    nearest = halves(scales)
    is_short = (scales < 2**-14) & ((scales - nearest) * last > nearest)
    return torch.where(is_short, nearest + 2**-24, nearest)


def straight_through(rows: Tensor, values: Tensor) -> Tensor:
    """Return values in place of rows, to which gradients go as if nothing had been done to them."""
    found: Tensor = _StraightThrough.apply(rows, values)  # type: ignore[no-untyped-call]
    return found


class _StraightThrough(torch.autograd.Function):
    """Values in place of rows; the gradient is that of the rows."""

    @staticmethod
    def forward(context: Any, rows: Tensor, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, slopes: Tensor) -> tuple[Tensor, None]:
        return slopes, None


class _CodedUse(ParameterUse):
    """A kernel's use of rows that are rounded first."""

    def __init__(self, rows: CodedRows) -> None:
        super().__init__(rows.elements, rows.is_sparse)
        self.rows = rows
        self.memory: tuple[Tensor, Tensor] | None = None

    def read(self, places: Tensor) -> tuple[Tensor, Tensor]:
        if self.memory is None:
            found, back = torch.unique(places, return_inverse=True)
            rows = self.gate.detach().index_select(0, found)
            self.memory = self.rows.stood_for(rows, found).contiguous(), back
        return self.memory
