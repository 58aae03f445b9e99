"""TOML that comes from a user's file. It is apart from `_reading`, as importing the library is to stay quick."""

from __future__ import annotations

import tomllib
from typing import Any


def toml_values(text: bytes) -> dict[str, Any]:
    """Return the keys and values of TOML.

    Raises:
        ValueError: it is no TOML, is not UTF-8, or is nested deeper than Python reads.
    """
    try:
        return tomllib.loads(text.decode())
    except RecursionError:
        raise ValueError("TOML that is nested too deep") from None
