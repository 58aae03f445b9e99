"""The rounding of what a layer is given: a submodule, and a hook that calls it before each call of the layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor, nn

INPUT_QUANTIZER = "input_quantizer"
"""The submodule that rounds a layer's input."""


def quantize_inputs(module: nn.Module, quantizer: nn.Module) -> None:
    """Round what a module is given, from now on."""
    module.add_module(INPUT_QUANTIZER, quantizer)
    module.register_forward_pre_hook(round_inputs, with_kwargs=True)


def rounded_once(quantizer: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Round some tensors; those that are one stay one."""
    results: dict[int, Tensor] = {}
    for input in inputs:
        if id(input) not in results:
            results[id(input)] = quantizer(input)
    return [results[id(input)] for input in inputs]


def round_inputs(
    module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Round the input of a linear layer, or the query, key and value of an attention: a forward pre-hook."""
    quantizer = module._modules[INPUT_QUANTIZER]
    assert quantizer is not None
    count = 3 if isinstance(module, nn.MultiheadAttention) else 1
    given = [name for name in _names(type(module).forward)[len(arguments) : count] if name in named] if named else []
    results = rounded_once(quantizer, (*arguments[:count], *(named[name] for name in given)))
    by_position = results[: len(results) - len(given)]
    by_name = dict(zip(given, results[len(by_position) :], strict=True))
    return (*by_position, *arguments[count:]), {**named, **by_name}


@cache
def _names(forward: Callable[..., Any]) -> tuple[str, ...]:
    """Return what the arguments of a forward are called."""
    return tuple(inspect.signature(forward).parameters)[1:]
