"""Models of transformers with tables: what `save_pretrained` writes of them, and how `from_pretrained` builds them.

A saved folder's safetensors files hold what is dense under its own names, and the arrays of table i as
"embedcompress.i.array", so that no renaming of transformers reaches them; the metadata's `embedcompress` is JSON that
says which layers the tables are the weights of. An empty tensor stands under each weight's own name: transformers
without this library refuses its shape, where it would make up a missing weight.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .. import FormatError
from .._reading import json_value
from ._compressed import Compressed
from ._convert import replacement, swap
from ._expression import parse
from ._fake import FakeQuantizedActivation
from ._load import checked_layers, matrix_shapes, named_dtype
from ._parts import Parts
from ._places import class_obstacle
from ._save import tables_and_layers
from ._state import plain_state

KEY = "embedcompress"
"""Of the metadata, and the first part of the names of arrays."""
VERSION = 1


def state_and_metadata(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors to be saved of a model, and the metadata to be saved beside them."""
    tables, layers = tables_and_layers(model)
    state = {key: value.detach() for key, value in plain_state(model)}
    texts = []
    for index, (name, parts) in enumerate(tables.items()):
        texts.append(parts.text)
        for key, array in zip(parse(parts.text).keys, parts.arrays(), strict=True):
            state[f"{KEY}.{index}.{key}"] = array
        # A piece of a tensor, since all that have no memory would count as one.
        state[name] = torch.zeros(1, dtype=torch.uint8)[:0]
    dtype = str(getattr(model, "dtype", torch.float32)).removeprefix("torch.")
    description = {"version": VERSION, "dtype": dtype, "names": list(tables), "tables": texts, "layers": layers}
    return state, {KEY: json.dumps(description)}


class Checkpoint:
    """The tables of a folder that `save_pretrained` wrote.

    Args:
        files: The safetensors files.

    Raises:
        FormatError: they hold no tables, or a description that breaks a rule.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files
        text = next((found[KEY] for found in map(_metadata, files) if KEY in found), None)
        if text is None:
            raise FormatError(f"the checkpoint has no tables: {', '.join(map(str, files)) or 'there are no files'}")
        try:
            description: dict[str, Any] = json_value(text)
            if description["version"] != VERSION:
                raise FormatError(
                    f"the tables have version {description['version']!r}; this embedcompress reads {VERSION}"
                )
            self.names = [str(name) for name in description["names"]]
            self.texts = [str(text) for text in description["tables"]]
            self.layers = checked_layers(description["layers"])
            self.dtype = named_dtype(description["dtype"])
        except FormatError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(
                f"the description of the tables can't be read: {type(error).__name__}: {error}"
            ) from error
        self.parts: dict[str, Parts] = {}

    def place(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Put layers over tables without data in the place of a model's, whose weights are never made.

        Args:
            model: On the meta device. It may be what the saved one is made of, or be made of it.
            dtype: Of the model; the layers that had that of the saved one get it.

        Raises:
            ValueError: a layer has another shape, or none of the layers is there; or a tied layer can't have a table.
        """
        shapes = {name: parse(text) for name, text in zip(self.names, self.texts, strict=True)}
        pairs = {}
        for layer in self.layers:
            module = _find(model, layer["name"])
            if module is None:
                continue
            wanted = {key: (shapes[name].rows, shapes[name].dimension) for key, name in layer["tables"].items()}
            if matrix_shapes(module) != wanted:
                raise ValueError(
                    f"the checkpoint has tables {wanted} for the layer {layer['name']!r}, but the model has "
                    f"{type(module).__name__} of {matrix_shapes(module)} there"
                )
            own = {}
            for key, name in layer["tables"].items():
                own[key] = self.parts.setdefault(name, Parts.hollow(*wanted[key]))
            bits, held = layer["activation_bits"], named_dtype(layer["dtype"])
            quantizer = None if bits is None else FakeQuantizedActivation(bits)
            pairs[id(module)] = replacement(module, own, quantizer, dtype if held is self.dtype else held)
        if not pairs:
            raise ValueError(f"the model has none of the layers that the checkpoint has tables for: {self.names[:5]}")
        self._tie(model, pairs)
        swap(model, pairs)

    def _tie(self, model: nn.Module, pairs: dict[int, nn.Module]) -> None:
        """Add the layers whose weights are tied to one that is a table, and which the files have no weight for.

        As transformers has it, a tie goes either way, so that a head gets the table of a base that was saved alone.
        """
        ties: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
        forth = [(source, target) for target, source in ties.items()]
        back = list(ties.items())
        for given, wanted in (*forth, *back, *forth):
            table = pairs.get(id(_layer_of_weight(model, given)))
            layer = _layer_of_weight(model, wanted)
            if not isinstance(table, Compressed) or layer is None or id(layer) in pairs or self._has_dense(wanted):
                continue
            shape = {"weight": (table.parts.num_embeddings, table.parts.embedding_dim)}
            reason = class_obstacle(layer) or ("" if matrix_shapes(layer) == shape else "it has another shape")
            if reason:
                raise ValueError(f"{wanted} can't be the table of {given}, to which it is tied: {reason}")
            pairs[id(layer)] = replacement(layer, {"weight": table.parts}, None, table.dtype)

    def _has_dense(self, name: str) -> bool:
        """Whether the files have the values of a weight, under its name or with more or fewer prefixes."""
        return any(f".{name}".endswith(f".{key}") or f".{key}".endswith(f".{name}") for key in self._dense_keys)

    @cached_property
    def _dense_keys(self) -> list[str]:
        """The names in the files that hold values: not those of the empty tensors."""
        found = []
        for file in self.files:
            with _opened(file) as opened:
                found += [key for key in opened.keys() if 0 not in opened.get_slice(key).get_shape()]  # noqa: SIM118
        return found

    def unexpected(self, prefix: str) -> set[str]:
        """Return patterns of the keys that are no parameter's, for a model with a prefix of its base."""
        names = {*self.names, *(name.removeprefix(f"{prefix}.") for name in self.names)}
        return {rf"{KEY}\.\d+\.", *(f"{re.escape(name)}$" for name in names)}

    def fill(self) -> None:
        """Read the tables, by memory map.

        Raises:
            FormatError: arrays are missing, or not those of the tables.
        """
        wanted = {
            f"{KEY}.{index}.{key}": (name, key)
            for index, (name, text) in enumerate(zip(self.names, self.texts, strict=True))
            if name in self.parts
            for key in parse(text).keys
        }
        found: dict[str, dict[str, Tensor]] = {name: {} for name in self.parts}
        for file in self.files:
            with _opened(file) as opened:
                for stored in opened.keys():  # noqa: SIM118
                    # transformers may have put the prefix of a base model before it.
                    key = stored[stored.find(f"{KEY}.") :]
                    if key in wanted:
                        name, array = wanted[key]
                        found[name][array] = opened.get_tensor(stored)
        for name, text in zip(self.names, self.texts, strict=True):
            if name in self.parts:
                keys = parse(text).keys
                missing = [key for key in keys if key not in found[name]]
                if missing:
                    raise FormatError(f"the checkpoint lacks the array {missing[0]!r} of the table {name!r}")
                self.parts[name].fill(text, [found[name][key] for key in keys])


def _find(model: nn.Module, name: str) -> nn.Module | None:
    """Return a layer of a model, of its base, or of what it is the base of."""
    prefix = str(getattr(model, "base_model_prefix", ""))
    modules = dict(model.named_modules(remove_duplicate=False))
    names: Iterable[str] = (name, name.removeprefix(f"{prefix}."), f"{prefix}.{name}")
    return next((modules[one] for one in names if one in modules), None)


def _metadata(file: str) -> Mapping[str, str]:
    if not str(file).endswith(".safetensors"):
        return {}
    with _opened(file) as opened:
        return opened.metadata() or {}


def _opened(file: str) -> Any:
    from safetensors import safe_open

    return safe_open(file, framework="pt")


def loosen_ties(model: nn.Module) -> None:
    """Let a model forget ties of weights that are tables, which nothing has to make."""
    for part in model.modules():
        ties: Any = getattr(part, "all_tied_weights_keys", None)
        if isinstance(ties, dict):
            part.all_tied_weights_keys = {  # type: ignore[assignment]
                target: source
                for target, source in ties.items()
                if not any(_is_table(part, key) for key in (target, source))
            }


def _is_table(model: nn.Module, key: str) -> bool:
    return isinstance(_layer_of_weight(model, key), Compressed)


def _layer_of_weight(model: nn.Module, key: str) -> nn.Module | None:
    """Return the layer whose `weight` has a name, or None if it is another parameter's."""
    name, _, attribute = key.rpartition(".")
    try:
        return model.get_submodule(name) if attribute == "weight" else None
    except AttributeError:
        return None
