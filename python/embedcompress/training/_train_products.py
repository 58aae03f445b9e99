"""Rows of a tensor train while it is trained, and their gradients, by the core."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import _core
from ._rows import Rows, Use


def takes(rows: Tensor) -> bool:
    """Return whether the core of this library makes products with this tensor: float32 numbers in its memory."""
    return rows.device.type == "cpu" and rows.dtype == torch.float32


def train_products(left: Tensor, middle: Rows, right: Tensor, owner: Tensor, columns: int) -> Tensor:
    """Return left[i] times the slice owner[i] of the middle core times right[i], for every i.

    What has the same slice is multiplied while it is at hand, and its gradient is added up there. Results don't depend
    on the number of threads.

    Args:
        left: (n, d0, r) f32
        middle: (slices, r * d1 * r) f32
        right: (n, r, d2) f32
        owner: (n,) int64
        columns: d1

    Returns:
        (n, d0, d1, d2)
    """
    use = middle.use()
    found: Tensor = _Products.apply(left, use.gate, right, owner, columns, use)  # type: ignore[no-untyped-call]
    return found


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, gate: Tensor, right: Tensor, owner: Tensor, columns: int, use: Use) -> Tensor:
        ctx.save_for_backward(left, gate, right, owner)
        ctx.columns, ctx.use = columns, use
        out = left.new_empty(len(owner), left.shape[1], columns, right.shape[2])
        middle, places = use.read(owner)
        _core.train_products_rows(*_arrays(left, middle, right, columns), places.contiguous().numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        ctx.use.check()
        return _gradients(ctx, slopes)


@once_differentiable
def _gradients(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
    left, _, right, owner = ctx.saved_tensors
    of_left, of_right = torch.empty_like(left), torch.empty_like(right)
    slopes = slopes.contiguous()
    sides, outputs = (left.detach().numpy(), right.detach().numpy()), (of_left.numpy(), of_right.numpy())

    def kernel(table: Any, own: tuple[Any, ...]) -> None:
        _core.train_products_step(table, owner.contiguous().numpy(), *sides, slopes.numpy(), *outputs, *own)

    if ctx.use.step_by(kernel):
        return of_left, None, of_right, None, None, None
    found = torch.unique(owner)
    rank = left.shape[2]
    of_slices = left.new_empty(len(found), rank, ctx.columns, rank)
    middle, places = ctx.use.read(owner)
    rows = places.contiguous().numpy(), slopes.numpy()
    arrays = _arrays(left, middle, right, ctx.columns)
    _core.train_products_gradients(*arrays, *rows, outputs[0], of_slices.numpy(), outputs[1])
    return of_left, ctx.use.give(found, of_slices.flatten(1)), of_right, None, None, None


def _arrays(left: Tensor, middle: Tensor, right: Tensor, columns: int) -> tuple[Any, Any, Any]:
    rank = left.shape[2]
    slices = middle.detach().view(-1, rank, columns, rank)
    return left.detach().numpy(), slices.numpy(), right.detach().numpy()
