"""Fields that stay as they are, beside those that a method compresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import Table
from ._embedding import frozen_rows
from ._fields import of_field


class PlainFields(nn.Module):
    """The rows of some fields, in one table."""

    is_plain: Tensor
    first: Tensor

    def __init__(self, sizes: Sequence[int], is_plain: Sequence[bool], rows: Tensor, sparse: bool) -> None:
        """Take the rows of fields that are plain.

        Args:
            sizes: Of all fields.
            is_plain: Which of them are.
            rows: Their first values.
            sparse: Whether gradients are.
        """
        super().__init__()
        self.counts = [size if plain else 0 for size, plain in zip(sizes, is_plain, strict=True)]
        counts = torch.tensor(self.counts)
        self.register_buffer("is_plain", torch.tensor(list(is_plain)), persistent=False)
        self.register_buffer("first", counts.cumsum(0) - counts, persistent=False)
        self.weight = nn.Parameter(rows) if any(self.counts) else None
        self.are_all = all(is_plain)
        self.sparse = sparse

    def beside(
        self, field: Tensor | None, local: Tensor, compressed: Callable[[Tensor | None, Tensor], Tensor]
    ) -> Tensor:
        """Return rows of both kinds of fields.

        Args:
            field: Of each id, as `Fields.split` returns it.
            local: The id's number in it.
            compressed: Makes the rows of ids of the other fields, from the same.
        """
        if self.weight is None:
            return compressed(field, local)
        places = local + of_field(self.first, field)
        if self.are_all or field is None:
            return functional.embedding(places, self.weight, sparse=self.sparse)
        mine = self.is_plain[field]
        here, there = mine.nonzero().view(-1), (~mine).nonzero().view(-1)
        rows = self.weight.new_zeros(len(local), self.weight.shape[1])
        found = functional.embedding(places[here], self.weight, sparse=self.sparse)
        made = compressed(field[there], local[there])
        return rows.index_copy(0, here, found).index_copy(0, there, made.to(rows.dtype))

    def frozen(self, index: int) -> Table:
        """Return the table of a plain field."""
        assert self.weight is not None
        start = int(self.first[index])
        return frozen_rows(self.weight[start : start + self.counts[index]])
