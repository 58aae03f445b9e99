"""What fits to results of several benchmarks share."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ._lines import Line

Values = dict[str, Any]


def mean(values: Iterable[Any], of: Callable[[Any], float]) -> float:
    """Return the mean of what a function makes of values, rounded."""
    return rounded(statistics.mean(map(of, values)))


def rounded(value: float) -> float:
    """Return six digits."""
    return float(f"{value:.6g}")


def the_one(values: Sequence[Values], place: Sequence[str]) -> Values:
    """Return the settings that all cells have.

    Raises:
        ValueError: they differ.
    """
    for other in values:
        if other != values[0]:
            names = [name for name in {**values[0], **other} if values[0].get(name) != other.get(name)]
            raise ValueError(
                f"cells of {'/'.join(place)} differ in {names[0]}: fit rules to one way of training at a time"
            )
    return values[0]


def machines(lines: Iterable[Line]) -> list[str]:
    """Return the machines that cells ran on."""
    found = (line["machine"] for line in lines)
    return sorted({f"{one['cpu']}, {one['processors']} processors, {one['isa']}" for one in found})
