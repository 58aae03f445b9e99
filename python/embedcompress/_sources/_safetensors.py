"""safetensors: a file, the index of a sharded checkpoint, and a folder with either."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from .. import _core
from .._atomic import AnyPath
from .._errors import FormatError
from .._progress import Progress
from .._reading import json_value
from .._table import Table
from .._vocabulary import vocabulary_of
from ._mlx import layers
from ._source import CHOOSE, FLOATS, Source, TensorInfo, malformed, shown

Result = TypeVar("Result")

INDEX_ENDING = ".index.json"
_CORE = ("F32", "F16", "BF16")
"""Types that the core maps."""
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2"}
_NUMPY |= {"F8_E4M3": "u1", "F8_E5M2": "u1", "U32": "<u4"}


class Tensors(Source):
    """Tensors of safetensors files, some of which may be the layers of MLX."""

    def _set(
        self, stored: tuple[TensorInfo, ...], candidates: tuple[TensorInfo, ...], metadata: Mapping[str, str]
    ) -> None:
        """Take what the files hold; the three tensors of a layer, which are among the candidates, become one."""
        self._stored = stored
        self._layers, self._refused = layers(self.path, candidates, metadata)
        inner = {tensor.name for layer in self._layers.values() for tensor in (layer.scales, layer.biases)}
        self._tensors = tuple(
            self._layers[tensor.name].info if tensor.name in self._layers else tensor
            for tensor in stored
            if tensor.name not in inner
        )

    @property
    def stored(self) -> tuple[TensorInfo, ...]:
        """Every tensor as it lies in the files."""
        return self._stored

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """Every tensor, those of tables included; a layer of MLX is one."""
        return self._tensors

    def _float_types(self) -> tuple[str, ...]:
        return (*FLOATS, *dict.fromkeys(layer.info.dtype for layer in self._layers.values()))

    def _why(self, info: TensorInfo) -> str:
        return self._refused.get(info.name, "")

    def origin(self, info: TensorInfo) -> str | None:
        """Return the type of the scales of a layer of MLX."""
        return f"mlx {self._layers[info.name].scales.dtype}" if info.name in self._layers else None

    def coded(self, info: TensorInfo, columns: int) -> Table | None:
        """Return the table of a layer of MLX."""
        if info.name not in self._layers:
            return None
        try:
            return self._layers[info.name].table(lambda tensor: self.read(tensor, mmap=False))
        except FormatError:
            raise
        except ValueError as error:
            raise malformed(self.path, f"tensor {info}: {error}") from error


class Safetensors(Tensors):
    """A safetensors file, of this library or any other."""

    kind = "a safetensors file"

    def __init__(self, path: AnyPath):
        super().__init__(path)
        listed = named(path, lambda: json.loads(_core.file_contents(path)))
        self._tables = tuple(listed["tables"])
        self.is_table_file: bool = listed["is_table_file"]
        self.plain: tuple[str, ...] = tuple(listed["plain"])
        self.metadata: dict[str, str] = listed["metadata"]
        self.has_digests: bool = listed["has_digests"]
        stored = tuple(TensorInfo(t["name"], t["dtype"], tuple(t["shape"])) for t in listed["tensors"])
        self._set(stored, () if self.is_table_file else stored, self.metadata)

    @property
    def names(self) -> tuple[str, ...]:
        """The tables of a table file; of any other see `Source.names`."""
        return self._tables if self.is_table_file else super().names

    def only(self) -> str:
        """Return the name of the only table."""
        if self.is_table_file and len(self.names) > 1:
            names = ", ".join(f"'{name}'" for name in self.names)
            what = f"it holds several tables, name one ({CHOOSE}): {names}"
            raise malformed(self.path, what, "ambiguous_table")
        return super().only()

    def table(
        self,
        name: str | None = None,
        *,
        axis: int | None = None,
        mmap: bool = True,
        verify: bool = False,
        progress: Progress | None = None,
    ) -> Table:
        """Return a table; see `Source.table` and `embedcompress.load`."""
        name = self.only() if name is None else name
        info = next((tensor for tensor in self.tensors if tensor.name == name), None)
        if self.is_table_file:
            if axis is not None:
                raise malformed(self.path, "axis is for tensors of other files: tables have rows", "not_a_matrix")
        elif axis is not None or info is None or info.dtype not in _CORE or len(info.shape) != 2:
            return super().table(name, axis=axis, mmap=mmap)
        table: Table = named(self.path, lambda: _core.load(self.path, name, mmap, verify, progress))
        return table

    def read(self, info: TensorInfo, mmap: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        """Return a copy of a tensor's elements."""
        values = np.empty(info.shape, _NUMPY[info.dtype])
        named(self.path, lambda: _core.read_tensors(self.path, ((info.name, values.reshape(-1).view(np.uint8)),)))
        return values

    def words(self, name: str) -> tuple[str, ...] | None:
        """Return the vocabulary that the metadata has for a table."""
        return vocabulary_of(self.metadata, name)


def named(path: AnyPath, call: Callable[[], Result]) -> Result:
    """Return what a call of the core does, with the file's name in the error that says what is wrong with it."""
    try:
        return call()
    except FormatError as error:
        text, name = str(error), os.fsdecode(path)
        if name in text:
            raise
        raise FormatError(f"{shown(path)}: {text}", rule=error.rule, path=error.path or name) from None


class Sharded(Tensors):
    """Tensors of several files, by the index of a checkpoint or all of a folder."""

    def __init__(self, path: AnyPath, kind: str, shards: dict[str, Source], places: dict[str, str]):
        """Join files.

        Args:
            path: The index, or the folder.
            kind: Which of them.
            shards: The files by their names.
            places: The file of each tensor.
        """
        super().__init__(path)
        self.kind = kind
        self._shards = {tensor: shards[file] for tensor, file in places.items()}
        known = {(file, tensor.name): tensor for file, shard in shards.items() for tensor in shard.stored}
        lost = next(((tensor, file) for tensor, file in places.items() if (file, tensor) not in known), None)
        if lost is not None:
            raise malformed(path, f"tensor '{lost[0]}' is not in its file '{lost[1]}'")
        # The three tensors of a layer of MLX may be in several files.
        stored = tuple(known[file, tensor] for tensor, file in places.items())
        self._set(stored, tuple(t for t in stored if isinstance(self._shards[t.name], Safetensors)), {})

    def is_decoded(self, info: TensorInfo) -> bool:
        """Whether the file that has a tensor gives its codes up."""
        return self._shards[info.name].is_decoded(info)

    def origin(self, info: TensorInfo) -> str | None:
        """Return what the file that has a tensor says of it."""
        return super().origin(info) or self._shards[info.name].origin(info)

    def _float_types(self) -> tuple[str, ...]:
        found: dict[str, None] = dict.fromkeys(super()._float_types())
        for shard in dict.fromkeys(self._shards.values()):
            found |= dict.fromkeys(shard._float_types())
        return tuple(found)

    def table(self, name: str | None = None, *, axis: int | None = None, mmap: bool = True) -> Table:
        """Return a table of the file that has it."""
        info = self.find(self.only() if name is None else name)
        if info.name in self._layers or info.name in self._refused:
            return super().table(info.name, axis=axis, mmap=mmap)
        return self._shards[info.name].table(info.name, axis=axis, mmap=mmap)

    def read(self, info: TensorInfo, mmap: bool) -> Any:
        """Return a tensor of the file that has it."""
        return self._shards[info.name].read(info, mmap)


def read_index(path: AnyPath, text: bytes) -> dict[str, str] | None:
    """Return the file of each tensor as the index of a sharded checkpoint has it; None if the JSON is no index.

    Raises:
        FormatError: it is no JSON, or names files that are not beside it.
    """
    try:
        value = json_value(text)
    except ValueError as error:
        raise malformed(path, f"it looks like JSON, and is not: {error}") from None
    places = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(places, dict) or not places:
        return None
    for tensor, file in places.items():
        if not isinstance(file, str) or not file or os.path.basename(file) != file or file in (".", ".."):
            raise malformed(path, f"its weight_map must say a file of the same folder for '{tensor}', not {file!r}")
    return places
