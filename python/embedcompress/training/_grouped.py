"""Products of many small matrices with some larger ones that they share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def grouped_product(left: Tensor, owner: Tensor, right: Tensor, sparse: bool = False) -> Tensor:
    """Return left[i] times the matrix owner[i], for every i.

    Those of an owner are multiplied together, in chunks of as many as an owner has on average. So a matrix is read
    about once, not once for every i, and at most twice the products are computed, however unequal the owners are.

    Args:
        left: (n, p, r)
        owner: (n,), which row of `right` to multiply with.
        right: (owners, r * s), a matrix of r rows in each row.
        sparse: Whether the gradient of `right` is sparse; it has each owner once, in order.

    Returns:
        (n, p, s)
    """
    count, outer, inner = left.shape
    columns = right.shape[1] // inner
    if not count:
        return left.new_zeros(0, outer, columns)
    found, group, members = torch.unique(owner, return_inverse=True, return_counts=True)
    width = -(-count // len(found))
    # The first chunk of every owner, in their order, and then the others.
    others = torch.div(members - 1, width, rounding_mode="floor")
    order = group.argsort()
    ordered = group[order]
    rank = torch.arange(count, device=owner.device) - (members.cumsum(0) - members)[ordered]
    chunk = torch.div(rank, width, rounding_mode="floor")
    place = torch.where(chunk == 0, ordered, (others.cumsum(0) - others + len(found) - 1)[ordered] + chunk)
    slot = torch.empty_like(order)
    slot[order] = place * width + rank - chunk * width
    again = torch.repeat_interleave(torch.arange(len(found), device=owner.device), others)
    rows: Tensor = _Matrices.apply(right, found, again, sparse)  # type: ignore[no-untyped-call]
    total = len(rows)
    placed = left.new_zeros(total * width, outer * inner).index_copy(0, slot, left.reshape(count, -1))
    products = torch.bmm(placed.view(total, width * outer, inner), rows.view(total, inner, columns))
    return products.view(total * width, outer * columns).index_select(0, slot).view(count, outer, columns)


class _Matrices(torch.autograd.Function):
    """Matrices of owners, each once and in order, and then those that more chunks than one need again."""

    @staticmethod
    def forward(ctx: Any, right: Tensor, found: Tensor, again: Tensor, sparse: bool) -> Tensor:
        """Return rows `found`, and then those of owners that `again` numbers among them."""
        ctx.save_for_backward(found, again)
        ctx.shape, ctx.sparse = right.shape, sparse
        return right.index_select(0, torch.cat([found, found[again]]))

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, None, None, None]:
        """Add up an owner's gradients."""
        found, again = ctx.saved_tensors
        # Nothing else has these slopes: they are added up where they are.
        sums = slopes[: len(found)].index_add_(0, again, slopes[len(found) :])
        if ctx.sparse:
            gradient = torch.sparse_coo_tensor(found[None], sums, ctx.shape, check_invariants=False, is_coalesced=True)
        else:
            gradient = slopes.new_zeros(ctx.shape).index_copy_(0, found, sums)
        return gradient, None, None, None
