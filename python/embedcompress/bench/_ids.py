"""Ids to look up: uniform, or Zipf, where few rows are asked for most of the time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ZIPF_EXPONENT = 1.05


def pool(kind: str, rows: int, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Return `count` random ids of a table of `rows` rows.

    Args:
        kind: "uniform" or "zipf".
        rows: Ids are below this.
        count: How many.
        seed: Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    if kind == "uniform":
        return rng.integers(0, rows, count)
    return scattered(zipf_ranks(rng, rows, count), rows)


def zipf_ranks(rng: np.random.Generator, rows: int, count: int, exponent: float = ZIPF_EXPONENT) -> NDArray[np.int64]:
    """Return ranks from 0 to rows - 1, rank k with a probability proportional to (k + 1) ** -exponent.

    Rejection-inversion: Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
    distributions", 1996. It needs no table of the distribution, however many rows there are.
    """
    power = 1 - exponent

    def integral(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.expm1(power * np.log(x)) / power

    def inverse(y: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(np.log1p(power * y) / power)

    low, two, high = integral(np.array([1.5, 2.5, rows + 0.5]))
    low -= 1
    surely = 2 - float(inverse(np.array(two - 2.0**-exponent)))
    parts: list[NDArray[np.int64]] = []
    missing = count
    while missing > 0:
        drawn = high + rng.random(missing + missing // 8 + 16) * (low - high)
        x = inverse(drawn)
        rank = np.clip(np.rint(x), 1, rows)
        kept = rank[(rank - x <= surely) | (drawn >= integral(rank + 0.5) - rank**-exponent)][:missing]
        parts.append(kept.astype(np.int64) - 1)
        missing -= len(kept)
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def scattered(ranks: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Return an id for each rank, one to one, such that rows of neighbouring ranks lie far apart."""
    factor = max(1, int(rows * (math.sqrt(5) - 1) / 2))
    while math.gcd(factor, rows) != 1:
        factor += 1
    return ranks * factor % rows
