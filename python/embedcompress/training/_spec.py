"""What a learned table is asked to be: its shape, its fields, and the bytes that it may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import BudgetError
from .._arrays import as_numbers
from .._bisection import last_where
from .._budget import budget_bytes
from .._checks import check_type
from ._formats import array_bytes
from ._row_optimizers import RowOptimizer

Values = np.ndarray[Any, Any]
MOST_ROWS = 1 << 48
"""Ids that a table can have."""
MOST_COLUMNS = 1 << 20
"""Columns of the widest table that can be stored."""
BITS = range(2, 9)
"""Of codes that arrays of a learned table can have."""


@dataclass(frozen=True)
class Spec:
    """A table of several fields, one after the other, and a budget.

    Ids of field f are `starts[f]` to `starts[f] + sizes[f] - 1`.
    """

    sizes: tuple[int, ...]
    """Rows of each field."""
    dimension: int
    budget: int
    """Bytes of the frozen table."""
    counts: Values | None = None
    """(rows,): how often each id is used."""
    seed: int = 0
    sparse: bool = False
    """Whether gradients of tables are sparse tensors."""
    optimizer: RowOptimizer | None = None
    """The table's own, which moves rows while gradients go back; None where one of torch trains it."""
    bits: int | None = None
    """Of the codes that arrays of the table are rounded to while it is trained, and frozen as; None for f32."""

    @staticmethod
    def of(
        num_embeddings: int,
        embedding_dim: int,
        budget: int | float | str,
        counts: object | None = None,
        fields: Sequence[int] | None = None,
        seed: int = 0,
        sparse: bool = False,
        optimizer: RowOptimizer | None = None,
        bits: int | str | None = None,
    ) -> Spec:
        """Check what a user gives.

        Raises:
            TypeError: something is not a number.
            ValueError: numbers that make no table, or do not agree.
        """
        limits = (("num_embeddings", num_embeddings, MOST_ROWS), ("embedding_dim", embedding_dim, MOST_COLUMNS))
        for name, value, most in limits:
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
            if value > most:
                raise ValueError(f"{name} must be at most {most}, not {value}")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**62:
            raise ValueError(f"seed must be an integer from 0 to 2^62 - 1, not {seed!r}")
        sizes = (int(num_embeddings),) if fields is None else tuple(int(size) for size in fields)
        if min(sizes, default=0) < 1:
            raise ValueError(f"every field needs at least 1 id, but fields is {list(sizes)}")
        if sum(sizes) != num_embeddings:
            raise ValueError(f"fields add up to {sum(sizes)} ids, but num_embeddings is {num_embeddings}")
        known = None
        if counts is not None:
            known = np.array(as_numbers(counts, "counts", np.float64))
            if known.shape != (num_embeddings,):
                raise ValueError(f"counts must be {num_embeddings} numbers, one for each id, not {known.shape}")
            bad = np.flatnonzero(~(np.isfinite(known) & (known >= 0)))
            if len(bad):
                raise ValueError(f"counts has {known[bad[0]]} for id {bad[0]}; a count is finite and not negative")
        if optimizer is not None:
            check_type(optimizer, RowOptimizer, "optimizer", "training.SGD, Adagrad, RowwiseAdagrad or RowwiseAdam")
            if sparse:
                raise ValueError("sparse must be False: a table with an optimizer of its own has no gradient")
        room = budget_bytes(budget, int(num_embeddings) * int(embedding_dim) * 4)
        found = Spec(sizes, int(embedding_dim), room, known, seed, sparse, optimizer)
        return found if bits is None else replace(found, bits=_checked_bits(bits, found))

    @property
    def rows(self) -> int:
        """Ids of all fields."""
        return sum(self.sizes)

    @property
    def starts(self) -> tuple[int, ...]:
        """The first id of each field."""
        return tuple(int(start) for start in np.cumsum([0, *self.sizes[:-1]]))

    @property
    def full_bytes(self) -> int:
        """Bytes of the table in f32."""
        return 4 * self.rows * self.dimension

    def array_bytes(self, rows: int, dimension: int | None = None, bits: int | None = None) -> int:
        """Return the bytes of rows that are stored as arrays of the table are.

        Args:
            rows: How many.
            dimension: Numbers of a row; those of the table's if not given.
            bits: Of their codes; those of the table's if not given.
        """
        return array_bytes(
            rows, self.dimension if dimension is None else dimension, self.bits if bits is None else bits
        )

    def counts_of(self, index: int) -> Values | None:
        """Return the counts of one field's ids."""
        if self.counts is None:
            return None
        start = self.starts[index]
        return self.counts[start : start + self.sizes[index]]


@dataclass(frozen=True)
class Plan:
    """What a method makes of a spec, before any memory is allocated."""

    stored_bytes: int
    """Bytes of the frozen table; an upper bound where training decides."""
    knobs: Mapping[str, Any]
    """What the budget chose, by name: numbers, or lists with a number for each field."""
    study: Mapping[str, Any] = field(default_factory=dict)
    """What the rule of the VLDB 2024 study (arXiv 2311.15578) chooses, with its `ratio`, where that is another one."""


def _checked_bits(bits: int | str, spec: Spec) -> int:
    """Return the bits of codes that a user asks for."""
    if spec.optimizer is not None:
        raise ValueError(
            "bits is for a table that an optimizer of torch trains; with one of its own, int8 and int4 have codes"
        )
    if bits == "auto":
        # Each field is an array of its own.
        return 8 if sum(array_bytes(size, spec.dimension, 8) for size in spec.sizes) <= spec.budget else 4
    if isinstance(bits, bool) or not isinstance(bits, int) or bits not in BITS:
        raise ValueError(f"bits must be from {BITS[0]} to {BITS[-1]}, 'auto' or None, not {bits!r}")
    return bits


def refuse(method: str, spec: Spec, floor: int) -> ValueError:
    """Return the error of a budget that a method can't meet."""
    return BudgetError(
        f"{method} cannot meet a budget of {spec.budget} bytes: the least it can reach is {floor} bytes "
        f"({floor / spec.full_bytes:.4g} of the f32 table)",
        method=method,
        budget=spec.budget,
        floor=floor,
    )


def largest(
    method: str, spec: Spec, low: int, high: int, stored_bytes: Callable[[int], int], rising_from: int | None = None
) -> int:
    """Return the largest value of a knob, from `low` to `high`, whose bytes are within the budget.

    Args:
        method: Named in the error.
        spec: Has the budget.
        low: The least value that makes a table.
        high: The largest one.
        stored_bytes: For a value of the knob; must not fall as the knob rises from `rising_from` on.
        rising_from: `low` if not given. Values below it are tried one by one.

    Raises:
        BudgetError: there is none; the message names the least bytes.
    """
    start = low if rising_from is None else min(rising_from, high)
    if stored_bytes(start) <= spec.budget:
        return last_where(start, high, lambda value: stored_bytes(value) <= spec.budget)
    fitting = [value for value in range(low, start) if stored_bytes(value) <= spec.budget]
    if not fitting:
        raise refuse(method, spec, min(stored_bytes(value) for value in range(low, start + 1)))
    return fitting[-1]
