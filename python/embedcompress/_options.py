"""Checks of the options of methods. What they raise begins with the owner, such as "opq: ", if one is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Options = Mapping[str, Any]


def integer(options: Options, name: str, low: int, high: int | None = None, *, owner: str = "") -> int:
    """Return an option that is an integer; ValueError if it is something else, or out of range."""
    value = options[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        wanted = f"from {low} to {high}" if high is not None else f"at least {low}"
        raise ValueError(f"{owner}{name} must be an integer {wanted}, not {value!r}")
    return value


def number(options: Options, name: str, low: float, high: float = float("inf"), *, owner: str = "") -> float:
    """Return an option that is a number; ValueError if it is something else, or out of range."""
    value = options[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{owner}{name} must be a number from {low} to {high}, not {value!r}")
    return float(value)


def choice(options: Options, name: str, among: Iterable[str], words: str | None = None, *, owner: str = "") -> str:
    """Return an option that is one of some words; ValueError, which lists them as `words` does, if it is not."""
    value = options[name]
    if value not in among:
        wanted = words or f"one of {', '.join(among)}"
        raise ValueError(f"{owner}{name} must be {wanted}, not {value!r}")
    return str(value)
