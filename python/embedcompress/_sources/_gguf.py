"""GGUF, the files of llama.cpp. Needs the package gguf, which also decodes the quantized types that no store has."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._atomic import AnyPath
from .._gguf_blocks import TYPES, table_of_blocks
from .._table import Table
from ._source import FLOATS, READ, Source, TensorInfo, malformed, missing

_PLAIN = ("I8", "I16", "I32", "I64", "F16", "F32", "F64", "BF16")
"""Types that are not quantized."""
_KEPT = ("F32", "F16", "BF16")
"""Those of them that a table has as they are."""
_COUNT, _ARRAY = struct.Struct("<Q"), struct.Struct("<IQ")
"""A count, and what a list in the metadata begins with: the type of its values and their count."""
_AT_ONCE = 1 << 22
"""Bytes that are copied at a time."""


class GGUF(Source):
    """The tensors of a file, their rows first.

    Blocks of `TYPES` are taken over as they are; those of other quantized types are decoded to f32.
    """

    kind = "a GGUF file"

    def __init__(self, path: AnyPath):
        super().__init__(path)
        with open(path, "rb") as file:
            head = file.read(24)
        size = os.path.getsize(path)
        if len(head) < 24:
            raise malformed(path, f"{self.kind} of {size} bytes: it is cut off in its header")
        version, tensors, fields = struct.unpack("<IQQ", head[4:])
        if version not in (2, 3):
            what = f"{self.kind} of version {version}, where 2 and 3 in little-endian order are read"
            raise malformed(path, f"{what}; {READ}", "unknown_kind")
        # Each takes more bytes than this: a damaged count must not be counted to.
        if (tensors + fields) * 12 > size:
            raise malformed(
                path, f"{self.kind} whose {tensors:,} tensors and {fields:,} fields {size:,} bytes can't hold"
            )
        try:
            reader_class = _reader_class()
        except ImportError:
            raise missing(path, self.kind, "gguf", "gguf") from None
        try:
            reader = reader_class(os.fsdecode(path))
            self._held = {str(tensor.name): tensor for tensor in reader.tensors}
            self.alignment = int(reader.alignment)
            """Tensors begin at multiples of so many bytes."""
            self._tensors = tuple(
                TensorInfo(name, _dtype(tensor), tuple(int(n) for n in reversed(tensor.shape)))
                for name, tensor in self._held.items()
            )
        except (OSError, MemoryError):
            raise
        except Exception as error:
            # The reader checks little; what a damaged file makes of it can be anything.
            what = " ".join(str(error).split())[:200]
            raise malformed(path, f"{self.kind} that can't be read, it may be cut off: {what}") from error

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """Every tensor."""
        return self._tensors

    @property
    def head_bytes(self) -> int:
        """The bytes before the list of tensors, of which there must be some: the header and the metadata."""
        return min(int(tensor.field.offset) for tensor in self._held.values())

    def tensor_bytes(self, info: TensorInfo) -> tuple[int, int]:
        """Return where the bytes of a tensor begin, and how many there are."""
        tensor = self._held[info.name]
        return int(tensor.data_offset), int(tensor.n_bytes)

    def bytes_of(self, start: int, count: int) -> Iterator[np.ndarray[Any, Any]]:
        """Return bytes of the file, some megabytes at a time and without mapping them.

        Raises:
            FormatError: the file has been cut off since it was opened.
        """
        with open(self.path, "rb", buffering=0) as file:
            file.seek(start)
            while count:
                block = file.read(min(count, _AT_ONCE))
                if not block:
                    raise malformed(
                        self.path, f"{self.kind} that is cut off at byte {os.fstat(file.fileno()).st_size:,}"
                    )
                count -= len(block)
                yield np.frombuffer(block, np.uint8)

    def _float_types(self) -> tuple[str, ...]:
        return (*FLOATS, *dict.fromkeys(tensor.dtype for tensor in self._tensors if tensor.dtype not in _PLAIN))

    def is_decoded(self, info: TensorInfo) -> bool:
        """Whether a tensor is of a type that no store has."""
        return info.dtype not in (*_KEPT, *TYPES)

    def origin(self, info: TensorInfo) -> str | None:
        """Return the type of a tensor that is taken over."""
        return None if self.is_decoded(info) else f"gguf {info.dtype}"

    def coded(self, info: TensorInfo, columns: int) -> Table | None:
        """Return the table of a tensor of blocks that a store has."""
        if info.dtype not in TYPES:
            return None
        try:
            return table_of_blocks(np.asarray(self._held[info.name].data), TYPES[info.dtype], columns)
        except ValueError as error:
            raise malformed(self.path, f"tensor {info}: {error}") from error

    def read(self, info: TensorInfo, mmap: bool) -> Any:
        """Return a tensor; what is quantized in f32."""
        tensor = self._held[info.name]
        data = np.asarray(tensor.data)
        if info.dtype == "BF16":
            return data.view("<u2").reshape(info.shape)
        if info.dtype in _PLAIN:
            return data.reshape(info.shape) if mmap else np.array(data).reshape(info.shape)
        from gguf import quants

        try:
            return quants.dequantize(data, tensor.tensor_type)
        except (NotImplementedError, ValueError) as error:
            raise malformed(self.path, f"tensor {info} can't be decoded: {error}") from error


def _reader_class() -> Any:
    """Return the package's reader, made to pass over lists in the metadata: it makes an array of each word in them.

    Raises:
        ImportError: it is not installed.
    """
    from gguf import GGUFReader, GGUFValueType

    sizes = {int(kind): np.dtype(size).itemsize for kind, size in GGUFReader.gguf_scalar_to_np.items()}
    text, array = int(GGUFValueType.STRING), int(GGUFValueType.ARRAY)

    def end_of(data: Any, start: int, kind: int) -> int:
        """Return where a value ends."""
        if kind in sizes:
            return start + sizes[kind]
        if kind == text:
            return start + 8 + int(_COUNT.unpack_from(data, start)[0])
        if kind != array:
            raise ValueError(f"metadata of the type {kind}")
        inner, count = _ARRAY.unpack_from(data, start)
        start += _ARRAY.size
        if inner in sizes:
            return start + sizes[inner] * int(count)
        for _ in range(count):
            start = end_of(data, start, inner)
        return start

    class Reader(GGUFReader):
        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if raw_type != array:
                return super()._get_field_parts(orig_offs, raw_type)
            count = end_of(self.data, int(orig_offs), array) - int(orig_offs)
            return count, [self._get(orig_offs, np.uint8, count)], [], [GGUFValueType.ARRAY]

    return Reader


def _dtype(tensor: Any) -> str:
    return str(tensor.tensor_type.name)
