"""ROBE: rows are made of runs of one array that all fields share.

Desai, Chou and Shrivastava, "Random Offset Block Embedding", MLSys 2022 (arXiv 2108.02191). A row is cut into runs of
`block` columns; a hash of id and run says where in the array the run begins, and its sign. The hash is that of
`ec.shared_array`, of 64 bits, where the study's has 31. The array lies in lines of a run's length, the rows that an
optimizer knows: a sparse gradient has the lines that a batch reads, one or two for each run, and what is kept for a
row is kept for a line. So does an optimizer of the table's own. One that moves numbers without a gradient moves their
neighbours in a line.

Lines of codes are those that have one scale: of several short runs, or of 32 numbers of a long run, which then is in
more of them.

With `own`, the fields with the fewest ids have rows of their own, as many fields as a share of the budget pays for:
every sample uses their ids, which then change no number that others read. The frozen table is a partition, whose ranges
of other ids are slices of one table on the array.

Bytes: 4 for each number of the array, and 16; 16 more for each further range of ids that share it, and 4 d for each own
row. With bits, those of codes of rows and of the array's lines, the last one a whole line.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ... import Method, Table, partition, shared_array
from ..._bisection import last_where
from ..._expressions import described, plan_bytes
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._embedding import LearnedEmbedding, numbers
from .._formats import SHORT
from .._hashing import mixed, scaled
from .._new_rows import given_rows, uniform_rows
from .._spec import Plan, Spec, refuse

MOST_NUMBERS = 2**31 - 1
"""What the frozen form holds."""
CODED_LINE = 16
"""Numbers of a line of codes at most, if runs are shorter."""


class ROBE(LearnedEmbedding):
    """`training.embedding("robe", …)`."""

    method: ClassVar[Method] = entry("robe", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("array", "own_rows")
    takes_optimizer: ClassVar[bool] = True
    takes_bits: ClassVar[bool] = True
    hash_seed: Tensor
    is_own: Tensor
    own_shift: Tensor

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
        self.owned: list[int] = self.planned.knobs.get("own", [0] * len(spec.sizes))
        self.has_own = any(self.owned)
        if self.has_own:
            self.own_rows = uniform_rows(self, sum(self.owned), spec.dimension, purpose=1)
            owned, starts = torch.tensor(self.owned), torch.tensor(spec.starts)
            self.register_buffer("is_own", owned > 0, persistent=False)
            # From an id to its own row.
            self.register_buffer("own_shift", owned.cumsum(0) - owned - starts, persistent=False)

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Give the smallest fields rows of their own, and the array as many numbers as then fit.

        More numbers than the rows that share them have are of no use.
        """
        block = spec.dimension if options["block"] is None else options["block"]
        if block > spec.dimension:
            raise ValueError(f"robe: block must be at most the {spec.dimension} columns, not {block}")
        share = options["own"]
        if share and len(spec.sizes) == 1:
            raise ValueError("robe: own is for tables of several fields; the largest one always shares the array")
        order = sorted(range(len(spec.sizes)), key=lambda field: spec.sizes[field])[:-1]

        def owned(count: int) -> list[int]:
            chosen = set(order[:count])
            return [size if field in chosen else 0 for field, size in enumerate(spec.sizes)]

        if (floor := _stored_bytes(spec, 1, block, owned(0))) > spec.budget:
            raise refuse("robe", spec, floor)
        fields = last_where(0, len(order), lambda count: _own_bytes(spec, owned(count)) <= share * spec.budget)
        while _stored_bytes(spec, 1, block, owned(fields)) > spec.budget:
            fields -= 1
        own = owned(fields)
        most = min((spec.rows - sum(own)) * spec.dimension, MOST_NUMBERS)
        count = last_where(1, most, lambda count: _stored_bytes(spec, count, block, own) <= spec.budget)
        study = min(spec.budget, spec.full_bytes) // 4
        return Plan(
            _stored_bytes(spec, count, block, own),
            {"numbers": count, "block": block} | ({"own": own} if share else {}),
            {"numbers": study, "ratio": 4 * study / spec.full_bytes},
        )

    def rows(self, ids: Tensor) -> Tensor:
        """Return own rows, and runs of the array."""
        if not self.has_own:
            return self._shared(ids)
        field, _ = self.fields.split(ids)
        assert field is not None
        is_own = self.is_own[field]
        own, shared = (one.nonzero()[:, 0] for one in (is_own, ~is_own))
        rows = torch.cat([self.own_rows((ids + self.own_shift[field])[own]), self._shared(ids[shared])])
        return torch.empty_like(rows).index_copy(0, torch.cat([own, shared]), rows)

    def _shared(self, ids: Tensor) -> Tensor:
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
        if self._is_read_by_lines:
            return "how many lines of the array are read depends on which ids a batch has"
        return "how many ids have rows of their own depends on which a batch has" if self.has_own else ""

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
            shared = shared_array(self.array.frozen(), count=self.count, **fields)
        else:
            shared = shared_array(numbers(self.array.values()).reshape(-1)[: self.count], **fields)
        if not self.has_own:
            return shared
        own, before, tables = self.own_rows.frozen(), 0, []
        for is_own, first, end in _ranges(self.spec, self.owned):
            tables.append(own.slice(before, before + end - first) if is_own else shared.slice(first, end))
            before += is_own * (end - first)
        return partition(tables)


def line_width(block: int, bits: int | None) -> int:
    """Return the numbers of a line: those of a run; of codes, those that share a scale."""
    return block if bits is None else min(block * max(CODED_LINE // block, 1), SHORT)


def _ranges(spec: Spec, owned: Sequence[int]) -> list[tuple[bool, int, int]]:
    """Return the longest ranges of ids with rows of their own and of ids without: which they are, and both ends.

    Args:
        spec: Of the table.
        owned: How many own rows each field has.
    """
    found = []
    for is_own, group in groupby(zip(owned, spec.starts, spec.sizes, strict=True), key=lambda field: field[0] > 0):
        ids = [(start, start + size) for _, start, size in group]
        found.append((is_own, ids[0][0], ids[-1][1]))
    return found


def _own_bytes(spec: Spec, owned: Sequence[int]) -> int:
    """Return the bytes of own rows."""
    return spec.array_bytes(sum(owned)) if any(owned) else 0


def _stored_bytes(spec: Spec, count: int, block: int, owned: Sequence[int]) -> int:
    """Return the bytes of so many numbers, of what the hash needs in each range of ids, and of own rows."""
    width = line_width(block, spec.bits)
    constants = plan_bytes(described("shared_array", spec.rows, spec.dimension, count=count, element="f32")) - 4 * count
    ranges = sum(not is_own for is_own, _, _ in _ranges(spec, owned))
    # In f32 the last line may be short.
    array = 4 * count if spec.bits is None else spec.array_bytes(-(-count // width), width)
    return ranges * constants + array + _own_bytes(spec, owned)


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
