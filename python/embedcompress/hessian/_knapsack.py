"""The multiple-choice knapsack: an option for each item, within a limit of bytes, at the least total cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

MOST_STATES = 200_000
"""Partial choices that dynamic programming may hold; beyond that the greedy answer stands."""

Item = Sequence[tuple[int, float]]
"""(bytes, cost) of each option."""


def least_cost(items: Sequence[Item], limit: int) -> tuple[list[int], bool]:
    """Return the option of each item, and whether no choice costs less. Something must fit.

    Dynamic programming over partial choices that none beats in both bytes and cost. What can't beat the greedy answer
    is dropped, by the bound that the Lagrangian relaxation at the greedy's last price gives.
    """
    greedy, price = _greedy(items, limit)
    best = sum(item[place][1] for item, place in zip(items, greedy, strict=True))
    arrays = [(np.array([o[0] for o in item], np.int64), np.array([o[1] for o in item])) for item in items]
    # What the items from each place on take at the least, in bytes and in cost + price * bytes.
    room = _sums_from([int(sizes.min()) for sizes, _ in arrays])
    rest = _sums_from([float((costs + price * sizes).min()) for sizes, costs in arrays])
    sizes, costs = np.zeros(1, np.int64), np.zeros(1)
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    for place, (more, dearer) in enumerate(arrays):
        all_sizes = (sizes[:, None] + more).ravel()
        all_costs = (costs[:, None] + dearer).ravel()
        bound = all_costs + rest[place + 1] + price * (all_sizes - limit)
        fits = (all_sizes + room[place + 1] <= limit) & (bound <= best * (1 + 1e-9) + 1e-300)
        kept = np.flatnonzero(fits)
        kept = kept[np.lexsort((all_costs[kept], all_sizes[kept]))]
        lowest = np.minimum.accumulate(np.concatenate([[np.inf], all_costs[kept]]))[:-1]
        kept = kept[all_costs[kept] < lowest]
        if not 0 < len(kept) <= MOST_STATES:
            return greedy, False
        steps.append((kept // len(more), kept % len(more)))
        sizes, costs = all_sizes[kept], all_costs[kept]
    state = int(costs.argmin())
    chosen = []
    for parents, options in reversed(steps):
        chosen.append(int(options[state]))
        state = int(parents[state])
    return chosen[::-1], True


def _sums_from(values: Sequence[float]) -> list[float]:
    """Return the sum of the values from each place on; of none at the end."""
    return [*accumulate(reversed(values), initial=0)][::-1]


def _greedy(items: Sequence[Item], limit: int) -> tuple[list[int], float]:
    """Return the option of each item, taking what saves most cost for a byte first, and the price of the last byte."""
    places = [item.index(min(item)) for item in items]
    left = limit - sum(item[place][0] for item, place in zip(items, places, strict=True))
    price, closed = 0.0, False
    while True:
        best: tuple[float, int, int] | None = None
        for index, (item, here) in enumerate(zip(items, places, strict=True)):
            for place, (size, cost) in enumerate(item):
                more, saved = size - item[here][0], item[here][1] - cost
                if saved <= 0 or (closed and more > left):
                    continue
                slope = saved / more if more > 0 else np.inf
                if best is None or slope > best[0]:
                    best = (slope, index, place)
        if best is None:
            return places, price
        slope, index, place = best
        more = items[index][place][0] - items[index][places[index]][0]
        if more > left:
            # The first that doesn't fit sets the price; from here on, only what fits is looked at.
            price, closed = float(slope), True
            continue
        places[index], left = place, left - more
