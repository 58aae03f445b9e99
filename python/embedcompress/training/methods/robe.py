"""ROBE: rows are made of runs of one array that all fields share.

Desai, Chou and Shrivastava, "Random Offset Block Embedding", MLSys 2022 (arXiv 2108.02191). A row is cut into runs of
`block` columns; a hash of id and run says where in the array the run begins, and its sign. The hash is that of
`ec.shared_array`, of 64 bits, where the study's has 31.

Bytes: 4 for each number of the array, and 16.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method, Option, Table, shared_array
from ..._options import integer
from .._embedding import LearnedEmbedding, numbers
from .._hashing import mixed, scaled
from .._spec import Plan, Spec, refuse

CONSTANT_BYTES = 16
"""Of the seed and the block."""
MOST_NUMBERS = 2**31 - 1
"""What the frozen form holds."""


class ROBE(LearnedEmbedding):
    """`training.embedding("robe", …)`."""

    method: ClassVar[Method] = Method(
        name="robe",
        title="ROBE",
        paper="Desai et al., MLSys 2022, arXiv 2108.02191",
        kind="training",
        summary="runs of one array that all ids share, each with a sign, where a hash of the id says",
        bytes_per_row="4 * M / n",
        cost="a hash for each run, and d numbers from anywhere",
        options=(
            Option("block", "an integer from 1 to d", None, "columns of a run; the whole row if not given"),
            Option("signs", "True or False", True, "whether a run has a sign, which its hash gives"),
        ),
    )
    hash_seed: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.block: int = self.planned.knobs["block"]
        self.signs = bool(options["signs"])
        # It belongs to the state: numbers mean nothing under another seed.
        self.register_buffer("hash_seed", torch.tensor(spec.seed))
        self.array = nn.Parameter(self.initial(self.planned.knobs["numbers"]))

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take as many numbers as fit; more than the full table has are of no use."""
        if not isinstance(options["signs"], bool):
            raise ValueError(f"signs must be True or False, not {options['signs']!r}")
        block = spec.dimension if options["block"] is None else integer(options, "block", 1, spec.dimension)
        count = min((spec.budget - CONSTANT_BYTES) // 4, spec.rows * spec.dimension, MOST_NUMBERS)
        if count < 1:
            raise refuse("robe", spec, CONSTANT_BYTES + 4)
        study = min(spec.budget, spec.full_bytes) // 4
        return Plan(
            CONSTANT_BYTES + 4 * count,
            {"numbers": count, "block": block},
            {"numbers": study, "ratio": 4 * study / spec.full_bytes},
        )

    def rows(self, ids: Tensor) -> Tensor:
        """Return runs of the array."""
        runs = -(-self.embedding_dim // self.block)
        run = torch.arange(runs, device=ids.device)
        hashes = mixed(ids[:, None] * runs + run, self.hash_seed)
        start = scaled(hashes, len(self.array))
        found: Tensor = _Runs.apply(self.array, start, self.block)  # type: ignore[no-untyped-call]
        if self.signs:
            found = found * (1 - 2 * (hashes & 1)).to(found.dtype)[:, :, None]
        return found.flatten(1)[:, : self.embedding_dim]

    def _frozen(self) -> Table:
        return shared_array(
            numbers(self.array),
            rows=self.spec.rows,
            dimension=self.spec.dimension,
            block=self.block,
            seed=int(self.hash_seed),
            signs=self.signs,
        )


class _Runs(torch.autograd.Function):
    """Runs of an array, each a row of a view in which rows overlap: many times as fast as one number at a time."""

    @staticmethod
    def forward(ctx: Any, array: Tensor, start: Tensor, block: int) -> Tensor:
        """Return runs from (n, runs) places on, (n, runs, block); after the last number comes the first."""
        ctx.save_for_backward(start)
        ctx.count, ctx.block = len(array), block
        return functional.embedding(start, _wrapped(array, block).unfold(0, block, 1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Add each column of the runs where it came from."""
        (start,) = ctx.saved_tensors
        sums = gradient.new_zeros(ctx.count + ctx.block - 1)
        for column, slope in enumerate(gradient.flatten(0, 1).t().contiguous()):
            sums[column:].index_add_(0, start.flatten(), slope)
        result = sums[: ctx.count]
        for first in range(ctx.count, len(sums), ctx.count):
            past = sums[first : first + ctx.count]
            result[: len(past)] += past
        return result, None, None


def _wrapped(array: Tensor, block: int) -> Tensor:
    """Return an array that goes on with its first numbers, as far as a run can pass its end."""
    parts = [array]
    while (left := len(array) + block - 1 - sum(map(len, parts))) > 0:
        parts.append(array[:left])
    return torch.cat(parts)
