"""How far an error is from the possible: the bound of a table's own spectrum.

A table's spectrum is the variances of its rows along their principal directions, the eigenvalues of their covariance.
Of rows that are normally distributed with it, no code of so many bits has less squared error than reverse water-filling
leaves (Cover and Thomas, Elements of Information Theory, section 10.3): directions that vary more than a level D get
log2(variance / D) / 2 bits each and keep D of error, the others get none and keep all. Their mean is taken as known.
Rows that are not normally distributed can have less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import embedcompress as ec

MOST_COLUMNS = 8192
"""Of tables whose spectrum is computed: the covariance of more would be large, and its eigenvalues take hours."""
_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class Spectrum:
    """What the bound of a table follows from."""

    variances: NDArray[np.float64]
    """Of rows along each principal direction, falling: (dimension,)."""
    square: float
    """The mean squared norm of a row; without the mean row's, it is the sum of the variances."""

    @classmethod
    def of(cls, weight: ec.Table) -> Spectrum:
        """Return the spectrum of a table of at least one row, read in blocks."""
        rows, dimension = weight.shape
        sums = np.zeros(dimension)
        products = np.zeros((dimension, dimension))
        step = max(1, _BLOCK_BYTES // (8 * dimension))
        for start in range(0, rows, step):
            block = weight.decode(start, min(start + step, rows)).astype(np.float64)
            sums += block.sum(axis=0)
            products += block.T @ block
        mean, products = sums / rows, products / rows
        variances = np.linalg.eigvalsh(products - np.outer(mean, mean))[::-1]
        # Rounding can leave numbers below zero.
        return cls(np.maximum(variances, 0), float(np.trace(products)))

    @classmethod
    def from_figures(cls, figures: Mapping[str, Any]) -> Spectrum:
        """Return the spectrum that a line of results has."""
        return cls(np.array(figures["variances"]), figures["mean_square"])

    def as_figures(self) -> dict[str, Any]:
        """Return what a line of results has."""
        return {"variances": self.variances.tolist(), "mean_square": self.square}

    def least_l2(self, row_bytes: float) -> float:
        """Return the least normalised l2, ||X - Q(X)|| / ||X||, of so many bytes a row."""
        if self.square == 0:
            return 0.0
        values = self.variances[self.variances > 0]
        logarithms = np.log2(values)
        # The level that all bits lead to if the first one, two, ... directions have them.
        levels = np.exp2((np.cumsum(logarithms) - 16 * row_bytes) / np.arange(1, len(values) + 1))
        # A direction has bits if the level with it is below its variance.
        used = int(np.count_nonzero(levels < values))
        left = used * levels[used - 1] if used else 0.0
        return math.sqrt((left + values[used:].sum()) / self.square)

    def decibels(self, normalized_l2: float, row_bytes: float) -> float | None:
        """Return how far an error is above the bound of its bytes; None if either is zero."""
        least = self.least_l2(row_bytes)
        return 20 * math.log10(normalized_l2 / least) if normalized_l2 > 0 and least > 0 else None


def of_lines(lines: Sequence[Mapping[str, Any]]) -> Spectrum | None:
    """Return the spectrum among the lines of one table; None if there is none."""
    found = next((line for line in lines if "spectrum" in line["request"] and "figures" in line), None)
    return None if found is None else Spectrum.from_figures(found["figures"])
