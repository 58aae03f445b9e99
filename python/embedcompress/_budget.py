"""Budgets: the most bytes that a table may have, as a number of bytes or as a ratio of its f32 size."""

from __future__ import annotations

import numpy as np


def checked_budget(budget: int | float) -> int | float:
    """Return a budget as a plain number: an int is bytes, a float a ratio of the f32 size.

    Raises:
        TypeError: it is no number.
        ValueError: negative bytes, more than any file has, or a ratio that is not above 0 and up to 1.
    """
    if isinstance(budget, np.generic):
        budget = budget.item()
    if isinstance(budget, bool) or not isinstance(budget, (int, float)):
        raise TypeError(f"budget must be a number, not {type(budget).__name__}")
    if isinstance(budget, float) and not 0 < budget <= 1:
        raise ValueError(f"a budget that is a float is a ratio of the f32 size, from 0 to 1, not {budget}")
    if budget < 0:
        raise ValueError(f"budget must not be negative, not {budget}")
    if budget >= 2**63:
        raise ValueError(f"budget must be below 2^63 bytes, not {budget}")
    return budget


def budget_bytes(budget: int | float, full_bytes: int) -> int:
    """Return a budget in bytes.

    Args:
        budget: An int is bytes, a float a ratio.
        full_bytes: Of the table in f32.
    """
    number = checked_budget(budget)
    return int(number * full_bytes) if isinstance(number, float) else number
