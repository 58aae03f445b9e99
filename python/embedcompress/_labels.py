"""What a method with options is called, wherever results and advice name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NESTED = ("inner", "hot", "cold")
"""Options that name methods: the name says enough."""


def label(method: str, options: Mapping[str, Any]) -> str:
    """Return a method with its options, such as "robe(bits=4, block=4)" or "svd(eden)"; alone if there are none."""
    nested = [name for name in NESTED if isinstance(options.get(name), str)]
    shown = list(dict.fromkeys(options[name] for name in nested))
    shown += [f"{name}={_value(options[name])}" for name in sorted(options) if name not in nested]
    return f"{method}({', '.join(shown)})" if shown else method


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
