"""Rows of a tensor train while it is trained, and their gradients, by the core."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import _core


def takes(core: Tensor) -> bool:
    """Return whether the core of this library makes products with this tensor: float32 numbers in its memory."""
    return core.device.type == "cpu" and core.dtype == torch.float32


def train_products(left: Tensor, middle: Tensor, right: Tensor, owner: Tensor, columns: int, sparse: bool) -> Tensor:
    """Return left[i] times the slice owner[i] of the middle core times right[i], for every i.

    What has the same slice is multiplied while it is at hand, and its gradient is added up there. Results don't depend
    on the number of threads.

    Args:
        left: (n, d0, r) f32
        middle: (slices, r * d1 * r) f32
        right: (n, r, d2) f32
        owner: (n,) int64
        columns: d1
        sparse: Whether the gradient of the middle core is; it has each slice once, in order.

    Returns:
        (n, d0, d1, d2)
    """
    found: Tensor = _Products.apply(left, middle, right, owner, columns, sparse)  # type: ignore[no-untyped-call]
    return found


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, left: Tensor, middle: Tensor, right: Tensor, owner: Tensor, columns: int, sparse: bool
    ) -> Tensor:
        ctx.save_for_backward(left, middle, right, owner)
        ctx.columns, ctx.sparse = columns, sparse
        out = left.new_empty(len(owner), left.shape[1], columns, right.shape[2])
        arrays = _arrays(left, middle, right, columns)
        _core.train_products_rows(*arrays, owner.contiguous().numpy(), out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        left, middle, right, owner = ctx.saved_tensors
        found = torch.unique(owner)
        of_left, of_right = torch.empty_like(left), torch.empty_like(right)
        rank = left.shape[2]
        of_slices = middle.new_empty(len(found), rank, ctx.columns, rank)
        rows = owner.contiguous().numpy(), slopes.contiguous().numpy()
        outputs = of_left.numpy(), of_slices.numpy(), of_right.numpy()
        _core.train_products_gradients(*_arrays(left, middle, right, ctx.columns), *rows, *outputs)
        sums = of_slices.flatten(1)
        if ctx.sparse:
            shape = middle.shape
            gradient = torch.sparse_coo_tensor(found[None], sums, shape, check_invariants=False, is_coalesced=True)
        else:
            gradient = middle.new_zeros(middle.shape).index_copy_(0, found, sums)
        return of_left, gradient, of_right, None, None, None


def _arrays(left: Tensor, middle: Tensor, right: Tensor, columns: int) -> tuple[Any, Any, Any]:
    rank = left.shape[2]
    slices = middle.detach().view(-1, rank, columns, rank)
    return left.detach().numpy(), slices.numpy(), right.detach().numpy()
