"""ROBE: rows are made of runs of one array that all fields share.

Desai, Chou and Shrivastava, "Random Offset Block Embedding", MLSys 2022 (arXiv 2108.02191). A row is cut into runs of
`block` columns; a hash of id and run says where in the array the run begins, and its sign. The hash is that of
`ec.shared_array`, of 64 bits, where the study's has 31. The array lies in lines of a run's length, the rows that an
optimizer knows: a sparse gradient has the lines that a batch reads, one or two for each run, and what is kept for a
row is kept for a line. So does an optimizer of the table's own. One that moves numbers without a gradient moves their
neighbours in a line.

Lines of codes are those that have one scale: of several short runs, or of 32 numbers of a long run, which then is in
more of them.

Bytes: 4 for each number of the array, and 16. With bits, those of codes of its lines, the last one a whole line.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ... import Method, Table, shared_array
from ..._bisection import last_where
from ..._expressions import described, plan_bytes
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._embedding import LearnedEmbedding, numbers
from .._formats import SHORT
from .._hashing import mixed, scaled
from .._new_rows import given_rows
from .._spec import Plan, Spec, refuse

MOST_NUMBERS = 2**31 - 1
"""What the frozen form holds."""
CODED_LINE = 16
"""Numbers of a line of codes at most, if runs are shorter."""


class ROBE(LearnedEmbedding):
    """`training.embedding("robe", …)`."""

    method: ClassVar[Method] = entry("robe", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("array",)
    takes_optimizer: ClassVar[bool] = True
    takes_bits: ClassVar[bool] = True
    hash_seed: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.block: int = self.planned.knobs["block"]
        self.signs: bool = options["signs"]
        # It belongs to the state: numbers mean nothing under another seed.
        self.register_buffer("hash_seed", torch.tensor(spec.seed))
        self.count: int = self.planned.knobs["numbers"]
        # The last line has zeros at its end.
        width = line_width(self.block, spec.bits)
        lines = torch.zeros(-(-self.count // width), width)
        lines.view(-1)[: self.count] = self.initial(self.count)
        self.array = given_rows(spec, lines)

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take as many numbers as fit; more than the full table has are of no use."""
        block = spec.dimension if options["block"] is None else options["block"]
        if block > spec.dimension:
            raise ValueError(f"robe: block must be at most the {spec.dimension} columns, not {block}")
        floor = _stored_bytes(spec, 1, block)
        if floor > spec.budget:
            raise refuse("robe", spec, floor)
        most = min(spec.rows * spec.dimension, MOST_NUMBERS)
        count = last_where(1, most, lambda count: _stored_bytes(spec, count, block) <= spec.budget)
        study = min(spec.budget, spec.full_bytes) // 4
        return Plan(
            _stored_bytes(spec, count, block),
            {"numbers": count, "block": block},
            {"numbers": study, "ratio": 4 * study / spec.full_bytes},
        )

    def rows(self, ids: Tensor) -> Tensor:
        """Return runs of the array."""
        runs = -(-self.embedding_dim // self.block)
        run = torch.arange(runs, device=ids.device)
        hashes = mixed(ids[:, None] * runs + run, self.hash_seed)
        start = scaled(hashes, self.count)
        found = self._runs(start)
        if self.signs:
            found = found * (1 - 2 * (hashes & 1)).to(found.dtype)[:, :, None]
        return found.flatten(1)[:, : self.embedding_dim]

    @property
    def compiles(self) -> str:  # type: ignore[override]
        """Why torch.compile does not work on it; empty if it does."""
        return "how many lines of the array are read depends on which ids a batch has" if self._is_read_by_lines else ""

    @property
    def _is_read_by_lines(self) -> bool:
        """Whether nothing is done with lines that a batch does not read."""
        return self.spec.sparse or self.spec.optimizer is not None or self.spec.bits is not None

    def _runs(self, start: Tensor) -> Tensor:
        """Return runs, (n, runs, block), from (n, runs) places on; the first number comes after the last."""
        if not len(start):
            return self.array.take(start.flatten()).view(*start.shape, self.block)
        if self._is_read_by_lines:
            lines, start, count = lines_of(start, self.count, self.block, len(self.array), self.array.dimension)
            rows = self.array.take(lines)
        else:
            rows, count = self.array.elements, self.count
        found: Tensor = _Runs.apply(rows, start, count, self.block)  # type: ignore[no-untyped-call]
        return found

    def _frozen(self) -> Table:
        fields: dict[str, Any] = {
            "rows": self.spec.rows,
            "dimension": self.spec.dimension,
            "block": self.block,
            "seed": int(self.hash_seed),
            "signs": self.signs,
        }
        if self.spec.bits is not None:
            return shared_array(self.array.frozen(), count=self.count, **fields)
        return shared_array(numbers(self.array.values()).reshape(-1)[: self.count], **fields)


def line_width(block: int, bits: int | None) -> int:
    """Return the numbers of a line: those of a run; of codes, those that share a scale."""
    return block if bits is None else min(block * max(CODED_LINE // block, 1), SHORT)


def _stored_bytes(spec: Spec, count: int, block: int) -> int:
    """Return the bytes of so many numbers, and of what the hash needs."""
    width = line_width(block, spec.bits)
    own = plan_bytes(described("shared_array", spec.rows, spec.dimension, count=count, element="f32")) - 4 * count
    # In f32 the last line may be short.
    return own + (4 * count if spec.bits is None else spec.array_bytes(-(-count // width), width))


def lines_of(start: Tensor, count: int, block: int, lines: int, width: int) -> tuple[Tensor, Tensor, int]:
    """Return the lines that runs can have numbers of, and where runs begin in an array of only these.

    A run is in lines that follow each other, also among these lines alone. One that passes the end of the array goes on
    in the first lines, as it does in the array of these lines.

    Args:
        start: Places at which runs begin, at least one, of any shape.
        count: Numbers of the array.
        block: Numbers of a run.
        lines: Of the array.
        width: Numbers of a line.

    Returns:
        The lines, (m,) int64, rising; places among their numbers, of the shape of `start`; how many numbers they have.
    """
    first = start.flatten().div(width, rounding_mode="floor")
    passes = bool((start > count - block).any())
    ordered, order = (torch.cat([first, first.new_zeros(1)]) if passes else first).sort()
    # A run can begin with the last number of a line. Of lines in order, those of a run that no later one has: from none
    # to all.
    each = -(-(block - 1) // width) + 1
    after = ordered.diff(append=ordered[-1:] + each).clamp(max=each)
    ends = after.cumsum(0)
    begin = torch.empty_like(ends).scatter_(0, order, ends - after)[: len(first)]
    steps = torch.arange(int(after.sum()), device=start.device)
    found = torch.repeat_interleave(ordered - (ends - after), after) + steps
    # The last run may end with the array.
    found = found[: int(torch.searchsorted(found, lines))]
    kept = len(found) * width
    if int(found[-1]) == lines - 1:
        kept -= lines * width - count
    return found, (begin * width).view(start.shape) + start % width, kept


class _Runs(torch.autograd.Function):
    """Runs of an array, each a row of a view in which rows overlap: many times as fast as one number at a time."""

    @staticmethod
    def forward(ctx: Any, lines: Tensor, start: Tensor, count: int, block: int) -> Tensor:
        """Return runs, (n, runs, block), from (n, runs) places on, of the first `count` numbers of (m, width) lines.

        After the last number comes the first.
        """
        ctx.save_for_backward(start)
        ctx.shape, ctx.count, ctx.block = lines.shape, count, block
        array = lines.reshape(-1)[:count]
        if block == 1:
            return functional.embedding(start, array[:, None])
        # Runs that begin before `inner` end within the array: they are read where they lie, whatever its size.
        inner = max(count - block + 1, 0)
        past = functional.embedding((start - inner).clamp(min=0), _ends(array, inner, block).unfold(0, block, 1))
        if not inner:
            return past
        within = functional.embedding(start.clamp(max=inner - 1), array.unfold(0, block, 1))
        return torch.where((start < inner)[:, :, None], within, past)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Add each column of the runs where it came from."""
        (start,) = ctx.saved_tensors
        slopes = gradient.flatten(0, 1)
        return _gradient(start.flatten(), slopes, ctx.count, ctx.shape, ctx.block), None, None, None


def _ends(array: Tensor, inner: int, block: int) -> Tensor:
    """Return the array from place `inner` on, and then from its begin, as far as a run can pass its end."""
    parts = [array[inner:]]
    while (left := len(array) - inner + block - 1 - sum(map(len, parts))) > 0:
        parts.append(array[:left])
    return torch.cat(parts)


def _gradient(start: Tensor, slopes: Tensor, count: int, shape: torch.Size, block: int) -> Tensor:
    """Return the gradient of an array in lines, from that of runs, (n, block), and where they begin, (n,)."""
    sums = _added(start, slopes, max(count + block - 1, shape.numel()))
    for first in range(count, count + block - 1, count):
        past = sums[first : first + count]
        sums[: len(past)] += past
    sums[count:] = 0
    return sums[: shape.numel()].view(shape)


def _added(start: Tensor, slopes: Tensor, count: int) -> Tensor:
    """Return `count` numbers, (count,): zeros, to which runs of slopes are added from their places in `start` on."""
    sums = slopes.new_zeros(count)
    for column, slope in enumerate(slopes.t().contiguous()):
        sums[column:].index_add_(0, start, slope)
    return sums
