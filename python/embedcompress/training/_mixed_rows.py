"""Rows that step by themselves, some of them in f16 and the others in codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .. import Table, partition
from ._fused import FusedRows
from ._fused_batches import Bags, Ids
from ._high_precision import Flags, splitter
from ._learnt_scales import LearntScales
from ._row_optimizers import RowOptimizer
from ._rows import StepKernel
from ._spec import Spec
from ._steps import Steps

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
    """Two tables as one: rows of codes are before those of f16, and a batch has places in place of ids.

    Both step whenever one of them does, and count the same steps: of rows of codes that wait for a second pass, all
    calls of the module in a loss are one.
    """

    def __init__(self, spec: Spec, high: list[int], low: Callable[[Spec], FusedRows]) -> None:
        """Make rows of zeros; as `mixed`, for a plan that has rows of both kinds."""
        nn.Module.__init__(self)
        self.kinds = splitter(spec, high)
        count = self.kinds.count
        # Their rows are rounded with other random numbers, as the core does by itself where it steps both.
        self.high = FusedRows(replace(spec, sizes=(count,), counts=None, seed=spec.seed + 1), HIGH)
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

    @property
    def steps(self) -> Steps:  # type: ignore[override]
        """Of rows of codes, and of the others."""
        return self.low.steps

    @torch.no_grad()
    def fill(self, values: Iterable[Tensor]) -> None:
        """Take the rows of blocks, (…, d) f32, one after the other: those that a table of one kind would have."""
        start, done = 0, [0, 0]
        random = [rows.steps.generator() for rows in (self.low, self.high)]
        for block in values:
            split = self._split(self.kinds.places(torch.arange(start, start + len(block))))
            start += len(block)
            for kind, (rows, (positions, _)) in enumerate(zip((self.low, self.high), split, strict=True)):
                rows.put(slice(done[kind], done[kind] + len(positions)), block[positions], random[kind])
                done[kind] += len(positions)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows of (n,) ids, (n, d) f32; in a second pass, those of the step as they are to become."""
        if not isinstance(self.low, LearntScales) or self.low.held is None:
            rows: Tensor = super().forward(ids)
            return rows
        (low, low_rows), (high, high_rows) = self._split(self.kinds.places(ids))
        found = torch.empty(len(ids), self.dimension)
        return found.index_copy(0, low, self.low(low_rows)).index_copy(0, high, self.high.gather(Ids(high_rows)))

    def _placed(self, batch: Ids | Bags) -> Ids | Bags:
        places = self.kinds.places(batch.ids)
        return Bags(places, batch.starts, batch.mode, batch.weights) if isinstance(batch, Bags) else Ids(places)

    def check_types(self) -> None:
        """Refuse tables whose numbers were made others."""
        self.high.check_types()
        self.low.check_types()

    def step(self, batch: Ids | Bags, slopes: Tensor) -> None:
        """Move the rows of places or bags of them against the gradients of what was taken, (n, d) f32."""
        if self.low.pools:
            super().step(batch, slopes)
            return
        # An error of either table has to leave both as they are.
        _check(slopes)
        # Rows of codes that wait do not count this step yet: another call may go on with it.
        self.high.steps.count = self.low.steps.count
        for rows, (positions, own) in zip((self.low, self.high), self._split(batch.ids), strict=True):
            rows.step(Ids(own), slopes.index_select(0, positions))

    def step_by(self, kernel: StepKernel) -> None:
        """Have rows of both tables stepped by the core."""
        super().step_by(kernel)
        self.high.steps.count = self.low.steps.count

    def _split(self, places: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return where the places of rows of codes are, and the numbers of these; and the same of rows of f16."""
        is_high = places >= len(self.low)
        low, high = is_high.logical_not().nonzero().view(-1), is_high.nonzero().view(-1)
        return (low, places.index_select(0, low)), (high, places.index_select(0, high) - len(self.low))

    def _table(self) -> tuple[Any, ...]:
        return self.low._table(), self.high._table()

    def frozen(self, part: slice = slice(None)) -> Table:
        """Return a table of some rows as they are, on memory of its own."""
        whole = self._frozen()
        start, stop, _ = part.indices(len(self))
        return whole if (start, stop) == (0, len(self)) else whole.slice(start, stop)

    def _frozen(self) -> Table:
        tables = self.low.frozen(), self.high.frozen()
        if isinstance(self.kinds, Flags):
            return partition(tables, self.kinds.are_high())
        parts, ends = [], [0, 0]
        for is_high, rows in self.kinds.runs:
            start = ends[is_high]
            ends[is_high] += rows
            parts.append(tables[is_high].slice(start, start + rows))
        return partition(parts)


def _check(slopes: Tensor) -> None:
    """Raise ValueError for a gradient that is not finite, (n, d)."""
    if bool((is_finite := slopes.isfinite().all(1)).all()):
        return
    place = int(is_finite.logical_not().nonzero()[0])
    column = int(slopes[place].isfinite().logical_not().nonzero()[0])
    raise ValueError(
        f"gradients must be finite, but the one at position {place} has {float(slopes[place, column])} in "
        f"column {column}"
    )
