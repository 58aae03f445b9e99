"""k-means, on the device where the points are."""

from __future__ import annotations

import torch
from torch import Tensor

POINTS = 64
"""Points for each cluster that centroids are found from, at most; all find their nearest one."""
ROUNDS = 10
PRODUCTS = 1 << 24
"""Distances in memory at a time."""


def clusters(points: Tensor, k: int, random: torch.Generator) -> Tensor:
    """Return the centroids of points, (k, d); there are at least k points.

    Begins with k points at random. A centroid without points moves to a point at random.

    Args:
        points: (n, d)
        k: How many.
        random: On the CPU.
    """
    order = torch.randperm(len(points), generator=random).to(points.device)
    sample = points[order[: k * POINTS]]
    centroids = sample[:k].clone()
    for _ in range(ROUNDS):
        centroids, counts = means(sample, nearest(sample, centroids), k)
        empty = (counts == 0).nonzero().ravel()
        moved = torch.randint(0, len(sample), (len(empty),), generator=random).to(points.device)
        centroids[empty] = sample[moved]
    return centroids


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """Return the nearest centroid of each point, (n,) int64."""
    squares = centroids.square().sum(1)
    blocks = torch.split(points, max(1, PRODUCTS // len(centroids)))
    return torch.cat([torch.addmm(squares, block, centroids.T, alpha=-2).argmin(1) for block in blocks])


def means(points: Tensor, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the mean of each group's points, zeros for those without, and how many points it has.

    Args:
        points: (n, d)
        groups: (n,) int64, the group of each point.
        count: Of groups.
    """
    sizes = torch.bincount(groups, minlength=count)
    sums = points.new_zeros(count, points.shape[1]).index_add_(0, groups, points)
    return sums / sizes.clamp(min=1)[:, None], sizes
