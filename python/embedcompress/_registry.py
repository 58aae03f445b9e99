"""The catalogue of methods, which the core keeps: its own of both stages, and those that other packages register."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from . import _core
from ._methods import AFTER_TRAINING, Method, Option
from ._shown import Shown


@cache
def _catalogue() -> tuple[Method, ...]:
    return tuple(_entry(fields) for fields in json.loads(_core.methods()))


def _entry(fields: dict[str, Any]) -> Method:
    options = tuple(
        Option(**option | {"choices": option["choices"] and tuple(option["choices"])}) for option in fields["options"]
    )
    return Method(bytes_per_row=fields.pop("bytesPerRow"), **fields | {"options": options})


def methods(stage: str | None = AFTER_TRAINING) -> list[Method]:
    """Return methods, with their papers, options and costs, as a list that prints as a table.

    Args:
        stage: "after training" for those that `compress` takes, "while training" for those that `training.embedding`
            takes, None for both. What other packages register is listed once `embedcompress.training` is imported.

    Raises:
        ValueError: there is no such stage.
    """
    found = _catalogue()
    stages = sorted({method.stage for method in found})
    if stage is not None and stage not in stages:
        raise ValueError(f"stage must be one of {', '.join(map(repr, stages))} or None, not {stage!r}")
    return listed(method for method in found if stage in (None, method.stage))


def listed(methods: Iterable[Method]) -> list[Method]:
    """Return methods as a list that prints as a table."""
    return Shown(methods, ("method", "family", "what it does"), _cells, 3)


def _cells(method: Method) -> tuple[str, ...]:
    return method.name, method.family, method.summary


def method_name(name: str, stage: str = AFTER_TRAINING) -> str:
    """Return the name of a method that is spelled in any way, such as "kmeans_cls" for "KMEANS-CLS".

    Raises:
        ValueError: no method of that stage has the name; the message has those that are near, and says so if it is
            one of the other stage.
    """
    found: str = _core.method_name(name, stage)
    return found


def entry(name: str, stage: str = AFTER_TRAINING) -> Method:
    """Return what the catalogue says of a method; ValueError as `method_name`."""
    name = method_name(name, stage)
    return next(method for method in methods(stage) if method.name == name)


def checked_options(name: str, stage: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all of a method's options, with the defaults of those that are not given.

    Raises:
        ValueError: there is no such option, or it does not take the value.
        TypeError: a value is no number, text, flag or None.
    """
    plain: dict[str, Any] = {}
    for key, value in options.items():
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            value = value.item()
        if not isinstance(value, (bool, int, float, str, type(None))):
            raise TypeError(f"option {key} must be a number, a text or a flag, not {type(value).__name__}")
        if isinstance(value, float) and value - value != 0:
            raise ValueError(f"option {key} must be finite, not {value}")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"option {key} must be a whole number of at most 64 bits")
        plain[key] = value
    found: dict[str, Any] = json.loads(_core.method_options(name, stage, json.dumps(plain)))
    return found


def add(method: Method) -> Method:
    """Add a method that is trained to the catalogue, and return its entry there.

    Raises:
        ValueError: something is missing or can't be, or name or title are taken.
    """
    fields = asdict(method)
    fields["bytesPerRow"] = fields.pop("bytes_per_row")
    _core.method_register(json.dumps(fields))
    _catalogue.cache_clear()
    return entry(method.name, method.stage)
