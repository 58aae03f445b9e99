"""Rows of codes whose scales are learnt, with an optimizer of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .. import Table, _core, codebook
from ._embedding import numbers
from ._fused import BITS, FusedRows
from ._fused_batches import Bags, Ids
from ._nibbles import unpacked
from ._spec import Spec


@dataclass
class Held:
    """Rows of a step that are not written yet."""

    ids: Tensor
    """(m,) int64, rising."""
    values: Tensor
    """(m, d) f32, moved."""
    again: Tensor | None = None
    """(m, d) f32, the values rounded to the nearest codes; during the second pass."""


class LearntScales(FusedRows):
    """Algorithm 1 of Li et al., AAAI 2023 (arXiv 2212.05735), on nothing but codes, scales and the rows' states.

    Backward moves the rows of a batch in f32. In the second pass these have their values rounded to the nearest codes;
    the gradient that comes back moves their scales, with the slopes of LSQ (Esser et al., ICLR 2020), and then they are
    rounded at random and written. With one pass the gradient that moved the rows moves their scales, too.

    A scale keeps no state. It moves by `scale_rate` times its LSQ gradient over the norm of the row's gradient,
    relative to itself: as with Adam in the paper, the size of gradients plays no part. Before that, a scale of less
    than half or more than twice of what the row fits in becomes that, as those of LSQ are at the start.
    """

    pools: ClassVar[bool] = False

    def __init__(self, spec: Spec, form: str, scale: float, passes: int, scale_rate: float) -> None:
        """Make rows of zeros.

        Args:
            spec: As for `FusedRows`.
            form: Of codes.
            scale: Of all rows, at the start.
            passes: 1, or 2: then each step needs a second pass, and anything else after the first is an error.
            scale_rate: How far a scale moves.
        """
        super().__init__(spec, form, scale)
        self.passes, self.scale_rate = passes, scale_rate
        self.held: Held | None = None
        """What waits for the second pass."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows of (n,) ids, (n, d) f32; in the second pass, those of the step as they are to become."""
        held = self.held
        if held is None:
            rows: Tensor = super().forward(ids)
            return rows
        if held.again is None:
            raise self._waits()
        place = torch.searchsorted(held.ids, ids).clamp_(max=len(held.ids) - 1)
        is_held = held.ids[place] == ids
        rows = held.again.index_select(0, place)
        # Those that the step did not have are as they are in the table.
        return rows if bool(is_held.all()) else torch.where(is_held[:, None], rows, self.gather(Ids(ids)))

    def step(self, batch: Ids | Bags, slopes: Tensor) -> None:
        """Move the rows of ids against their gradients, (n, d) f32; with one pass, their scales as well."""
        ids = batch.ids
        held = self.held or Held(ids[:0], slopes[:0])
        # Rows that other calls of the step have moved go on from there.
        distinct, places = torch.unique(torch.cat([held.ids, ids]), return_inverse=True)
        values = self.gather(Ids(distinct))
        values[places[: len(held.ids)]] = held.values
        places, slopes = places[len(held.ids) :].contiguous(), slopes.contiguous()
        states = [None if state is None else state[distinct] for state in (self.element_state, self.row_state)]
        arrays = [None if state is None else state.numpy() for state in states]
        moving: Any = ("f32", self.dimension, values.view(torch.uint8).numpy(), None, *arrays)
        own: tuple[Any, ...] = (*self.optimizer.numbers(), self.steps.seed, self.steps.count + 1)
        _core.trained_rows_step(moving, places.numpy(), slopes.numpy(), *own)
        for state, moved in zip((self.element_state, self.row_state), states, strict=True):
            if state is not None and moved is not None:
                state[distinct] = moved
        if self.passes == 1:
            self._write(Held(distinct, values), torch.zeros_like(values).index_add_(0, places, slopes))
        elif len(distinct):
            self.held = Held(distinct, values)
        else:
            # Nothing is to be written, but it is a step.
            self.steps.next()

    def begin_second_pass(self) -> list[Tensor]:
        """Return what the second pass gives a gradient, if there has to be one: the rows of the step, (m, d)."""
        held = self.held
        if held is None:
            return []
        assert self.scales is not None
        scales = self.scales[held.ids, None]
        held.again = (held.values / scales).round_().clamp_(-self.limit, self.limit - 1).mul_(scales).requires_grad_()
        return [held.again]

    def end_second_pass(self, slopes: Sequence[Tensor | None] | None) -> None:
        """Move scales against the gradient, and write the rows of the step; None if the pass came to no end."""
        held = self.held
        assert held is not None
        held.again = None
        if slopes is not None:
            self._write(held, slopes[0])
            self.held = None

    def frozen(self, part: slice = slice(None)) -> Table:
        """Return a table of some rows as they are, on memory of its own."""
        if self.held is not None:
            raise self._waits()
        assert self.scales is not None
        elements = self.elements[part].cpu()
        codes = unpacked(elements, self.dimension) if self.form == "int4" else (elements ^ -128).view(torch.uint8)
        entries = np.arange(-self.limit, self.limit, dtype=np.float32)
        return codebook(codes.numpy(), entries, bits=BITS[self.form], scales=numbers(self.scales[part]))

    def _write(self, held: Held, slopes: Tensor | None) -> None:
        given = None if slopes is None else slopes.contiguous().numpy()
        own = self.optimizer.numbers()[1], self.scale_rate, self.steps.seed, self.steps.count + 1
        _core.trained_rows_write(self._table(), held.ids.numpy(), held.values.numpy(), given, *own)
        self.steps.next()

    def _save_to_state_dict(self, *arguments: Any) -> None:
        if self.held is not None:
            raise self._waits()
        super()._save_to_state_dict(*arguments)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self.held = None
        super()._load_from_state_dict(*arguments)

    @staticmethod
    def _waits() -> RuntimeError:
        return RuntimeError(
            "the rows of the last step wait for their second pass: call training.second_pass(model, loss) after each "
            "step, training.second_pass(model, None) to do without it, or make the table with passes=1"
        )
