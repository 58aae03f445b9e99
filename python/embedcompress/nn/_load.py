"""`load_compressed`: a model that `save_compressed` wrote, on tables that may stay in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .. import FormatError, _core, contents, load
from .._atomic import AnyPath
from .._checks import check_type
from .._files import Contents
from .._reading import json_value
from ._compressed import FLOATS
from ._convert import OUT_PROJECTION, replacement, swap
from ._fake import FakeQuantizedActivation
from ._parameters import ATTENTION_WEIGHTS
from ._parts import Parts
from ._save import DTYPES, MODEL, VERSION, as_bytes
from ._skeleton import fill_buffers, parameters_on_meta
from ._state import plain_state
from ._ties import settle

_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in FLOATS}


def load_compressed(
    path: AnyPath,
    model: nn.Module | Callable[[dict[str, Any]], nn.Module] | None = None,
    *,
    mmap: bool = True,
) -> nn.Module:
    """Open a model that `save_compressed` wrote.

    Args:
        path: The file.
        model: An ordinary model of the same architecture, with weights of any values or on the meta device, which is
            changed in place and is of no use after an error; or a function that makes one from the configuration, a
            dict, empty if the file has none. If None, the class of transformers that was saved is built. While either
            is made, its parameters are on the meta device, and take no memory: the function must not read them.
        mmap: Leave the tables in the file, to be read as they are used; see `embedcompress.load`.

    Returns:
        The model, in eval mode.

    Raises:
        FormatError: the file is not one of a model, or breaks a rule.
        ValueError: the model is another one than was saved, or None where the file says no class of transformers.
        OSError: the file can't be read.
    """
    held = contents(path)
    description = _description(held.metadata)
    if not isinstance(model, nn.Module):
        with parameters_on_meta():
            model = _from_transformers(description) if model is None else model(description["config"] or {})
    check_type(model, nn.Module, "what the function of model returns", "a torch.nn.Module")
    pairs = _layers(model, path, description["layers"], mmap)
    swap(model, pairs)
    dense = _dense(path, held)
    for alias, key in description["aliases"].items():
        if key not in dense:
            raise FormatError(f"the name {alias!r} stands for {key!r}, which is not in the file")
        dense[alias] = dense[key]
    _fill(model, dense)
    fill_buffers(model)
    settle(model)
    return model.eval()


def _description(metadata: Mapping[str, str]) -> dict[str, Any]:
    if MODEL not in metadata:
        raise FormatError("the file holds no model: save_compressed did not write it")
    try:
        description: dict[str, Any] = json_value(metadata[MODEL])
        if description["version"] != VERSION:
            raise FormatError(f"the model has version {description['version']!r}; this embedcompress reads {VERSION}")
        checked_layers(description["layers"])
        if not all(isinstance(name, str) for name in {**description["aliases"]}.values()):
            raise FormatError("aliases must be names")
        description.setdefault("config", None)
        str(description["class"])
    except FormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"the description of the model can't be read: {type(error).__name__}: {error}") from error
    return description


def checked_layers(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return descriptions of layers as `save_compressed` makes them; refuse others.

    Raises:
        FormatError, KeyError, TypeError: they are something else.
    """
    for record in layers:
        bits = record["activation_bits"]
        known = record["dtype"] in _DTYPES and (bits is None or bits in range(1, 9))
        if not known or not all(isinstance(name, str) for name in (record["name"], *record["tables"].values())):
            raise FormatError(f"the layer {record['name']!r} is not described as this embedcompress knows it")
    return layers


def named_dtype(name: str) -> torch.dtype:
    """Return a dtype of floats by its name.

    Raises:
        KeyError: there is none.
    """
    return _DTYPES[name]


def _from_transformers(description: Mapping[str, Any]) -> nn.Module:
    """Build a model of transformers; nothing else is imported for a name in a file."""
    name = str(description["class"])
    refusal = f"the file holds a {name}; give a model of that kind, or a function that makes one"
    if not name.startswith("transformers.") or description["config"] is None:
        raise ValueError(refusal)
    import transformers

    built: Any = getattr(transformers, name.rpartition(".")[2], None)
    is_model = isinstance(built, type) and issubclass(built, transformers.PreTrainedModel)
    if not is_model:
        raise ValueError(refusal)
    model: nn.Module = built(built.config_class.from_dict(description["config"]))
    return model


def _layers(model: nn.Module, path: AnyPath, records: list[dict[str, Any]], mmap: bool) -> dict[int, nn.Module]:
    """Return the new layers by the identity of the old ones."""
    modules = dict(model.named_modules(remove_duplicate=False))
    parts: dict[str, Parts] = {}
    pairs = {}
    for record in records:
        name, own = record["name"], {}
        module = modules.get(name)
        for attribute, table in record["tables"].items():
            if table not in parts:
                parts[table] = Parts(load(path, table, mmap=mmap))
            own[attribute] = parts[table]
        shapes = {key: (held.num_embeddings, held.embedding_dim) for key, held in own.items()}
        if module is None or matrix_shapes(module) != shapes:
            found = "no such layer" if module is None else f"{type(module).__name__} of {matrix_shapes(module)}"
            raise ValueError(f"the file has tables {shapes} for the layer {name!r}, but the model has {found} there")
        bits = record["activation_bits"]
        quantizer = None if bits is None else FakeQuantizedActivation(bits)
        pairs[id(module)] = replacement(module, own, quantizer, named_dtype(record["dtype"]))
    return pairs


def _dense(path: AnyPath, held: Contents) -> dict[str, Tensor]:
    """Read the tensors that are no table's."""
    dtypes = {name: dtype for dtype, name in DTYPES.items()}
    shown = {tensor.name: tensor for tensor in held.tensors}
    tensors = {}
    for name in held.plain:
        dtype = dtypes.get(shown[name].dtype.lower())
        if dtype is None:
            raise FormatError(f"the tensor {name!r} is of {shown[name].dtype}, which torch does not have")
        tensors[name] = torch.empty(shown[name].shape, dtype=dtype)
    _core.read_tensors(path, tuple((name, as_bytes(tensor)) for name, tensor in tensors.items()))
    return tensors


def matrix_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a layer's matrices by name; nothing if it can't be replaced."""
    if isinstance(module, nn.MultiheadAttention):
        weights = {name: module._parameters[name] for name in ATTENTION_WEIGHTS}
        shapes = {name: tuple(weight.shape) for name, weight in weights.items() if weight is not None}
        return {**shapes, OUT_PROJECTION: tuple(module.out_proj.weight.shape)}
    weight = module._parameters.get("weight")
    return {} if weight is None else {"weight": tuple(weight.shape)}


def _fill(model: nn.Module, dense: Mapping[str, Tensor]) -> None:
    """Put tensors in the place of a model's own; what is tied stays so."""
    own = dict(plain_state(model))
    missing, unknown = sorted(own.keys() - dense.keys()), sorted(dense.keys() - own.keys())
    if missing or unknown:
        raise ValueError(
            f"the model is another one than was saved: the file lacks {missing[:5]} and has {unknown[:5]} too many"
        )
    made: dict[int, Tensor] = {}
    for key, target in own.items():
        tensor = dense[key]
        if tensor.shape != target.shape:
            raise ValueError(
                f"{key} has the shape {tuple(tensor.shape)} in the file, {tuple(target.shape)} in the model"
            )
        if not target.is_meta:
            target.data = tensor
            continue
        prefix, _, attribute = key.rpartition(".")
        owner = model.get_submodule(prefix)
        if attribute in owner._parameters:
            new = made.setdefault(id(target), nn.Parameter(tensor, requires_grad=target.requires_grad))
            assert isinstance(new, nn.Parameter)
            owner._parameters[attribute] = new
        else:
            owner._buffers[attribute] = made.setdefault(id(target), tensor)
