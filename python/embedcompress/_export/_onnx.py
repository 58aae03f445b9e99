"""ONNX: a graph that looks rows up, from the same bytes. Needs the package onnx."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .._atomic import AnyPath, write_bytes, write_file
from .._progress import Progress
from .._sources import missing
from .._table import Table
from . import _onnx_stores as stores
from ._fit import described, refused
from ._graph import ELEMENTS, Graph
from ._onnx_stores import BLOCK_QUANTIZED, MICROSOFT, Arrays, Node
from ._tensors import Tensor, write_blocks

Array = np.ndarray[Any, Any]

KIND = "ONNX"
PLAIN = "Gather"
TYPES = (BLOCK_QUANTIZED, PLAIN)
FITS = (
    "what fits are Dense, Uniform, Codebook and Product under Remap, Combine, Columns and Project, "
    "as of compress(weight, 'least_squares', bits=4, group=64)"
)
OPSET, IR_VERSION = 18, 8
"""Of December 2022: older runtimes are few, and newer ones read them."""
_TOKEN_BYTES = 4
"""Of the number in the name of a file of tensors."""
_MOST_IN_ONE_FILE = 1 << 30
"""Bytes of tensors that are written into the model: protobuf ends at 2 GiB."""
_ALWAYS_IN_THE_MODEL = 1 << 12
"""Bytes of tensors that stay in the model in any case: shapes are read off some of them before files are opened."""
_ALIGNMENT = 64
"""Of tensors in the file beside the model."""
_INT32 = 1 << 31


class Ports(NamedTuple):
    """What goes into a graph and comes out, for one table."""

    ids: str
    rows: str
    dimension: int


def graph_of(tables: Mapping[str, Table], types: Mapping[str, str | None]) -> tuple[Graph, list[Ports]]:
    """Return a graph of tables, and the names of its inputs and results.

    Raises:
        ValueError: one is of a kind, or has a store, that is not said in ONNX.
    """
    graph = Graph()
    ports = []
    for name, table in tables.items():
        if types[name] not in (None, *TYPES):
            raise refused(name, KIND, f"there is no type {types[name]}", f"types are {', '.join(TYPES)}")
        prefix = f"{name}." if len(tables) > 1 else ""
        ids, rows = f"{prefix}ids", f"{prefix}rows"
        tree, arrays = table.parts()
        found = _Rows(graph, arrays, types[name], name, table).of(tree, ids)
        graph.nodes.append(("", "Identity", [found], rows, {}))
        ports.append(Ports(ids, rows, table.dimension))
    return graph, ports


class _Rows:
    """What turns the nodes of one table into operators."""

    def __init__(self, graph: Graph, arrays: Arrays, type: str | None, name: str, table: Table):
        self.graph = graph
        self.arrays = arrays
        self.type = type
        self.name = name
        self.table = table

    def of(self, node: Node, ids: str) -> str:
        """Return the rows of a node in f32.

        Raises:
            ValueError: its kind is not said in ONNX.
        """
        graph, kind = self.graph, node["kind"]
        if kind == "dense":
            return stores.dense(graph, node, self.arrays, ids)
        if kind == "uniform":
            rows = stores.uniform(graph, node, self.arrays, ids, self.type)
            if rows is None:
                what = f"it has not 4 or 8 bits in groups of 2^k columns, from 16 on, as {BLOCK_QUANTIZED} needs"
                raise refused(self.name, KIND, f"{what}: it is {described(self.table)}", f"type '{PLAIN}' takes it")
            return rows
        if kind == "codebook":
            return stores.codebook(graph, node, self.arrays, ids)
        if kind == "product":
            return stores.product(graph, node, self.arrays, ids)
        children = list(node.get("children", {}).values())
        if kind == "remap":
            return self._remap(node, children[0], ids)
        if kind in ("combine", "columns"):
            found = [self.of(child, ids) for child in children]
            if kind == "columns":
                return graph.add("Concat", *found, axis=-1)
            result = found[0]
            for other in found[1:]:
                result = graph.add("Add" if node["operation"] == "sum" else "Mul", result, other)
            return result
        if kind == "project":
            matrix = graph.rows_of(self.arrays[node["tensors"]["matrix"]].values)
            matrix = matrix if node["element"] == "f32" else graph.cast(matrix, "F32")
            result = graph.add("MatMul", self.of(children[0], ids), matrix)
            if "bias" not in node["tensors"]:
                return result
            return graph.add("Add", result, graph.constant(self.arrays[node["tensors"]["bias"]].values, "float32"))
        raise refused(self.name, KIND, f"it has a {kind.replace('_', ' ')}", FITS)

    def _remap(self, node: Node, inner: Node, ids: str) -> str:
        graph, function = self.graph, node["function"]
        if node["offset"]:
            ids = graph.add("Add", ids, graph.constant(node["offset"]))
        if function == "modulo":
            return self.of(inner, graph.add("Mod", ids, graph.constant(node["modulus"])))
        if function == "quotient":
            return self.of(inner, graph.add("Div", ids, graph.constant(node["divisor"])))
        if function == "hash":
            return self.of(inner, self._hashed(node["seed"], inner["rows"], ids))
        block = node["block_rows"]
        entries = map_entries(node, self.arrays[node["tensors"]["map"]].values)
        nowhere = -(-inner["rows"] // block)
        narrow = entries.astype(np.int32 if nowhere < _INT32 else np.int64)
        place = ids if block == 1 else graph.add("Div", ids, graph.constant(block))
        entry = graph.cast(graph.gather(graph.rows_of(narrow), place), "I64")
        found = entry
        if block > 1:
            start = graph.add("Mul", entry, graph.constant(block))
            found = graph.add("Add", start, graph.add("Mod", ids, graph.constant(block)))
        if not (entries == nowhere).any():
            return self.of(inner, found)
        is_nowhere = graph.add("Equal", entry, graph.constant(nowhere))
        rows = self.of(inner, graph.add("Where", is_nowhere, graph.constant(0), found))
        columns = graph.add("Unsqueeze", is_nowhere, graph.constant([-1]))
        return graph.add("Where", columns, graph.constant(0, "float32"), rows)

    def _hashed(self, seed: int, rows: int, ids: str) -> str:
        """Return what docs/format.md says of hashes, in u64."""
        graph = self.graph

        def number(value: int) -> str:
            return graph.constant(value, "uint64")

        def multiplied(value: str, factor: int) -> str:
            return graph.add("Mul", value, number(factor))

        def shifted(value: str, places: int) -> str:
            return graph.add("Div", value, number(1 << places))

        def mixed(value: str, places: int) -> str:
            return graph.add("BitwiseXor", value, shifted(value, places))

        after = graph.add("Add", graph.cast(ids, "U64"), number(1))
        h = graph.add("Add", multiplied(after, 0x9E3779B97F4A7C15), number(seed))
        h = multiplied(mixed(h, 30), 0xBF58476D1CE4E5B9)
        h = multiplied(mixed(h, 27), 0x94D049BB133111EB)
        return graph.cast(shifted(multiplied(shifted(mixed(h, 31), 32), rows), 32), "I64")


def map_entries(node: Node, packed: Array) -> Array:
    """Return the entries of a packed map, (blocks,) int64."""
    bits, shift = node["bits"], node["shift"]
    count = -(-(node["offset"] + node["rows"]) // node["block_rows"])
    result = np.empty(count, np.int64)
    # So many entries take whole bytes.
    step = 1 << 16
    for start in range(0, count, step):
        part = min(step, count - start)
        first = start * bits // 8
        spread = np.unpackbits(packed[first : first + step * bits // 8 + 1], bitorder="little")
        padded = np.zeros((part, 64), np.uint8)
        padded[:, :bits] = spread[shift : shift + part * bits].reshape(part, bits)
        result[start : start + part] = np.packbits(padded, axis=1, bitorder="little").view("<i8")[:, 0]
    return result


def write(path: AnyPath, graph: Graph, ports: list[Ports], axes: int, progress: Progress | None) -> None:
    """Write a model, and beside it a file of its tensors if they are more than protobuf takes.

    Args:
        path: Of the model.
        graph: Of the tables.
        ports: Of each table.
        axes: Of ids.
        progress: Told of bytes.

    Raises:
        FormatError: the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise missing(path, "an ONNX file", "onnx", "onnx") from None
    total = sum(tensor.byte_count for tensor in graph.tensors.values())
    beside: dict[str, Tensor] = {}
    if total > _MOST_IN_ONE_FILE:
        beside = {name: one for name, one in graph.tensors.items() if one.byte_count > _ALWAYS_IN_THE_MODEL}
    name = os.fsdecode(path)
    # Models name their tensors' file: a new one under a new name, so that an old model keeps its own until it goes.
    place = f"{name}.{secrets.token_hex(_TOKEN_BYTES)}.data"
    model = _model(onnx, graph, ports, axes, beside, os.path.basename(place))
    before = glob.glob(f"{glob.escape(name)}.{'[0-9a-f]' * (2 * _TOKEN_BYTES)}.data")
    try:
        if beside:
            write_file(place, lambda file: write_blocks(file, beside, _ALIGNMENT, progress))
        elif progress is not None and progress(total, total) is False:
            raise KeyboardInterrupt
        write_bytes(path, model.SerializeToString())
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)
        raise
    for old in before:
        os.unlink(old)


def _model(
    onnx: ModuleType, graph: Graph, ports: list[Ports], axes: int, beside: Mapping[str, Tensor], place: str
) -> Any:
    helper: Any = onnx.helper
    initializers, offset = [], 0
    for name, tensor in graph.tensors.items():
        proto: Any = onnx.TensorProto(name=name, data_type=ELEMENTS[tensor.dtype].number, dims=tensor.shape)
        if name not in beside:
            proto.raw_data = b"".join(block.tobytes() for block in tensor.blocks())
        else:
            proto.data_location = proto.EXTERNAL
            said = {"location": place, "offset": offset, "length": tensor.byte_count}
            for key, value in said.items():
                proto.external_data.add(key=key, value=str(value))
            offset += tensor.byte_count + -tensor.byte_count % _ALIGNMENT
        initializers.append(proto)
    nodes = [
        helper.make_node(operator, names, [name], domain=domain, **attributes)
        for domain, operator, names, name, attributes in graph.nodes
    ]
    extents = [[f"{port.ids}_{axis}" for axis in range(axes)] for port in ports]
    inputs = [
        helper.make_tensor_value_info(port.ids, ELEMENTS["I64"].number, shape)
        for port, shape in zip(ports, extents, strict=True)
    ]
    results = [
        helper.make_tensor_value_info(port.rows, ELEMENTS["F32"].number, [*shape, port.dimension])
        for port, shape in zip(ports, extents, strict=True)
    ]
    domains = dict.fromkeys(["", *(domain for domain, *_ in graph.nodes)])
    return helper.make_model(
        helper.make_graph(nodes, "embedcompress", inputs, results, initializers),
        producer_name="embedcompress",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid(domain, 1 if domain == MICROSOFT else OPSET) for domain in domains],
    )
