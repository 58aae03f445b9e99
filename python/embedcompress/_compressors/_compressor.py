"""What a method that Python composes is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import _core, _options
from .._bisection import last_where
from .._methods import Method, Option
from .._table import Progress, Table


@dataclass(frozen=True)
class Request:
    """A call of `compress`, checked as far as every method is alike."""

    source: Table
    budget: int | None
    """Bytes."""
    weights: Table | None
    options: Mapping[str, Any]
    """By name; those that were not given have their defaults."""
    given: frozenset[str]
    """Names of the options that were given."""
    inner: Mapping[str, Any]
    """Options that are not this method's own: those of the method `inner`."""
    progress: Progress | None
    rows: int | None = None
    """Rows that a budget is for, if the source is a sample of them; the knobs are then those of the whole."""

    @property
    def counted_rows(self) -> int:
        """Rows that bytes are counted for."""
        return self.source.rows if self.rows is None else self.rows


class Compressor(ABC):
    """A method: its entry in the registry, and what it does."""

    method: ClassVar[Method]
    takes_weights: ClassVar[bool] = False
    arrays: ClassVar[frozenset[str]] = frozenset()
    """Options that are arrays."""
    has_inner: ClassVar[bool] = False
    """Whether there is an option `inner`, a method whose options can be given beside this one's own."""

    @abstractmethod
    def compress(self, request: Request) -> Table:
        """Return the compressed table."""

    def __call__(
        self,
        source: Table,
        budget: int | None,
        weights: Table | None,
        progress: Progress | None,
        options: Mapping[str, Any],
        rows: int | None = None,
    ) -> Table:
        """Check the options that have to be this method's own, and compress.

        Args:
            source: The table.
            budget: Bytes.
            weights: See `compress`.
            progress: See `compress`.
            options: By name.
            rows: See `Request`.
        """
        name = self.method.name
        own = {option.name for option in self.method.options}
        foreign = {key: value for key, value in options.items() if key not in own}
        if foreign and not self.has_inner:
            raise ValueError(f"{name} has no option '{min(foreign)}'; its options are {', '.join(sorted(own))}")
        if weights is not None and not self.takes_weights:
            raise ValueError(f"{name} minimises no error, so it takes no weights")
        values = {option.name: option.default for option in self.method.options}
        values |= {key: value for key, value in options.items() if key in own}
        given = frozenset(key for key, value in options.items() if key in own and value is not None)
        return self.compress(Request(source, budget, weights, values, given, foreign, progress, rows))


def integer(options: Mapping[str, Any], name: str, method: str, low: int, high: int | None = None) -> int:
    """Return an option that is an integer.

    Raises:
        ValueError: it is something else, or out of range.
    """
    return _options.integer(options, name, low, high, owner=f"{method}: ")


def integer_if_given(
    options: Mapping[str, Any], name: str, method: str, low: int, high: int | None = None
) -> int | None:
    """Return an option that is an integer, or None if it is not given; errors as `integer`."""
    return None if options[name] is None else integer(options, name, method, low, high)


def flag(options: Mapping[str, Any], name: str, method: str) -> bool:
    """Return an option that is true or false; ValueError if it is something else."""
    value = options[name]
    if not isinstance(value, bool):
        raise ValueError(f"{method}: {name} must be true or false, not {value!r}")
    return value


def choice(options: Mapping[str, Any], name: str, method: str, among: Iterable[str], words: str) -> str:
    """Return an option that is one of some words; ValueError if it is something else.

    Args:
        options: By name.
        name: Of the option.
        method: Named in the error.
        among: What it may be.
        words: What it may be, as the error says it.
    """
    return _options.choice(options, name, among, words, owner=f"{method}: ")


FLOAT_BYTES = {"f16": 2, "f32": 4}
"""Bytes of a number, by the type's name."""


def float_type(options: Mapping[str, Any], name: str, method: str) -> str:
    """Return an option that is 'f16' or 'f32'; ValueError if it is something else."""
    return choice(options, name, method, FLOAT_BYTES, "one of 'f16', 'f32'")


BUDGET = Option("budget", "an integer, at least 0", None, "most bytes of the result; chooses what is not given")


def budget_error(method: str, budget: int, floor: int) -> ValueError:
    """Return the error that says what a method needs at least."""
    error: ValueError = _core.BudgetError(
        f"{method} cannot meet a budget of {budget} bytes: the least it can reach is {floor} bytes"
    )
    return error


def largest(method: str, budget: int, low: int, high: int, stored_bytes: Callable[[int], int]) -> int:
    """Return the largest value of a knob, from `low` to `high`, whose bytes are within a budget.

    Args:
        method: Named in the error.
        budget: Bytes.
        low: The least value that makes a table.
        high: The largest one.
        stored_bytes: The bytes of the result for a value of the knob; must not fall as the knob rises.

    Raises:
        BudgetError: not even `low` is; the message names its bytes.
    """
    floor = stored_bytes(low)
    if floor > budget:
        raise budget_error(method, budget, floor)
    return last_where(low, high, lambda value: stored_bytes(value) <= budget)
