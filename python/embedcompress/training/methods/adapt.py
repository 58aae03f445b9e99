"""AdaptEmb: ids that are used often have rows of their own, and the others share some.

Alibaba's DeepRec has it as adaptive embedding; Zhang et al., PVLDB 17(4), 2024 (arXiv 2311.15578) compare it. The ids
of the largest counts, over all fields, have rows of their own; the j-th other id of a field has the row j mod m of its
m shared rows. A field that would not shrink stays as it is.

Bytes: 4 d for each row, or those of its codes with bits, and for each field in which ids do not come by falling counts,
which ids have rows of their own: 9/8 bits for each id, or the number of its row if that takes fewer bytes. (The study's
map takes 32 bits, and is not counted.) While training, 8 for each id with a row of its own, which are searched for
those of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        self.weight = uniform_rows(self, self._row_count(), spec.dimension)
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

    def _row_count(self) -> int:
        return sum(hot + shared for hot, shared in self._counts())

    def _counts(self) -> list[tuple[int, int]]:
        """Return how many rows of both kinds each field has."""
        return list(zip(self.planned.knobs["hot"], self.planned.knobs["shared"], strict=True))

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take as many shared rows as fit beside the rows of frequent ids."""
        assert spec.counts is not None
        fields = _Fields.of(spec)
        given = options["top_percent"]
        share = MOST_SHARE if given is None else given
        order = most_used(spec.counts, int(share * spec.rows))
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
            top = last_where(0, most, lambda top: fields.arranged(hot(top), top).stored_bytes <= spec.budget)
        shared = largest(
            "adapt", spec, 0, spec.rows - top, lambda shared: fields.arranged(hot(top), shared).stored_bytes
        )
        return replace(fields.arranged(hot(top), shared), study=_study(spec, share))

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

    def restructure(self, structure: dict[str, Any]) -> None:
        """Take what other counts decided."""
        self.planned = replace(self.planned, **structure)
        self._arrange()
        if len(self.hot_ids) != (count := int(self.own.sum())):
            self.hot_ids = self.hot_ids.new_zeros(count)
        if len(self.weight) != (count := self._row_count()):
            self.weight.resize(count)

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
    if count == size:
        return rows.frozen(slice(first, first + count))
    shared = count - hot
    rest = remap(rows.frozen(slice(first + hot, first + count)), rows=size - hot, modulo=shared)
    if not hot:
        return rest
    if how == "none":
        return partition([rows.frozen(slice(first, first + hot)), rest])
    is_rare = np.ones(size, bool)
    is_rare[hot_ids] = False
    if how == "partition":
        return partition([rows.frozen(slice(first, first + hot)), rest], is_rare.astype(np.uint8))
    place = np.where(is_rare, hot + (np.cumsum(is_rare) - 1) % shared, np.cumsum(~is_rare) - 1)
    return remap(rows.frozen(slice(first, first + count)), map=place)


@dataclass
class _Fields:
    """What bytes of fields depend on, beside the knobs."""

    sizes: Values
    are_sorted: Values
    """Whether a field's ids come by falling counts."""
    row_bytes: int
    book_bytes: int
    """Of what an array of rows has beside them."""

    @staticmethod
    def of(spec: Spec) -> _Fields:
        assert spec.counts is not None
        falls = np.append(spec.counts[1:] <= spec.counts[:-1], True)
        # Where a field ends, the next one may begin with any count.
        falls[np.cumsum(spec.sizes) - 1] = True
        are_sorted = np.logical_and.reduceat(falls, spec.starts)
        book = spec.array_bytes(0)
        return _Fields(np.asarray(spec.sizes), are_sorted, spec.array_bytes(1) - book, book)

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
        # A map leads into one array of both kinds of rows; else each kind has its own.
        choices[0] += self.book_bytes
        mapped = np.where(needs_none, self.book_bytes * ((hot > 0) & (rare > 0)), choices.min(0))
        found = self.row_bytes * (hot + each) + self.book_bytes + mapped
        whole = self.row_bytes * self.sizes + self.book_bytes
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
