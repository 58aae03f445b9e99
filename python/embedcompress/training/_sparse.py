"""Tables most of whose numbers are zero: how many others fit a budget, which ones are the largest, and the frozen form.

What is not zero is stored with its column, by rows (CSR) or with its row (COO), whichever takes fewer bytes; a table
with too few zeros to gain from stays dense. `docs/format.md` has both layouts under `sparse`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import Table, dense, sparse
from ._embedding import LearnedEmbedding, numbers
from ._formats import sparse_bytes
from ._spec import Plan, Spec, largest

VALUES = {"f32": 4, "f16": 2}
"""Bytes of a value."""
SAMPLE = 100_000
"""Numbers that a threshold is found from in tables of more; of fewer it is found exactly."""
_LARGEST_F16 = 65504.0


def stored_bytes(rows: int, dimension: int, nonzeros: int, values: str = "f32") -> int:
    """Return the bytes of a frozen table with so many numbers that are not zero."""
    return min(sparse_bytes(rows, dimension, nonzeros, values), rows * dimension * VALUES[values])


def study(spec: Spec) -> dict[str, Any]:
    """Return what the study keeps: f32 values with 4 bytes for each column, row and pointer."""
    ratio = min(spec.budget / spec.full_bytes, 1)
    is_csr = ratio * spec.dimension >= 3
    kept = (ratio * spec.dimension - 1) / (2 * spec.dimension) if is_csr else ratio / 3
    nonzeros = int(kept * spec.rows * spec.dimension)
    size = 8 * nonzeros + 4 * (spec.rows + 1) if is_csr else 12 * nonzeros
    return {"kept": kept, "layout": "csr" if is_csr else "coo", "ratio": size / spec.full_bytes}


def largest_mask(scores: Tensor, count: int) -> Tensor:
    """Return where the `count` largest scores are; of equal ones, those that come first.

    Args:
        scores: f32, of any shape. Found by two histograms of their bits, which takes less memory than sorting them.
        count: From 0 to as many as there are.
    """
    if not 0 < count < scores.numel():
        return torch.full_like(scores, count > 0, dtype=torch.bool)
    # Adding 0 makes 0 of -0, which is equal but has other bits.
    bits = (scores.detach() + 0.0).contiguous().view(torch.int32).reshape(-1)
    # Bits of negative numbers fall as the numbers rise; without their sign turned round, integers rise with numbers.
    keys = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    high = (keys >> 16) + (1 << 15)
    first, above = _bucket(high, count)
    low = keys[high == first] & 0xFFFF
    second, above_too = _bucket(low, count - above)
    threshold = ((first - (1 << 15)) << 16) + second
    mask = keys > threshold
    ties = torch.nonzero(keys == threshold).reshape(-1)
    mask[ties[: count - above - above_too]] = True
    return mask.reshape(scores.shape)


def sampled_threshold(values: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Return a threshold, f32 without axes, that about a share of the magnitudes are below, whatever the table's size.

    It is the quantile of `SAMPLE` magnitudes, drawn with replacement. The share below it has a standard error of
    sqrt(share (1 - share) / SAMPLE): where 1 % are to be left 3 % of these, where 0.1 % are 10 %. The quantile is taken
    three such errors lower, so that in all but about one of 700 times no more than the share is below.

    Args:
        values: Of any shape.
        share: From 0 to 1.
        random: On the device of the values.
    """
    flat = values.detach().reshape(-1)
    error = math.sqrt(share * (1 - share) / SAMPLE)
    rank = int(SAMPLE * (share - 3 * error))
    if rank < 1:
        return flat.new_zeros(())
    places = torch.randint(0, len(flat), (SAMPLE,), generator=random, device=flat.device)
    return flat[places].abs().kthvalue(rank).values


def _bucket(keys: Tensor, count: int) -> tuple[int, int]:
    """Return the 16-bit key that the `count`-th largest one has, and how many are above it."""
    falling = torch.bincount(keys, minlength=1 << 16).flip(0).cumsum(0)
    place = int(torch.searchsorted(falling, torch.tensor(count, device=keys.device)))
    return (1 << 16) - 1 - place, int(falling[place - 1]) if place else 0


class Pruned(LearnedEmbedding):
    """A method whose frozen table is the `weight`, of which the budget says how many numbers are not zero."""

    weight: nn.Parameter

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.values = options["values"]
        self.nonzeros: int = self.planned.knobs["nonzeros"]
        """Numbers that the finished table may have that are not zero."""
        self._as_finished: tuple[object, Tensor] | None = None

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Keep as many numbers as fit."""
        values = options["values"]

        def size(nonzeros: int) -> int:
            return stored_bytes(spec.rows, spec.dimension, nonzeros, values)

        kept = largest(cls.method.name, spec, 1, spec.rows * spec.dimension, size)
        return Plan(size(kept), {"nonzeros": kept}, study(spec))

    @property
    def stored_bytes(self) -> int:
        """Bytes of the frozen table: fewer than planned if training made more zeros than needed."""
        if not self.is_finished:
            return self.planned.stored_bytes
        nonzeros = int(torch.count_nonzero(self.weight))
        return stored_bytes(self.num_embeddings, self.embedding_dim, nonzeros, self.values)

    def products(self) -> Tensor:
        """Return the table whose largest numbers the finished one has, (rows, dimension)."""
        return self.weight

    @torch.no_grad()
    def pruned(self) -> Tensor:
        """Return what `finish()` would leave of the table, so that states are compared by what will be deployed."""
        made_of = tuple((id(one), one._version) for one in self.parameters())
        if self._as_finished is None or self._as_finished[0] != made_of:
            products = self.products()
            self._as_finished = made_of, products * largest_mask(products.abs(), self.nonzeros)
        return self._as_finished[1]

    @torch.no_grad()
    def keep(self, mask: Tensor) -> None:
        """Make the finished weight: zeros but for the mask, rounded to what values are stored as."""
        self.weight.mul_(mask)
        if self.values == "f16":
            self.weight.copy_(self.weight.clamp(-_LARGEST_F16, _LARGEST_F16).half())

    def _frozen(self) -> Table:
        rows, dimension = self.weight.shape
        matrix = np.ascontiguousarray(numbers(self.weight), np.float16 if self.values == "f16" else np.float32)
        kept = int(np.count_nonzero(matrix))
        is_dense = stored_bytes(rows, dimension, kept, self.values) == matrix.nbytes
        return dense(matrix) if is_dense else sparse(matrix)
