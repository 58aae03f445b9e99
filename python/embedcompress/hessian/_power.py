"""The top eigenvalue by power iteration that remembers its vectors, and random vectors to start and probe with."""

from __future__ import annotations

import torch
from torch import Tensor

MEMORY = 8
"""The most vectors of a block's size that an iteration holds."""
LEAST = 4
"""Products that are taken at least: a start with little of the top eigenvector in it hides that at first."""
ROUNDING = 1e-5
"""What is left of a product below this, relative to the eigenvalue, is rounding error of f32."""


class PowerIteration:
    """v <- Hv for one block, until its eigenvalue of largest magnitude is known well enough.

    Plain power iteration takes Rayleigh's quotient of the last vector. It settles slowly, and on a value in between,
    where two eigenvalues have nearly the same magnitude, which those of opposite sign often have. Here each product is
    made orthogonal to the vectors before it, and the eigenvalue is the Rayleigh-Ritz value in the span of all, as in
    Lanczos' method: the same products give the same space, and more is read from it. When `MEMORY` vectors are
    held, the best half of the Ritz vectors is kept (thick restart: Wu and Simon 2000).
    """

    def __init__(self, start: Tensor, tolerance: float, limit: int, against: tuple[Tensor, ...] = ()):
        """Start from a vector that is not zero; `against` are unit eigenvectors to stay orthogonal to."""
        self.tolerance, self.limit, self.against = tolerance, limit, against
        start = self._clear(start)
        self.vector = start / start.norm()
        """What to multiply by H next."""
        self.value = 0.0
        self.iterations = 0
        self.converged = False
        self._basis = [self.vector]
        self._projected = torch.zeros(1, 1, dtype=torch.float64)

    @property
    def done(self) -> bool:
        """Whether the eigenvalue is known to the tolerance, or the limit is reached."""
        return self.converged or self.iterations >= self.limit

    def take(self, product: Tensor) -> None:
        """Go a step on, given H times `vector`."""
        self.iterations += 1
        rest = self._clear(product)
        last = len(self._basis) - 1
        # A second pass takes away what rounding left of the first.
        for _ in range(2):
            for place, vector in enumerate(self._basis):
                part = torch.dot(vector, rest)
                rest = rest - part * vector
                self._projected[place, last] += float(part)
        self._projected[last] = self._projected[:, last]
        left = float(rest.norm())
        values, mixes = torch.linalg.eigh(self._projected)
        self._settle(values, left * mixes[last].abs(), left)
        if not self.done:
            if len(self._basis) == MEMORY:
                self._restart(values, mixes)
            self.vector = rest / left
            self._basis.append(self.vector)
            self._projected = torch.nn.functional.pad(self._projected, (0, 1, 0, 1))

    def eigenvector(self) -> Tensor:
        """Return the unit vector that belongs to `value`."""
        values, mixes = torch.linalg.eigh(self._projected)
        found = self._mixed(mixes[:, int(values.abs().argmax())])
        return found.div_(found.norm())

    def _settle(self, values: Tensor, residuals: Tensor, left: float) -> None:
        """Note the best Ritz value, and whether it is known well enough, as the largest there is.

        An eigenvalue is no farther from a Ritz value than its residual.
        """
        top = int(values.abs().argmax())
        self.value = float(values[top])
        size = abs(self.value)
        # The end of the spectrum with the other sign may yet be found to be the larger.
        rival = 0 if top else len(values) - 1
        wanted = self.tolerance * size
        overtaken = abs(float(values[rival])) + float(residuals[rival]) > size and float(residuals[rival]) > wanted
        settled = float(residuals[top]) <= wanted and not overtaken and self.iterations >= LEAST
        self.converged = settled or left <= ROUNDING * size or size == 0

    def _restart(self, values: Tensor, mixes: Tensor) -> None:
        """Keep the Ritz vectors of largest magnitude."""
        kept = values.abs().argsort(descending=True)[: MEMORY // 2]
        self._basis = [self._mixed(mixes[:, place]) for place in kept.tolist()]
        self._projected = torch.diag(values[kept])

    def _mixed(self, mix: Tensor) -> Tensor:
        total = torch.zeros_like(self.vector)
        for weight, vector in zip(mix.tolist(), self._basis, strict=True):
            total.add_(vector, alpha=weight)
        return total

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
