"""`prepare`: an ordinary model becomes one that trains with quantized weights and activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import nn
from torch.nn.utils import parametrize

from .._checks import check_type
from ._fake import FakeQuantizedActivation, FakeQuantizedWeight, Quantization
from ._inputs import quantize_inputs
from ._parameter_report import ParameterEntry, ParameterReport
from ._parameters import ATTENTION_WEIGHTS, Place, find
from ._parts import Parts

DENSE_BITS = 32
_VECTOR = "a vector, not a matrix"


def prepare(
    model: nn.Module,
    weights: Quantization | int = 4,
    *,
    embeddings: Quantization | int = 8,
    activations: int | None = 8,
    by_name: Mapping[str, Quantization | int | None] | None = None,
    unsupported: Literal["raise", "keep"] = "raise",
) -> ParameterReport:
    """Make a model train with the rounding that its packed form will have (Q-BERT, Shen et al. 2020, arXiv 1909.05840).

    The weights of every Linear, Embedding, EmbeddingBag and MultiheadAttention get a parametrization
    (torch.nn.utils.parametrize) that rounds them, with straight-through gradients; the parameters themselves stay the
    same objects, so optimizers and training loops are what they were. The inputs of Linear and MultiheadAttention are
    rounded before each call, in one range each that is a moving average; those of an attention's output layer, scores,
    softmax and normalizations are not. Biases and other vectors stay as they are. Tied weights are rounded once, in one
    way, and a layer that is used twice has one range. In models with nn.TransformerEncoder, nested tensors are
    switched off, which hooks can't see into.

    Args:
        model: It is changed in place, after everything has been checked. Call it before making an optimizer or after.
        weights: Of linear layers and attentions; an int is the bits, in 128 groups of columns.
        embeddings: Of embeddings; likewise. A tied weight has the settings of its embedding.
        activations: Bits, or None to leave activations as they are.
        by_name: Other settings for some layers: by a layer's name, that of a layer around it, or a pattern of
            `fnmatch`, such as "encoder.layer.0" or "*.attention.*"; of several that fit, the first counts. An int
            changes the bits alone; None, or 32 bits, leaves a layer as it is, with its input.
        unsupported: What to do with matrices of other layers, such as convolutions, and with those that can't be
            quantized: "raise", or "keep" to leave them as they are.

    Returns:
        An entry for each parameter and each buffer that is saved, with the bytes that it will take.

    Raises:
        ValueError: matrices that can't be quantized, by their names and reasons; an option out of range; a pattern that
            fits nothing; two settings for one tied weight; only some weights of one attention left out; a model that
            has been prepared before.
    """
    check_type(model, nn.Module, "model", "a torch.nn.Module")
    if unsupported not in ("raise", "keep"):
        raise ValueError(f"unsupported must be 'raise' or 'keep', not {unsupported!r}")
    if any(isinstance(module, FakeQuantizedWeight) for module in model.modules()):
        raise ValueError("the model has been prepared already")
    if activations is not None:
        FakeQuantizedActivation(activations)
    places, plan, decided = planned(model, weights, embeddings, by_name or {}, unsupported)
    report = ParameterReport(_entries(model, places, plan, decided))
    _register(places, decided, activations)
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
    return report


def planned(
    model: nn.Module,
    weights: Quantization | int,
    embeddings: Quantization | int,
    by_name: Mapping[str, Quantization | int | None],
    unsupported: str,
) -> tuple[list[Place], _Plan, dict[int, Quantization]]:
    """Return every parameter, what is asked of each, and the settings of those that are quantized, by identity.

    The arguments, and the errors, are those of `prepare`.
    """
    places = find(model)
    chosen = _Settings(_settings(weights, Quantization()), _settings(embeddings, Quantization(bits=8)), by_name)
    plan = {id(place): chosen.of(place) for place in places}
    chosen.check_used()
    _refuse(places, plan, unsupported)
    decided = _decide(places, plan)
    _check_attentions(places, decided)
    return places, plan, decided


def _settings(given: Quantization | int, default: Quantization) -> Quantization:
    return given if isinstance(given, Quantization) else replace(default, bits=given)


class _Settings:
    """Which settings a layer has."""

    def __init__(
        self,
        weights: Quantization,
        embeddings: Quantization,
        by_name: Mapping[str, Quantization | int | None],
    ) -> None:
        self._weights, self._embeddings, self._by_name = weights, embeddings, by_name
        self._used: set[str] = set()

    def of(self, place: Place) -> tuple[Quantization | None, str | None]:
        """Return the settings, None to leave it as it is, and the pattern that they come from."""
        default = self._embeddings if place.kind == "embedding" else self._weights
        found = [pattern for pattern in self._by_name if _fits(pattern, place)]
        self._used.update(found)
        if not found:
            return default, None
        given = self._by_name[found[0]]
        if given is None or (not isinstance(given, Quantization) and given == DENSE_BITS):
            return None, found[0]
        return _settings(given, default), found[0]

    def check_used(self) -> None:
        """Refuse patterns that fit nothing."""
        unused = [pattern for pattern in self._by_name if pattern not in self._used]
        if unused:
            raise ValueError(f"by_name has {unused[0]!r}, but the model has no layer of that name")


def _fits(pattern: str, place: Place) -> bool:
    parts = place.name.split(".")
    return any(fnmatchcase(".".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


_Plan = Mapping[int, tuple[Quantization | None, str | None]]


def _refuse(places: list[Place], plan: _Plan, unsupported: str) -> None:
    """Refuse matrices that can't be quantized, unless they are to be kept."""
    wrong = [place for place in places if place.obstacle and plan[id(place)][0] is not None]
    if wrong and unsupported == "raise":
        listed = "\n".join(f"  {place.name}: {place.obstacle}" for place in wrong)
        raise ValueError(
            f"some matrices can't be quantized:\n{listed}\n"
            "unsupported='keep' leaves them as they are, as by_name={name: None} does for one"
        )


def _decide(places: list[Place], plan: _Plan) -> dict[int, Quantization]:
    """Return the settings of each parameter that is quantized, by its identity."""
    decided: dict[int, Quantization] = {}
    tied: dict[int, list[Place]] = {}
    for place in places:
        tied.setdefault(id(place.parameter), []).append(place)
    for key, group in tied.items():
        if any(place.obstacle or place.kind in ("vector", "other") for place in group):
            continue
        named = [place for place in group if plan[id(place)][1] is not None]
        first = (named or [place for place in group if place.kind == "embedding"] or group)[0]
        settings = plan[id(first)][0]
        for place in named:
            if plan[id(place)][0] != settings:
                raise ValueError(
                    f"{first.name} and {place.name} are one tied weight, but by_name has two settings for it: "
                    f"those of {plan[id(first)][1]!r} and of {plan[id(place)][1]!r}"
                )
        if settings is not None:
            decided[key] = settings
    return decided


def _check_attentions(places: list[Place], decided: Mapping[int, Quantization]) -> None:
    """Refuse an attention of which only some weights are quantized: it is packed as a whole."""
    for place in places:
        if place.kind == "attention":
            module = place.module
            assert isinstance(module, nn.MultiheadAttention)
            own = [getattr(module, name) for name in ATTENTION_WEIGHTS]
            matrices = [*(weight for weight in own if weight is not None), module.out_proj.weight]
            if len({id(weight) in decided for weight in matrices}) > 1:
                raise ValueError(f"{place.module_name}: either all weights of an attention are quantized or none")


def _register(places: list[Place], decided: Mapping[int, Quantization], activations: int | None) -> None:
    quantizers: dict[int, FakeQuantizedWeight] = {}
    output_layers = {id(place.module.out_proj) for place in places if place.kind == "attention"}
    rounded: set[int] = set()
    firsts: set[int] = set()
    for place in places:
        weight, module = place.parameter, place.module
        if id(weight) not in decided:
            continue
        if id(weight) not in quantizers:
            rows, columns = weight.shape
            quantizer = FakeQuantizedWeight(decided[id(weight)], rows, columns).to(weight.device)
            quantizers[id(weight)] = quantizer.train(module.training)
        parametrize.register_parametrization(module, place.attribute, quantizers[id(weight)])
        _tell_transformers(module, place.attribute, weight, firsts)
        if activations is None or place.kind == "embedding" or id(module) in output_layers or id(module) in rounded:
            continue
        rounded.add(id(module))
        quantize_inputs(module, FakeQuantizedActivation(activations).to(weight.device).train(module.training))


def _tell_transformers(module: nn.Module, attribute: str, weight: nn.Parameter, firsts: set[int]) -> None:
    """Declare a tied weight's later places as transformers does, whose save_pretrained refuses undeclared ones."""
    if id(weight) in firsts:
        lists = module.parametrizations
        assert isinstance(lists, nn.ModuleDict)
        steps: Any = lists[attribute]
        steps._tied_weights_keys = {name: name for name in steps.state_dict()}
    firsts.add(id(weight))


def _entries(
    model: nn.Module, places: list[Place], plan: _Plan, decided: Mapping[int, Quantization]
) -> list[ParameterEntry]:
    entries = []
    seen: dict[int, str] = {}
    for place in places:
        weight = place.parameter
        size = weight.numel() * weight.element_size()
        settings = decided.get(id(weight))
        shape = tuple(weight.shape)
        first = seen.setdefault(id(weight), place.name)
        if first != place.name:
            status: Literal["shared", "kept"] = "kept" if settings is None else "shared"
            entries.append(ParameterEntry(place.name, shape, status, settings, f"tied to {first}", 0, 0))
        elif settings is not None:
            after = settings.stored_bytes(*weight.shape)
            entries.append(ParameterEntry(place.name, shape, "quantized", settings, "", size, after))
        else:
            reason = place.obstacle or (_VECTOR if place.kind == "vector" else "by_name leaves it as it is")
            entries.append(ParameterEntry(place.name, shape, "kept", None, reason, size, size))
    return entries + table_entries(model) + buffer_entries(model)


def table_entries(model: nn.Module) -> list[ParameterEntry]:
    """Return entries of the tables that a model has already, each once."""
    entries = []
    for name, module in model.named_modules():
        if isinstance(module, Parts):
            shape, size = (module.num_embeddings, module.embedding_dim), module.table().stored_bytes
            full = f"{name.removesuffix('parts')}weight"
            entries.append(ParameterEntry(full, shape, "kept", None, "a table already", size, size))
    return entries


def buffer_entries(model: nn.Module) -> list[ParameterEntry]:
    """Return entries of the buffers that a state_dict has, but those of tables."""
    entries = []
    for prefix, module in model.named_modules():
        for name, buffer in {} if isinstance(module, Parts) else module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                size = buffer.numel() * buffer.element_size()
                full = f"{prefix}.{name}" if prefix else name
                entries.append(ParameterEntry(full, tuple(buffer.shape), "kept", None, "a buffer", size, size))
    return entries
