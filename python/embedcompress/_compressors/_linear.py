"""Linear algebra of tables that are read block by block: moments, principal directions, products with a matrix.

A table of n rows of d columns costs passes over its rows, d x d numbers in f64 and d^3 operations; never n x d in f64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._table import Progress, Table

Values = np.ndarray[Any, Any]

_BLOCK_BYTES = 8 << 20


def blocks(table: Table, progress: Progress | None = None) -> Iterator[tuple[int, Values]]:
    """Return the rows run by run: the first one's number, and values in f32.

    Raises:
        ValueError: a value is not finite; the message names its row.
        KeyboardInterrupt: the progress callback wants to stop.
    """
    count = max(1, _BLOCK_BYTES // (8 * max(table.dimension, 1)))
    for start in range(0, table.rows, count):
        values = finite(table.decode(start, min(start + count, table.rows)), start)
        yield start, values
        if progress is not None and progress(start + len(values), table.rows) is False:
            raise KeyboardInterrupt


def finite(values: Values, numbers: int | Values) -> Values:
    """Return rows as they are.

    Args:
        values: (n, d)
        numbers: The rows' numbers, or that of the first, from which they count up.

    Raises:
        ValueError: a value is not finite; the message names its row.
    """
    if not np.isfinite(values).all():
        row, column = (int(index) for index in np.argwhere(~np.isfinite(values))[0])
        number = numbers + row if isinstance(numbers, int) else numbers[row]
        raise ValueError(f"row {number} has {values[row, column]} in column {column}; every value must be finite")
    return values


def squared_norms(table: Table, progress: Progress | None = None) -> Values:
    """Return each row's sum of squares, (rows,) in f64."""
    norms = np.empty(table.rows)
    for start, rows in blocks(table, progress):
        norms[start : start + len(rows)] = (rows.astype(np.float64) ** 2).sum(axis=1)
    return norms


class Steps:
    """One progress callback for the steps of a method, each of which reports its own."""

    def __init__(self, progress: Progress | None, total: int, shares: tuple[float, ...]):
        """Share a callback.

        Args:
            progress: The caller's, told of so many of `total`.
            total: Such as the table's rows.
            shares: Of the time, by step.
        """
        self._progress = progress
        self._total = total
        self._ends = np.cumsum(shares) / sum(shares)
        self._step = 0

    def next(self) -> Progress | None:
        """Return the callback of the next step."""
        start = float(self._ends[self._step - 1]) if self._step else 0.0
        share = float(self._ends[self._step]) - start
        self._step += 1
        callback, total = self._progress, self._total
        if callback is None:
            return None
        return lambda done, of: callback(round(total * (start + share * done / max(of, 1))), total)


@dataclass(frozen=True)
class Moments:
    """Sums over a table's rows."""

    rows: int
    gram: Values
    """(d, d): the sum of x xᵀ."""
    sum: Values
    """(d,)"""

    @staticmethod
    def of(table: Table, progress: Progress | None = None) -> Moments:
        """Return those of a table, after one pass over it."""
        gram = np.zeros((table.dimension, table.dimension))
        total = np.zeros(table.dimension)
        for _, rows in blocks(table, progress):
            wide = rows.astype(np.float64)
            gram += wide.T @ wide
            total += wide.sum(axis=0)
        return Moments(table.rows, gram, total)


@dataclass(frozen=True)
class Basis:
    """The directions in which a table's rows vary most."""

    mean: Values
    """(d,): what is subtracted from rows; zeros if nothing is."""
    directions: Values
    """(d, d): columns are orthonormal, the most important one first."""
    energies: Values
    """(d,): the sum over rows of the square of each coordinate, falling."""

    @staticmethod
    def of(moments: Moments, center: bool) -> Basis:
        """Return the eigenvectors of the Gram matrix, of rows less their mean if that is wanted."""
        mean = moments.sum / max(moments.rows, 1) if center else np.zeros_like(moments.sum)
        energies, directions = np.linalg.eigh(moments.gram - moments.rows * np.outer(mean, mean))
        directions = directions[:, ::-1]
        # An eigenvector's sign is arbitrary: its largest component is made positive.
        largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)
        return Basis(mean, directions * np.where(largest < 0, -1, 1), np.maximum(energies[::-1], 0))

    def lost(self, rank: int) -> float:
        """Return the squared error of keeping so many directions."""
        return float(self.energies[rank:].sum())


def coordinates(table: Table, mean: Values, directions: Values, progress: Progress | None = None) -> Values:
    """Return (rows - mean) @ directions, in f32.

    Args:
        table: n rows of d columns.
        mean: (d,)
        directions: (d, r)
        progress: Told of rows.
    """
    matrix, shift = directions.astype(np.float32), (mean @ directions).astype(np.float32)
    result = np.empty((table.rows, directions.shape[1]), np.float32)
    for start, rows in blocks(table, progress):
        result[start : start + len(rows)] = rows @ matrix - shift
    return result


def fitted(table: Table, inner: Table, center: bool, progress: Progress | None = None) -> tuple[Values, Values]:
    """Return the matrix and the bias that make the least squared error of `inner @ matrix + bias` against a table.

    Args:
        table: n rows of d columns.
        inner: n rows of r columns.
        center: Whether there is a bias; it is zero otherwise.
        progress: Told of rows.

    Returns:
        (r, d) and (d,), in f64.
    """
    rank, dimension = inner.dimension, table.dimension
    gram, mixed = np.zeros((rank + 1, rank + 1)), np.zeros((rank + 1, dimension))
    for start, rows in blocks(table, progress):
        known = np.ones((len(rows), rank + 1))
        known[:, :rank] = inner.decode(start, start + len(rows))
        gram += known.T @ known
        mixed += known.T @ rows.astype(np.float64)
    if not center:
        gram, mixed = gram[:rank, :rank], mixed[:rank]
    solution = np.linalg.lstsq(gram, mixed, rcond=1e-12)[0]
    return solution[:rank], solution[rank] if center else np.zeros(dimension)


def mixing(rank: int, seed: int) -> Values:
    """Return a random orthogonal (rank, rank) matrix."""
    triangular: Values
    orthogonal, triangular = np.linalg.qr(np.random.default_rng(seed).standard_normal((rank, rank)))
    result: Values = orthogonal * np.where(np.diag(triangular) < 0, -1, 1)
    return result
