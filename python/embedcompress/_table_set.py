"""Several tables in one call: the case of a recommender, whose samples have ids of many features."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._checks import checked_items
from ._table import Table


class TableSet:
    """Tables that are pooled together, in one call and one parallel loop.

    Ids and offsets are laid out as in FBGEMM's table-batched embeddings and torchrec's KeyedJaggedTensor: the bags of
    the first feature, one for each sample of the batch, then those of the second, and so on. Threads share the work
    however uneven tables and bags are.

    >>> import numpy as np, embedcompress as ec
    >>> users, items = (ec.compress(np.random.rand(rows, 8).astype(np.float32)) for rows in (100, 50))
    >>> tables = ec.TableSet([users, items])
    >>> tables.bag([7, 4, 9, 31, 12], offsets=[0, 1, 3, 3, 5]).shape  # users 7; 4, 9; items none; 31, 12
    (2, 16)

    Args:
        tables: Of any kinds and dimensions.
        features: The table of each feature, as an index into tables, if they are not one a table: several features
            may look up one table.

    Attributes:
        tables: A tuple of tables.
        features: A tuple of indices into tables.
        dimension: Columns of what `bag` returns: the sum of the dimensions of the features' tables.
        columns: Each feature's slice of them.

    Raises:
        TypeError: tables are not tables, or features not integers.
        ValueError: no features, or one without a table.
    """

    def __init__(self, tables: Sequence[Table], features: Sequence[int] | None = None) -> None:
        self.tables = checked_items(tables, "tables")
        for table in self.tables:
            if not isinstance(table, Table):
                raise TypeError(f"tables must be of Table, not {type(table).__name__}")
        self.features, self.columns = feature_columns([table.dimension for table in self.tables], features)
        self.dimension = self.columns[-1].stop
        self._of_features = tuple(self.tables[index] for index in self.features)

    @property
    def stored_bytes(self) -> int:
        """The bytes of the tables together."""
        return sum(table.stored_bytes for table in self.tables)

    def bag(
        self,
        ids: object,
        offsets: object,
        mode: str = "sum",
        per_sample_weights: object | None = None,
        out: object | None = None,
        on_invalid: str = "raise",
    ) -> NDArray[np.float32]:
        """Look the rows of every feature up and pool them.

        Args:
            ids: Integers, as for `Table.lookup`, one axis: those of the first feature, then those of the second, and so
                on.
            offsets: Integers, (features * batch + 1,): feature f has ids[offsets[f * batch + s] :
                offsets[f * batch + s + 1]] in sample s. 0 first, never decreasing, len(ids) last.
            mode: "sum", "mean" or "max". An empty bag gives zeros.
            per_sample_weights: Numbers in the shape of ids, of a dtype that `compress` takes; only with "sum".
            out: float32 array of shape (batch, dimension) to write to; a new one if None.
            on_invalid: "raise", or "zero" to take ids outside [0, rows) as rows of zeros, counted in the invalid_count
                of their table.

        Returns:
            float32 array of shape (batch, dimension): out[:, columns[f]] is what `Table.bag` gives for feature f.

        Raises:
            IndexError: an id is outside [0, rows) of its table; the message names the feature. Nothing has been
                written.
            ValueError: offsets that are no offsets, or an array of the wrong kind.
        """
        return _core.bags(self._of_features, ids, offsets, mode, per_sample_weights, out, on_invalid)

    def __len__(self) -> int:
        """Return the number of features."""
        return len(self.features)

    def __repr__(self) -> str:
        """Return one line about the set."""
        return (
            f"<TableSet of {len(self.tables)} tables, {len(self)} features, {self.dimension} columns, "
            f"{self.stored_bytes:,} bytes>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as tables and features."""
        return TableSet, (self.tables, self.features)


def feature_columns(
    dimensions: Sequence[int], features: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """Return the features as a tuple, one a table if None, and the columns of each.

    Raises:
        TypeError: features are not integers.
        ValueError: no features, or one without a table.
    """
    chosen = tuple(range(len(dimensions))) if features is None else tuple(map(operator.index, features))
    if not chosen:
        raise ValueError("a table set needs at least one feature")
    columns, start = [], 0
    for feature, index in enumerate(chosen):
        if not 0 <= index < len(dimensions):
            raise ValueError(f"feature {feature} has the table {index}, but there are {len(dimensions)} tables")
        columns.append(slice(start, start + dimensions[index]))
        start += dimensions[index]
    return chosen, tuple(columns)
