"""Checks of options that methods have in common."""

from __future__ import annotations

from typing import Any


def integer(options: dict[str, Any], name: str, low: int, high: int | None = None) -> int:
    """Return an option that is an integer; ValueError if it is something else, or out of range."""
    value = options[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        wanted = f"from {low} to {high}" if high is not None else f"at least {low}"
        raise ValueError(f"{name} must be an integer {wanted}, not {value!r}")
    return value


def number(options: dict[str, Any], name: str, low: float, high: float = float("inf")) -> float:
    """Return an option that is a number; ValueError if it is something else, or out of range."""
    value = options[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low} to {high}, not {value!r}")
    return float(value)


def choice(options: dict[str, Any], name: str, among: tuple[str, ...]) -> str:
    """Return an option that is one of some words; ValueError if it is something else."""
    value = options[name]
    if value not in among:
        raise ValueError(f"{name} must be one of {', '.join(among)}, not {value!r}")
    return str(value)
