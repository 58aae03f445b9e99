"""Rows of stores in operators of ONNX.

`Uniform` of 4 and 8 bits becomes `GatherBlockQuantized` of onnxruntime, which decodes scale * (code - zero) in groups
of 2^k columns, from 16 on. Where a bias is not -zero * scale, the zero is 0 and the bias is added. All else is
operators that every runtime has: codes are gathered packed, and bits are taken out of their bytes in integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._table import Array as TableArray
from .._uniform_rows import UniformRows
from ._fit import Grouped
from ._graph import Graph

Array = np.ndarray[Any, Any]
Node = Mapping[str, Any]
Arrays = Mapping[str, TableArray]

BLOCK_QUANTIZED = "GatherBlockQuantized"
MICROSOFT = "com.microsoft"
_LEAST_BLOCK = 16
_NUMBERS: dict[str, np.dtype[Any]] = {"f16": np.dtype("<f2"), "f32": np.dtype("<f4")}


def dense(graph: Graph, node: Node, arrays: Arrays, ids: str) -> str:
    """Return rows of plain numbers."""
    dtype, values = arrays[node["tensors"]["rows"]]
    rows = graph.gather(graph.rows_of(values[:, : node["dimension"]], dtype.upper()), ids)
    return rows if dtype == "f32" else graph.cast(rows, "F32")


def uniform(graph: Graph, node: Node, arrays: Arrays, ids: str, type: str | None) -> str | None:
    """Return rows of codes with scales and biases; None if the type that is asked for can't say them."""
    rows = UniformRows.of_node(node, arrays)
    block = _block(rows)
    if type == BLOCK_QUANTIZED and block is None:
        return None
    if block is not None and type in (None, BLOCK_QUANTIZED):
        return _block_quantized(graph, rows, block, ids)
    values = graph.cast(codes(graph, rows.memory, np.arange(rows.dimension), rows.bits, ids), "F32")
    if rows.shared is not None:
        scales, biases = (graph.constant(number, "float32") for number in rows.shared)
    else:
        scales, biases = (_spread(graph, rows, which, ids) for which in range(2))
    return graph.add("Add", graph.add("Mul", values, scales), biases)


def _block(rows: UniformRows) -> int | None:
    """Return the columns of a block that the operator can have for groups of rows; None if it has none such."""
    if rows.bits not in (4, 8) or rows.shared is not None or rows.dimension * rows.bits % 8:
        return None
    power = max(1 << (rows.group - 1).bit_length(), _LEAST_BLOCK)
    return power if rows.groups == 1 or power == rows.group else None


def _block_quantized(graph: Graph, rows: UniformRows, block: int, ids: str) -> str:
    packed = graph.rows_of(rows.memory[:, : rows.code_bytes])
    # In f32: what the operator returns has the type of the scales.
    scales = graph.tensor("F32", (rows.rows, rows.groups), lambda part: rows.parameters(part)[0].astype("<f4"))
    inputs = [packed, ids, scales]
    # Without zeros the operator takes the code in the middle.
    is_centred = Grouped(rows, rows.group).has_zero(1 << (rows.bits - 1))
    if not is_centred:
        shape = rows.rows, -(-rows.groups * rows.bits // 8)
        inputs.append(graph.tensor("U8", shape, lambda part: np.zeros((part.stop - part.start, shape[1]), np.uint8)))
    attributes = {"gather_axis": 0, "quantize_axis": 1, "block_size": block, "bits": rows.bits}
    result = graph.add(BLOCK_QUANTIZED, *inputs, domain=MICROSOFT, **attributes)
    return result if is_centred else graph.add("Add", result, _spread(graph, rows, 1, ids))


def _spread(graph: Graph, rows: UniformRows, which: int, ids: str) -> str:
    """Return the scales (0) or biases (1) of rows in f32, one for each column, or one if all columns share it."""
    numbers = graph.tensor(
        rows.scale_dtype.upper(), (rows.rows, rows.groups), lambda part: rows.parameters(part)[which]
    )
    found = graph.gather(numbers, ids)
    found = found if rows.scale_dtype == "f32" else graph.cast(found, "F32")
    return found if rows.groups == 1 else graph.columns(found, np.arange(rows.dimension) // rows.group)


def codes(graph: Graph, memory: Array, which: Array, bits: int, ids: str) -> str:
    """Return codes of rows in i32.

    Args:
        graph: Takes the nodes.
        memory: (rows, bytes), which begin with codes, packed to the bit.
        which: The places of the codes that are wanted.
        bits: Of a code, 1 to 16.
        ids: The rows.
    """
    first, shifts = which * bits // 8, which * bits % 8
    last = (which * bits + bits - 1) // 8
    end = int(last.max()) + 1
    rows = graph.cast(graph.gather(graph.rows_of(memory[:, :end]), ids), "I32")
    result = graph.columns(rows, first)
    for step in range(1, int((last - first).max()) + 1):
        # Codes that end before that byte get one of their own once more, whose bits are cut off below.
        byte = graph.columns(rows, np.minimum(first + step, end - 1))
        result = graph.add("Add", result, graph.add("Mul", byte, graph.constant(1 << 8 * step, "int32")))
    if shifts.any():
        result = graph.add("Div", result, graph.constant(1 << shifts, "int32"))
    return result if bits == 8 else graph.add("Mod", result, graph.constant(1 << bits, "int32"))


def codebook(graph: Graph, node: Node, arrays: Arrays, ids: str) -> str:
    """Return rows of codes into codebooks of numbers."""
    memory = arrays[node["tensors"]["rows"]].values
    start = -(-node["dimension"] * node["bits"] // 8)
    found = codes(graph, memory, np.arange(node["dimension"]), node["bits"], ids)
    if node["scope"] == "table":
        book = arrays[node["tensors"]["codebooks"]].values.reshape(-1).astype(np.float32)
        result = graph.gather(graph.constant(book, "float32"), found)
        if "row_scale" not in node:
            return result
        return graph.add("Mul", result, _behind(graph, memory, start, 1, node["entries"], ids))
    if node["scope"] == "row":
        entries = _behind(graph, memory, start, 1 << node["bits"], node["entries"], ids)
    else:
        width = next(width for width in (1, 2, 3, 4) if node["clusters"] <= 256**width)
        bytes_ = graph.rows_of(memory[:, start : start + width])
        index = graph.cast(graph.gather(bytes_, ids), "I64")
        place = graph.add("Mul", index, graph.constant(256 ** np.arange(width)))
        # One number for each row, without the axis of bytes.
        cluster = graph.add("ReduceSum", place, graph.constant([-1]), keepdims=0)
        books = arrays[node["tensors"]["codebooks"]].values
        entries = graph.cast(graph.gather(graph.rows_of(books), cluster), "F32")
    return graph.add("GatherElements", entries, found, axis=-1)


def _behind(graph: Graph, memory: Array, start: int, count: int, entries: str, ids: str) -> str:
    """Return numbers that stand behind the codes of rows, in f32.

    Args:
        graph: Takes the nodes.
        memory: (rows, bytes).
        start: Where they begin.
        count: How many there are.
        entries: "f16" or "f32".
        ids: The rows.
    """
    number = _NUMBERS[entries]
    end = start + count * number.itemsize
    numbers = graph.tensor(
        entries.upper(),
        (len(memory), count),
        lambda part: np.ascontiguousarray(memory[part, start:end]).view(number),
    )
    found = graph.gather(numbers, ids)
    return graph.cast(found, "F32") if entries == "f16" else found


def product(graph: Graph, node: Node, arrays: Arrays, ids: str) -> str:
    """Return rows of codes into codebooks of vectors."""
    memory = arrays[node["tensors"]["rows"]].values
    books = arrays[node["tensors"]["codebooks"]].values.reshape(-1)
    parts, bits, dimension = node["parts"], node["bits"], node["dimension"]

    def vectors(which: Array, start: int, width: int) -> str:
        """Return the vectors of some parts, (..., parts, width); their codebooks begin at a number."""
        count = len(which) << bits
        table = books[start : start + count * width].reshape(count, width)
        places = graph.add(
            "Add",
            graph.cast(codes(graph, memory, which, bits, ids), "I64"),
            graph.constant(np.arange(len(which)) << bits),
        )
        return graph.cast(graph.gather(graph.rows_of(table), places), "F32")

    if node["mode"] == "sum":
        return graph.add("ReduceSum", vectors(np.arange(parts), 0, dimension), graph.constant([-2]), keepdims=0)
    width, longer = divmod(dimension, parts)
    found = []
    if longer:
        rows = vectors(np.arange(longer), 0, width + 1)
        found.append(graph.merged(rows, ids, longer * (width + 1)))
    if width and longer < parts:
        rows = vectors(np.arange(longer, parts), (longer << bits) * (width + 1), width)
        found.append(graph.merged(rows, ids, (parts - longer) * width))
    return graph.add("Concat", *found, axis=-1) if len(found) > 1 else found[0]
