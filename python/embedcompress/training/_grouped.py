"""Products of many small matrices with some larger ones that they share."""

from __future__ import annotations

import torch
from torch import Tensor

from ._rows import Rows


def grouped_product(left: Tensor, owner: Tensor, right: Rows) -> Tensor:
    """Return left[i] times the matrix owner[i], for every i.

    Those of an owner are multiplied together, in chunks of as many as an owner has on average. So a matrix is read
    about once, not once for every i, and at most twice the products are computed, however unequal the owners are.

    Args:
        left: (n, p, r)
        owner: (n,), which row of `right` to multiply with.
        right: (owners, r * s), a matrix of r rows in each row. It is taken once for each owner, in order.

    Returns:
        (n, p, s)
    """
    count, outer, inner = left.shape
    columns = right.dimension // inner
    if not count:
        # In the graph all the same: what has no row of a batch takes part in its step.
        return torch.bmm(left, right.take(owner).view(0, inner, columns))
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
    rows = right.take(found)
    # Those of the first chunks, and then those that more chunks need again.
    rows = torch.cat([rows, rows.index_select(0, again)]) if len(again) else rows
    total = len(rows)
    placed = left.new_zeros(total * width, outer * inner).index_copy(0, slot, left.reshape(count, -1))
    products = torch.bmm(placed.view(total, width * outer, inner), rows.view(total, inner, columns))
    return products.view(total * width, outer * columns).index_select(0, slot).view(count, outer, columns)
