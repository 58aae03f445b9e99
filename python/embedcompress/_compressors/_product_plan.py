"""How many parts product codes have, and how wide codes are: what fits a number of bytes with the least expected error.

The same rule as the core's `pq` has, for methods that put product codes inside an expression.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

WIDTHS = range(4, 13)
"""Bits of a code that are tried."""


@dataclass(frozen=True)
class Plan:
    """Product codes of some rows."""

    parts: int
    bits: int
    stored_bytes: int
    error: float
    """Expected squared error over that of no codes at all, from 0 to about 1."""


def stored_bytes(rows: int, dimension: int, parts: int, bits: int, entry_bytes: int) -> int:
    """Return the bytes of codes and codebooks."""
    return rows * -(-parts * bits // 8) + (dimension << bits) * entry_bytes


def expected_error(rows: int, dimension: int, parts: int, bits: int) -> float:
    """Return the squared error that normally distributed rows of variance 1 are expected to have, for a column."""
    width, wider = divmod(dimension, parts)
    fit = max(1 - (1 << bits) / max(rows, 1), 2**-20)
    error = (parts - wider) * width * _error(bits, width) + wider * (width + 1) * _error(bits, width + 1)
    return fit * error / dimension


def _error(bits: int, columns: int) -> float:
    # An optimal quantiser at high rates (Gersho 1979), over the rate-distortion function.
    rate = bits / columns
    return float(4**-rate * (1 + 1.72 * columns**-0.76 * (1 - math.exp(-0.4 * rate))))


def plans(
    rows: int, dimension: int, most_bytes: int, entry_bytes: int, widths: range | tuple[int, ...] = WIDTHS
) -> Iterator[Plan]:
    """Return every choice of parts and bits that fits."""
    for bits in widths:
        for parts in range(1, dimension + 1):
            size = stored_bytes(rows, dimension, parts, bits, entry_bytes)
            if size > most_bytes:
                break
            yield Plan(parts, bits, size, expected_error(rows, dimension, parts, bits))


def best(
    rows: int, dimension: int, most_bytes: int, entry_bytes: int, widths: range | tuple[int, ...] = WIDTHS
) -> Plan | None:
    """Return the choice of the least expected error; None if nothing fits."""
    return min(plans(rows, dimension, most_bytes, entry_bytes, widths), key=lambda plan: plan.error, default=None)


def least_bytes(rows: int, dimension: int, entry_bytes: int, widths: range | tuple[int, ...] = WIDTHS) -> int:
    """Return the bytes of the smallest choice."""
    return min(stored_bytes(rows, dimension, 1, bits, entry_bytes) for bits in widths)
