"""Contenders take turns; what else the machine does meets them all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

TURN_SECONDS = 0.005
"""A turn has as many timed calls as take this long."""
PAUSE_SECONDS = 0.015
"""Before a turn with several threads. OpenMP's threads keep their processors busy for about 10 ms after a call, in wait
for the next one: without the pause they would take the processors from whoever is next."""


@dataclass
class Cursor:
    """Where in the pool of ids the next call starts.

    Calls go through the pool, so that none finds the rows of the one before in the cache.
    """

    length: int
    count: int
    position: int = 0

    def next(self) -> slice:
        """Return the ids of the next call."""
        if self.position + self.count > self.length:
            self.position = 0
        start = self.position
        self.position += self.count
        return slice(start, start + self.count)


Call = Callable[[slice], object]
"""Looks up this part of the pool of ids."""


def turn(call: Call, cursor: Cursor, pause: float) -> float:
    """Return the seconds of a call: the mean of a turn's, after one that brings back what the others displaced."""
    if pause:
        time.sleep(pause)
    start = time.perf_counter()
    call(cursor.next())
    warm = time.perf_counter() - start
    calls = max(1, min(50, round(TURN_SECONDS / max(warm, 1e-6))))
    start = time.perf_counter()
    for _ in range(calls):
        call(cursor.next())
    return (time.perf_counter() - start) / calls


def take_turns(calls: Mapping[str, Call], cursor: Cursor, repetitions: int, pause: float = 0) -> dict[str, list[float]]:
    """Return the seconds of a call of each contender, one figure for each turn.

    Args:
        calls: The contenders by name.
        cursor: Gives each call its ids.
        repetitions: Turns of each. Who begins changes from one round to the next.
        pause: Seconds to wait before a turn.
    """
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        calls[name](cursor.next())
    for repetition in range(repetitions):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(turn(calls[name], cursor, pause))
    return seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, 10th and 90th percentile."""
    low, high = np.percentile(values, [10, 90])
    return {"median": statistics.median(values), "p10": float(low), "p90": float(high)}


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Return the spread of the ratios of neighbouring turns: above 1 where ours is faster."""
    return spread([their / our for their, our in zip(theirs, ours, strict=True)])


def compared(seconds: Mapping[str, Sequence[float]], ids: int) -> dict[str, dict[str, Any]]:
    """Return each contender's nanoseconds per row, and its time by that of "ours".

    Args:
        seconds: Of a call, by contender, one figure for each turn.
        ids: Of a call.
    """
    ours = seconds["ours"]
    found: dict[str, dict[str, Any]] = {}
    for name, taken in seconds.items():
        found[name] = {"ns_per_row": _rounded(spread([second / ids * 1e9 for second in taken]), 3)}
        if name != "ours":
            found[name]["ratio"] = _rounded(ratios(taken, ours), 4)
    return found


def _rounded(values: Mapping[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}
