"""The embeddings of a model: where they are, what can't be replaced and why, and who shares their weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .._evaluate import Evaluation
from ._compressed import Compressed
from ._modules import CompressedEmbedding, CompressedEmbeddingBag, check_module
from ._parts import Parts
from ._quantized import Packed, is_quantized
from ._state import same_memory, span

ALREADY = "it is compressed already"


@dataclass
class Place:
    """A name at which a module hangs."""

    name: str
    parent: nn.Module
    attribute: str
    module: nn.Module
    reason: str = ""
    """Why it is left as it is; empty if it is replaced."""
    is_asked_for: bool = False
    """Whether the reason is that somebody wanted it so."""
    notes: list[str] = field(default_factory=list)
    packed: Packed | None = None
    """What it holds if it is quantized."""


@dataclass
class Weight:
    """A weight, the places that use it, and what becomes of it."""

    source: Tensor | Packed
    """What is compressed, or taken over as it is."""
    places: list[Place] = field(default_factory=list)
    heads: list[Place] = field(default_factory=list)
    """Of modules that are no embeddings and get the table too."""
    stays: bool = False
    """Whether something else keeps the weight."""
    parts: Parts | None = None
    evaluation: Evaluation | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, dimension)."""
        if isinstance(self.source, Packed):
            return self.source.rows, self.source.dimension
        rows, dimension = self.source.shape
        return rows, dimension

    @property
    def stored_bytes(self) -> int:
        """Bytes that it has before."""
        return bytes_of(self.source)


def bytes_of(source: Tensor | Packed) -> int:
    """Return the bytes of a weight."""
    if isinstance(source, Packed):
        return source.packed_bytes
    return source.numel() * source.element_size()


def find(model: nn.Module) -> list[Place]:
    """Return the embeddings of a model, in its order, by every name that they have."""
    return [place for place in _children(model) if is_embedding(place.module)]


def _children(model: nn.Module) -> list[Place]:
    return [
        Place(f"{prefix}.{attribute}" if prefix else attribute, parent, attribute, child)
        for prefix, parent in model.named_modules()
        for attribute, child in parent._modules.items()
        if child is not None
    ]


def is_embedding(module: nn.Module) -> bool:
    """Whether a module looks rows of a matrix up, or has the name of one that does, and is to be reported."""
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or is_quantized(module):
        return True
    return type(module).__name__ in ("Embedding", "EmbeddingBag") or is_functional_embedding(module)


LOOKUPS = ("embedding", "embedding_bag")
"""torch's functions that look rows up."""
PRODUCTS = frozenset({"linear", "addmm", "matmul", "mm"})
"""torch's functions that multiply with a matrix."""


def is_functional_embedding(module: nn.Module) -> bool:
    """Whether a module of any class looks rows of its `weight` up."""
    if isinstance(module, Compressed):
        return isinstance(module, (CompressedEmbedding, CompressedEmbeddingBag))
    weight = module._parameters.get("weight")
    if weight is None or weight.dim() != 2 or type(module).__module__.partition(".")[0] == __name__.partition(".")[0]:
        return False
    # What the module has under such a name is a layer of it, not torch's function.
    return reads_weight(module) and any(name in _names(module) and not hasattr(module, name) for name in LOOKUPS)


def multiplies(module: nn.Module) -> bool:
    """Whether the forward of a module's class names a product, as layers' do and those of normalizations do not."""
    return bool(PRODUCTS & _names(module))


def reads_weight(module: nn.Module) -> bool:
    """Whether the forward of a module's class asks for its attribute `weight`."""
    return "weight" in _names(module)


def _names(module: nn.Module) -> set[str]:
    """Return the attributes and functions that a module's forward names."""
    code = getattr(inspect.unwrap(type(module).forward), "__code__", None)
    return set() if code is None else set(code.co_names)


def class_obstacle(module: nn.Module) -> str:
    """Return why a table can't take the place of a module's weight, or an empty string."""
    if "forward" in vars(module):
        return "its forward is not that of its class, and would be lost"
    taken = [name for name in ("parts", "dtype", "table") if hasattr(module, name)]
    if taken and not isinstance(module, Compressed):
        return f"it has an attribute {taken[0]!r} of its own"
    others = [name for name in parametrizations(module) if name != "weight"]
    if others:
        return f"its {others[0]} has a parametrization, which would be lost"
    return ""


def parametrizations(module: nn.Module) -> dict[str, parametrize.ParametrizationList]:
    """Return the parametrizations of a module's parameters, by their names."""
    lists: Any = module.parametrizations if parametrize.is_parametrized(module) else {}
    return dict(lists.items())


def weight_obstacle(weight: Tensor) -> str:
    """Return why a weight can't be compressed, whatever module it is of, or an empty string."""
    if type(weight) is not nn.Parameter or weight.layout != torch.strided:
        return f"its weight is a {type(weight).__name__} of layout {weight.layout}"
    if not weight.dtype.is_floating_point or weight.element_size() == 1:
        return f"its weight is of {weight.dtype}"
    return ""


def obstacle(place: Place) -> str:
    """Return why a module can't be replaced, or an empty string."""
    module = place.module
    if isinstance(module, Compressed):
        return ALREADY
    if is_quantized(module):
        place.packed = Packed.of(module)
        return place.packed.obstacle() or _hooks(module)
    if not isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and not is_functional_embedding(module):
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        return f"{kind} is not a torch.nn.Embedding or EmbeddingBag, and looks no rows of a matrix `weight` up"
    found = class_obstacle(module)
    if found:
        return found
    try:
        check_module(module)
    except NotImplementedError as error:
        return str(error)
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is not a parameter but computed"
    found = weight_obstacle(weight)
    if not found and weight.device.type != "cpu":
        found = f"its weight is on {weight.device}, and a compressed table works on the CPU"
    return found or _hooks(module)


def _hooks(module: nn.Module) -> str:
    return "it has forward hooks, which would be lost" if module._forward_hooks or module._forward_pre_hooks else ""


def gather(places: list[Place]) -> list[Weight]:
    """Return the weights to compress, each with all the places that use it in full."""
    weights: dict[object, Weight] = {}
    for place in places:
        if place.reason:
            continue
        source: Tensor | Packed
        key: object
        if place.packed is not None:
            source = place.packed
            key = packed_key(place.module)
        else:
            tensor = place.module.weight
            assert isinstance(tensor, Tensor)
            source, key = tensor, same_memory(tensor)
        weights.setdefault(key, Weight(source)).places.append(place)
    return list(weights.values())


def heed_ties(model: nn.Module, weight: Weight, tied: str, is_wanted: Callable[[str, nn.Module], bool]) -> None:
    """Find what would keep a weight's memory when its places are gone: it shares the table, or the weight stays."""
    packed = isinstance(weight.source, Packed)
    names, heads = (_packed_holders(model, weight), []) if packed else _holders(model, weight)
    if not names:
        return
    holders, unwanted = ", ".join(names), ""
    if tied == "share":
        sharing = [place for place in _children(model) if any(place.module is head for head in heads)]
        left_out = [place.name for place in sharing if not is_wanted(place.name, place.module)]
        if len(heads) == len(names) and not left_out:
            weight.heads = sharing
            return
        unwanted = f", and filter_fn leaves {', '.join(left_out)} out" if left_out else ""
    for place in weight.places:
        if tied == "untie":
            kind = "packed" if packed else "dense"
            place.notes.append(f"untied from {holders}, which keeps the {kind} weight")
            weight.stays = True
        else:
            place.reason = f"its weight is tied to {holders}{unwanted} (tied='untie' compresses it all the same)"


def _holders(model: nn.Module, weight: Weight) -> tuple[list[str], list[nn.Module]]:
    """Return the parameters and buffers that lie on a weight's memory when its places are gone.

    And the modules of those that are the whole matrix `weight` of a module that can share a table.
    """
    assert isinstance(weight.source, Tensor)
    replaced = {id(place.module) for place in weight.places}
    kept = _staying(model, weight)
    begin, end = span(weight.source)
    names, heads = [], []
    for prefix, module in model.named_modules():
        for attribute, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None or (attribute == "weight" and id(module) in replaced and id(module) not in kept):
                continue
            other = span(tensor)
            if begin < other[1] and other[0] < end:
                names.append(kept.get(id(module)) or (f"{prefix}.{attribute}" if prefix else attribute))
                if (
                    module is not model
                    and id(module) not in kept
                    and _can_share(module, attribute, tensor, weight.source)
                ):
                    heads.append(module)
    return names, heads


def _can_share(module: nn.Module, attribute: str, tensor: Tensor, weight: Tensor) -> bool:
    """Whether the weight of a module that is no embedding, such as a head, can be the table of an embedding's."""
    whole = attribute == "weight" and same_memory(tensor) == same_memory(weight)
    if not whole or is_embedding(module) or isinstance(module, Compressed):
        return False
    return (isinstance(module, nn.Linear) or reads_weight(module)) and not (class_obstacle(module) or _hooks(module))


def _packed_holders(model: nn.Module, weight: Weight) -> list[str]:
    """Return the quantized modules that have the same packed weight, and stay."""
    gone = {(id(place.parent), place.attribute) for place in weight.places}
    return [
        place.name
        for place in find(model)
        if is_quantized(place.module)
        and packed_key(place.module) == packed_key(weight.places[0].module)
        and (id(place.parent), place.attribute) not in gone
    ]


def packed_key(module: object) -> int:
    """Return what packed weights are told apart by."""
    return id(module._packed_params._packed_weight)  # type: ignore[attr-defined]


def _staying(model: nn.Module, weight: Weight) -> dict[int, str]:
    """Return the modules of a weight that keep another place in the model, which filter_fn left out, and that place."""
    mine = {id(place.module) for place in weight.places}
    gone = {(id(place.parent), place.attribute) for place in weight.places}
    return {
        id(place.module): f"{place.name}.weight"
        for place in find(model)
        if id(place.module) in mine and (id(place.parent), place.attribute) not in gone
    }
