"""AdaptEmb: ids that are used often have rows of their own, and the others share some.

Alibaba's DeepRec has it as adaptive embedding; Zhang et al., PVLDB 17(4), 2024 (arXiv 2311.15578) compare it. The ids
of the largest counts, over all fields, have rows of their own; the j-th other id of a field has the row j mod m of its
m shared rows. A field that would not shrink stays as it is.

Bytes: 4 d for each row, and for each field in which ids do not come by falling counts, which ids have rows of their
own: 9/8 bits for each id, or the number of its row if that takes fewer bytes. (The study's map takes 32 bits, and is
not counted.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ... import Method, Table, partition, remap
from ..._bisection import last_where
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._embedding import frozen_rows, numbers
from .._formats import assignment_bytes, map_bytes
from .._gathered import Gathered
from .._spec import Plan, Spec, Values, largest, refuse

MOST_SHARE = 0.1
"""Of ids with rows of their own, if no share is given; the study's."""
MAPS = ("none", "partition", "rows")
"""How a field says which ids have rows of their own."""


class Adaptive(Gathered):
    """`training.embedding("adapt", …)`."""

    method: ClassVar[Method] = entry("adapt", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("weight",)
    needs_counts: ClassVar[bool] = True
    place: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        places, first = [], 0
        for index, (hot, shared) in enumerate(self._counts()):
            counts = spec.counts_of(index)
            assert counts is not None
            is_rare = np.ones(len(counts), bool)
            is_rare[_by_count(counts)[:hot]] = False
            rank = np.where(is_rare, hot + (np.cumsum(is_rare) - 1) % max(shared, 1), np.cumsum(~is_rare) - 1)
            places.append(first + rank)
            first += hot + shared
        self.weight = nn.Parameter(self.initial(first, spec.dimension))
        # It belongs to the state: rows mean nothing to ids that other counts put in other places.
        self.register_buffer("place", torch.from_numpy(np.concatenate(places)).to(torch.int32))

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
        order = _by_count(spec.counts)[: int(share * spec.rows)]
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
        return self.place[ids].long()

    def structure(self) -> dict[str, Any]:
        """Return what the counts decided."""
        return {"stored_bytes": self.stored_bytes, "knobs": dict(self.planned.knobs)}

    def restructure(self, structure: dict[str, Any]) -> None:
        """Take what other counts decided."""
        self.planned = replace(self.planned, **structure)
        count = sum(hot + shared for hot, shared in self._counts())
        if count != len(self.weight):
            self.weight = nn.Parameter(self.weight.new_zeros(count, self.embedding_dim))

    def _frozen(self) -> Table:
        tables, first, start = [], 0, 0
        for size, how, (hot, shared) in zip(self.spec.sizes, self.planned.knobs["map"], self._counts(), strict=True):
            rows = self.weight[first : first + hot + shared]
            place = numbers(self.place[start : start + size]) - first
            tables.append(_table(rows, hot, place, how))
            first, start = first + hot + shared, start + size
        return self.per_field(tables)


def _table(rows: Tensor, hot: int, place: Values, how: str) -> Table:
    """Return the table of a field, from its rows and the place of each id in them."""
    shared = len(rows) - hot
    if not shared:
        return frozen_rows(rows)
    if how == "rows":
        return remap(frozen_rows(rows), map=place)
    rest = remap(frozen_rows(rows[hot:]), rows=len(place) - hot, modulo=shared)
    if not hot:
        return rest
    return partition([frozen_rows(rows[:hot]), rest], None if how == "none" else (place >= hot).astype(np.uint8))


@dataclass
class _Fields:
    """What bytes of fields depend on, beside the knobs."""

    sizes: Values
    are_sorted: Values
    """Whether a field's ids come by falling counts."""
    row_bytes: int

    @staticmethod
    def of(spec: Spec) -> _Fields:
        assert spec.counts is not None
        falls = np.append(spec.counts[1:] <= spec.counts[:-1], True)
        # Where a field ends, the next one may begin with any count.
        falls[np.cumsum(spec.sizes) - 1] = True
        are_sorted = np.logical_and.reduceat(falls, spec.starts)
        return _Fields(np.asarray(spec.sizes), are_sorted, 4 * spec.dimension)

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
        found = self.row_bytes * (hot + each) + np.where(needs_none, 0, choices.min(0))
        is_plain = found >= self.row_bytes * self.sizes
        kinds = np.where(needs_none | is_plain, 0, 1 + choices.argmin(0))
        return Plan(
            int(np.where(is_plain, self.row_bytes * self.sizes, found).sum()),
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


def _by_count(counts: Values) -> Values:
    """Return ids by falling counts, equal ones in their order."""
    return np.argsort(-counts, kind="stable")


def _study(spec: Spec, share: float) -> dict[str, Any]:
    """Return the study's rows; the ratio has the map of 32 bits for each id, which the study leaves out."""
    top, rows = int(share * spec.rows), -(-min(spec.budget, spec.full_bytes) // (4 * spec.dimension))
    if top >= rows:
        return {"hot": top, "shared": None, "ratio": share + 1 / spec.dimension}
    return {"hot": top, "shared": rows - top, "ratio": rows / spec.rows + 1 / spec.dimension}
