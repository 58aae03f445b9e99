"""What every kind of file gives: the tensors that it holds, and each of them as a table."""

from __future__ import annotations

import errno
import fnmatch
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _core
from .._atomic import AnyPath
from .._errors import FormatError
from .._table import Table, dense
from .._text import printable

FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
INTEGERS = ("I8", "U8", "I16", "U16")
"""Integers that f32 holds exactly."""
WEIGHT = "weight"
"""What the only table of a file is called where it has no name of its own."""


READ = (
    "read are safetensors (files, indexes, folders), .npy, .npz, word2vec and GloVe text, word2vec binary, Parquet, "
    "Arrow, torch checkpoints and GGUF"
)
"""The kinds, for errors of files that are of none of them."""
CHOOSE = "`name` of load, --tensor of the command line"


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a file."""

    name: str
    dtype: str
    """As safetensors names it, such as "F32"; of a quantized GGUF tensor as GGUF does, such as "Q4_0"; of MLX's codes,
    scales and biases, which are one table, such as "MLX 4-bit, groups of 64"."""
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Return name, shape and type, as errors list them."""
        return f"{self.name} ({' x '.join(f'{n:,}' for n in self.shape) or 'scalar'}, {self.dtype})"


def shown(path: AnyPath) -> str:
    """Return a path as errors have it."""
    return f"'{printable(os.fsdecode(path))}'"


def malformed(path: AnyPath, what: str, rule: str = "malformed") -> FormatError:
    """Return the error of a file that breaks a rule of its kind."""
    return FormatError(f"{shown(path)}: {printable(what)}", rule=rule, path=os.fsdecode(path))


def missing(path: AnyPath, kind: str, package: str, extra: str) -> FormatError:
    """Return the error of a file whose kind needs a package that is not installed."""
    return malformed(
        path, f"{kind} needs {package}, which is not installed: pip install 'embedcompress[{extra}]'", "missing_package"
    )


def no_tables(path: AnyPath) -> IsADirectoryError:
    """Return the error of a folder that no table can be read from."""
    return IsADirectoryError(
        errno.EISDIR, "Is a directory, without a .safetensors file or an index of a sharded checkpoint", os.fspath(path)
    )


class Source(ABC):
    """A file that tables can be taken from, one at a time."""

    kind: str
    """What the file is, as errors and `inspect` say it."""

    def __init__(self, path: AnyPath):
        """Look at what a file holds; kinds that say so at the start are not read further."""
        self.path = path

    @property
    @abstractmethod
    def tensors(self) -> tuple[TensorInfo, ...]:
        """Every tensor."""

    @abstractmethod
    def read(self, info: TensorInfo, mmap: bool) -> Any:
        """Return a tensor as an array or a torch tensor of a type that `as_rows` takes, on the file's memory if it can.

        Raises:
            FormatError: what the file has is not a tensor of that type and shape.
        """

    @property
    def stored(self) -> tuple[TensorInfo, ...]:
        """Every tensor as it lies in the file, where `tensors` has one for several."""
        return self.tensors

    def is_decoded(self, info: TensorInfo) -> bool:
        """Whether a tensor's own codes are given up: no store has them, and it becomes f32."""
        return False

    def origin(self, info: TensorInfo) -> str | None:
        """Return what `convert` must know to write a tensor back as it came: its kind, and its type there.

        Such as "gguf Q4_0"; None for kinds that codes are not taken over from.
        """
        return None

    def coded(self, info: TensorInfo, columns: int) -> Table | None:
        """Return the table of a tensor whose codes a store takes over as they are; None for all others.

        Args:
            info: The tensor.
            columns: Of a row.

        Raises:
            FormatError: its scales or biases are no numbers.
        """
        return None

    def words(self, name: str) -> tuple[str, ...] | None:
        """Return what each row of a table stands for; None if the file does not say."""
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """The tables: tensors of two axes of floats, or if there are none, of small integers."""
        for kinds in (self._float_types(), INTEGERS):
            found = tuple(t.name for t in self.tensors if len(t.shape) == 2 and t.shape[1] > 0 and t.dtype in kinds)
            if found:
                return found
        return ()

    def _float_types(self) -> Sequence[str]:
        return FLOATS

    def _why(self, info: TensorInfo) -> str:
        """Return what is known of why a tensor is of no type that tables have."""
        return ""

    def table(self, name: str | None = None, *, axis: int | None = None, mmap: bool = True) -> Table:
        """Return a table; None takes the only one.

        Raises:
            FormatError: there is none of that name, or several; or it has more axes than two and no `axis` is given.
        """
        info = self.find(self.only() if name is None else name)
        if info.dtype not in (*self._float_types(), *INTEGERS):
            why = self._why(info)
            what = f"tensor {info} is of a type that no table has{why and ': '}{why}"
            raise malformed(self.path, what, "not_a_matrix")
        columns = _columns(self.path, info, axis)
        coded = self.coded(info, columns)
        return as_table(self.read(info, mmap), info.dtype, columns) if coded is None else coded

    def only(self) -> str:
        """Return the name of the only table.

        Raises:
            FormatError: there are several or none; the message lists the tensors.
        """
        names = self.names
        if len(names) == 1:
            return names[0]
        listed = listing([tensor for tensor in self.tensors if not names or tensor.name in names])
        if names:
            what = f"{self.kind} of several tables, name one ({CHOOSE}): {listed}"
            raise malformed(self.path, what, "ambiguous_table")
        what = f"it has {listed}" if self.tensors else "it has no tensors"
        raise malformed(self.path, f"{self.kind} without a tensor of two axes of floats: {what}", "not_a_table_file")

    def find(self, name: str) -> TensorInfo:
        """Return a tensor by its name; the name of a layer stands for its weight.

        Raises:
            FormatError: there is none; the message lists those that there are.
        """
        by_name = {tensor.name: tensor for tensor in self.tensors}
        found = by_name.get(name) or by_name.get(f"{name}.{WEIGHT}")
        if found is None:
            raise malformed(
                self.path, f"the file has no table '{name}': it has {listing(self.tensors)}", "no_such_table"
            )
        return found

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Return the names that a pattern stands for: one as it is written, or tables by *, ? and [...]."""
        if any(tensor.name == pattern for tensor in self.tensors) or pattern in self.names:
            return (pattern,)
        return tuple(name for name in self.names if fnmatch.fnmatchcase(name, pattern))


def listing(tensors: Sequence[TensorInfo], most: int = 8) -> str:
    """Return tensors in a line: those that look like embeddings, or else the largest."""
    ordered = sorted(tensors, key=lambda tensor: -int(np.prod(tensor.shape, dtype=object)))
    shown = ([tensor for tensor in ordered if _looks_like_embedding(tensor.name)] or ordered)[:most]
    texts = [str(tensor) for tensor in shown]
    if len(shown) < len(tensors):
        texts.append(f"and {len(tensors) - len(shown)} more that `embedcompress inspect` lists")
    return ", ".join(texts) or "none"


def _looks_like_embedding(name: str) -> bool:
    return "emb" in name.lower() or name.lower().endswith(("wte.weight", "wpe.weight"))


def _columns(path: AnyPath, info: TensorInfo, axis: int | None) -> int:
    """Return how many columns the rows of a tensor have: those of the axes after `axis`, the last that numbers rows."""
    axes = len(info.shape)
    if axes < 2:
        raise malformed(path, f"tensor {info} must have two axes, rows and columns", "not_a_matrix")
    if axis is None and axes > 2:
        raise malformed(
            path,
            f"tensor {info} has {axes} axes: say by `axis` (--axis) which is the last that numbers rows, "
            f"from 0 to {axes - 2}; the axes after it are the columns",
            "not_a_matrix",
        )
    if axis is not None and not 0 <= axis <= axes - 2:
        raise malformed(path, f"axis must be from 0 to {axes - 2} for tensor {info}, not {axis}", "not_a_matrix")
    columns = int(np.prod(info.shape[(axis or 0) + 1 :], dtype=object))
    if columns < 1:
        raise malformed(path, f"tensor {info} has no columns", "not_a_matrix")
    return columns


_BLOCK = 1 << 20
"""Elements that are converted at a time."""


def as_table(values: Any, dtype: str, columns: int) -> Table:
    """Return what a file has as a table: f32, f16 and bf16 where they lie, all other types in f32.

    Args:
        values: An array of any shape, or a torch tensor of f32, f16 or bf16. FP8 and bf16 come as uint8 and uint16.
        dtype: The type of the elements.
        columns: Of a row.
    """
    if not isinstance(values, np.ndarray):
        return dense(values.reshape(-1, columns).contiguous())
    if dtype == "BF16":
        table: Table = _core.dense(np.ascontiguousarray(values).reshape(-1, columns), "bf16")
        return table
    if dtype in ("F32", "F16"):
        # Fortran order and foreign byte order cost a copy.
        native = values.dtype.newbyteorder("=")
        return dense(np.ascontiguousarray(values, dtype=native).reshape(-1, columns))
    flat = np.ascontiguousarray(values).reshape(-1)
    decoded = _fp8(dtype) if dtype.startswith("F8") else None
    result = np.empty(flat.size, np.float32)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        with np.errstate(over="ignore"):
            result[start : start + _BLOCK] = block if decoded is None else decoded[block]
    return dense(result.reshape(-1, columns))


def _fp8(dtype: str) -> np.ndarray[Any, Any]:
    """Return the value of each of the 256 codes of an FP8 type, OCP's E4M3 (without infinities) or E5M2."""
    mantissa_bits, bias = (3, 7) if dtype == "F8_E4M3" else (2, 15)
    codes = np.arange(256)
    exponents, mantissas = codes >> mantissa_bits & (127 >> mantissa_bits), codes & ((1 << mantissa_bits) - 1)
    normal = (1 + mantissas / (1 << mantissa_bits)) * np.exp2(exponents - bias)
    values = np.where(exponents == 0, mantissas / (1 << mantissa_bits) * np.exp2(1 - bias), normal)
    if dtype == "F8_E4M3":
        values[(codes & 127) == 127] = np.nan
    else:
        special = exponents == 31
        values[special] = np.where(mantissas[special] == 0, np.inf, np.nan)
    result: np.ndarray[Any, Any] = np.where(codes >= 128, -values, values).astype(np.float32)
    return result


NUMPY_TYPES = {"f8": "F64", "f4": "F32", "f2": "F16", "i1": "I8", "u1": "U8", "i2": "I16", "u2": "U16"}
NUMPY_TYPES |= {"i4": "I32", "u4": "U32", "i8": "I64", "u8": "U64", "b1": "BOOL", "c8": "C64"}


def numpy_type(dtype: np.dtype[Any]) -> str:
    """Return how tensors of a NumPy type are listed."""
    return NUMPY_TYPES.get(f"{dtype.kind}{dtype.itemsize}", str(dtype))
