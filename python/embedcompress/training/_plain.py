"""Fields that stay as they are, beside those that a method compresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .. import Table
from ._embedding import LearnedEmbedding
from ._fields import of_field
from ._new_rows import uniform_rows


class PlainFields(nn.Module):
    """The rows of some fields, in one table."""

    is_plain: Tensor
    first: Tensor

    def __init__(self, table: LearnedEmbedding, is_plain: Sequence[bool], purpose: int = 0) -> None:
        """Make the rows of fields that are plain.

        Args:
            table: Whose fields they are.
            is_plain: Which of them are.
            purpose: Of its initial numbers.
        """
        super().__init__()
        self.counts = [size if plain else 0 for size, plain in zip(table.spec.sizes, is_plain, strict=True)]
        counts = torch.tensor(self.counts)
        self.register_buffer("is_plain", torch.tensor(list(is_plain)), persistent=False)
        self.register_buffer("first", counts.cumsum(0) - counts, persistent=False)
        rows = sum(self.counts)
        self.weight = uniform_rows(table, rows, table.spec.dimension, purpose=purpose) if rows else None
        self.are_all = all(is_plain)

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
            plain: Tensor = self.weight(places)
            return plain
        mine = self.is_plain[field]
        here, there = mine.nonzero().view(-1), (~mine).nonzero().view(-1)
        found: Tensor = self.weight(places[here])
        rows = found.new_zeros(len(local), self.weight.dimension)
        made = compressed(field[there], local[there])
        return rows.index_copy(0, here, found).index_copy(0, there, made.to(rows.dtype))

    def frozen(self, index: int) -> Table:
        """Return the table of a plain field."""
        assert self.weight is not None
        start = int(self.first[index])
        return self.weight.frozen(slice(start, start + self.counts[index]))
