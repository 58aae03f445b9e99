"""`surface`: the loss on a plane through a model's parameters, along the top two eigenvectors of a block."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._checks import checked_integer, checked_number
from .._progress import ProgressOption, reporting
from ._blocks import BlockLike, find_blocks
from ._power import PowerIteration, gaussian
from ._products import Loss, Products
from ._state import measured, seed_of, seeded
from ._twice import twice_differentiable


@dataclass(frozen=True)
class Surface:
    """The loss along two directions."""

    block: str
    eigenvalues: tuple[float, float]
    """The two of largest magnitude, whose eigenvectors are the directions."""
    first: np.ndarray
    """(points,) distances along the first eigenvector."""
    second: np.ndarray
    """(points,) distances along the second."""
    losses: np.ndarray
    """(points, points): losses[i, j] is at first[i] and second[j]; the model itself is at the middle."""


def surface(
    model: nn.Module,
    loss_fn: Loss,
    batches: Iterable[Any],
    block: BlockLike,
    *,
    name: str = "block",
    points: int = 21,
    extent: float | None = None,
    iterations: int = 100,
    tolerance: float = 1e-3,
    seed: int = 0,
    progress: ProgressOption = None,
) -> Surface:
    """Compute the loss on a grid along the top two eigenvectors of a block's Hessian, as figure 3 of Q-BERT has it.

    Takes points² forward passes of every batch. The model is left as it was, bit for bit.

    Args:
        model: As for `sensitivity`.
        loss_fn: As for `sensitivity`.
        batches: All of them are used.
        block: A module, or a list of modules and parameters.
        name: Of the block, for titles and errors.
        points: Of the grid along each direction; odd, so that the middle is the model itself.
        extent: Euclidean distance of the grid's edge from the middle; None takes that at which the curvature alone
            doubles the loss along the first eigenvector.
        iterations: The most Hessian-vector products for each eigenvector.
        tolerance: Relative error of an eigenvalue, estimated.
        seed: Of the start of power iteration.
        progress: Told of rows of the grid; see `embedcompress.compress`.

    Raises:
        ValueError: as `sensitivity` has it; a block of one value; points that are even or below 3.
    """
    points = checked_integer(points, "points")
    if points < 3 or points % 2 == 0:
        raise ValueError(f"points must be odd and at least 3, not {points}")
    iterations, tolerance = checked_integer(iterations, "iterations"), checked_number(tolerance, "tolerance")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, not {iterations}")
    if extent is not None:
        extent = checked_number(extent, "extent")
    if extent is not None and not 0 < extent < math.inf:
        raise ValueError(f"extent must be positive and finite, not {extent}")
    listed = batches if isinstance(batches, Sequence) else list(batches)
    if not len(listed):
        raise ValueError("there are no batches")
    parts = find_blocks(model, {name: block})
    parameters = parts[name]
    if sum(parameter.numel() for parameter in parameters) < 2:
        raise ValueError(f"block {name!r} has one value, and a plane needs two")
    with (
        twice_differentiable(parameters[0].device.type),
        measured(model, parameters),
        reporting(progress, "loss surface", "rows") as report,
    ):
        products = Products(model, loss_fn, listed, parts, seed)
        values, vectors = _top_two(products, name, iterations, tolerance, seed)
        losses = _Losses(model, loss_fn, listed, parameters, vectors, seed)
        if extent is None:
            level = abs(losses.at(0, 0)) or 1.0
            extent = math.sqrt(2 * level / abs(values[0])) if values[0] else 1.0
        steps = np.linspace(-extent, extent, points)
        # linspace may miss the middle by a rounding error.
        steps[points // 2] = 0
        grid = np.empty((points, points))
        for row, first in enumerate(steps):
            grid[row] = [losses.at(float(first), float(second)) for second in steps]
            if report and report(row + 1, points) is False:
                raise KeyboardInterrupt
    return Surface(name, values, steps, steps.copy(), grid)


def _top_two(
    products: Products, name: str, iterations: int, tolerance: float, seed: int
) -> tuple[tuple[float, float], tuple[Tensor, Tensor]]:
    """Return eigenvalues and unit eigenvectors; the second is sought orthogonally to the first."""
    values: list[float] = []
    vectors: tuple[Tensor, ...] = ()
    for number in range(2):
        start = gaussian(products.size(name), products.blocks[name][0].detach(), seeded(seed, "surface", number))
        state = PowerIteration(start, tolerance, iterations, vectors)
        while not state.done:
            state.take(products({name: state.vector})[name])
        values.append(state.value)
        # An eigenvector's sign is free: the largest component is made positive.
        vector = state.eigenvector()
        vectors = (*vectors, vector * vector[vector.abs().argmax()].sign())
    return (values[0], values[1]), (vectors[0], vectors[1])


class _Losses:
    """The mean loss with a block's parameters moved along two directions; they are put back after each call."""

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Loss,
        batches: Sequence[Any],
        parameters: Sequence[Tensor],
        directions: tuple[Tensor, Tensor],
        seed: int,
    ):
        self.model, self.loss_fn, self.batches, self.parameters, self.seed = model, loss_fn, batches, parameters, seed
        sizes = [parameter.numel() for parameter in parameters]
        self.directions = [torch.split(direction, sizes) for direction in directions]

    @torch.no_grad()
    def at(self, first: float, second: float) -> float:
        """Return the loss at two distances."""
        before = [parameter.detach().clone() for parameter in self.parameters]
        try:
            for parameter, one, two in zip(self.parameters, *self.directions, strict=True):
                parameter += (first * one + second * two).view_as(parameter)
            total = 0.0
            for number, batch in enumerate(self.batches):
                torch.manual_seed(seed_of(self.seed, "loss", number))
                total += float(self.loss_fn(self.model, batch))
            return total / len(self.batches)
        finally:
            for parameter, value in zip(self.parameters, before, strict=True):
                parameter.copy_(value)
