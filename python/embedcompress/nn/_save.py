"""`save_compressed`: a model of packed tables in one safetensors file.

The file is a table file (docs/format.md): each table has the name of the weight that it stands for, and
`embedcompress.load` opens it alone. What is not packed lies beside the tables under its name in the state_dict. The
metadata's `model` is JSON: which layer has which tables, which names are one tensor, and the model's configuration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import _core
from .._atomic import AnyPath
from .._checks import check_type
from ._attention import CompressedMultiheadAttention
from ._collection import CompressedEmbeddingBagCollection
from ._compressed import Compressed
from ._compressed_linear import CompressedLinear
from ._convert import OUT_PROJECTION
from ._fake import FakeQuantizedActivation, FakeQuantizedWeight
from ._inputs import INPUT_QUANTIZER
from ._parts import Parts
from ._state import plain_state, same_memory

VERSION = 1
MODEL = "model"
"""The key of the metadata that describes the model."""

DTYPES = {
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.float64: "f64",
    torch.complex64: "c64",
    torch.bool: "bool",
    torch.uint8: "u8",
    torch.int8: "i8",
    torch.uint16: "u16",
    torch.int16: "i16",
    torch.uint32: "u32",
    torch.int32: "i32",
    torch.uint64: "u64",
    torch.int64: "i64",
    torch.float8_e4m3fn: "f8_e4m3",
    torch.float8_e5m2: "f8_e5m2",
    torch.float8_e4m3fnuz: "f8_e4m3fnuz",
    torch.float8_e5m2fnuz: "f8_e5m2fnuz",
}
"""What the core calls the types of tensors."""


def save_compressed(path: AnyPath, model: nn.Module, *, config: Mapping[str, Any] | None = None) -> int:
    """Write a model whose layers `convert` or `compress_model_` replaced to one file, atomically.

    Args:
        path: The file.
        model: Its parameters, the buffers that a state_dict has, and its tables are written.
        config: What `load_compressed` gives to the function that builds the model: plain values. If not given, that
            of `model.config.to_dict()`, where there is one, as transformers' models have.

    Returns:
        The bytes of all tensors: the file has those and its header.

    Raises:
        TypeError: the path or the model is none, such as in the wrong order.
        ValueError: the model has no compressed layer, has been prepared but not converted, or holds something that a
            file can't, which the message names.
        OSError: the file can't be written; what was there before still is.
    """
    check_type(path, (str, bytes, PathLike), "path", "a path, which comes before the model")
    check_type(model, nn.Module, "model", "a torch.nn.Module")
    if any(isinstance(module, FakeQuantizedWeight) for module in model.modules()):
        raise ValueError("the model is prepared for training: call convert(model) first")
    tables, records = tables_and_layers(model)
    if not records:
        raise ValueError("the model has no compressed layer")
    own: Any = getattr(model, "config", None)
    if config is None and hasattr(own, "to_dict"):
        config = own.to_dict()
    tensors, aliases = _dense(model)
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
    return _core.save(
        path,
        tuple((name, parts.table()) for name, parts in tables.items()),
        tuple((name, DTYPES[tensor.dtype], tuple(tensor.shape), as_bytes(tensor)) for name, tensor in tensors.items()),
        json.dumps({MODEL: text}),
        None,
    )


def as_bytes(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return the bytes of a contiguous tensor on the CPU, on its memory."""
    flat: np.ndarray[Any, Any] = tensor.reshape(-1).view(torch.uint8).numpy()
    return flat


def tables_and_layers(model: nn.Module) -> tuple[dict[str, Parts], list[dict[str, Any]]]:
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
        quantizer = module._modules.get(INPUT_QUANTIZER)
        if quantizer is not None and not isinstance(quantizer, FakeQuantizedActivation):
            raise ValueError(f"{name}: its input_quantizer is a {type(quantizer).__name__}, which can't be saved")
        dtype = str(getattr(module, "dtype", torch.float32)).removeprefix("torch.")
        bits = None if quantizer is None else quantizer.bits
        records.append({"name": name, "tables": of_layer, "dtype": dtype, "activation_bits": bits})
    return tables, records


def _held(module: nn.Module) -> dict[str, Parts]:
    """Return the tables of a compressed layer, by the names of the weights that they stand for."""
    if isinstance(module, Compressed):
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
    seen: dict[object, str] = {}
    for key, value in plain_state(model):
        if not isinstance(value, Tensor):
            raise ValueError(f"{key} is a {type(value).__name__}, which the file can't hold")
        memory = same_memory(value)
        if memory in seen:
            aliases[key] = seen[memory]
            continue
        seen[memory] = key
        if value.dtype not in DTYPES:
            raise ValueError(f"{key} has the dtype {value.dtype}, which the file can't hold")
        tensors[key] = value.detach().cpu().contiguous()
    return tensors, aliases
