"""`convert`: a prepared model becomes one of packed tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .. import Table
from .._checks import check_type
from .._group_quantize import group_quantize
from ._attention import CompressedMultiheadAttention
from ._compressed import compressed
from ._fake import FakeQuantizedActivation, FakeQuantizedWeight, Quantization
from ._inputs import INPUT_QUANTIZER, round_inputs
from ._parameter_report import ParameterEntry, ParameterReport
from ._parameters import Place
from ._parts import Parts
from ._places import parametrizations
from ._prepare import buffer_entries, planned, table_entries
from ._ties import settle

OUT_PROJECTION = "out_proj.weight"


@dataclass
class _Layer:
    """A layer that is to be replaced."""

    name: str
    module: nn.Module
    weights: dict[str, tuple[FakeQuantizedWeight | _AtOnce, Tensor]] = field(default_factory=dict)
    """By the names that `replacement` takes."""


@dataclass(eq=False)
class _AtOnce:
    """What makes the table of a weight that was not prepared."""

    settings: Quantization

    def table(self, weight: Tensor) -> Table:
        """Return the table of the weight as it is, of which no copy in f32 is made."""
        s = self.settings
        assert s.ranges != "moving_average"
        return group_quantize(
            weight.detach(),
            s.bits,
            group=s.group,
            groups=s.groups,
            block=s.block,
            ranges=s.ranges,
            scale_dtype=s.scale_dtype,
        )


def convert(model: nn.Module) -> ParameterReport:
    """Put tables in the place of the weights of a prepared model.

    Layers become CompressedLinear, CompressedEmbedding and their like; one with a forward of its own keeps it, in a
    class derived from its own. The tables hold the codes that the weights were rounded to, so the model computes the
    same in eval mode: to the bit where torch multiplies with MKL in f32, up to the last bits elsewhere, where an
    activation at the border of two codes may fall to the other one. Ranges of activations stay as they are from now on.
    Tied weights share one table. The result is for inference on the CPU.

    Args:
        model: What `prepare` has changed, on any device; changed in place, after all tables have been made.

    Returns:
        An entry for each parameter and each buffer that is saved; `bytes_after` is what `save_compressed` stores.

    Raises:
        ValueError: the model is not prepared, or is itself a layer, which can't be changed in place; a layer has a hook
            or a parametrization of somebody else, or activations that no batch has been seen of; a weight is not
            finite. The message names the layer.
    """
    check_type(model, nn.Module, "model", "a torch.nn.Module")
    layers = _layers(model)
    if not layers:
        raise ValueError("the model has no layer that prepare() has changed")
    return _pack(model, layers)


def convert_at_once(
    model: nn.Module, weights: Quantization, by_name: Mapping[str, Quantization | int | None]
) -> ParameterReport:
    """Put tables in the place of the weights of a model as it is, which have the codes that `prepare` would give them.

    What can't be quantized stays. Besides the tables this takes no memory that grows with the model, where `prepare`
    rounds every weight once.

    Args:
        model: On the CPU; changed in place, after all tables have been made.
        weights: Of linear layers, attentions and embeddings; ranges are those of the weights as they are.
        by_name: As `prepare` takes it.

    Raises:
        ValueError: as `prepare` and `convert` have it.
    """
    places, _, decided = planned(model, weights, weights, by_name, "keep")
    return _pack(model, _layers_of(places, decided))


def _pack(model: nn.Module, layers: list[_Layer]) -> ParameterReport:
    """Make the tables of layers, and put them into the model."""
    if any(layer.module is model for layer in layers):
        raise ValueError("the model is itself a layer, which can't be changed in place: put it into a Sequential")
    for layer in layers:
        _check(layer)
    parts: dict[int, Parts] = {}
    for layer in layers:
        for quantizer, weight in layer.weights.values():
            if id(quantizer) not in parts:
                try:
                    parts[id(quantizer)] = Parts(quantizer.table(weight))
                except ValueError as error:
                    error.add_note(f"in the layer {layer.name}; the model is as it was")
                    raise
    entries = list(_packed_entries(layers, parts))
    tables = table_entries(model)
    pairs = {}
    for layer in layers:
        own = {name: parts[id(quantizer)] for name, (quantizer, _) in layer.weights.items()}
        dtype = next(iter(layer.weights.values()))[1].dtype
        quantizer_of_input = layer.module._modules.get(INPUT_QUANTIZER)
        pairs[id(layer.module)] = replacement(layer.module, own, quantizer_of_input, dtype)
    swap(model, pairs)
    settle(model)
    return ParameterReport([*entries, *tables, *_kept_entries(model), *buffer_entries(model)])


def _layers(model: nn.Module) -> list[_Layer]:
    """Return the layers to replace; the output layer of an attention belongs to the attention."""
    layers: list[_Layer] = []
    inner: set[int] = set()
    for name, module in model.named_modules():
        layer = _Layer(name, module)
        _collect(layer, module, "")
        if isinstance(module, nn.MultiheadAttention) and layer.weights:
            _collect(layer, module.out_proj, "out_proj.")
            inner.add(id(module.out_proj))
        if layer.weights and id(module) not in inner:
            layers.append(layer)
    return layers


def _layers_of(places: list[Place], decided: Mapping[int, Quantization]) -> list[_Layer]:
    """Return the layers to replace in a model that is not prepared, as `_layers` does."""
    layers: dict[int, _Layer] = {}
    quantizers = {key: _AtOnce(settings) for key, settings in decided.items()}
    for place in places:
        weight = place.parameter
        if id(weight) in decided:
            layer = layers.setdefault(id(place.module), _Layer(place.module_name, place.module))
            layer.weights[place.attribute] = quantizers[id(weight)], weight
    for layer in list(layers.values()):
        if isinstance(layer.module, nn.MultiheadAttention):
            layer.weights[OUT_PROJECTION] = layers.pop(id(layer.module.out_proj)).weights["weight"]
    return list(layers.values())


def _collect(layer: _Layer, module: nn.Module, prefix: str) -> None:
    lists = parametrizations(module)
    for attribute, steps in lists.items():
        quantizer, weight = steps[0], steps.original if steps.is_tensor else None
        if isinstance(quantizer, FakeQuantizedWeight) and isinstance(weight, Tensor):
            layer.weights[prefix + attribute] = quantizer, weight
    for attribute, steps in lists.items():
        if layer.weights and (len(steps) > 1 or not isinstance(steps[0], FakeQuantizedWeight)):
            raise ValueError(f"{layer.name}: {attribute} has another parametrization beside that of prepare()")


def _check(layer: _Layer) -> None:
    """Refuse what would be lost, and activations without a range."""
    module = layer.module
    others = [hook for hook in module._forward_pre_hooks.values() if hook is not round_inputs]
    if others or module._forward_hooks or module._backward_hooks or module._backward_pre_hooks:
        raise ValueError(f"{layer.name} has hooks, which would be lost")
    quantizer = module._modules.get(INPUT_QUANTIZER)
    if isinstance(quantizer, FakeQuantizedActivation) and not quantizer.has_range:
        raise ValueError(
            f"{layer.name}: no activations have been seen, so they have no range; give the model a batch, or prepare "
            "it with activations=None"
        )


def replacement(
    module: nn.Module, parts: Mapping[str, Parts], input_quantizer: nn.Module | None, dtype: torch.dtype
) -> nn.Module:
    """Return the compressed layer that takes the place of an ordinary one.

    Args:
        module: Of any class that computes with its weight.
        parts: Of each matrix: "weight"; or those of `CompressedMultiheadAttention`.
        input_quantizer: For inputs, or None.
        dtype: Of the weight, and so of the rows that an embedding returns.
    """
    if isinstance(input_quantizer, FakeQuantizedActivation):
        input_quantizer.frozen = True
    if isinstance(module, nn.MultiheadAttention):
        return CompressedMultiheadAttention(module, parts, input_quantizer).train(module.training)
    return compressed(module, parts["weight"], dtype, input_quantizer)


def swap(model: nn.Module, pairs: Mapping[int, nn.Module]) -> None:
    """Put new layers in the place of old ones, by their identity, wherever they hang."""
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is not None and id(child) in pairs:
                parent._modules[name] = pairs[id(child)]
    for parent in model.modules():
        # Their fast paths read dense weights.
        if isinstance(parent, nn.TransformerEncoder):
            parent.use_nested_tensor = False
        if isinstance(parent, nn.TransformerEncoderLayer):
            parent.activation_relu_or_gelu = 0


def _packed_entries(layers: list[_Layer], parts: Mapping[int, Parts]) -> Iterator[ParameterEntry]:
    seen: dict[int, str] = {}
    for layer in layers:
        for attribute, (quantizer, weight) in layer.weights.items():
            name = f"{layer.name}.{attribute}"
            shape, settings = tuple(weight.shape), quantizer.settings
            if id(quantizer) in seen:
                reason = f"the table of {seen[id(quantizer)]}"
                yield ParameterEntry(name, shape, "shared", settings, reason, 0, 0)
                continue
            seen[id(quantizer)] = name
            before, after = weight.numel() * weight.element_size(), parts[id(quantizer)].table().stored_bytes
            yield ParameterEntry(name, shape, "quantized", settings, "", before, after)


def _kept_entries(model: nn.Module) -> Iterator[ParameterEntry]:
    seen: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = seen.setdefault(id(parameter), name)
        shape, size = tuple(parameter.shape), parameter.numel() * parameter.element_size()
        if first == name:
            reason = "a vector" if sum(axis > 1 for axis in shape) <= 1 else "it is left as it is"
            yield ParameterEntry(name, shape, "kept", None, reason, size, size)
        else:
            yield ParameterEntry(name, shape, "kept", None, f"tied to {first}", 0, 0)
