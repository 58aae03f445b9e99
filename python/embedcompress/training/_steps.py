"""A count of steps, and random numbers that belong to one of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Steps(nn.Module):
    """How many steps were taken: what a schedule goes by, and what random numbers are drawn with.

    Each step's numbers come from the seed and the step alone, so that a count is all that a state dict has to keep.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.count = 0

    def next(self) -> int:
        """Count a step, and return how many there were with it."""
        self.count += 1
        return self.count

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """Return the generator of this step."""
        return torch.Generator(device).manual_seed((self.seed * 1_000_003 + self.count * 7_919 + 1) % 2**63)

    def get_extra_state(self) -> int:
        """Return the count."""
        return self.count

    def set_extra_state(self, state: int) -> None:
        """Take the count."""
        self.count = state


def rounded_at_random(values: Tensor, scale: Tensor | float, low: int, high: int, random: torch.Generator) -> Tensor:
    """Return multiples of a scale, up or down at random so that their mean is the value; those on the grid as they are.

    Args:
        values: Of any shape.
        scale: Of the values, or to broadcast with them.
        low: The least multiple.
        high: The largest one.
        random: On the device of the values.
    """
    exact = values / scale
    nearest = exact.round()
    drawn = torch.rand(values.shape, generator=random, device=values.device).add_(exact).floor_()
    # A quotient may miss its integer by a rounding error: what lies on the grid is found by multiplying.
    codes = torch.where(torch.mul(nearest, scale, out=exact) == values, nearest, drawn)
    return codes.clamp_(low, high).mul_(scale)


def touched(parameter: nn.Parameter) -> Tensor | None:
    """Return the rows that a sparse gradient has, in order; None for all of them, which a dense one may move."""
    gradient = parameter.grad
    if gradient is None or not gradient.is_sparse:
        return None
    # Optimizers add up what a row has several times, which takes as long as finding the rows: they find it done.
    parameter.grad = gradient = _coalesced(gradient)
    rows: Tensor = gradient.indices()[0]
    return rows


def _coalesced(gradient: Tensor) -> Tensor:
    """Return a sparse gradient that has each row once, in order; one whose rows rise is such, but may not say so."""
    rows = gradient._indices()
    if gradient.is_coalesced() or rows.device.type != "cpu" or not bool((rows[0, 1:] > rows[0, :-1]).all()):
        return gradient.coalesce()
    return torch.sparse_coo_tensor(rows, gradient._values(), gradient.shape, check_invariants=False, is_coalesced=True)
