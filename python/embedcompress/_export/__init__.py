"""`export`: tables written as other programs have them, with the codes, scales and biases that they have."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from types import NoneType
from typing import Literal, get_args

from .._atomic import AnyPath, write_file
from .._checks import check_type, checked_integer
from .._progress import ProgressOption, reporting
from .._table import Table
from . import _gguf, _mlx, _onnx
from ._fit import Grouped
from ._graph import Graph
from ._onnx import graph_of as onnx_graph
from ._tensors import Tensor, write_safetensors

Kind = Literal["gguf", "mlx", "onnx"]
KINDS: tuple[str, ...] = get_args(Kind)


def export(
    path: AnyPath,
    tables: Table | Mapping[str, Table],
    kind: Kind,
    *,
    type: str | Mapping[str, str] | None = None,
    into: AnyPath | None = None,
    id_axes: int | None = None,
    progress: ProgressOption = None,
) -> None:
    """Write tables to a file of another program, atomically; those of GGUF and MLX a block of rows at a time.

    Nothing is rounded or chosen anew: rows that come back are the same to the bit, and what `load` took over from such
    a file goes back as it came. Where the file has narrower groups than the table, scales and biases are repeated.
    ONNX computes the same rows, but for the order of sums in products and projections.

    Args:
        path: The file; it appears complete or not at all.
        tables: By their names, or one, which is called "weight".
        kind: "gguf": blocks of 4, 5 or 8 bits, and f32, f16 and bf16, in a file of tensors only; needs the package
            gguf. "mlx": a safetensors file with layers of 2, 3, 4, 5, 6 or 8 bits, whose bits and groups the metadata
            has under "quantization", as config.json wants them. "onnx": a model whose input "ids" (int64) gives "rows"
            (f32), of several tables "name.ids" and "name.rows"; of more than a gigabyte with its tensors
            in a file beside it, called as it is, a number and ".data"; needs the package onnx. As ONNX has it, an id
            below 0 counts from the end, unless a map or a hash is above the store.
        type: Of all tables, or of some by their names. Of "gguf" the type of a tensor, such as "Q4_1"; if not given,
            the smallest that holds the table. Of "mlx" the type of scales and biases, "F16", "BF16" or "F32"; if not
            given, the table's. Of "onnx" "GatherBlockQuantized", onnxruntime's operator for 4 and 8 bits in groups of
            2^k columns, from 16 on, or "Gather", operators that every runtime has; if not given, the former where a
            `Uniform` fits it.
        into: Of "gguf" only: the GGUF file of a model. What is written is a copy of it with each table in the place of
            the tensor of its name, which has as many rows and columns; its metadata and all other tensors stay as they
            are, byte for byte. It may be the file at `path`.
        id_axes: Of "onnx" only: how many axes ids have, 2 if not given, for batches of sequences.
        progress: Told of bytes; see `compress`.

    Raises:
        ValueError: a table is none that the kind can say exactly, such as a `Uniform` of 3 bits in GGUF, or a `Sparse`;
            the message says what of it does not fit, and which method, bits and groups do. Or `into` is no GGUF file,
            or has no tensor of a table's name and shape.
        FormatError: a package that the kind needs is not installed.
        OSError: the file can't be written; what was there before still is. Or `into` can't be read.
        KeyboardInterrupt: Ctrl-C.
    """
    named = {"weight": tables} if isinstance(tables, Table) else tables
    check_type(named, Mapping, "tables", "a Table, or a mapping of names to tables")
    for name, table in named.items():
        check_type(table, Table, f"tables[{name!r}]", "an embedcompress.Table")
    if not named:
        raise ValueError("tables must have at least one table")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if id_axes is not None and kind != "onnx":
        raise ValueError(f"id_axes is for ONNX: a file of kind {kind!r} has rows, and no ids")
    check_type(into, (str, bytes, PathLike, NoneType), "into", "a path")
    if into is not None and kind != "gguf":
        raise ValueError(f"into is for GGUF: a file of kind {kind!r} is written anew")
    types = _types(named, type)
    with reporting(progress, "export", "B") as report:
        if kind == "gguf":
            model = None if into is None else _gguf.opened(into)
            if model is None:
                tensors = {name: _gguf.tensor(name, table, types[name]) for name, table in named.items()}
            else:
                tensors = _gguf.put_into(model, named, types)
            write_file(path, lambda file: _gguf.write(path, file, tensors, model, report))
        elif kind == "onnx":
            axes = 2 if id_axes is None else checked_integer(id_axes, "id_axes")
            if axes < 0:
                raise ValueError(f"id_axes must be at least 0, not {axes}")
            _onnx.write(path, *_onnx.graph_of(named, types), axes, report)
        else:
            layers, metadata = _mlx.tensors(named, types)
            write_file(path, lambda file: write_safetensors(file, layers, metadata, report))


def _types(tables: Mapping[str, Table], type: str | Mapping[str, str] | None) -> dict[str, str | None]:
    """Return the type that is asked for of each table."""
    if isinstance(type, Mapping):
        unknown = [name for name in type if name not in tables]
        if unknown:
            raise ValueError(f"type names '{unknown[0]}', which is none of the tables {', '.join(tables)}")
        return {name: type.get(name) for name in tables}
    check_type(type, (str, NoneType), "type", "a string, or a mapping of names to strings")
    return dict.fromkeys(tables, type)


__all__ = ["KINDS", "Graph", "Grouped", "Kind", "Tensor", "export", "onnx_graph", "write_safetensors"]
