"""The registry of compression methods, as the core lists it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from . import _core


@dataclass(frozen=True)
class Option:
    """A knob of a method."""

    name: str
    values: str
    """What it takes, in words."""
    default: bool | int | float | str | None
    summary: str


@dataclass(frozen=True)
class Method:
    """A way to compress a table."""

    name: str
    """What `compress` takes, such as "greedy"."""
    title: str
    """The field's spelling, such as "GREEDY"."""
    paper: str
    kind: str
    """"post-training": needs nothing but the table."""
    summary: str
    bytes_per_row: str
    """A formula in d, the dimension, and the options."""
    cost: str
    options: tuple[Option, ...]


@cache
def _registry() -> tuple[Method, ...]:
    return tuple(
        Method(
            name=entry["name"],
            title=entry["title"],
            paper=entry["paper"],
            kind=entry["kind"],
            summary=entry["summary"],
            bytes_per_row=entry["bytesPerRow"],
            cost=entry["cost"],
            options=tuple(Option(**option) for option in entry["options"]),
        )
        for entry in json.loads(_core.methods())
    )


def methods() -> list[Method]:
    """Return every compression method, with its paper, options and costs."""
    return list(_registry())
