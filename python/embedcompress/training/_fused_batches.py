"""What a batch takes from a table that steps by itself: rows, or sums and means of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _core

Array = np.ndarray[Any, Any]


class Ids:
    """The rows of ids."""

    def __init__(self, ids: Tensor) -> None:
        """Take (n,) ids."""
        self.ids = ids.contiguous()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What must not change until backward."""
        return (self.ids,)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.ids)

    def gather(self, table: Any, out: Array) -> None:
        """Write the rows to `out`, (n, d) f32."""
        _core.trained_rows_gather(table, self.ids.numpy(), out)

    def step(self, table: Any, slopes: Array, optimizer: tuple[Any, ...]) -> None:
        """Move the rows against their gradients, (n, d) f32."""
        _core.trained_rows_step(table, self.ids.numpy(), slopes, *optimizer)


class Bags:
    """Sums or means of the rows of bags."""

    def __init__(self, ids: Tensor, starts: Tensor, mode: str, weights: Tensor | None) -> None:
        """Take bags.

        Args:
            ids: (n,), of all bags.
            starts: (bags,) int64, where each bag begins.
            mode: "sum", "mean" or "max".
            weights: (n,), of sums, finite; None for ones.
        """
        self.ids, self.starts, self.mode = ids.contiguous(), starts.contiguous(), mode
        self.weights = weights

    @property
    def learn_weights(self) -> bool:
        """Whether weights have a gradient."""
        return self.weights is not None and self.weights.requires_grad and torch.is_grad_enabled()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What must not change until backward."""
        return (self.ids, self.starts) if self.weights is None else (self.ids, self.starts, self.weights)

    def __len__(self) -> int:
        """Return how many bags there are."""
        return len(self.starts)

    def gather(self, table: Any, out: Array) -> None:
        """Write pooled rows to `out`, (bags, d) f32."""
        _core.trained_rows_pool(table, self._bags(), out)

    def step(self, table: Any, slopes: Array, optimizer: tuple[Any, ...]) -> None:
        """Move the rows against the gradients of what was pooled, (bags, d) f32."""
        _core.trained_rows_step_bags(table, self._bags(), slopes, *optimizer)

    def _bags(self) -> Any:
        weights = None if self.weights is None else self.weights.detach().float().contiguous().numpy()
        return self.ids.numpy(), self.starts.numpy(), self.mode, weights
