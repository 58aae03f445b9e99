"""Products of many small matrices with some larger ones that they share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def grouped_product(left: Tensor, owner: Tensor, right: Tensor, sparse: bool = False) -> Tensor:
    """Return left[i] times the matrix owner[i], for every i.

    Those of an owner are multiplied together, in chunks of as many as an owner has on average. So a matrix is read
    about once, not once for every i, and at most twice the products are computed, however unequal the owners are.

    Args:
        left: (n, p, r)
        owner: (n,), which row of `right` to multiply with.
        right: (owners, r * s), a matrix of r rows in each row.
        sparse: Whether the gradient of `right` is sparse.

    Returns:
        (n, p, s)
    """
    count, outer, inner = left.shape
    owners = len(right)
    columns = right.shape[1] // inner
    if not count:
        return left.new_zeros(0, outer, columns)
    members = torch.bincount(owner, minlength=owners)
    width = -(-count // int((members > 0).sum()))
    chunks = torch.div(members + (width - 1), width, rounding_mode="floor")
    total = int(chunks.sum())
    order = owner.argsort()
    ordered = owner[order]
    rank = torch.arange(count, device=owner.device) - (members.cumsum(0) - members)[ordered]
    slot = torch.empty_like(order)
    slot[order] = (chunks.cumsum(0) - chunks)[ordered] * width + rank
    chunk_owner = torch.repeat_interleave(torch.arange(owners, device=owner.device), chunks, output_size=total)
    matrices = functional.embedding(chunk_owner, right, sparse=sparse).view(total, inner, columns)
    placed = left.new_zeros(total * width, outer * inner).index_copy(0, slot, left.reshape(count, -1))
    products = torch.bmm(placed.view(total, width * outer, inner), matrices).view(total * width, outer * columns)
    return products.index_select(0, slot).view(count, outer, columns)
