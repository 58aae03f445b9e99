"""Which field an id belongs to, and its number within the field."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Fields(nn.Module):
    """Ids of several fields, one field's after the other's."""

    starts: Tensor
    ends: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        ends = torch.tensor(self.sizes).cumsum(0)
        self.register_buffer("starts", ends - torch.tensor(self.sizes), persistent=False)
        self.register_buffer("ends", ends, persistent=False)

    def __len__(self) -> int:
        """Return how many fields there are."""
        return len(self.sizes)

    def split(self, ids: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return the field of each id, None if there is but one, and the id's number in it."""
        if len(self) == 1:
            return None, ids
        field = torch.bucketize(ids, self.ends, right=True)
        return field, ids - self.starts[field]


def of_field(constants: Tensor, field: Tensor | None) -> Tensor:
    """Return the constant of each id's field, to broadcast with the ids.

    Args:
        constants: (fields,)
        field: As `Fields.split` returns it.
    """
    return constants if field is None else constants[field]
