"""Tables that are one store, made of its parts: a tensor train, non-zeros, a shared array, a network of hashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._arrays import as_array
from ._expressions import compose
from ._table import Table

_Values = np.ndarray[Any, Any]


def tensor_train(cores: Sequence[object], *, rows: int | None = None) -> Table:
    """Return a table whose rows are products of three matrices: a tensor train (TT-Rec, Yin et al., MLSys 2021).

    Row x has the digits x = i0 + N0 (i1 + N1 i2), and is core0[i0] · core1[i1] · core2[i2] as d0 d1 d2 columns.

    Args:
        cores: Three arrays of f32, or three of f16, used where they lie: (N0, d0, R1), (N1, R1, d1, R2), (N2, R2, d2).
        rows: Ids of the result are 0 to rows - 1; N0 N1 N2 if not given.

    Raises:
        ValueError: arrays of other shapes or types, or more rows than the cores have.
    """
    core0, core1, core2 = (values(core, f"core {index}") for index, core in enumerate(cores))
    if (core0.ndim, core1.ndim, core2.ndim) != (3, 4, 3):
        raise ValueError("cores must have the shapes (N0, d0, R1), (N1, R1, d1, R2) and (N2, R2, d2)")
    n0, d0, rank1 = core0.shape
    n1, before, d1, rank2 = core1.shape
    n2, after, d2 = core2.shape
    if (before, after) != (rank1, rank2):
        raise ValueError(f"cores must agree on their ranks, but {core0.shape}, {core1.shape} and {core2.shape} do not")
    element = same_type({"cores": core0, "core 1": core1, "core 2": core2})
    return compose(
        "tensor_train",
        n0 * n1 * n2 if rows is None else rows,
        d0 * d1 * d2,
        {
            "rows0": n0,
            "rows1": n1,
            "rows2": n2,
            "columns0": d0,
            "columns1": d1,
            "columns2": d2,
            "rank1": rank1,
            "rank2": rank2,
            "element": element,
            "offset": 0,
        },
        {"core0": (element, core0), "core1": (element, core1), "core2": (element, core2)},
    )


def sparse(
    matrix: object | None = None,
    *,
    data: object | None = None,
    indices: object | None = None,
    indptr: object | None = None,
    row_indices: object | None = None,
    rows: int | None = None,
    dimension: int | None = None,
    layout: str = "auto",
) -> Table:
    """Return a table of rows of zeros but for some values.

    Columns are stored in 1, 2 or 4 bytes, as few as the dimension allows, rows in 4 or 8.

    Args:
        matrix: (rows, dimension), f32 or f16: an array, whose zeros are left out, or a scipy.sparse matrix. Or give its
            parts by name.
        data: Values, f32 or f16.
        indices: The column of each value. Values of a row that have the same column add up.
        indptr: CSR: the values of row x are indptr[x] to indptr[x + 1] - 1.
        row_indices: COO: the row of each value, in ascending order. Give this or `indptr`.
        rows: Ids of the result are 0 to rows - 1; needed with `row_indices`.
        dimension: Columns; needed with parts.
        layout: "csr", "coo", or "auto": the one of fewer bytes, whichever is given.

    Raises:
        ValueError: parts that do not go together.
    """
    if layout not in ("auto", "csr", "coo"):
        raise ValueError(f"layout must be 'auto', 'csr' or 'coo', not {layout!r}")
    if matrix is not None:
        if any(part is not None for part in (data, indices, indptr, row_indices, rows, dimension)):
            raise ValueError("give either a matrix or its parts")
        stored, columns, pointers, dimension = _compressed_rows(matrix)
    else:
        if data is None or indices is None or dimension is None or (indptr is None) == (row_indices is None):
            raise ValueError("give data, indices, dimension, and either indptr or row_indices")
        stored, columns = values(data, "data"), _integers(indices, "indices")
        if row_indices is None:
            pointers = _integers(indptr, "indptr")
            if rows is not None and len(pointers) != rows + 1:
                raise ValueError(f"indptr must have {rows + 1} entries for {rows} rows, not {len(pointers)}")
        else:
            if rows is None:
                raise ValueError("rows is needed with row_indices")
            owners = _integers(row_indices, "row_indices")
            if len(owners) != len(columns) or (np.diff(owners) < 0).any():
                raise ValueError("row_indices must be as many as indices, in ascending order")
            if len(owners) and (owners[0] < 0 or owners[-1] >= rows):
                raise ValueError(f"row_indices must be from 0 to {rows - 1}")
            pointers = np.searchsorted(owners, np.arange(rows + 1))
    if stored.shape != columns.shape:
        raise ValueError(f"indices must be as many as data, {stored.size}, not {columns.size}")
    if len(columns) and (columns.min() < 0 or columns.max() >= dimension):
        raise ValueError(f"indices must be from 0 to {dimension - 1}")
    if not len(pointers) or pointers[0] != 0 or pointers[-1] != len(columns) or (np.diff(pointers) < 0).any():
        raise ValueError(f"indptr must rise from 0 to the {len(columns)} values")
    return _sparse(stored, columns, pointers, dimension, layout)


def _sparse(stored: _Values, columns: _Values, pointers: _Values, dimension: int, layout: str) -> Table:
    """Return the table of checked parts."""
    count, rows = len(stored), len(pointers) - 1
    pointer_type, row_type = ("u32" if largest < 2**32 else "u64" for largest in (count, rows))
    size = {"u32": 4, "u64": 8}
    if layout == "auto":
        layout = "csr" if (rows + 1) * size[pointer_type] <= count * size[row_type] else "coo"
    if layout == "csr":
        index_type, name, index = pointer_type, "pointers", pointers
    else:
        index_type, name, index = row_type, "rows", np.repeat(np.arange(rows), np.diff(pointers))
    column_type = "u8" if dimension <= 2**8 else "u16" if dimension <= 2**16 else "u32"
    numpy = {"u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64}
    element = same_type({"data": stored})
    return compose(
        "sparse",
        rows,
        dimension,
        {"layout": layout, "element": element, "index": index_type, "nonzeros": count, "first": 0},
        {
            name: (index_type, index.astype(numpy[index_type])),
            "columns": (column_type, columns.astype(numpy[column_type])),
            "values": (element, stored),
        },
    )


def _compressed_rows(matrix: object) -> tuple[_Values, _Values, _Values, int]:
    """Return values, columns, row pointers and dimension of a matrix."""
    if hasattr(matrix, "tocsr"):
        rows = matrix.tocsr()
        return values(rows.data, "matrix"), rows.indices, rows.indptr, int(rows.shape[1])
    dense = values(matrix, "matrix")
    if dense.ndim != 2:
        raise ValueError(f"matrix must have two axes, not {dense.ndim}")
    row, column = np.nonzero(dense)
    return dense[row, column], column, np.searchsorted(row, np.arange(len(dense) + 1)), dense.shape[1]


def shared_array(array: object, *, rows: int, dimension: int, block: int, seed: int = 0, signs: bool = False) -> Table:
    """Return a table whose rows are made of runs of one array (ROBE, Desai et al., MLSys 2022).

    `docs/format.md` has the hash to the bit.

    Args:
        array: (M,), f32 or f16, used where it lies; M from 1 to 2^31 - 1.
        rows: Ids of the result are 0 to rows - 1.
        dimension: Columns.
        block: Columns of a run: neighbours in the array, whose end its start follows.
        seed: Of the hash, a 64-bit integer.
        signs: Whether a run has a sign, which its hash gives.
    """
    stored = values(array, "array")
    if stored.ndim != 1:
        raise ValueError(f"array must have one axis, not {stored.ndim}")
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed must be an integer of 64 bits, not {seed}")
    element = same_type({"array": stored})
    fields = {
        "element": element,
        "count": len(stored),
        "block": block,
        "seed": seed if seed < 2**63 else seed - 2**64,
        "signs": int(signs),
        "offset": 0,
    }
    return compose("shared_array", rows, dimension, fields, {"values": (element, stored)})


def hash_network(
    *,
    factors: object,
    summands: object,
    moduli: object,
    buckets: int,
    weights: Sequence[object],
    biases: Sequence[object],
    rows: int,
    encoding: str = "uniform",
) -> Table:
    """Return a table whose rows a network makes of hashes of their ids (DHE, Kang et al., KDD 2021).

    Hash j of id x is h = ((factors[j] x + summands[j]) mod moduli[j]) mod buckets. It becomes 2 h / (buckets - 1) - 1,
    or pairs of hashes become pairs of normal numbers. Layers follow, with Mish between them.

    Args:
        factors: (k,), integers from 0 to 2^31 - 1.
        summands: As many, of the same range.
        moduli: As many, from 2 on.
        buckets: From 2 to 2^31 - 1.
        weights: Of each layer (inputs, outputs), all f32 or all f16: the transpose of what `torch.nn.Linear` has.
        biases: Of each layer (outputs,), f32. Batch norm has to be folded in.
        rows: Ids of the result are 0 to rows - 1; at most 2^32.
        encoding: "uniform" or "normal".
    """
    layers = {f"weights {index}": values(layer, f"weights {index}") for index, layer in enumerate(weights)}
    if not layers or len(biases) != len(layers) or any(layer.ndim != 2 for layer in layers.values()):
        raise ValueError("weights must be matrices, at least one, and biases as many")
    element = same_type(layers)
    constants = {
        name: _integers(part, name).astype(np.int64)
        for name, part in (("factors", factors), ("summands", summands), ("moduli", moduli))
    }
    tensors: dict[str, tuple[str, _Values]] = {name: ("i64", part) for name, part in constants.items()}
    for index, (layer, bias) in enumerate(zip(layers.values(), biases, strict=True)):
        tensors[f"weights{index}"] = (element, layer)
        tensors[f"biases{index}"] = ("f32", values(bias, f"biases {index}").astype(np.float32, copy=False))
    widths = [layer.shape[1] for layer in layers.values()]
    fields = {
        "hashes": len(constants["factors"]),
        "buckets": buckets,
        "encoding": encoding,
        "element": element,
        "layers": len(widths),
        **{f"width{index}": width for index, width in enumerate(widths[:-1])},
        "offset": 0,
    }
    return compose("hash_network", rows, widths[-1], fields, tensors)


def _integers(array: object, name: str) -> _Values:
    """Return integers of one axis."""
    found = array if isinstance(array, np.ndarray) else as_array(array, name)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise ValueError(f"{name} must be integers and have one axis")
    return found


def values(array: object, name: str) -> _Values:
    """Return an array of numbers in f32 or f16: those two where they lie, float64 as f32.

    Raises:
        ValueError: it holds something else.
    """
    found = array if isinstance(array, np.ndarray) else as_array(array, name)
    if found.dtype == np.float64:
        found = found.astype(np.float32)
    if found.dtype not in (np.float32, np.float16):
        raise ValueError(f"{name} must be f32 or f16, not {found.dtype}")
    return found


def same_type(arrays: dict[str, _Values]) -> str:
    """Return "f32" or "f16", the type of all of the arrays."""
    first, *others = arrays.items()
    for name, array in others:
        if array.dtype != first[1].dtype:
            raise ValueError(f"{name} must have the type of {first[0]}, {first[1].dtype}, not {array.dtype}")
    return {"float32": "f32", "float16": "f16"}[first[1].dtype.name]
