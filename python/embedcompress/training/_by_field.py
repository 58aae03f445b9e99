"""Products of rows with a matrix of their field, of a batch in which fields come in any order."""

from __future__ import annotations

import torch
from torch import Tensor

_TILE = 64
"""Rows that are multiplied at once; so many zeros at most are added for each field."""


class ByField:
    """Where each row of a batch goes if rows of a field lie together, in tiles that are one field's.

    Shapes follow from those of the batch, not from what is in it: nothing waits for a device.
    """

    def __init__(self, field: Tensor, fields: int) -> None:
        """Sort a batch.

        Args:
            field: (n,), of each row.
            fields: How many there are.
        """
        count = len(field)
        order = field.argsort()
        ordered = field[order]
        numbers = torch.arange(fields, device=field.device)
        first = torch.searchsorted(ordered, numbers)
        ends = (torch.searchsorted(ordered, numbers, right=True) - first + _TILE - 1).div(_TILE, rounding_mode="floor")
        ends = ends.cumsum(0)
        self.tiles = count // _TILE + fields
        self.owner = torch.searchsorted(ends, torch.arange(self.tiles, device=field.device), right=True)
        self.owner = self.owner.clamp(max=fields - 1)
        begin = torch.cat([ends.new_zeros(1), ends[:-1]])
        places = torch.arange(count, device=field.device) - first[ordered] + begin[ordered] * _TILE
        self.place = torch.empty_like(order).scatter_(0, order, places)

    def product(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """Return each row times the matrix of its field.

        Args:
            rows: (n, inputs)
            matrices: (fields, inputs, outputs)
        """
        inputs, outputs = matrices.shape[1:]
        padded = rows.new_zeros(self.tiles * _TILE, inputs).index_copy(0, self.place, rows)
        products = torch.bmm(padded.view(self.tiles, _TILE, inputs), matrices[self.owner])
        return products.view(-1, outputs).index_select(0, self.place)
