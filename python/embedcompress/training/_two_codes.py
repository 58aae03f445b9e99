"""Arrays of codes of which some rows have other bits than the others."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import Table
from ._coded_rows import CodedRows, coded_table, rounded
from ._spec import Spec


class TwoCodes(CodedRows):
    """Rows of codes of the table's bits but for those that are marked, whose codes have bits of their own."""

    is_marked: Tensor

    def __init__(self, spec: Spec, is_marked: Tensor, marked_bits: int) -> None:
        """Make rows of zeros.

        Args:
            spec: Of the table.
            is_marked: (rows,) bool, which rows have the bits `marked_bits`.
            marked_bits: Of their codes.
        """
        super().__init__(spec, len(is_marked), spec.dimension)
        self.marked_bits = marked_bits
        self.register_buffer("is_marked", is_marked, persistent=False)

    def stood_for(self, rows: Tensor, places: Tensor) -> Tensor:
        """Return rows as their codes stand for them."""
        marked = self.is_marked[places][:, None]
        return torch.where(marked, rounded(rows, self.marked_bits), rounded(rows, self.bits))

    def frozen(self, part: slice = slice(None)) -> Table:
        """Return a table of the codes of some rows, all of them marked or none."""
        marks = self.is_marked[part]
        assert bool((marks == marks[:1]).all())
        bits = self.marked_bits if bool(marks.any()) else self.bits
        return coded_table(self.elements.detach()[part], bits, part.indices(len(self))[0], len(self))
