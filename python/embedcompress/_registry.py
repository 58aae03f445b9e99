"""The registry of compression methods: those of the core, and those that Python composes."""

from __future__ import annotations

import json
from functools import cache

from . import _core
from ._compressors import COMPRESSORS, Compressor
from ._methods import Method, Option


@cache
def _core_methods() -> tuple[Method, ...]:
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
    return [*_core_methods(), *(one.method for one in COMPRESSORS)]


def composed(name: str) -> Compressor | None:
    """Return the method of that name if Python composes it; None if it is the core's, or no name for it to take.

    Raises:
        ValueError: there is no such method.
    """
    known = {one.method.name: one for one in COMPRESSORS}
    if not isinstance(name, str) or name in known:
        return known.get(name)
    names = [method.name for method in methods()]
    if name.isprintable() and name not in names:
        raise ValueError(f"there is no method '{name}'; the methods are {', '.join(names)}")
    return None
