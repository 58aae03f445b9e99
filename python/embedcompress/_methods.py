"""What the catalogue says of a method."""

from __future__ import annotations

from dataclasses import dataclass

AFTER_TRAINING = "after training"
"""The stage of methods that compress a table that is there: `compress`."""
WHILE_TRAINING = "while training"
"""The stage of methods that learn a table in its compressed form: `training.embedding`."""
FULL = "full"
"""The method whose table is not compressed, which others are measured against."""

Value = bool | int | float | str | None


@dataclass(frozen=True)
class Option:
    """A knob of a method."""

    name: str
    type: str
    """"integer", "number", "choice", "flag", "array", "method" or "budget"."""
    default: Value
    """None says that the option plays no part, or that something else chooses it."""
    summary: str
    minimum: int | float | None = None
    """The least integer or number; None if there is none."""
    maximum: int | float | None = None
    """The largest one; None if there is none."""
    choices: tuple[int | str, ...] | None = None
    """All that a choice may be, or an integer that is one of a few; None for what is not chosen among some."""
    values: str = ""
    """What it takes, in words; the catalogue says it."""


@dataclass(frozen=True)
class Method:
    """A way to compress a table, or to learn a compressed one. Name and stage together say which."""

    name: str
    """What `compress` or `training.embedding` takes, such as "greedy"."""
    title: str
    """The field's spelling, such as "GREEDY"."""
    family: str
    """What it does, in the papers' words, such as "uniform quantization" or "pruning"."""
    stage: str
    """"after training" or "while training"."""
    paper: str
    summary: str
    bytes_per_row: str
    """A formula in d, the dimension, and the options."""
    cost: str
    options: tuple[Option, ...] = ()
