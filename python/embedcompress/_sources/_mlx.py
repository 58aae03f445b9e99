"""Layers that MLX has quantized: three tensors of a safetensors file, which are one table.

`embed.weight` has codes of 2, 3, 4, 5, 6 or 8 bits in U32, packed low bits first; `embed.scales` and `embed.biases`
have a number for each group of 32, 64 or 128 columns: a value is scale * code + bias, as `Uniform` has it. How many
bits there are and how wide groups are, the tensors don't say. It is taken from

1. the file's own metadata, `quantization`, which `export` writes;
2. `quantization` of config.json in the same folder, which MLX writes beside a model;
3. the shapes, where 4 bits in groups of 64 fit, which MLX's own functions take if they are not told, or only one pair.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._atomic import AnyPath
from .._reading import json_value
from .._table import Table
from .._uniform_rows import UniformRows, row_blocks
from ._source import WEIGHT, TensorInfo

Array = np.ndarray[Any, Any]

BITS = (2, 3, 4, 5, 6, 8)
GROUPS = (32, 64, 128)
DEFAULT = (4, 64)
"""Bits and group of MLX's functions that are told neither."""
QUANTIZATION = "quantization"
"""The key of settings, in metadata and in config.json."""
SCALES = ("F16", "BF16", "F32")
_MOST_JSON = 16 << 20


@dataclass(frozen=True)
class Layer:
    """A quantized layer of a file."""

    info: TensorInfo
    """The table: its name is that of the codes, its shape that of what they stand for."""
    codes: TensorInfo
    scales: TensorInfo
    biases: TensorInfo
    bits: int
    group: int

    def table(self, read: Callable[[TensorInfo], Array]) -> Table:
        """Return the layer as a table, with f16 scales if f16 holds them all, or else f32.

        Args:
            read: Returns the elements of a tensor; bf16 in uint16.

        Raises:
            ValueError: a scale or a bias is not finite; the message names the row.
        """
        rows, dimension = self.info.shape
        scales, biases = read(self.scales), read(self.biases)
        is_narrow = True
        for block in row_blocks(rows, dimension):
            numbers = np.stack([f32(scales[block]), f32(biases[block])])
            bad = np.flatnonzero(~np.isfinite(numbers).all(axis=(0, 2)))
            if bad.size:
                raise ValueError(f"a scale or a bias of row {block.start + int(bad[0]):,} is not finite")
            with np.errstate(over="ignore"):
                is_narrow = is_narrow and bool((numbers.astype(np.float16) == numbers).all())
        result = UniformRows.empty(rows, dimension, self.bits, self.group, "f16" if is_narrow else "f32")
        codes = read(self.codes).view(np.uint8)
        for block in row_blocks(rows, dimension):
            result.put(block, codes[block], f32(scales[block]), f32(biases[block]))
        return result.table()


def f32(values: Array) -> Array:
    """Return numbers of a tensor in f32."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def layers(
    path: AnyPath, tensors: Sequence[TensorInfo], metadata: Mapping[str, str]
) -> tuple[dict[str, Layer], dict[str, str]]:
    """Return the quantized layers of a file by the names of their codes, and why others that look like one are none.

    Args:
        path: The file or the folder, beside or in which config.json may be.
        tensors: Of the file.
        metadata: Of the file.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    found: dict[str, Layer] = {}
    refused: dict[str, str] = {}
    settings: _Settings | None = None
    for codes in tensors:
        prefix = codes.name.removesuffix(WEIGHT)
        scales, biases = by_name.get(f"{prefix}scales"), by_name.get(f"{prefix}biases")
        if codes.dtype != "U32" or prefix == codes.name or len(codes.shape) != 2 or scales is None:
            continue
        if biases is None:
            refused[codes.name] = "it has scales and no biases, as MLX's modes other than affine (mxfp4, nvfp4)"
            continue
        if scales.dtype not in SCALES or (biases.dtype, biases.shape) != (scales.dtype, scales.shape):
            refused[codes.name] = f"its scales are {scales}, and its biases {biases}"
            continue
        settings = settings or _Settings(path, metadata)
        rows, words = codes.shape
        groups = scales.shape[1] if len(scales.shape) == 2 and scales.shape[0] == rows else 0
        fitting = [(bits, group) for group in GROUPS for bits in BITS if groups and bits * group * groups == 32 * words]
        said = settings.of(prefix.removesuffix("."))
        if said is not None and said not in fitting:
            refused[codes.name] = f"{settings.place} says {said[0]} bits in groups of {said[1]}, which it is not"
        elif not fitting:
            refused[codes.name] = f"{scales} does not go with codes of {', '.join(map(str, BITS))} bits"
        elif said is None and DEFAULT not in fitting and len(fitting) > 1:
            pairs = " and ".join(f"{bits} bits in groups of {group}" for bits, group in fitting)
            refused[codes.name] = f"its shapes fit {pairs}, and there is no config.json beside it that says which"
        else:
            bits, group = said or (DEFAULT if DEFAULT in fitting else fitting[0])
            info = TensorInfo(codes.name, f"MLX {bits}-bit, groups of {group}", (rows, groups * group))
            found[codes.name] = Layer(info, codes, scales, biases, bits, group)
    return found, refused


class _Settings:
    """What metadata or config.json say of bits and groups."""

    def __init__(self, path: AnyPath, metadata: Mapping[str, str]):
        self.place = "its metadata"
        self._said = _object(metadata.get(QUANTIZATION, ""))
        if self._said is None:
            self.place = "config.json"
            file = os.fsdecode(path)
            folder = file if os.path.isdir(file) else os.path.dirname(file)
            config = _object(_text(os.path.join(folder, "config.json"))) or {}
            self._said = next(
                (config[key] for key in (QUANTIZATION, "quantization_config") if isinstance(config.get(key), dict)),
                None,
            )

    def of(self, layer: str) -> tuple[int, int] | None:
        """Return bits and group of a layer; None if nothing says them."""
        if self._said is None:
            return None
        own = self._said.get(layer)
        said = {**self._said, **own} if isinstance(own, dict) else self._said
        bits, group = said.get("bits"), said.get("group_size")
        return (bits, group) if isinstance(bits, int) and isinstance(group, int) else None


def settings_text(of_layers: Mapping[str, tuple[int, int]]) -> str:
    """Return the settings of layers, their bits and groups, as metadata and config.json have them."""
    bits, group = next(iter(of_layers.values()))
    own = {name: {"group_size": group, "bits": bits} for name, (bits, group) in of_layers.items()}
    return json.dumps({"group_size": group, "bits": bits, **own})


def _text(path: str) -> bytes:
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _MOST_JSON:
            return b""
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _object(text: str | bytes) -> dict[str, Any] | None:
    """Return a JSON object; None for all else, which says nothing of bits."""
    try:
        value = json_value(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
