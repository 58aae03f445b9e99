"""Budgets: the most bytes that a table may have, as bytes, as a ratio of its f32 size, or as text that says either."""

from __future__ import annotations

import re

import numpy as np

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_TEXT = re.compile(r"(\d+|\d*\.\d+|\d+\.\d*|\d+e-?\d+) ?(%|b|[kmg]i?b|)")


def checked_budget(budget: int | float | str) -> int | float:
    """Return a budget as a plain number: an int is bytes, a float a ratio of the f32 size.

    Text says either: "10%" and "0.1" are ratios, "6000000", "6MB" and "6MiB" are bytes.

    Raises:
        TypeError: it is neither a number nor text.
        ValueError: negative bytes, more than any file has, a ratio that is not above 0 and up to 1, or other text.
    """
    if isinstance(budget, str):
        return _from_text(budget)
    if isinstance(budget, np.generic):
        budget = budget.item()
    if isinstance(budget, bool) or not isinstance(budget, (int, float)):
        raise TypeError(f"budget must be a number, or text such as '10%', not {type(budget).__name__}")
    if isinstance(budget, float) and not 0 < budget <= 1:
        raise ValueError(f"a budget that is a float is a ratio of the f32 size, from 0 to 1, not {budget}")
    if budget < 0:
        raise ValueError(f"budget must not be negative, not {budget}")
    if budget >= 2**63:
        raise ValueError(f"budget must be below 2^63 bytes, not {budget}")
    return budget


def _from_text(text: str) -> int | float:
    match = _TEXT.fullmatch(text.strip().lower().replace(",", "").replace("_", ""))
    if match:
        number, unit = float(match[1]), match[2]
        is_share = unit == "%" or (unit == "" and not match[1].isdigit())
        share = number / 100 if unit == "%" else number
        if is_share and 0 < share <= 1:
            return share
        if not is_share and number * _UNITS[unit] < 2**63:
            return int(number * _UNITS[unit])
    raise ValueError(f"'{text}' is neither a share of the f32 size (0.125, 12.5%) nor bytes (6000000, 6MB)")


def budget_bytes(budget: int | float | str, full_bytes: int) -> int:
    """Return a budget in bytes.

    Args:
        budget: An int is bytes, a float a ratio, text either.
        full_bytes: Of the table in f32.
    """
    number = checked_budget(budget)
    return int(number * full_bytes) if isinstance(number, float) else number
