"""`save_compressed` and `load_compressed`: a model of packed tables in one safetensors file.

The file is a table file (docs/format.md): each table has the name of the weight that it stands for, and `embedcompress.load`
opens it alone. What is not packed lies beside the tables under its name in the state_dict. The metadata's `model` is
JSON: which layer has which tables, which names are one tensor, and the model's configuration.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import FormatError, contents, load
from ._attention import CompressedMultiheadAttention
from ._collection import CompressedEmbeddingBagCollection
from ._convert import OUT_PROJECTION, replacement, swap
from ._fake import FakeQuantizedActivation, FakeQuantizedWeight
from ._linear import CompressedLinear
from ._modules import FLOATS, CompressedEmbedding, CompressedEmbeddingBag
from ._parts import Parts

VERSION = 1
MODEL = "model"
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in FLOATS}


def save_compressed(model: nn.Module, path: str | PathLike[str], *, config: Mapping[str, Any] | None = None) -> int:
    """Write a model whose layers `convert` or `compress_model_` replaced to one file, atomically.

    Args:
        model: Its parameters, the buffers that a state_dict has, and its tables are written.
        path: The file.
        config: What `load_compressed` gives to the function that builds the model: plain values. If not given, that
            of `model.config.to_dict()`, where there is one, as transformers' models have.

    Returns:
        The bytes of all tensors: the file has those and its header.

    Raises:
        ValueError: the model has no compressed layer, has been prepared but not converted, or holds something that a
            file can't, which the message names.
        OSError: the file can't be written; what was there before still is.
    """
    from safetensors.torch import save_file

    if any(isinstance(module, FakeQuantizedWeight) for module in model.modules()):
        raise ValueError("the model is prepared for training: call convert(model) first")
    tables, records = _tables(model)
    if not records:
        raise ValueError("the model has no compressed layer")
    if config is None and hasattr(model, "config"):
        config = model.config.to_dict()
    tensors, aliases = _dense(model)
    trees = {}
    for name, parts in tables.items():
        tree, arrays = parts.table().parts()
        trees[name] = _prefixed(tree, f"{name}.")
        for key, (dtype, values) in arrays.items():
            tensor = torch.from_numpy(values.copy())
            tensors[f"{name}.{key}"] = tensor.view(torch.bfloat16) if dtype == "bf16" else tensor
    description = {
        "version": VERSION,
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "config": None if config is None else dict(config),
        "layers": records,
        "aliases": aliases,
    }
    try:
        text = json.dumps(description)
    except TypeError as error:
        raise ValueError(f"the configuration can't be written as JSON: {error}") from error
    metadata = {"embedcompress.version": "1", "embedcompress.tables": json.dumps(trees), MODEL: text}
    partial = Path(f"{os.fspath(path)}.partial")
    try:
        save_file(tensors, partial, metadata)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def load_compressed(
    path: str | PathLike[str],
    model: nn.Module | Callable[[dict[str, Any]], nn.Module] | None = None,
    *,
    mmap: bool = True,
) -> nn.Module:
    """Open a model that `save_compressed` wrote.

    Args:
        path: The file.
        model: An ordinary model of the same architecture, with weights of any values or on the meta device, which is
            changed in place and is of no use after an error; or a function that makes one from the configuration, a
            dict, empty if the file has none. If None, the class of transformers that was saved is built.
        mmap: Leave the tables in the file, to be read as they are used; see `embedcompress.load`.

    Returns:
        The model, in eval mode.

    Raises:
        FormatError: the file is not one of a model, or breaks a rule.
        ValueError: the model is another one than was saved, or None where the file says no class of transformers.
        OSError: the file can't be read.
    """
    from safetensors import safe_open

    description = _description(contents(path).metadata)
    if not isinstance(model, nn.Module):
        config = description["config"] or {}
        model = _from_transformers(description) if model is None else model(config)
    pairs, of_tables = _layers(model, path, description["layers"], mmap)
    swap(model, pairs)
    with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
        dense = {key: file.get_tensor(key) for key in file.keys() if not key.startswith(of_tables)}  # noqa: SIM118
    for alias, key in description["aliases"].items():
        if key not in dense:
            raise FormatError(f"the name {alias!r} stands for {key!r}, which is not in the file")
        dense[alias] = dense[key]
    _fill(model, dense)
    return model.eval()


def _tables(model: nn.Module) -> tuple[dict[str, Parts], list[dict[str, Any]]]:
    """Return the tables of a model by name, each once, and a record of each compressed layer."""
    tables: dict[str, Parts] = {}
    names: dict[int, str] = {}
    records = []
    inner: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, CompressedEmbeddingBagCollection):
            raise ValueError(f"{name} is a CompressedEmbeddingBagCollection, which can't be saved with a model")
        held = _held(module)
        if not held or id(module) in inner:
            continue
        if isinstance(module, CompressedMultiheadAttention):
            inner.update(id(child) for child in module.children())
        of_layer = {}
        for attribute, parts in held.items():
            if id(parts) not in names:
                names[id(parts)] = f"{name}.{attribute}" if name else attribute
                tables[names[id(parts)]] = parts
            of_layer[attribute] = names[id(parts)]
        quantizer = module._modules.get("input_quantizer")
        if quantizer is not None and not isinstance(quantizer, FakeQuantizedActivation):
            raise ValueError(f"{name}: its input_quantizer is a {type(quantizer).__name__}, which can't be saved")
        dtype = str(getattr(module, "dtype", torch.float32)).removeprefix("torch.")
        bits = None if quantizer is None else quantizer.bits
        records.append({"name": name, "tables": of_layer, "dtype": dtype, "activation_bits": bits})
    return tables, records


def _held(module: nn.Module) -> dict[str, Parts]:
    """Return the tables of a compressed layer, by the names of the weights that they stand for."""
    if isinstance(module, (CompressedLinear, CompressedEmbedding, CompressedEmbeddingBag)):
        return {"weight": module.parts}
    if isinstance(module, CompressedMultiheadAttention):
        held = {
            f"{name}_weight": child.parts
            for name, child in module.named_children()
            if isinstance(child, CompressedLinear) and name != "out_proj"
        }
        return {**held, OUT_PROJECTION: module.out_proj.parts}
    return {}


def _dense(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return what is not in tables, each tensor once, and the other names of those that have several."""
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[int, str] = {}
    for key, value in _plain_state(model):
        if not isinstance(value, Tensor):
            raise ValueError(f"{key} is a {type(value).__name__}, which the file can't hold")
        if id(value) in seen:
            aliases[key] = seen[id(value)]
            continue
        seen[id(value)] = key
        # The writer refuses tensors that share memory, such as parts of one.
        tensors[key] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors, aliases


def _plain_state(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a state_dict that are not those of tables."""
    modules = model.named_modules(remove_duplicate=False)
    of_tables = tuple(f"{name}." for name, module in modules if isinstance(module, Parts))
    for key, value in model.state_dict(keep_vars=True).items():
        if not key.startswith(of_tables):
            yield key, value


def _prefixed(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return a tree whose tensors have a prefix."""
    result = dict(tree)
    if "tensors" in tree:
        result["tensors"] = {field: prefix + name for field, name in tree["tensors"].items()}
    if "children" in tree:
        result["children"] = {field: _prefixed(child, prefix) for field, child in tree["children"].items()}
    return result


def _description(metadata: Mapping[str, str]) -> dict[str, Any]:
    if MODEL not in metadata:
        raise FormatError("the file holds no model: save_compressed did not write it")
    try:
        description: dict[str, Any] = json.loads(metadata[MODEL])
        if description["version"] != VERSION:
            raise FormatError(f"the model has version {description['version']!r}; this embedcompress reads {VERSION}")
        for record in description["layers"]:
            bits = record["activation_bits"]
            known = record["dtype"] in _DTYPES and (bits is None or bits in range(1, 9))
            if not known or not all(isinstance(name, str) for name in (record["name"], *record["tables"].values())):
                raise FormatError(f"the layer {record['name']!r} is not described as this embedcompress knows it")
        if not all(isinstance(name, str) for name in {**description["aliases"]}.values()):
            raise FormatError("aliases must be names")
        description.setdefault("config", None)
        str(description["class"])
    except FormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"the description of the model can't be read: {type(error).__name__}: {error}") from error
    return description


def _from_transformers(description: Mapping[str, Any]) -> nn.Module:
    """Build a model of transformers; nothing else is imported for a name in a file."""
    name = str(description["class"])
    refusal = f"the file holds a {name}; give a model of that kind, or a function that makes one"
    if not name.startswith("transformers.") or description["config"] is None:
        raise ValueError(refusal)
    import transformers

    built = getattr(transformers, name.rpartition(".")[2], None)
    if not isinstance(built, type) or not issubclass(built, transformers.PreTrainedModel):
        raise ValueError(refusal)
    model: nn.Module = built(built.config_class.from_dict(description["config"]))
    return model


def _layers(
    model: nn.Module, path: str | PathLike[str], records: list[dict[str, Any]], mmap: bool
) -> tuple[dict[int, nn.Module], tuple[str, ...]]:
    """Return the new layers by the identity of the old ones, and what the names of tables' tensors begin with."""
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
        if module is None or _shapes(module) != shapes:
            found = "no such layer" if module is None else f"{type(module).__name__} of {_shapes(module)}"
            raise ValueError(f"the file has tables {shapes} for the layer {name!r}, but the model has {found} there")
        bits = record["activation_bits"]
        quantizer = None if bits is None else FakeQuantizedActivation(bits)
        pairs[id(module)] = replacement(module, own, quantizer, _DTYPES[record["dtype"]])
    return pairs, tuple(f"{table}." for table in parts)


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a layer's matrices by name; nothing if it can't be replaced."""
    if isinstance(module, nn.MultiheadAttention):
        names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        shapes = {name: tuple(module._parameters[name].shape) for name in names if module._parameters[name] is not None}  # type: ignore[union-attr]
        return {**shapes, OUT_PROJECTION: tuple(module.out_proj.weight.shape)}
    if isinstance(module, (nn.Linear, nn.Embedding, nn.EmbeddingBag)):
        return {"weight": tuple(module.weight.shape)}
    return {}


def _fill(model: nn.Module, dense: Mapping[str, Tensor]) -> None:
    """Put tensors in the place of a model's own; what is tied stays so."""
    own = dict(_plain_state(model))
    missing, unknown = sorted(own.keys() - dense.keys()), sorted(dense.keys() - own.keys())
    if missing or unknown:
        raise ValueError(
            f"the model is another one than was saved: the file lacks {missing[:5]} and has {unknown[:5]} too many"
        )
    made: dict[int, Tensor] = {}
    for key, target in own.items():
        tensor = dense[key]
        if tensor.shape != target.shape:
            raise ValueError(f"{key} has the shape {tuple(tensor.shape)} in the file, {tuple(target.shape)} in the model")
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
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise ValueError(f"{name} is on the meta device, and the file does not have it")
