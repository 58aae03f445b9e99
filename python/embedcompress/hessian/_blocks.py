"""Blocks of a model: which parameters belong to which, by default or as the caller names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from .._checks import check_type

BlockLike: TypeAlias = "nn.Module | Tensor | Iterable[nn.Module | Tensor]"
"""A module stands for all its parameters."""


def find_blocks(model: nn.Module, blocks: Mapping[str, BlockLike] | None) -> dict[str, list[Tensor]]:
    """Return the parameters of each block, each once.

    Args:
        model: Whose parameters they are.
        blocks: By name; None takes each layer of the model's stacks of layers, and each embedding.

    Raises:
        ValueError: a block without parameters, a parameter in two blocks or of another model, or of a dtype or a place
            that curvature can't be computed in; the message names the block and the parameter.
    """
    check_type(model, nn.Module, "model", "a torch.nn.Module")
    if blocks is not None:
        check_type(blocks, Mapping, "blocks", "a mapping of names to modules or parameters")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    _check_dtypes(model)
    if blocks is None:
        found = _default(model)
        if not found:
            raise ValueError("the model has no layers, embeddings or weight matrices that make blocks: name them")
    else:
        found = {name: _parameters(name, block) for name, block in blocks.items()}
        if not found:
            raise ValueError("there are no blocks")
    owners: dict[int, str] = {}
    memory: dict[int, tuple[str, Tensor]] = {}
    for name, parameters in found.items():
        if not parameters:
            raise ValueError(f"block {name!r} has no parameters")
        for parameter in parameters:
            if id(parameter) not in names:
                raise ValueError(
                    f"block {name!r} has a tensor of shape {tuple(parameter.shape)} that is no parameter of the model"
                )
            mine = names[id(parameter)]
            if owners.setdefault(id(parameter), name) != name:
                raise ValueError(
                    f"parameter {mine} lies in two blocks, {owners[id(parameter)]!r} and {name!r}: name it in one"
                )
            twin = memory.setdefault(parameter.data_ptr(), (name, parameter))[1] if parameter.numel() else parameter
            if twin is not parameter:
                raise ValueError(
                    f"parameters {names[id(twin)]} and {mine} lie on the same memory: make them one parameter"
                )
        _check_alike(name, parameters)
    return found


def _parameters(name: str, block: BlockLike) -> list[Tensor]:
    parts: Iterable[nn.Module | Tensor] = [block] if isinstance(block, (nn.Module, Tensor)) else block
    found: dict[int, Tensor] = {}
    for part in parts:
        if isinstance(part, nn.Module):
            found |= {id(parameter): parameter for parameter in part.parameters()}
        elif isinstance(part, Tensor):
            found[id(part)] = part
        else:
            raise TypeError(f"block {name!r} must hold modules and parameters, not {type(part).__name__}")
    return [parameter for parameter in found.values() if parameter.is_floating_point()]


def _default(model: nn.Module) -> dict[str, list[Tensor]]:
    """Return embeddings and layers of stacks; without either, every module that holds a matrix itself.

    What is shared belongs to the block that comes first.
    """
    modules = [name for name, module in model.named_modules() if isinstance(module, (nn.Embedding, nn.EmbeddingBag))]
    layers: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) and not _inside(name, layers):
            members = [child for child in module.children() if _matrices(child) > 1]
            if len(members) == len(module) and len({type(child) for child in members}) == 1:
                layers += [f"{name}.{index}" if name else str(index) for index in range(len(module))]
    chosen = [name for name in modules if not _inside(name, layers)] + layers
    if not layers:
        chosen = [
            name
            for name, module in model.named_modules()
            if any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))
        ]
    found: dict[str, list[Tensor]] = {}
    seen: set[int] = set()
    for name in chosen:
        parts = [part for part in _parameters(name, model.get_submodule(name)) if id(part) not in seen]
        if parts:
            found[name or "model"] = parts
            seen |= {id(part) for part in parts}
    return found


def _inside(name: str, others: Iterable[str]) -> bool:
    return any(name.startswith(f"{other}.") for other in others)


def _matrices(module: nn.Module) -> int:
    return sum(parameter.dim() > 1 for parameter in module.parameters())


def _check_dtypes(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(f"parameter {name} has no shape yet: run the model once")
        if parameter.is_floating_point() and parameter.dtype not in (torch.float32, torch.float64):
            dtype = str(parameter.dtype).removeprefix("torch.")
            raise ValueError(f"parameter {name} is of {dtype}, too coarse for curvature: use model.float()")


def _check_alike(name: str, parameters: list[Tensor]) -> None:
    for what in ("dtype", "device"):
        found = sorted({str(getattr(parameter, what)) for parameter in parameters})
        if len(found) > 1:
            raise ValueError(f"block {name!r} has parameters of {' and '.join(found)}: make them alike, or two blocks")
