"""Searches by halving, of whole numbers for which something holds up to one of them, or from one of them on."""

from __future__ import annotations

from collections.abc import Callable


def last_where(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the last number up to `high` for which it holds; `low`, which is not asked, if it does for none above."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def first_where(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the first number from `low` for which it holds; `high`, which is not asked, if it does for none below."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
