"""The distinct ids of a batch: a row is made once, and its gradients are added up once, however often it is used."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class Distinct:
    """The ids of a batch, each once and in order, and where they stand in the batch.

    Only on a CPU. A graphics processor would have to wait for their number, and torch.compile to compile for each:
    there `ids` are those of the batch as they are, and what is done with them is the same.
    """

    def __init__(self, ids: Tensor) -> None:
        """Sort a batch.

        Args:
            ids: (n,) int64
        """
        self.batch = len(ids)
        self.ids = ids
        self.is_sorted = ids.device.type == "cpu" and not torch.compiler.is_compiling()
        if not self.is_sorted:
            return
        ordered, self.order = ids.sort(stable=True)
        self.ids, places, self.counts = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
        self.starts = self.counts.cumsum(0) - self.counts
        self.place = torch.empty_like(places).scatter_(0, self.order, places)

    def take(self, parameter: Tensor, sparse: bool, is_padded: bool = False) -> Tensor:
        """Return the rows of a parameter, (m, …).

        Args:
            parameter: (rows, …)
            sparse: Whether its gradient is.
            is_padded: Whether the parameter's last row has no gradient.
        """
        if not self.is_sorted:
            padding = len(parameter) - 1 if is_padded else None
            return functional.embedding(self.ids, parameter, padding_idx=padding, sparse=sparse)
        ids = self.ids
        has_padding = is_padded and len(ids) > 0 and int(ids[-1]) == len(parameter) - 1
        rows = take(parameter, ids[:-1] if has_padding else ids, sparse)
        return torch.cat([rows, parameter[-1:].detach()]) if has_padding else rows

    def spread(self, rows: Tensor) -> Tensor:
        """Return the row of each id of the batch, (n, d), from those of distinct ones, (m, d)."""
        if not self.is_sorted:
            return rows
        spread: Tensor = _Spread.apply(rows, self.order, self.starts, self.place)  # type: ignore[no-untyped-call]
        return spread

    def shares(self, like: Tensor) -> Tensor | float:
        """Return which share of the batch each id makes up, (m, 1), or one number for all of them.

        Args:
            like: Of the type that is wanted.
        """
        return self.counts.to(like.dtype)[:, None] / self.batch if self.is_sorted else 1 / max(self.batch, 1)


def take(parameter: Tensor, ids: Tensor, sparse: bool) -> Tensor:
    """Return the rows of a parameter at ids that rise, (m, …).

    Args:
        parameter: (rows, …)
        ids: (m,) int64
        sparse: Whether the parameter's gradient is; it then has each row once, in order.
    """
    rows: Tensor = _Take.apply(parameter, ids, sparse)  # type: ignore[no-untyped-call]
    return rows


def gradient_of(shape: torch.Size, ids: Tensor, sums: Tensor, sparse: bool) -> Tensor:
    """Return the gradient of a parameter from those of its rows, (m, …), at ids that rise."""
    if sparse:
        return torch.sparse_coo_tensor(ids[None], sums, shape, check_invariants=False, is_coalesced=True)
    return sums.new_zeros(shape).index_copy_(0, ids, sums)


class _Take(torch.autograd.Function):
    """Rows of ids that rise: their sparse gradient needs no more adding up, which optimizers are told."""

    @staticmethod
    def forward(context: Any, parameter: Tensor, ids: Tensor, sparse: bool) -> Tensor:
        context.save_for_backward(ids)
        context.shape, context.sparse = parameter.shape, sparse
        return parameter.index_select(0, ids)

    @staticmethod
    def backward(context: Any, slopes: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = context.saved_tensors
        return gradient_of(context.shape, ids, slopes, context.sparse), None, None


class _Spread(torch.autograd.Function):
    """Rows of a batch from rows of its distinct ids; a sum of bags adds up the gradients of each."""

    @staticmethod
    def forward(context: Any, rows: Tensor, order: Tensor, starts: Tensor, place: Tensor) -> Tensor:
        context.save_for_backward(order, starts)
        return rows.index_select(0, place)

    @staticmethod
    def backward(context: Any, slopes: Tensor) -> tuple[Tensor, None, None, None]:
        order, starts = context.saved_tensors
        return functional.embedding_bag(order, slopes.contiguous(), starts, mode="sum"), None, None, None
