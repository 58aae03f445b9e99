"""What the registry says of a compression method."""

from __future__ import annotations

from dataclasses import dataclass


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
