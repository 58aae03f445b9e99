"""Checks that an argument is of the type that a function takes, with errors that name it."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import SupportsIndex, TypeVar

import numpy as np

from . import _core

Item = TypeVar("Item")


def check_type(value: object, kind: type | tuple[type, ...], name: str, wanted: str) -> None:
    """Raise a TypeError that names an argument unless it is of a type, or of one of several.

    Args:
        value: The argument.
        kind: What it must be.
        name: What the function calls it.
        wanted: What it must be in words, such as "a torch.nn.Module".
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def checked_integer(value: SupportsIndex, name: str) -> int:
    """Return an argument as an int; raise a TypeError that names it if it is none."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None


def checked_number(value: float, name: str) -> float:
    """Return an argument as a float, which may be infinite or NaN.

    Raises:
        TypeError: it is no real number; the message names it.
        ValueError: an integer beyond the range of floats.
    """
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {value}")
    check_type(value, (int, float, np.integer, np.floating), name, "a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a number that a float can hold, not {value}") from None


def checked_items(values: Iterable[Item], name: str) -> tuple[Item, ...]:
    """Return what an argument holds; raise a TypeError that names it if it is nothing that one can go through."""
    check_type(values, Iterable, name, "a sequence")
    if isinstance(values, _core.Table):
        # Going through one decodes all of its rows.
        raise TypeError(f"{name} must be a sequence, not a Table")
    return tuple(values)
