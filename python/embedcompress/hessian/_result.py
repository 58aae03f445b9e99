"""What measuring the curvature of a model gave."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .._report import figure, text_table


@dataclass(frozen=True)
class Sensitivity:
    """Curvature of the loss in one block of parameters."""

    name: str
    parameters: int
    """Values of the block."""
    runs: tuple[float, ...]
    """The eigenvalue of largest magnitude, of each run."""
    iterations: tuple[int, ...]
    """Hessian-vector products that each run took."""
    converged: tuple[bool, ...]
    """Whether a run settled before its limit of iterations."""
    traces: tuple[float, ...] = ()
    """Hutchinson's estimate of the Hessian's trace, of each run; empty unless asked for."""

    @property
    def mean(self) -> float:
        """Mean of the eigenvalue over runs."""
        return statistics.fmean(self.runs)

    @property
    def std(self) -> float:
        """Standard deviation of the eigenvalue over runs, divided by the number of runs as NumPy's."""
        return statistics.pstdev(self.runs)

    @property
    def omega(self) -> float:
        """|mean| + std: the paper's Ω."""
        return abs(self.mean) + self.std

    @property
    def trace(self) -> float | None:
        """Mean of the trace over runs; None if it was not asked for."""
        return statistics.fmean(self.traces) if self.traces else None


class Sensitivities(dict[str, Sensitivity]):
    """Sensitivities by the name of the block; prints as a table."""

    def as_table(self) -> str:
        """Return a table for a terminal, a line for each block."""
        traced = any(one.traces for one in self.values())
        header = [
            "block",
            "parameters",
            "mean",
            "std",
            "Ω",
            "least",
            "most",
            "iterations",
            *(["trace"] if traced else []),
        ]
        rows: list[Sequence[str]] = [
            [
                name,
                f"{one.parameters:,}",
                *(figure(value) for value in (one.mean, one.std, one.omega, min(one.runs), max(one.runs))),
                f"{statistics.fmean(one.iterations):.1f}",
                *([figure(one.trace)] if traced else []),
            ]
            for name, one in self.items()
        ]
        return text_table(header, rows)

    def __str__(self) -> str:
        return self.as_table()
