"""Every parameter of a model: what layer it is the weight of, and why it can't be quantized, if it can't."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ._places import class_obstacle, is_functional_embedding, multiplies, reads_weight, weight_obstacle
from ._state import span

Kind = Literal["linear", "embedding", "attention", "vector", "other"]
ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass
class Place:
    """A parameter at a name; one that is tied has several."""

    module_name: str
    module: nn.Module
    attribute: str
    parameter: nn.Parameter
    kind: Kind
    """"attention": one that a MultiheadAttention has itself. "vector": at most one axis is longer than 1."""
    obstacle: str
    """Why it can't be quantized; empty if it can."""

    @property
    def name(self) -> str:
        """Of the parameter."""
        return f"{self.module_name}.{self.attribute}" if self.module_name else self.attribute


def find(model: nn.Module) -> list[Place]:
    """Return the parameters of a model, in its order. A layer that hangs at several names is there once."""
    places = [
        _place(name, module, attribute, parameter)
        for name, module in model.named_modules()
        for attribute, parameter in module._parameters.items()
        if parameter is not None
    ]
    _heed_overlaps(places)
    return places


def _place(name: str, module: nn.Module, attribute: str, parameter: nn.Parameter) -> Place:
    if sum(size > 1 for size in parameter.shape) <= 1 and not _is_weight(module, attribute):
        return Place(name, module, attribute, parameter, "vector", "")
    layer = f"{type(module).__module__}.{type(module).__qualname__}"
    kind: Kind = "other"
    obstacle = (
        f"{layer} is not a Linear, an Embedding, an EmbeddingBag, a MultiheadAttention or a layer that has a `weight`"
    )
    if isinstance(module, parametrize.ParametrizationList):
        return Place(name, module, attribute, parameter, "other", "it has a parametrization already")
    if _is_weight(module, attribute):
        kind = "attention" if attribute != "weight" else "embedding" if _looks_up(module) else "linear"
        obstacle = _layer_obstacle(module, layer) or _weight_obstacle(parameter)
    return Place(name, module, attribute, parameter, kind, obstacle)


def _is_weight(module: nn.Module, attribute: str) -> bool:
    """Whether this is a matrix of a layer that can be packed."""
    if isinstance(module, nn.MultiheadAttention):
        return attribute in ATTENTION_WEIGHTS
    if attribute != "weight":
        return False
    if isinstance(module, (nn.Linear, nn.Embedding, nn.EmbeddingBag)):
        return True
    weight = module._parameters["weight"]
    if weight is None or weight.dim() != 2 or not reads_weight(module):
        return False
    return multiplies(module) or is_functional_embedding(module)


def _looks_up(module: nn.Module) -> bool:
    return isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or is_functional_embedding(module)


def _layer_obstacle(module: nn.Module, layer: str) -> str:
    if isinstance(module, nn.MultiheadAttention):
        if type(module).forward is not nn.MultiheadAttention.forward or "forward" in vars(module):
            return f"{layer} has a forward of its own, which would be lost"
        return ""
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        if module.max_norm is not None:
            return f"it has max_norm={module.max_norm}, which rewrites rows as they are looked up"
        if module.sparse:
            return "it has sparse=True, and gradients of a quantized weight are dense"
    return class_obstacle(module)


def _weight_obstacle(weight: nn.Parameter) -> str:
    if weight.is_meta:
        return "its weight is on the meta device and has no data"
    if weight.numel() == 0:
        return f"its weight has no elements: {tuple(weight.shape)}"
    return weight_obstacle(weight)


def _heed_overlaps(places: list[Place]) -> None:
    """Give an obstacle to what shares its memory with a parameter that can't be quantized, or is another one."""
    ordered = sorted((place for place in places if _has_memory(place.parameter)), key=lambda p: span(p.parameter)[0])
    for index, place in enumerate(ordered):
        end = span(place.parameter)[1]
        for other in ordered[index + 1 :]:
            if span(other.parameter)[0] >= end:
                break
            if other.parameter is not place.parameter and not place.kind == other.kind == "vector":
                for one, another in ((place, other), (other, place)):
                    if one.kind != "vector":
                        one.obstacle = one.obstacle or f"its memory is part of that of {another.name}"
    for place in places:
        tied = [other for other in places if other.parameter is place.parameter and other is not place]
        for other in tied:
            if other.obstacle and not place.obstacle:
                place.obstacle = f"its weight is tied to {other.name}, which can't be quantized: {other.obstacle}"


def _has_memory(tensor: Tensor) -> bool:
    begin, end = span(tensor)
    return begin < end
