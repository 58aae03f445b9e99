"""Data of clicks and their like: categorical ids, numbers beside them, a label, and a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Values = np.ndarray[Any, Any]

SPLITS = ("random", "temporal")


@dataclass(frozen=True)
class Part:
    """Rows of a split."""

    ids: Values
    """(rows, fields) int32: ids of a table that all fields share, one field's after the other's."""
    numbers: Values
    """(rows, numbers) f32; often no columns."""
    labels: Values
    """(rows,) f32, 0 or 1."""

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.labels)

    def batches(self, size: int, random: np.random.Generator | None = None) -> Iterator[tuple[Values, Values, Values]]:
        """Yield ids, numbers and labels, a batch after the other.

        Args:
            size: Rows of a batch; the last one has those that are left.
            random: Draws the order of the rows; None leaves them as they are.
        """
        order = None if random is None else random.permutation(len(self))
        for start in range(0, len(self), size):
            rows: Any = slice(start, start + size) if order is None else order[start : start + size]
            yield self.ids[rows], self.numbers[rows], self.labels[rows]


@dataclass(frozen=True)
class Clicks:
    """A data set, split in three."""

    name: str
    fields: tuple[str, ...]
    sizes: tuple[int, ...]
    """Ids of each field."""
    numbers: tuple[str, ...]
    """Names of the columns of numbers."""
    train: Part
    validation: Part
    test: Part
    skipped: int = 0
    """Malformed lines of the file that it was read from."""
    problems: tuple[str, ...] = ()
    """What was wrong with the first of them."""

    @property
    def rows(self) -> int:
        """Ids of all fields."""
        return sum(self.sizes)

    @cached_property
    def counts(self) -> Values:
        """How often each id is used in training, (rows,)."""
        return np.bincount(self.train.ids.ravel(), minlength=self.rows)

    def uses(self, ids: Values) -> Values:
        """Return how often these ids, of any shape, are used in training."""
        found: Values = self.counts[ids]
        return found


def split(
    name: str,
    columns: Mapping[str, Values],
    labels: Values,
    order: Values,
    shares: Sequence[float],
    numbers: Mapping[str, Values] | None = None,
    threshold: int = 0,
    standardise: bool = False,
) -> Clicks:
    """Return data with ids numbered by falling use, and the rows in three parts.

    Args:
        name: Of the data.
        columns: By field, (rows,) of anything that can be told apart.
        labels: (rows,)
        order: The rows in the order in which parts are cut from them.
        shares: Of training and of validation; the rest is the test.
        numbers: By name, (rows,) of floats.
        threshold: Values that training uses fewer times share one id in their field; 0 or 1 and all have their own, but
            1 lets those share that training never uses.
        standardise: Shift and scale numbers to mean 0 and variance 1 in training, and make those that are NaN 0.

    Raises:
        ValueError: a part gets no row.
    """
    numbers = numbers or {}
    parts = np.split(order, [round(len(order) * share) for share in np.cumsum(shares)])
    for part, rows in zip(("training", "validation", "the test"), parts, strict=True):
        if not len(rows):
            raise ValueError(f"{name}: of {len(order):,} rows none is left for {part}")
    table = np.empty((len(labels), len(columns)), np.int32)
    sizes: list[int] = []
    for index, values in enumerate(columns.values()):
        ids, size = _by_use(values, parts[0], threshold)
        table[:, index] = ids + sum(sizes)
        sizes.append(size)
    dense = np.empty((len(labels), len(numbers)), np.float32)
    for index, values in enumerate(numbers.values()):
        dense[:, index] = _standardised(values, parts[0]) if standardise else values
    train, validation, test = (Part(table[rows], dense[rows], labels[rows].astype(np.float32)) for rows in parts)
    return Clicks(name, tuple(columns), tuple(sizes), tuple(numbers), train, validation, test)


def _by_use(values: Values, train: Values, threshold: int) -> tuple[Values, int]:
    """Return ids by falling use in training, (rows,), and how many there are."""
    _, found = np.unique(values, return_inverse=True)
    used = np.bincount(found[train], minlength=found.max() + 1)
    rare = used < threshold
    if rare.any():
        merged = np.where(rare, 0, np.cumsum(~rare))
        found, used = merged[found], np.bincount(merged, used)
    rank = np.empty(len(used), np.int64)
    rank[np.argsort(-used, kind="stable")] = np.arange(len(used))
    return rank[found], len(used)


def _standardised(values: Values, train: Values) -> Values:
    known = values[train]
    known = known[~np.isnan(known)]
    middle, spread = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
    return np.nan_to_num((values - middle) / (spread or 1.0))


def crossed(columns: Sequence[Values]) -> Values:
    """Return a number for each combination of values of columns of whole numbers from 0, (rows,) int64."""
    result = columns[0].astype(np.int64)
    for column in columns[1:]:
        # Numbered anew each time: products of many columns' sizes would not fit.
        _, result = np.unique(result * (int(column.max()) + 1) + column, return_inverse=True)
    return result


def last_part(order: Values, last: int) -> tuple[Values, tuple[float, float]]:
    """Return what `split` takes to train on all but the last rows, and halve those as the study does.

    Their first half, with the row more of an odd number, is the test, and the second half validates.
    """
    trained, test = len(order) - last, last - last // 2
    moved = np.concatenate([order[:trained], order[trained + test :], order[trained : trained + test]])
    return moved, (trained / len(order), (last - test) / len(order))


def order_of(by: str, rows: int, seed: int) -> Values:
    """Return the rows as they are (temporal), or shuffled."""
    if by not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {by!r}")
    return np.arange(rows) if by == "temporal" else np.random.default_rng(seed).permutation(rows)
