"""What optimizers know of parameters, such as Adam's moments, which go from a stage of a training to the next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

Known = dict[Tensor, dict[str, Any]]
"""Of each parameter its `state`, and the `optimizer` and `settings` that it is a state of."""


def known(optimizers: Iterable[torch.optim.Optimizer]) -> Known:
    """Return what optimizers know."""
    return {
        one: {"optimizer": _name(optimizer), "settings": _settings(group), "state": optimizer.state[one]}
        for optimizer in optimizers
        for group in optimizer.param_groups
        for one in group["params"]
        if one in optimizer.state
    }


def hand_over(found: Known, optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Have optimizers begin with what others knew of the same parameters.

    Only optimizers of the same class and settings do, whatever their learning rates: others keep other things.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for one in group["params"]:
                before = found.get(one)
                if before and (before["optimizer"], before["settings"]) == (_name(optimizer), _settings(group)):
                    optimizer.state[one] = before["state"]


def _name(optimizer: torch.optim.Optimizer) -> str:
    return f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in ("params", "param_names", "lr", "initial_lr")}
