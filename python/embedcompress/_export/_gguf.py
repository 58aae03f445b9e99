"""GGUF, the files of llama.cpp: `Uniform` tables as blocks of 32 columns, and plain numbers. Needs the package gguf."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import IO, Any

import numpy as np

from .._atomic import AnyPath
from .._gguf_blocks import COLUMNS, TYPES, BlockType
from .._progress import Progress
from .._sources import GGUF, TensorInfo, missing, open_source, shown
from .._table import Table
from .._uniform_rows import UniformRows
from ._fit import Grouped, described, plain, refused
from ._tensors import Tensor, write_blocks

Array = np.ndarray[Any, Any]

KIND = "GGUF"
FITS = (
    "what fits are 4 or 5 bits and f16 scales in groups of a multiple of 32 columns, "
    "as of compress(weight, 'least_squares', bits=4, group=32)"
)
ARCHITECTURE = "embedcompress"
"""What a file of tables says of the model that it is of."""


def tensor(name: str, table: Table, type: str | None) -> Tensor:
    """Return a table as a tensor of GGUF.

    Args:
        name: Of the table.
        table: Plain numbers, or a `Uniform`.
        type: What GGUF calls it, such as "Q4_1"; None takes the smallest that holds the table exactly.

    Raises:
        ValueError: no type holds it exactly, or the one that is asked for does not.
    """
    numbers = plain(table)
    if numbers is not None:
        if type not in (None, numbers.dtype):
            raise refused(name, KIND, f"it is {described(table)}, and not {type}", FITS)
        return numbers
    if type is not None and type not in TYPES:
        raise refused(name, KIND, f"there is no type {type} to write codes as", f"types are {', '.join(TYPES)}")
    rows = UniformRows.of(table)
    grouped = None if rows is None else Grouped.of(rows, (COLUMNS,))
    if grouped is None:
        raise refused(name, KIND, f"it is {described(table)} of {table.dimension:,} columns", FITS)
    kinds = [kind for kind in TYPES.values() if kind.bits == grouped.rows.bits and type in (None, kind.name)]
    if not kinds:
        what = f"it has codes of {grouped.rows.bits} bits" + (f", and not {type}" if type else "")
        raise refused(name, KIND, what, FITS)
    found = next((kind for kind in kinds if _holds(kind, grouped)), None)
    if found is None:
        wanted = " nor ".join(_needs(kind) for kind in kinds)
        raise refused(name, KIND, f"it has neither {wanted}" if len(kinds) > 1 else f"it has not {wanted}", FITS)
    blocks = table.rows * table.dimension // COLUMNS
    return Tensor(found.name, table.shape, blocks * found.block_bytes, lambda: _blocks(found, grouped))


def _needs(kind: BlockType) -> str:
    if kind.zero is None:
        return f"scales and biases that f16 holds, as {kind.name} needs"
    return f"f16 scales with biases of -{kind.zero} times the scale, as {kind.name} needs"


def _holds(kind: BlockType, grouped: Grouped) -> bool:
    if kind.zero is None:
        return grouped.holds("F16")
    return grouped.has_zero(kind.zero) and grouped.scales_hold("F16")


def _blocks(kind: BlockType, grouped: Grouped) -> Iterable[Array]:
    for block in grouped.blocks():
        with np.errstate(over="ignore"):
            scales, biases = (part.astype("<f2").reshape(-1) for part in grouped.parameters(block))
        yield kind.blocks(grouped.codes(block).reshape(-1, COLUMNS), scales, biases)


def opened(path: AnyPath) -> GGUF:
    """Open a model's file that tables are put into.

    Raises:
        ValueError: it is no GGUF file, or is malformed.
        OSError: it can't be read.
    """
    source = open_source(path)
    if not isinstance(source, GGUF):
        raise ValueError(f"into must be a GGUF file, and {shown(path)} is {source.kind}")
    return source


def put_into(model: GGUF, tables: Mapping[str, Table], types: Mapping[str, str | None]) -> dict[str, Tensor]:
    """Return the tensors of a model in their order, with tables in the place of those of their names.

    Raises:
        ValueError: there is no tensor of a table's name, it is of another shape, or two tables are of one tensor; or no
            type holds a table exactly, or the one that is asked for does not.
    """
    chosen: dict[str, tuple[str, Tensor]] = {}
    for name, table in tables.items():
        info = model.find(name)
        if info.name in chosen:
            raise ValueError(f"tables '{chosen[info.name][0]}' and '{name}' are both for the tensor {info.name}")
        if (math.prod(info.shape[:-1]), *info.shape[-1:]) != table.shape:
            raise ValueError(
                f"table '{name}' of {table.rows:,} x {table.dimension:,} can't take the place of the tensor {info} of "
                f"{shown(model.path)}: shapes must be the same"
            )
        chosen[info.name] = name, replace(tensor(name, table, types[name]), shape=info.shape)
    return {info.name: chosen[info.name][1] if info.name in chosen else _kept(model, info) for info in model.tensors}


def _kept(model: GGUF, info: TensorInfo) -> Tensor:
    start, count = model.tensor_bytes(info)
    return Tensor(info.dtype, info.shape, count, partial(model.bytes_of, start, count))


def write(
    path: AnyPath, file: IO[bytes], tensors: Mapping[str, Tensor], model: GGUF | None, progress: Progress | None
) -> None:
    """Write a GGUF file of tensors.

    Args:
        path: Of the file, for errors.
        file: Open for writing.
        tensors: By name.
        model: Whose tensors they are, by their names and in their order: its metadata is kept as it is, byte for byte.
        progress: Told of bytes.

    Raises:
        FormatError: the package gguf is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise missing(path, "a GGUF file", "gguf", "gguf") from None
    writer: Any = gguf.GGUFWriter(None, ARCHITECTURE)
    for name, tensor in tensors.items():
        kind = gguf.GGMLQuantizationType[tensor.dtype]
        writer.add_tensor_info(name, tensor.shape, np.dtype(np.float32), tensor.byte_count, kind)
    # It would open a file of its own by a path, and hold tensors whole.
    writer.fout, states = [file], gguf.gguf_writer.WriterState
    if model is None:
        writer.state = states.EMPTY
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
    else:
        # What the package reads of metadata it can't always write: arrays that are empty, or of arrays.
        for block in model.bytes_of(0, model.head_bytes):
            file.write(block.data)
        writer.state, writer.data_alignment = states.KV_DATA, model.alignment
    writer.write_ti_data_to_file()
    writer.write_padding(file, file.tell())
    write_blocks(file, tensors, writer.data_alignment, progress)
