"""The top eigenvalue by power iteration, and the trace by Hutchinson's estimator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FLOOR = 1e-6
"""Relative changes below this are rounding errors of f32."""


class PowerIteration:
    """v <- Hv / ||Hv|| for one block, until its eigenvalue of largest magnitude has settled.

    The estimate is the Rayleigh-Ritz value in the span of the last two vectors: Rayleigh's quotient of the last alone
    lies between the two where the largest positive and negative eigenvalues are about as large. The error that is left
    is extrapolated from the last changes, as they fall geometrically; a threshold on the change itself would stop too
    early where the second eigenvalue is near the first.
    """

    def __init__(self, start: Tensor, tolerance: float, limit: int, against: tuple[Tensor, ...] = ()):
        """Start from a vector that is not zero; `against` are unit eigenvectors to stay orthogonal to."""
        self.tolerance, self.limit, self.against = tolerance, limit, against
        self.vector = _unit(self._clear(start))
        self.value = 0.0
        self.iterations = 0
        self.converged = False
        self._before: tuple[Tensor, Tensor] | None = None
        self._change = math.inf

    @property
    def done(self) -> bool:
        """Whether it has settled, or reached the limit."""
        return self.converged or self.iterations >= self.limit

    def take(self, product: Tensor) -> None:
        """Go a step on, given H times `vector`."""
        product = self._clear(product)
        self.iterations += 1
        value, mix = self._ritz(product)
        change = abs(value - self.value)
        ratio = change / self._change if self._change > 0 else 0.0
        left = change * ratio / (1 - ratio) if ratio < 1 else math.inf
        size = abs(value)
        self.converged = self.iterations > 2 and (max(change, left) <= self.tolerance * size or change <= FLOOR * size)
        self.value, self._change = value, change
        norm = float(product.norm())
        if norm <= 1e-30:
            self.value, self.converged = 0.0, True
        elif self.done:
            before = self._before[0] if self._before else self.vector
            self.vector = _unit(mix[0] * before + mix[1] * self.vector)
        else:
            self._before = (self.vector, product)
            self.vector = product / norm

    def _ritz(self, product: Tensor) -> tuple[float, tuple[float, float]]:
        """Return the value, and the vector as a mix of the last two."""
        quotient = _dot(self.vector, product)
        if self._before is None:
            return quotient, (0.0, 1.0)
        before, image = self._before
        cosine = _dot(before, self.vector)
        sine2 = 1 - cosine * cosine
        # Nearly parallel: the second direction is rounding noise.
        if sine2 < 1e-3:
            return quotient, (0.0, 1.0)
        sine = math.sqrt(sine2)
        cross = _dot(before, product)
        first = _dot(before, image)
        # In the basis (before, (vector - cosine * before) / sine):
        a, b = first, (cross - cosine * first) / sine
        d = (quotient - 2 * cosine * cross + cosine * cosine * first) / sine2
        values, vectors = torch.linalg.eigh(torch.tensor([[a, b], [b, d]], dtype=torch.float64))
        top = int(values.abs().argmax())
        x, y = vectors[:, top].tolist()
        return float(values[top]), (x - y * cosine / sine, y / sine)

    def _clear(self, vector: Tensor) -> Tensor:
        for other in self.against:
            vector = vector - torch.dot(other, vector) * other
        return vector


def gaussian(size: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random start, the same on every device."""
    return torch.randn(size, generator=generator, dtype=torch.float32).to(like)


def signs(size: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return a probe of +1 and -1: v'Hv has the trace as its mean, at the least variance of such probes."""
    return (torch.randint(0, 2, (size,), generator=generator, dtype=torch.int8) * 2 - 1).to(like)


def _dot(left: Tensor, right: Tensor) -> float:
    return float(torch.dot(left, right))


def _unit(vector: Tensor) -> Tensor:
    norm = vector.norm()
    return vector / norm if norm > 0 else vector
