"""Optimizers that a table applies to itself while a gradient goes back through it, a row at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from .._checks import checked_number

ROUNDINGS = ("stochastic", "nearest")


@dataclass(frozen=True)
class RowOptimizer:
    """What all of them share. Only rows whose ids are in a batch move; weight decay is theirs alone, too."""

    name: ClassVar[str]
    """What the core calls it."""
    element_state: ClassVar[bool] = False
    """Whether it keeps an f32 number for each element."""
    row_state: ClassVar[bool] = False
    """Whether it keeps an f32 number for each row."""

    lr: float
    """The learning rate."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            TypeError: one is not a number.
            ValueError: one is out of range; the message names it.
        """
        for name in ("lr", "eps", "weight_decay"):
            value = checked_number(getattr(self, name, 0.0), name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative, not {value}")
        if (rounding := getattr(self, "rounding", ROUNDINGS[0])) not in ROUNDINGS:
            raise ValueError(f"rounding must be one of {', '.join(ROUNDINGS)}, not {rounding!r}")

    def numbers(self) -> tuple[Any, ...]:
        """Return what the core takes: its name, rounding, lr, eps, beta1, beta2 and weight decay."""
        beta1, beta2 = getattr(self, "betas", (0.0, 0.0))
        named = [float(getattr(self, name, 0.0)) for name in ("lr", "eps")]
        rounding, decay = getattr(self, "rounding", ROUNDINGS[0]), getattr(self, "weight_decay", 0.0)
        return (self.name, rounding, *named, float(beta1), float(beta2), float(decay))


class Stepping:
    """What moves its rows by an optimizer of its own."""

    optimizer: RowOptimizer


@dataclass(frozen=True)
class SGD(RowOptimizer):
    """w -= lr * g. Keeps nothing."""

    name: ClassVar[str] = "sgd"

    weight_decay: float = 0.0
    """Of w, added to g."""
    rounding: str = "stochastic"
    """How a moved row becomes one of the stored form: at random so that its mean is right, or to the "nearest"."""


@dataclass(frozen=True)
class Adagrad(RowOptimizer):
    """s += g^2, w -= lr * g / (sqrt(s) + eps): Duchi et al., JMLR 2011. Keeps 4 bytes for each element."""

    name: ClassVar[str] = "adagrad"
    element_state: ClassVar[bool] = True

    eps: float = 1e-10
    weight_decay: float = 0.0
    """Of w, added to g."""
    rounding: str = "stochastic"
    """How a moved row becomes one of the stored form: at random so that its mean is right, or to the "nearest"."""


@dataclass(frozen=True)
class RowwiseAdagrad(RowOptimizer):
    """s += mean(g^2) over the row, w -= lr * g / (sqrt(s) + eps): FBGEMM's EXACT_ROWWISE_ADAGRAD.

    Keeps 4 bytes for each row.
    """

    name: ClassVar[str] = "rowwise_adagrad"
    row_state: ClassVar[bool] = True

    eps: float = 1e-8
    weight_decay: float = 0.0
    """Of w, added to g."""
    rounding: str = "stochastic"
    """How a moved row becomes one of the stored form: at random so that its mean is right, or to the "nearest"."""


@dataclass(frozen=True)
class RowwiseAdam(RowOptimizer):
    """Adam (Kingma and Ba, ICLR 2015) whose second moment is one of the row: FBGEMM's PARTIAL_ROWWISE_ADAM.

    m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) mean(g^2), and with t the number of the step, of whichever
    rows, w -= lr * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * w). Moments of rows that are
    not in a batch stay. Keeps 4 bytes for each element and 4 for each row.
    """

    name: ClassVar[str] = "rowwise_adam"
    element_state: ClassVar[bool] = True
    row_state: ClassVar[bool] = True

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    """Of w, beside the moments."""
    rounding: str = "stochastic"
    """How a moved row becomes one of the stored form: at random so that its mean is right, or to the "nearest"."""

    def __post_init__(self) -> None:
        """Check the numbers, and that there are two betas."""
        super().__post_init__()
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, not {self.betas!r}")
        for value in self.betas:
            if not 0 <= checked_number(value, "betas") < 1:
                raise ValueError(f"betas must be at least 0 and below 1, not {self.betas}")


def named(values: Mapping[str, Any]) -> RowOptimizer:
    """Return the optimizer whose class is the `name` of values, with the others as its numbers.

    Raises:
        TypeError: a number is of another kind.
        ValueError: there is no such class, it has no such number or lacks one, or one is out of range.
    """
    kinds: dict[str, type[RowOptimizer]] = {kind.__name__: kind for kind in (SGD, Adagrad, RowwiseAdagrad, RowwiseAdam)}
    name = values.get("name")
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"name must be one of {', '.join(kinds)}, not {name!r}")
    numbers: dict[str, Any] = {
        key: tuple(one) if isinstance(one, list) else one for key, one in values.items() if key != "name"
    }
    known = [one.name for one in fields(kind)]
    for key in numbers:
        if key not in known:
            raise ValueError(f"{kind.__name__} has no {key}; it has {', '.join(known)}")
    if "lr" not in numbers:
        raise ValueError(f"{kind.__name__} needs lr")
    return kind(**numbers)
