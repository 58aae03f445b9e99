"""`compress_model_`: every embedding of a model, in place."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import compress, evaluate
from .._checks import check_type
from .._evaluate import Evaluation
from .._progress import Progress, ProgressOption, reporting
from .._table import dense
from ._modules import CompressedEmbedding, CompressedEmbeddingBag, check_module
from ._parts import Parts
from ._quantized import Packed, is_quantized, is_quantized_bag
from ._report import Layer, Report

_Dense = nn.Embedding | nn.EmbeddingBag
_ALREADY = "it is compressed already"
_FILTERED = "filter_fn leaves it out"


@dataclass
class _Place:
    """A name at which an embedding hangs."""

    name: str
    parent: nn.Module
    attribute: str
    module: nn.Module
    reason: str = ""
    """Why it is left as it is; empty if it is replaced."""
    notes: list[str] = field(default_factory=list)
    packed: Packed | None = None
    """What it holds if it is quantized."""


@dataclass
class _Weight:
    """A weight, the places that use it, and what becomes of it."""

    source: Tensor | Packed
    """What is compressed, or taken over as it is."""
    places: list[_Place] = field(default_factory=list)
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
        return _bytes_of(self.source)


def compress_model_(
    model: nn.Module,
    method: str = "least_squares",
    *,
    filter_fn: Callable[[str, nn.Module], bool] | None = None,
    tied: Literal["skip", "untie"] = "skip",
    progress: ProgressOption = None,
    **options: Any,
) -> Report:
    """Put a compressed embedding in the place of every Embedding and EmbeddingBag of a model.

    Embeddings that share a weight share one table, and one module at two names stays one. A weight that something else
    uses too, such as the output layer of a language model, is not compressed unless `tied` says so. Whatever is left as
    it is stands in the report with the reason, and in a warning unless it was asked for. The new modules return rows in
    the dtype of the old weights, and need the CPU.

    Those of torch.ao.nn.quantized are taken over with the codes, scales and biases that they have, whatever the method,
    and count as "imported" in the report. torch's own ignore their mode and always sum, and read 4-bit codes as 8-bit
    ones in an Embedding that `quantize_dynamic` made; the new ones do what they are told, and what changes by it stands
    in the report and in a warning. `CompressedEmbeddingBag.from_module` says how sums are kept.

    Args:
        model: It is changed only after everything has been compressed: if anything fails, it is as it was.
        method: A name from `embedcompress.methods()`. Not used for quantized modules, nor are the options.
        filter_fn: Called as filter_fn(name, module) for each embedding; those for which it is false are left out.
        tied: What to do with an embedding whose weight is used elsewhere too. "skip" leaves it; "untie" compresses it
            and leaves the dense weight to the others, so that the two differ by the compression's error.
        progress: Told of rows; see `embedcompress.compress`.
        **options: The method's own, and budget, for each table; see `embedcompress.compress`.

    Returns:
        A row for each embedding, with its bytes and error.

    Raises:
        ValueError: the model is itself an embedding, which can't be changed in place; or as `embedcompress.compress`
            has it, or a quantized module has a scale or a bias that is not finite, with a note that names the layer.
    """
    check_type(model, nn.Module, "model", "a torch.nn.Module")
    if tied not in ("skip", "untie"):
        raise ValueError(f"tied must be 'skip' or 'untie', not {tied!r}")
    if _is_embedding(model):
        raise ValueError("the model is itself an embedding; use CompressedEmbedding.from_module(model) or its like")
    places = _find(model)
    for place in places:
        place.reason = _obstacle(place)
        if filter_fn is not None and not filter_fn(place.name, place.module):
            place.reason = _FILTERED
    weights = _gather(places)
    for weight in weights:
        _heed_ties(model, weight, tied)
    weights = [weight for weight in weights if not weight.places[0].reason]
    with reporting(progress, "compress", "rows") as report:
        _compress(weights, method, report, options)
    _swap(weights)
    for place in places:
        if place.reason not in ("", _ALREADY, _FILTERED):
            warnings.warn(f"{place.name} is not compressed: {place.reason}", UserWarning, stacklevel=2)
        for note in place.packed.notes() if place.packed is not None and not place.reason else ():
            warnings.warn(f"{place.name} changes its results: {note}", UserWarning, stacklevel=2)
    if not places:
        warnings.warn("the model has no torch.nn.Embedding or EmbeddingBag", UserWarning, stacklevel=2)
    return _report(places, weights, method)


def _is_embedding(module: nn.Module) -> bool:
    known = isinstance(module, (nn.Embedding, nn.EmbeddingBag, CompressedEmbedding, CompressedEmbeddingBag))
    # Other libraries' modules of these names are no subclasses, and are reported.
    return known or is_quantized(module) or type(module).__name__ in ("Embedding", "EmbeddingBag")


def _find(model: nn.Module) -> list[_Place]:
    places = []
    for prefix, parent in model.named_modules():
        for attribute, child in parent._modules.items():
            if child is not None and _is_embedding(child):
                name = f"{prefix}.{attribute}" if prefix else attribute
                places.append(_Place(name, parent, attribute, child))
    return places


def _obstacle(place: _Place) -> str:
    """Return why a module can't be replaced, or an empty string."""
    module = place.module
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    if isinstance(module, (CompressedEmbedding, CompressedEmbeddingBag)):
        return _ALREADY
    if is_quantized(module):
        place.packed = Packed.of(module)
        return place.packed.obstacle() or _hooks(module)
    if not isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return f"{kind} is not a torch.nn.Embedding or EmbeddingBag"
    base = nn.Embedding if isinstance(module, nn.Embedding) else nn.EmbeddingBag
    if type(module).forward is not base.forward or "forward" in vars(module):
        return f"{kind} has a forward of its own, which would be lost"
    try:
        check_module(module)
    except NotImplementedError as error:
        return str(error)
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is not a parameter but computed"
    if type(weight) is not nn.Parameter or weight.layout != torch.strided:
        return f"its weight is a {type(weight).__name__} of layout {weight.layout}"
    if weight.device.type != "cpu":
        return f"its weight is on {weight.device}, and a compressed table works on the CPU"
    if not weight.dtype.is_floating_point or weight.element_size() == 1:
        return f"its weight is of {weight.dtype}"
    return _hooks(module)


def _hooks(module: nn.Module) -> str:
    return "it has forward hooks, which would be lost" if module._forward_hooks or module._forward_pre_hooks else ""


def _gather(places: list[_Place]) -> list[_Weight]:
    """Return the weights to compress, each with all the places that use it in full."""
    weights: dict[object, _Weight] = {}
    for place in places:
        if place.reason:
            continue
        source: Tensor | Packed
        key: object
        if place.packed is not None:
            source = place.packed
            key = _packed_key(place.module)
        else:
            tensor = place.module.weight
            assert isinstance(tensor, Tensor)
            source = tensor
            key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else id(tensor)
        weights.setdefault(key, _Weight(source)).places.append(place)
    return list(weights.values())


def _heed_ties(model: nn.Module, weight: _Weight, tied: str) -> None:
    """Find what would keep a weight's memory when its places are gone; leave them as they are, or note it."""
    packed = isinstance(weight.source, Packed)
    holders = _packed_holders(model, weight) if packed else _holders(model, weight)
    if holders:
        for place in weight.places:
            if tied == "untie":
                kind = "packed" if packed else "dense"
                place.notes.append(f"untied from {', '.join(holders)}, which keeps the {kind} weight")
            else:
                place.reason = f"its weight is tied to {', '.join(holders)} (tied='untie' compresses it all the same)"


def _holders(model: nn.Module, weight: _Weight) -> list[str]:
    """Return the parameters and buffers that lie on a weight's memory when its places are gone."""
    assert isinstance(weight.source, Tensor)
    replaced = {id(place.module) for place in weight.places}
    kept = _staying(model, weight)
    begin, end = _span(weight.source)
    holders = []
    for prefix, module in model.named_modules():
        for attribute, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None or (attribute == "weight" and id(module) in replaced and id(module) not in kept):
                continue
            other = _span(tensor)
            if begin < other[1] and other[0] < end:
                holders.append(kept.get(id(module)) or (f"{prefix}.{attribute}" if prefix else attribute))
    return holders


def _packed_holders(model: nn.Module, weight: _Weight) -> list[str]:
    """Return the quantized modules that have the same packed weight, and stay."""
    gone = {(id(place.parent), place.attribute) for place in weight.places}
    return [
        place.name
        for place in _find(model)
        if is_quantized(place.module)
        and _packed_key(place.module) == _packed_key(weight.places[0].module)
        and (id(place.parent), place.attribute) not in gone
    ]


def _packed_key(module: Any) -> int:
    """Return what packed weights are told apart by."""
    return id(module._packed_params._packed_weight)


def _staying(model: nn.Module, weight: _Weight) -> dict[int, str]:
    """Return the modules of a weight that keep another place in the model, which filter_fn left out, and that place."""
    mine = {id(place.module) for place in weight.places}
    gone = {(id(place.parent), place.attribute) for place in weight.places}
    return {
        id(place.module): f"{place.name}.weight"
        for place in _find(model)
        if id(place.module) in mine and (id(place.parent), place.attribute) not in gone
    }


def _span(tensor: Tensor) -> tuple[int, int]:
    """Return the range of addresses that a tensor lies in; an empty one if it has no memory."""
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.numel() == 0:
        return 0, 0
    try:
        begin = tensor.data_ptr()
    except RuntimeError:
        # A tensor subclass may stand on no memory of its own.
        return 0, 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return begin, begin + (last + 1) * tensor.element_size()


def _compress(weights: list[_Weight], method: str, progress: Progress | None, options: dict[str, Any]) -> None:
    total = sum(weight.shape[0] for weight in weights)
    before = 0
    for weight in weights:
        rows = weight.shape[0]
        try:
            if isinstance(weight.source, Packed):
                table = weight.source.take_over()
                if progress is not None and progress(before + rows, total) is False:
                    raise KeyboardInterrupt
            else:
                source = dense(weight.source)
                step = None if progress is None else _step(progress, before, rows, total)
                table = compress(source, method, progress=step, **options)
                weight.evaluation = evaluate(table, source, queries=0)
        except (ValueError, TypeError) as error:
            error.add_note(f"in the layer {weight.places[0].name}; the model is as it was")
            raise
        weight.parts = Parts(table)
        before += rows


def _step(progress: Progress, before: int, rows: int, total: int) -> Progress:
    return lambda done, of: progress(before + done * rows // max(of, 1), total)


def _swap(weights: list[_Weight]) -> None:
    """Replace the modules. Nothing here can fail, so the model never stays half changed."""
    pairs = []
    made: dict[int, nn.Module] = {}
    for weight in weights:
        for place in weight.places:
            if id(place.module) not in made:
                made[id(place.module)] = _replacement(place.module, weight)
            pairs.append((place, made[id(place.module)]))
    for place, module in pairs:
        place.parent._modules[place.attribute] = module


def _replacement(module: nn.Module, weight: _Weight) -> nn.Module:
    assert weight.parts is not None
    dtype = weight.source.dtype if isinstance(weight.source, Tensor) else None
    padding_idx: Any = getattr(module, "padding_idx", None)
    new: CompressedEmbedding | CompressedEmbeddingBag
    if isinstance(module, nn.EmbeddingBag) or is_quantized_bag(module):
        mode: Any = module.mode
        include_last_offset: Any = module.include_last_offset
        new = CompressedEmbeddingBag(weight.parts, mode, padding_idx, include_last_offset, dtype=dtype)
    else:
        new = CompressedEmbedding(weight.parts, padding_idx, dtype=dtype)
    return new.train(module.training)


def _report(places: list[_Place], weights: list[_Weight], method: str) -> Report:
    weight_of = {id(place): weight for weight in weights for place in weight.places}
    return Report([_layer(place, weight_of.get(id(place)), method) for place in places])


def _layer(place: _Place, weight: _Weight | None, method: str) -> Layer:
    if weight is None:
        weight_of_place = place.packed or getattr(place.module, "weight", None)
        size = _bytes_of(weight_of_place) if isinstance(weight_of_place, (Tensor, Packed)) else 0
        if isinstance(place.module, (CompressedEmbedding, CompressedEmbeddingBag)):
            size = place.module.table.stored_bytes
        rows, dimension = (int(getattr(place.module, name, 0)) for name in ("num_embeddings", "embedding_dim"))
        return Layer(place.name, rows, dimension, None, "skipped", place.reason, size, size, None, None)
    rows, dimension = weight.shape
    errors: tuple[float | None, float | None] = None, None
    status: Literal["compressed", "imported"] = "imported"
    used: str | None = None
    notes = [] if place.packed is None else place.packed.notes()
    if weight.evaluation is not None:
        errors = weight.evaluation.normalized_l2, weight.evaluation.mean_cosine
        status, used = "compressed", method
    first = weight.places[0]
    if place is not first:
        same = "the same module as" if place.module is first.module else "the table of"
        reason = "; ".join([f"{same} {first.name}", *notes])
        return Layer(place.name, rows, dimension, used, "shared", reason, 0, 0, *errors)
    if place.packed is not None:
        notes.insert(0, f"its {place.packed.bits}-bit codes, scales and biases are taken over as they are")
    reason = "; ".join([*notes, *place.notes])
    assert weight.parts is not None
    after = weight.parts.table().stored_bytes
    return Layer(place.name, rows, dimension, used, status, reason, weight.stored_bytes, after, *errors)


def _bytes_of(source: Tensor | Packed) -> int:
    if isinstance(source, Packed):
        return source.packed_bytes
    return source.numel() * source.element_size()
