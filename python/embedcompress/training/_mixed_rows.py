"""Rows that step by themselves, some of them in f16 and the others in codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .. import Table, partition
from ._divided_batches import DividedBatch
from ._fused import FusedRows
from ._fused_batches import Ids
from ._high_precision import Flags, splitter
from ._learnt_scales import LearntScales
from ._row_optimizers import RowOptimizer
from ._spec import Spec

HIGH = "f16"
"""The form of rows that are used often."""


def mixed(spec: Spec, high: Sequence[int], low: Callable[[Spec], FusedRows]) -> FusedRows:
    """Return rows of zeros, as a plan says.

    Args:
        spec: Of the whole table.
        high: How many rows of each field are f16.
        low: Makes the others.
    """
    count = sum(high)
    if count == spec.rows:
        return FusedRows(spec, HIGH)
    return MixedRows(spec, list(high), low) if count else low(spec)


class MixedRows(FusedRows):
    """Two tables, between which the rows of a batch are divided.

    Both step whenever one of them does, and count the same steps: of rows of codes that wait for a second pass, all
    calls of the module in a loss are one.
    """

    def __init__(self, spec: Spec, high: list[int], low: Callable[[Spec], FusedRows]) -> None:
        """Make rows of zeros; as `mixed`, for a plan that has rows of both kinds."""
        nn.Module.__init__(self)
        self.kinds = splitter(spec, high)
        count = self.kinds.count
        # Their rows are rounded with other random numbers.
        other = (spec.seed + 1) % 2**62
        self.high = FusedRows(replace(spec, sizes=(count,), counts=None, seed=other), HIGH)
        self.low = low(replace(spec, sizes=(spec.rows - count,), counts=None))
        self.dimension, self.is_padded = spec.dimension, False
        self._begin_graphs()

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.low) + len(self.high)

    @property
    def pools(self) -> bool:  # type: ignore[override]
        """Whether a batch can be bags."""
        return self.low.pools

    @property
    def optimizer(self) -> RowOptimizer:
        """Of both tables."""
        return self.low.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: RowOptimizer) -> None:
        self.high.optimizer = self.low.optimizer = optimizer

    @torch.no_grad()
    def fill(self, values: Iterable[Tensor]) -> None:
        """Take the rows of blocks, (…, d) f32, one after the other: those that a table of one kind would have."""
        start, tables = 0, ((self.high, True), (self.low, False))
        places, random = [0, 0], [rows.steps.generator() for rows, _ in tables]
        for block in values:
            is_high, _ = self.kinds.split(torch.arange(start, start + len(block)))
            start += len(block)
            for number, (rows, kind) in enumerate(tables):
                own = block[is_high == kind]
                rows.put(slice(places[number], places[number] + len(own)), own, random[number])
                places[number] += len(own)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows of (n,) ids, (n, d) f32; in a second pass, those of the step as they are to become."""
        if isinstance(self.low, LearntScales) and self.low.held is not None:
            batch = DividedBatch(Ids(ids), self.kinds)
            return batch.joined(self.low(batch.ids[0]), self.high.gather(Ids(batch.ids[1])))
        rows: Tensor = super().forward(ids)
        return rows

    def _moving(self, batch: Any) -> Tensor:
        rows: Tensor = super()._moving(DividedBatch(batch, self.kinds))
        return rows

    def gather(self, batch: Any) -> Tensor:
        """Return what a batch takes from both tables, (n, d) f32."""
        rows: Tensor = batch.gather(self.low, self.high)
        return rows

    def check_types(self) -> None:
        """Refuse tables whose numbers were made others."""
        self.high.check_types()
        self.low.check_types()

    def step(self, batch: Any, slopes: Tensor) -> None:
        """Move the rows of a batch against the gradients of what it took, (n, d) f32."""
        # Rows of codes that wait do not count this step yet: another call may go on with it.
        self.high.steps.count = self.low.steps.count
        batch.step(self.low, self.high, slopes)

    def frozen(self, part: slice = slice(None)) -> Table:
        """Return a table of some rows as they are, on memory of its own."""
        whole = self._frozen()
        start, stop, _ = part.indices(len(self))
        return whole if (start, stop) == (0, len(self)) else whole.slice(start, stop)

    def _frozen(self) -> Table:
        tables = self.low.frozen(), self.high.frozen()
        if isinstance(self.kinds, Flags):
            return partition(tables, self.kinds.are_high(tables[0].rows + tables[1].rows))
        parts, ends = [], [0, 0]
        for is_high, rows in self.kinds.runs:
            start = ends[is_high]
            ends[is_high] += rows
            parts.append(tables[is_high].slice(start, start + rows))
        return partition(parts)
