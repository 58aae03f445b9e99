"""`calibrate_ranges`: a joint search of the ranges of a table's rows on a loss that the caller computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._arrays import as_ids
from ._checks import check_type, checked_integer, checked_items, checked_number
from ._compress import compress
from ._registry import entry
from ._table import Table, dense

NORMS = (2.0, 2.5, 3.0, 3.5, 4.0)
"""What LAPQ tries."""
LARGEST_FACTOR = 1024.0
"""What `range_factors` may be; the search goes as far down."""

Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class RangeCalibration:
    """What a search of ranges found."""

    table: Table
    loss: float
    """Of the table."""
    initial_loss: float
    """Of what `compress` makes with the same options."""
    p: float | None
    """Of the L_p norm by which rows' ranges were chosen; None for a method without the option."""
    factors: Values
    """(groups,) f64: what the width of the ranges of each group is multiplied by; 1 for a number without rows."""
    evaluations: int
    """How often the loss was computed."""


def calibrate_ranges(
    weight: object,
    loss: Callable[[Table], float],
    method: str = "least_squares",
    *,
    groups: object | None = None,
    norms: Iterable[float] | None = None,
    rounds: int = 2,
    step: float = 0.05,
    weights: object | None = None,
    **options: Any,
) -> RangeCalibration:
    """Choose the ranges of a table's rows for the least loss of the model that the table is in.

    Ranges of the least error are not those of the least loss. As in LAPQ, there are two phases. The first chooses the
    norm of the error that each row's range minimises, for methods with the option `p`. The second multiplies the widths
    of ranges by a factor, of all rows together and then of each group of them, by Powell's method: a line search along
    each direction, and after each round one along the way that the round went. Only a smaller loss changes anything, so
    the result is never worse than what it starts from, on the data that the loss is of; use data that nothing is
    reported on. Few groups and a loss of many samples keep it from learning these samples by heart.

    Nahshan et al., "Loss Aware Post-training Quantization", 2021, arXiv 1911.07190; there, groups are layers.

    Args:
        weight: (rows, dimension), as for `compress`.
        loss: From a table of the same shape to a finite number, such as the mean log loss of the model with it.
        method: One that chooses ranges of rows: all but "table" of the uniform methods of the 4-bit paper.
        groups: (rows,) integers from 0: rows of the same number share a factor, such as those of a field, or of ids
            that are used about as often. All rows together if not given.
        norms: Values of p to try, multiples of 0.25 from 0.25 to 8; 2, 2.5, 3, 3.5 and 4 if not given and the method
            has the option p.
        rounds: Of the second phase, at least 0; each takes up to 3 losses for each group that has rows and for all
            together, and up to 3 more. Factors stay between 1/1024 and 1024.
        step: Of the first line search, a relative change of widths: above 0, at most 1. It halves with each round.
        weights: As for `compress`, such as those of `training.squared_gradients`.
        **options: Of the method, such as bits; not p or range_factors.

    Returns:
        The table and how it was found.

    Raises:
        ValueError: as `compress` does; a method without ranges of rows; groups, norms, rounds or a step that make no
            sense; a loss that is not finite.
        TypeError: an argument of another type.
    """
    if not callable(loss):
        raise TypeError(f"loss must be a function, not {type(loss).__name__}")
    takes = {option.name for option in entry(method).options}
    if "range_factors" not in takes:
        raise ValueError(f"method {method!r} has no ranges of rows to calibrate")
    for name in ("p", "range_factors"):
        if name in options:
            raise ValueError(f"{name} is what the search chooses: it is no option of calibrate_ranges")
    source = dense(weight)
    of_row, count = _groups(groups, source.rows)
    rounds, step = checked_integer(rounds, "rounds"), checked_number(step, "step")
    if rounds < 0:
        raise ValueError(f"rounds must be at least 0, not {rounds}")
    if not 0 < step <= 1:
        raise ValueError(f"step must be above 0 and at most 1, not {step}")
    search = _Search(source, loss, method, weights, options, of_row)
    start = search.at(None, np.zeros(count))
    best = start
    for norm in _norms(norms, "p" in takes):
        best = min(best, search.at(norm, np.zeros(count)), key=_loss)
    if source.rows:
        best = _powell(search, best, rounds, math.log1p(step))
    p = (2.0 if best.p is None else best.p) if "p" in takes else None
    return RangeCalibration(best.table, best.loss, start.loss, p, factors(best.logs), search.evaluations)


@dataclass(frozen=True)
class _Point:
    table: Table
    loss: float
    p: float | None
    logs: Values


class _Search:
    """Makes tables, and computes their losses."""

    def __init__(
        self, source: Table, loss: Callable[[Table], float], method: str, weights: object | None,
        options: dict[str, Any], of_row: Values,
    ) -> None:  # fmt: skip
        self.source, self.loss, self.method, self.options, self.of_row = source, loss, method, options, of_row
        self.weights = weights
        self.evaluations = 0

    def at(self, p: float | None, logs: Values) -> _Point:
        """Return the table of a norm, None for the method's own, and of (groups,) logarithms of factors."""
        return self._seen(self._made(p, logs), p, logs)

    def near(self, point: _Point, change: Values) -> _Point:
        """Return a point a change of logarithms away; one of infinite loss where ranges are too wide for their type."""
        most = math.log(LARGEST_FACTOR)
        logs = np.clip(point.logs + change, -most, most)
        try:
            table = self._made(point.p, logs)
        except ValueError:
            # The point itself has a table: only wider ranges can be what is refused.
            if (logs <= point.logs).all():
                raise
            return replace(point, loss=math.inf)
        return self._seen(table, point.p, logs)

    def _made(self, p: float | None, logs: Values) -> Table:
        chosen = dict(self.options)
        if p is not None:
            chosen["p"] = p
        if logs.any():
            chosen["range_factors"] = factors(logs)[self.of_row]
        return compress(self.source, self.method, weights=self.weights, **chosen)

    def _seen(self, table: Table, p: float | None, logs: Values) -> _Point:
        found = checked_number(self.loss(table), "what loss returns")
        if not math.isfinite(found):
            raise ValueError(f"loss must return a finite number, not {found}")
        self.evaluations += 1
        return _Point(table, found, p, logs)


def factors(logs: Values) -> Values:
    """Return what widths are multiplied by; the largest is not left by what logarithms lose."""
    found: Values = np.clip(np.exp(logs), 1 / LARGEST_FACTOR, LARGEST_FACTOR)
    return found


def _loss(point: _Point) -> float:
    return point.loss


def _powell(search: _Search, best: _Point, rounds: int, step: float) -> _Point:
    """Search along all groups together, each alone, and the way that a round has gone."""
    groups = np.unique(search.of_row)
    # Each is made as it is needed: there may be as many groups as rows.
    sets = [groups, *groups[:, None]] if len(groups) > 1 else [groups]
    for _ in range(rounds):
        before = best.logs
        for members in sets:
            direction = np.zeros_like(best.logs)
            direction[members] = 1
            best = _along(search, best, direction, step)
        way = best.logs - before
        if len(groups) > 1 and way.any():
            best = _along(search, best, way / np.abs(way).max(), step)
        step /= 2
    return best


def _along(search: _Search, best: _Point, direction: Values, step: float) -> _Point:
    """Return the best of a point, those a step before and behind it, and where the parabola through them is lowest."""
    behind, ahead = (search.near(best, way * step * direction) for way in (-1, 1))
    found = min(best, behind, ahead, key=_loss)
    if not math.isfinite(behind.loss + ahead.loss):
        return found
    curvature = behind.loss - 2 * best.loss + ahead.loss
    slope = (behind.loss - ahead.loss) / 2
    # Where the parabola has no minimum, or a far one, go on as far as that is trusted.
    reach = slope / curvature if curvature > 0 else math.copysign(math.inf, slope) if slope else 0.0
    reach = min(max(reach, -2.0), 2.0)
    if reach in (-1.0, 0.0, 1.0):
        return found
    return min(found, search.near(best, reach * step * direction), key=_loss)


def _groups(groups: object | None, rows: int) -> tuple[Values, int]:
    """Return the group of each row, and how many groups there are."""
    if groups is None:
        return np.zeros(rows, np.int64), 1
    found = as_ids(groups, "groups")
    if found.shape != (rows,):
        raise ValueError(f"groups must be {rows} integers, one for each row, not of shape {found.shape}")
    if rows and not 0 <= int(found.min()) <= int(found.max()) < rows:
        raise ValueError(f"groups must be from 0 to {rows - 1}, not from {found.min()} to {found.max()}")
    return found.astype(np.int64), int(found.max()) + 1 if rows else 1


def _norms(norms: Iterable[float] | None, takes_norm: bool) -> tuple[float, ...]:
    if norms is None:
        # The method's own is 2.
        return tuple(p for p in NORMS if p != 2) if takes_norm else ()
    check_type(norms, Iterable, "norms", "a sequence of numbers")
    return tuple(checked_number(p, "norms") for p in checked_items(norms, "norms"))
