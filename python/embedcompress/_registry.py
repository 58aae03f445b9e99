"""The registry of compression methods: those of the core, and those that Python composes."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

from . import _core
from ._methods import Method, Option

if TYPE_CHECKING:
    from ._compressors import Compressor


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


@cache
def _compressors() -> dict[str, Compressor]:
    """Return the methods that Python composes, by name. They are imported here: importing the library stays quick."""
    from ._compressors import COMPRESSORS

    return {one.method.name: one for one in COMPRESSORS}


def methods() -> list[Method]:
    """Return every compression method, with its paper, options and costs."""
    return [*_core_methods(), *(one.method for one in _compressors().values())]


def composed(name: str) -> Compressor | None:
    """Return the method of that name if Python composes it; None if it is the core's, or no name for it to take.

    Raises:
        ValueError: there is no such method.
    """
    # What can't be printed is not a name, which the core says.
    if not isinstance(name, str) or not name.isprintable() or any(method.name == name for method in _core_methods()):
        return None
    if name not in _compressors():
        raise ValueError(f"there is no method '{name}'; the methods are {', '.join(one.name for one in methods())}")
    return _compressors()[name]
