"""What the post-training benchmarks call: methods and hybrids, at every number of bits and within budgets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import embedcompress as ec

from .._labels import NESTED
from .._labels import label as with_options
from .._registry import method_name

BITS = range(1, 9)
VARIANTS = ("group", "rotation")
"""Options beside nested methods that make a method one of its own."""
HYBRIDS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("least_squares", {"group": 32}),
    ("trellis", {"rotation": "partial"}),
    ("svd", {"inner": "f16"}),
    ("svd", {"inner": "least_squares"}),
    ("svd", {"inner": "eden"}),
    ("magsvd", {"inner": "least_squares"}),
    ("magsvd", {"inner": "eden"}),
    ("hot_cold", {"hot": "eden", "cold": "eden"}),
)


@dataclass(frozen=True)
class Call:
    """A call of `compress`."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Beside the budget."""
    budget: float | None = None
    """A share of the f32 bytes."""

    def request(self) -> dict[str, Any]:
        """Return the part of a line's request that says what is called."""
        return {"method": self.method, "options": dict(self.options), "budget": self.budget}

    def compress(self, weight: ec.Table) -> ec.Table:
        """Return the compressed table."""
        options = dict(self.options) | ({} if self.budget is None else {"budget": self.budget})
        return ec.compress(weight, self.method, **options)


def label(request: Mapping[str, Any]) -> str:
    """Return a method with the options that make it a method of its own, such as "svd(eden)": all but its size."""
    options = request["options"]
    return with_options(request["method"], {name: options[name] for name in (*NESTED, *VARIANTS) if name in options})


def contenders(wanted: Sequence[str] = ()) -> list[Call]:
    """Return the methods and the hybrids of these labels; all without any.

    Raises:
        ValueError: there is none of that label.
    """
    calls = [Call(method.name) for method in ec.methods()]
    calls += [Call(method, options) for method, options in HYBRIDS]
    by_label = {label(call.request()): call for call in calls}
    chosen = {_known_label(name, by_label) for name in wanted}
    return [call for name, call in by_label.items() if not wanted or name in chosen]


def _known_label(name: str, labels: Iterable[str]) -> str:
    if name in labels:
        return name
    try:
        return method_name(name)
    except ValueError:
        raise ValueError(f"there is no method '{name}' to measure; there are {', '.join(labels)}") from None


def calls(found: Sequence[Call], budgets: Sequence[float]) -> Iterator[Call]:
    """Return what is measured: each method without a budget, at every number of bits it has, and then within each.

    Product codes have no bits of their own without a budget: those take their defaults.
    """
    options = {method.name: {option.name for option in method.options} for method in ec.methods()}
    for call in found:
        if "bits" in options[call.method] and "parts" not in options[call.method]:
            for bits in BITS:
                yield Call(call.method, {**call.options, "bits": bits})
        elif not call.options:
            yield call
    for call in found:
        if "budget" in options[call.method]:
            for budget in budgets:
                yield Call(call.method, call.options, budget)
