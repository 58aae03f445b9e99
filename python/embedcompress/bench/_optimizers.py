"""The optimizers that training benchmarks name: torch's, for a table's parameters, and those of a table's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from .._checks import checked_number
from ..training import _row_optimizers
from ..training._row_optimizers import RowOptimizer
from ..training._weight_optimizers import MakeOptimizer

Values = Mapping[str, Any]
"""A `name`, its numbers, and `own` for a table's own where torch has one of the same name."""
OWN = ("RowwiseAdagrad", "RowwiseAdam")
"""Names that torch does not have: these are always a table's own."""
TORCH: dict[str, tuple[type[torch.optim.Optimizer], tuple[str, ...]]] = {
    "Adam": (torch.optim.Adam, ("lr", "betas", "eps", "weight_decay")),
    "Adagrad": (torch.optim.Adagrad, ("lr", "eps", "weight_decay")),
    "SGD": (torch.optim.SGD, ("lr", "weight_decay")),
}
"""Classes, and the numbers that they take. With sparse gradients Adam is SparseAdam, which has no weight decay."""


def is_own(values: Values) -> bool:
    """Return whether an optimizer is one of a table's own."""
    return values.get("name") in OWN or bool(values.get("own"))


def own(values: Values | None) -> RowOptimizer | None:
    """Return a table's own optimizer; None if the values name one of torch, or none.

    Raises:
        TypeError, ValueError: as of `training._row_optimizers.named`.
    """
    if values is None or not is_own(values):
        return None
    return _row_optimizers.named({name: value for name, value in values.items() if name != "own"})


def of_torch(values: Values, *, sparse: bool = False) -> MakeOptimizer:
    """Return what makes an optimizer of torch.

    Args:
        values: Its name and numbers.
        sparse: Whether it is for parameters with sparse gradients.

    Raises:
        TypeError: a number is of another kind.
        ValueError: there is none of this name, it has no such number, lacks `lr`, or one is out of range.
    """
    name = values.get("name")
    if not isinstance(name, str) or name not in TORCH:
        raise ValueError(f"name must be one of {', '.join([*TORCH, *OWN])}, not {name!r}")
    kind, known = TORCH[name]
    numbers: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in values.items()
                               if key not in ("name", "own")}  # fmt: skip
    for key in numbers:
        if key not in known:
            raise ValueError(f"{name} has no {key}; it has {', '.join(known)}")
    if "lr" not in numbers:
        raise ValueError(f"{name} needs lr")
    for key, number in numbers.items():
        _check_number(key, number)
    if sparse and numbers.pop("weight_decay", 0):
        raise ValueError(f"{name} has no weight_decay for sparse gradients")
    if sparse and kind is torch.optim.Adam:
        kind = torch.optim.SparseAdam

    def make(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return kind(parameters, **numbers)

    return make


def _check_number(name: str, value: Any) -> None:
    """Raise an error if a number is of another kind, or out of range."""
    if name == "betas":
        if not isinstance(value, tuple) or len(value) != 2:
            raise ValueError(f"betas must be two numbers, not {value!r}")
        for one in value:
            if not 0 <= checked_number(one, name) < 1:
                raise ValueError(f"betas must be at least 0 and below 1, not {list(value)}")
    elif not 0 <= checked_number(value, name) < math.inf:
        raise ValueError(f"{name} must be finite and not negative, not {value}")


def check(values: Values, *, sparse: bool = False) -> None:
    """Raise an error if there is no such optimizer.

    Raises:
        TypeError, ValueError: there is none; the message says why.
    """
    if not isinstance(values.get("own", False), bool):
        raise ValueError(f"own must be true or false, not {values['own']!r}")
    if values.get("name") in OWN and not values.get("own", True):
        raise ValueError(f"own can't be false: {values['name']} is always a table's own")
    if own(values) is None:
        of_torch(values)
        of_torch(values, sparse=sparse)
