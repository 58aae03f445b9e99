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
        self.fields = fields
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

    def tiled(self, rows: Tensor) -> Tensor:
        """Return rows in tiles, (tiles, tile, columns), zeros where there is none.

        Args:
            rows: (n, columns)
        """
        padded = rows.new_zeros(self.tiles * _TILE, rows.shape[1]).index_copy(0, self.place, rows)
        return padded.view(self.tiles, _TILE, -1)

    def untiled(self, tiles: Tensor) -> Tensor:
        """Return the rows that are in tiles, (n, columns)."""
        return tiles.view(-1, tiles.shape[2]).index_select(0, self.place)

    def sums(self, tiles: Tensor) -> Tensor:
        """Return what belongs to tiles, added up for each field, (fields, …).

        Args:
            tiles: (tiles, …)
        """
        return tiles.new_zeros(self.fields, *tiles.shape[1:]).index_add(0, self.owner, tiles)

    def product(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """Return each row times the matrix of its field.

        Args:
            rows: (n, inputs)
            matrices: (fields, inputs, outputs)
        """
        return self.untiled(torch.bmm(self.tiled(rows), matrices[self.owner]))
