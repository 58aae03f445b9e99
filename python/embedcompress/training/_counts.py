"""Which ids are used the most, found without sorting all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

Values = np.ndarray[Any, Any]
BLOCK = 1 << 20
"""Ids that are looked at together."""


def most_used(counts: Values, most: int) -> Values:
    """Return the ids of the `most` largest counts, by falling counts, equal ones in their order, (most,) int64.

    Args:
        counts: (n,), how often each id is used.
        most: From 0 to n. What this takes of memory is in proportion to it, not to n.
    """
    found, best = np.zeros(0, np.int64), np.zeros(0, counts.dtype)
    for start in range(0, len(counts) if most else 0, BLOCK):
        block = counts[start : start + BLOCK]
        # Of equal counts the earlier ids are there already.
        rising = np.flatnonzero(block > best[-1]) if len(best) == most else np.arange(len(block))
        ids, values = np.concatenate([found, start + rising]), np.concatenate([best, block[rising]])
        order = np.argsort(-values, kind="stable")[:most]
        found, best = ids[order], values[order]
    return found
