"""Data of clicks and their like: categorical ids, numbers beside them, a label, and a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

    @property
    def rows(self) -> int:
        """Ids of all fields."""
        return sum(self.sizes)

    @property
    def counts(self) -> Values:
        """How often each id is used in training, (rows,)."""
        return np.bincount(self.train.ids.ravel(), minlength=self.rows)


def split(
    name: str,
    columns: Mapping[str, Values],
    labels: Values,
    order: Values,
    shares: Sequence[float],
    numbers: Mapping[str, Values] | None = None,
) -> Clicks:
    """Return data with ids numbered by falling use, and the rows in three parts.

    Args:
        name: Of the data.
        columns: By field, (rows,) of anything that can be told apart.
        labels: (rows,)
        order: The rows in the order in which parts are cut from them.
        shares: Of training and of validation; the rest is the test.
        numbers: By name, (rows,) of floats.
    """
    numbers = numbers or {}
    ends = [round(len(order) * share) for share in np.cumsum(shares)]
    parts = np.split(order, ends)
    ids: list[Values] = []
    sizes: list[int] = []
    for values in columns.values():
        _, found = np.unique(values, return_inverse=True)
        used = np.bincount(found[parts[0]], minlength=found.max() + 1)
        rank = np.empty(len(used), np.int64)
        rank[np.argsort(-used, kind="stable")] = np.arange(len(used))
        ids.append(rank[found] + sum(sizes))
        sizes.append(len(used))
    table = np.stack(ids, axis=1).astype(np.int32)
    dense = np.empty((len(labels), len(numbers)), np.float32)
    for index, values in enumerate(numbers.values()):
        dense[:, index] = values
    cut = [Part(table[rows], dense[rows], labels[rows].astype(np.float32)) for rows in parts]
    return Clicks(name, tuple(columns), tuple(sizes), tuple(numbers), *cut)


def order_of(by: str, rows: int, seed: int) -> Values:
    """Return the rows as they are (temporal), or shuffled."""
    if by not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {by!r}")
    return np.arange(rows) if by == "temporal" else np.random.default_rng(seed).permutation(rows)
