"""AdaptEmb: ids that are used often have rows of their own, and the others share some.

Alibaba's DeepRec has it as adaptive embedding; Zhang et al., PVLDB 17(4), 2024 (arXiv 2311.15578) compare it. The ids
of the largest counts, over all fields, have rows of their own; the j-th other id of a field has the row j mod m of its
m shared rows. A field that would not shrink stays as it is.

Given `hot_bits`, the rows of frequent ids, and fields that stay as they are, have codes of these bits, and shared rows
have those of the table: with 8 and 4 bits, the rows that are read most are finer, at the price of fewer rows.

How many ids have rows of their own is a matter of `split`: "even" has as many of them as there are shared rows, and a
tenth of the ids at most. "counts" takes the number that leaves the least squared error over all uses of ids, if their
rows were independent, of numbers of variance 1, and shared ones the means of those that share them. That is the sum
over shared rows of C - sum(c^2) / C, where c are the counts of the ids that share a row and C is their sum; and for
each use of a row of b bits 1 / (2^b - 1)^2, which is what rounding adds to numbers that are spread evenly.

Bytes: 4 d for each row, or those of its codes with bits, and for each field in which ids do not come by falling counts,
which ids have rows of their own: 9/8 bits for each id, or the number of its row if that takes fewer bytes. (The study's
map takes 32 bits, and is not counted.) While training, 8 for each id with a row of its own, which are searched for
those of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ... import Method, Table, partition, remap
from ..._bisection import last_where
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._counts import most_used
from .._embedding import numbers
from .._fields import of_field
from .._formats import assignment_bytes, map_bytes
from .._gathered import Gathered
from .._new_rows import uniform_rows
from .._rows import Rows
from .._spec import Plan, Spec, Values, largest, refuse
from .._two_codes import TwoCodes

MOST_SHARE = 0.1
"""Of ids with rows of their own, if no share is given; the study's."""
MAPS = ("none", "partition", "rows")
"""How a field says which ids have rows of their own."""


class Adaptive(Gathered):
    """`training.embedding("adapt", …)`."""

    method: ClassVar[Method] = entry("adapt", WHILE_TRAINING)
    needs_counts: ClassVar[bool] = True
    takes_bits: ClassVar[bool] = True
    hot_ids: Tensor
    before: Tensor
    first: Tensor
    own: Tensor
    shared: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        hot_ids = []
        for index, (hot, shared) in enumerate(self._counts()):
            counts = spec.counts_of(index)
            assert counts is not None
            if shared:
                hot_ids.append(spec.starts[index] + np.sort(most_used(counts, hot)))
        self._arrange()
        if (hot_bits := options["hot_bits"]) is None:
            self.weight = uniform_rows(self, self._row_count(), spec.dimension)
        else:
            self.weight = TwoCodes(spec, self._is_hot_row(), hot_bits)
            self.weight.fill(self.initial_blocks(len(self.weight), spec.dimension))
        # They belong to the state: rows mean nothing to ids that other counts put in other places.
        found = np.concatenate(hot_ids) if hot_ids else np.zeros(0, np.int64)
        self.register_buffer("hot_ids", torch.from_numpy(found))
        self.forget_counts()

    def _arrange(self) -> None:
        """Make what says where each field's rows are: it follows from the plan."""
        hot, shared = (torch.tensor(one, device=self.device) for one in zip(*self._counts(), strict=True))
        sizes = hot + shared
        # A field that stays as it is shares as many rows as it has ids.
        own = torch.where(shared > 0, hot, 0)
        found = {
            "before": own.cumsum(0) - own,
            "first": sizes.cumsum(0) - sizes,
            "own": own,
            "shared": torch.where(shared > 0, shared, hot),
        }
        for name, numbers_of_fields in found.items():
            self.register_buffer(name, numbers_of_fields, persistent=False)

    def _is_hot_row(self) -> Tensor:
        """Return which rows are of one id each, (rows,)."""
        counts = torch.tensor(self._counts(), device=self.device).flatten()
        return (torch.arange(len(counts), device=self.device) % 2 == 0).repeat_interleave(counts)

    def _row_count(self) -> int:
        return sum(hot + shared for hot, shared in self._counts())

    def _counts(self) -> list[tuple[int, int]]:
        """Return how many rows of both kinds each field has."""
        return list(zip(self.planned.knobs["hot"], self.planned.knobs["shared"], strict=True))

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take as many shared rows as fit beside the rows of frequent ids."""
        assert spec.counts is not None
        given, hot_bits, split = (options[name] for name in ("top_percent", "hot_bits", "split"))
        if hot_bits is not None and spec.bits is None:
            raise ValueError("hot_bits is for a table with bits, which are those of shared rows")
        if given is not None and split != "even":
            raise ValueError(f"top_percent says how many ids have rows of their own: split must not be {split!r}")
        fields = _Fields.of(spec, hot_bits)
        share = MOST_SHARE if given is None else given
        order = most_used(spec.counts, spec.rows if split == "counts" else int(share * spec.rows))
        owner = np.searchsorted(np.cumsum(spec.sizes), order, side="right")

        def hot(top: int) -> Values:
            return np.bincount(owner[:top], minlength=len(spec.sizes))

        top = len(order)
        if given is None:
            if (floor := fields.arranged(hot(0), 0).stored_bytes) > spec.budget:
                raise refuse("adapt", spec, floor)
            # Ids that are never used need no row of their own.
            most = min(top, int(np.count_nonzero(spec.counts)))
            # Not every smaller number is possible, but few are not.
            shared = 0 if split == "counts" else 1
            top = last_where(0, most, lambda top: fields.arranged(hot(top), top * shared).stored_bytes <= spec.budget)

        def plan(top: int) -> Plan:
            size = partial(_size, fields, hot(top))
            return fields.arranged(hot(top), largest("adapt", spec, 0, spec.rows - top, size))

        if split == "counts":
            # Bytes do not always rise with ids that have rows of their own: what does not fit is no choice.
            tops = [one for one in _tries(top) if fields.arranged(hot(one), 0).stored_bytes <= spec.budget]
            top = min(tops, key=lambda one: _error(spec, order[:one], plan(one), hot_bits))
        return replace(plan(top), study=_study(spec, share))

    def places(self, ids: Tensor) -> Tensor:
        """Return an id's own row or a shared one."""
        field, local = self.fields.split(ids)
        before, first, own, shared = (of_field(one, field) for one in (self.before, self.first, self.own, self.shared))
        # Of ids with rows of their own, how many of the field come before this one.
        below = torch.searchsorted(self.hot_ids, ids)
        rank = below - before
        rows = first + own + (local - rank) % shared
        if not len(self.hot_ids):
            return rows
        is_hot = self.hot_ids[below.clamp(max=len(self.hot_ids) - 1)] == ids
        return torch.where(is_hot, first + rank, rows)

    def structure(self) -> dict[str, Any]:
        """Return what the counts decided."""
        return {"stored_bytes": self.stored_bytes, "knobs": dict(self.planned.knobs)}

    @property
    def rounding(self) -> dict[str, int | None]:
        """The bits of shared rows, and of those of frequent ids where they are others."""
        return super().rounding | {"hot_bits": self.options["hot_bits"]}

    def restructure(self, structure: dict[str, Any]) -> None:
        """Take what other counts decided."""
        self.planned = replace(self.planned, **structure)
        self._arrange()
        if len(self.hot_ids) != (count := int(self.own.sum())):
            self.hot_ids = self.hot_ids.new_zeros(count)
        if len(self.weight) != (count := self._row_count()):
            self.weight.resize(count)
        if isinstance(self.weight, TwoCodes):
            self.weight.is_marked = self._is_hot_row()

    def _frozen(self) -> Table:
        tables = []
        fields = zip(self.spec.sizes, self.spec.starts, self.planned.knobs["map"], self._counts(), strict=True)
        for index, (size, start, how, (hot, shared)) in enumerate(fields):
            first, before = int(self.first[index]), int(self.before[index])
            hot_ids = numbers(self.hot_ids[before : before + int(self.own[index])]) - start
            tables.append(_table(self.weight, first, hot + shared, hot_ids, size, how))
        return self.per_field(tables)


def _table(rows: Rows, first: int, count: int, hot_ids: Values, size: int, how: str) -> Table:
    """Return the table of a field, from its rows and the ids in it that have their own; there may be no others."""
    hot = len(hot_ids)
    shared = count - hot
    rest = rows.frozen(slice(first + hot, first + count))
    if shared < size - hot:
        rest = remap(rest, rows=size - hot, modulo=shared)
    if not hot:
        return rest
    if how == "none":
        return partition([rows.frozen(slice(first, first + hot)), rest])
    is_rare = np.ones(size, bool)
    is_rare[hot_ids] = False
    if how == "partition":
        return partition([rows.frozen(slice(first, first + hot)), rest], is_rare.astype(np.uint8))
    place = np.where(is_rare, hot + (np.cumsum(is_rare) - 1) % shared, np.cumsum(~is_rare) - 1)
    if isinstance(rows, TwoCodes):
        both = (slice(first, first + hot), slice(first + hot, first + count))
        return remap(partition([rows.frozen(part) for part in both]), map=place)
    return remap(rows.frozen(slice(first, first + count)), map=place)


@dataclass
class _Fields:
    """What bytes of fields depend on, beside the knobs."""

    sizes: Values
    are_sorted: Values
    """Whether a field's ids come by falling counts."""
    row_bytes: tuple[int, int]
    """Of a row of one id, and of a shared one."""
    book_bytes: tuple[int, int]
    """Of what an array of such rows has beside them."""
    have_other_bits: bool
    """Whether both kinds of rows differ in their bits, so that one array can't have both."""

    @staticmethod
    def of(spec: Spec, hot_bits: int | None) -> _Fields:
        assert spec.counts is not None
        falls = np.append(spec.counts[1:] <= spec.counts[:-1], True)
        # Where a field ends, the next one may begin with any count.
        falls[np.cumsum(spec.sizes) - 1] = True
        are_sorted = np.logical_and.reduceat(falls, spec.starts)
        books = spec.array_bytes(0, bits=hot_bits), spec.array_bytes(0)
        rows = spec.array_bytes(1, bits=hot_bits) - books[0], spec.array_bytes(1) - books[1]
        return _Fields(np.asarray(spec.sizes), are_sorted, rows, books, hot_bits is not None)

    def arranged(self, hot: Values, shared: int) -> Plan:
        """Return the plan of so many ids with rows of their own in each field, and shared rows in all.

        Shared rows are as many as the ids that share them, times a ratio; at least one if there are any.
        """
        rare = self.sizes - hot
        each = np.minimum(np.maximum(shared * rare // max(int(rare.sum()), 1), 1), rare)
        choices = np.array(
            [_map_choices(int(size), int(rows)) for size, rows in zip(self.sizes, hot + each, strict=True)]
        ).T
        needs_none = (hot == 0) | (rare == 0) | self.are_sorted
        # A map may lead into one array of both kinds of rows; else each kind has its own.
        books = self.book_bytes[0] * (hot > 0) + self.book_bytes[1] * (rare > 0)
        choices[0] += books
        choices[1] += books if self.have_other_bits else self.book_bytes[1]
        found = self.row_bytes[0] * hot + self.row_bytes[1] * each + np.where(needs_none, books, choices.min(0))
        whole = self.row_bytes[0] * self.sizes + self.book_bytes[0]
        is_plain = found >= whole
        kinds = np.where(needs_none | is_plain, 0, 1 + choices.argmin(0))
        return Plan(
            int(np.where(is_plain, whole, found).sum()),
            {
                "hot": np.where(is_plain, self.sizes, hot).tolist(),
                "shared": np.where(is_plain, 0, each).tolist(),
                "map": [MAPS[kind] for kind in kinds],
            },
        )


def _size(fields: _Fields, hot: Values, shared: int) -> int:
    return fields.arranged(hot, shared).stored_bytes


def _tries(most: int) -> list[int]:
    """Return numbers of ids with rows of their own, from none to the most, each a quarter more than the last."""
    found = [0]
    while found[-1] < most:
        found.append(min(max(found[-1] + 1, found[-1] * 5 // 4), most))
    return found


def _error(spec: Spec, hot_ids: Values, plan: Plan, hot_bits: int | None) -> float:
    """Return what `split="counts"` makes least: the error of sharing and rounding rows, over all uses of ids."""
    assert spec.counts is not None
    is_rare = np.ones(spec.rows, bool)
    is_rare[hot_ids] = False
    error = rare_uses = 0.0
    for start, size, shared in zip(spec.starts, spec.sizes, plan.knobs["shared"], strict=True):
        if not shared:
            continue
        counts = spec.counts[start : start + size][is_rare[start : start + size]]
        place = np.arange(len(counts)) % shared
        sums, squares = (np.bincount(place, values, shared) for values in (counts, counts * counts))
        rare_uses += float(sums.sum())
        error += float((sums - np.divide(squares, sums, out=np.zeros_like(sums), where=sums > 0)).sum())
    hot_uses = float(spec.counts.sum()) - rare_uses
    return error + hot_uses * _rounding(spec.bits if hot_bits is None else hot_bits) + rare_uses * _rounding(spec.bits)


def _rounding(bits: int | None) -> float:
    """Return the squared error of codes for numbers of variance 1 that are spread evenly, with ends that codes have."""
    return 0.0 if bits is None else 1 / ((1 << bits) - 1) ** 2


def _map_choices(size: int, rows: int) -> tuple[int, int]:
    """Return the bytes that say where a field's ids have their rows: of a partition, and of a map."""
    as_map = map_bytes(size, rows)
    return assignment_bytes(size) or as_map, as_map


def _study(spec: Spec, share: float) -> dict[str, Any]:
    """Return the study's rows; the ratio has the map of 32 bits for each id, which the study leaves out."""
    top, rows = int(share * spec.rows), -(-min(spec.budget, spec.full_bytes) // (4 * spec.dimension))
    if top >= rows:
        return {"hot": top, "shared": None, "ratio": share + 1 / spec.dimension}
    return {"hot": top, "shared": rows - top, "ratio": rows / spec.rows + 1 / spec.dimension}
