"""Tables that are one store, made of its parts: trains, non-zeros, shared arrays, networks, trellises, floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._checks import checked_integer, checked_items
from ._expressions import compose, given
from ._table import Table


def tensor_train(
    cores: Sequence[object],
    *,
    rows: int | None = None,
    columns: Sequence[int] | None = None,
    ranks: Sequence[int] | None = None,
) -> Table:
    """Return a table whose rows are products of three matrices: a tensor train (TT-Rec, Yin et al., MLSys 2021).

    Row x has the digits x = i0 + N0 (i1 + N1 i2), and is core0[i0] · core1[i1] · core2[i2] as d0 d1 d2 columns.

    Args:
        cores: Three arrays of f32, or three of f16, used where they lie: (N0, d0, R1), (N1, R1, d1, R2), (N2, R2, d2).
            Or three tables with a slice in each row, such as codes of 4 bits: (N0, d0 R1), (N1, R1 d1 R2), (N2, R2 d2).
        rows: Ids of the result are 0 to rows - 1; N0 N1 N2 if not given.
        columns: d0, d1 and d2; for tables, whose shapes don't tell.
        ranks: R1 and R2; for tables.

    Raises:
        ValueError: arrays or tables of other shapes or types, or more rows than the cores have.
    """
    core0, core1, core2 = _several(cores, "cores", 3, "arrays or tables")
    if not any(isinstance(core, Table) for core in (core0, core1, core2)):
        if columns is not None or ranks is not None:
            raise ValueError("columns and ranks are for cores that are tables: the shapes of arrays tell them")
        return compose("tensor_train", given(rows=rows), {"core0": core0, "core1": core1, "core2": core2})
    if not (isinstance(core0, Table) and isinstance(core1, Table) and isinstance(core2, Table)):
        raise ValueError("cores must be three arrays or three tables")
    if columns is None or ranks is None:
        raise ValueError("cores that are tables need columns, (d0, d1, d2), and ranks, (R1, R2)")
    d0, d1, d2 = _several(columns, "columns", 3, "numbers, d0, d1 and d2")
    rank1, rank2 = _several(ranks, "ranks", 2, "numbers, R1 and R2")
    fields = given(rows=rows, columns0=d0, columns1=d1, columns2=d2, rank1=rank1, rank2=rank2)
    return compose("tensor_train", fields, children=(core0, core1, core2))


def _several(values: Any, name: str, count: int, what: str) -> Sequence[Any]:
    """Return values that are as many as they have to be."""
    found: Sequence[Any] = checked_items(values, name)
    if len(found) != count:
        raise ValueError(f"{name} must be {count} {what}, not {len(found)}")
    return found


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
        indices: The column of each value. Values of a row that have the same column add up; a row has at most as many
            values as columns, or 65,536 where that is more.
        indptr: CSR: the values of row x are indptr[x] to indptr[x + 1] - 1.
        row_indices: COO: the row of each value, in ascending order. Give this or `indptr`.
        rows: Ids of the result are 0 to rows - 1; needed with `row_indices`.
        dimension: Columns; needed with parts.
        layout: "csr", "coo", or "auto": the one of fewer bytes, whichever is given.

    Raises:
        ValueError: parts that do not go together.
        FormatError: a row of too many values.
    """
    parts = {"data": data, "indices": indices, "indptr": indptr, "row_indices": row_indices}
    if matrix is None:
        return compose("sparse", given(rows=rows, dimension=dimension, layout=layout), parts)
    if any(part is not None for part in (*parts.values(), rows, dimension)):
        raise ValueError("give either a matrix or its parts")
    if not hasattr(matrix, "tocsr"):
        return compose("sparse", {"layout": layout}, {"matrix": matrix})
    found: Any = matrix.tocsr()
    parts = {"data": found.data, "indices": found.indices, "indptr": found.indptr}
    return compose("sparse", {"dimension": found.shape[1], "layout": layout}, parts)


def shared_array(
    array: object,
    *,
    rows: int,
    dimension: int,
    block: int,
    seed: int = 0,
    signs: bool = False,
    count: int | None = None,
) -> Table:
    """Return a table whose rows are made of runs of one array (ROBE, Desai et al., MLSys 2022).

    `docs/format.md` has the hash to the bit.

    Args:
        array: (M,), f32 or f16, used where it lies; M from 1 to 2^31 - 1. Or a table of up to 64 columns, such as codes
            of 4 bits, whose rows are the array one after the other.
        rows: Ids of the result are 0 to rows - 1; at most 2^48.
        dimension: Columns.
        block: Columns of a run: neighbours in the array, whose end its start follows.
        seed: Of the hash, a 64-bit integer.
        signs: Whether a run has a sign, which its hash gives.
        count: M, where the array is a table whose last row has numbers more than that.

    Raises:
        ValueError: sizes that don't go together, or a seed of more than 64 bits.
    """
    seed = checked_integer(seed, "seed")
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed must be an integer of 64 bits, not {seed}")
    fields = {
        "rows": rows,
        "dimension": dimension,
        "block": block,
        "seed": seed if seed < 2**63 else seed - 2**64,
        "signs": bool(signs),
    }
    if isinstance(array, Table):
        return compose("shared_array", fields | given(count=count), children=(array,))
    if count is not None:
        raise ValueError("count is for an array that is a table: that of other arrays is their length")
    return compose("shared_array", fields, {"array": array})


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
        weights: Of each layer (inputs, outputs), all f32 or all f16: the transpose of what `torch.nn.Linear` has. Or a
            table of codes, such as `uniform` and `codebook` make, for each: they are decoded when the table is made or
            opened, to 4 bytes in memory for each weight.
        biases: Of each layer (outputs,), f32. Batch norm has to be folded in.
        rows: Ids of the result are 0 to rows - 1; at most 2^32.
        encoding: "uniform" or "normal".
    """
    arrays = {"factors": factors, "summands": summands, "moduli": moduli}
    tables = [layer for layer in weights if isinstance(layer, Table)]
    if not tables:
        arrays |= {f"weights{index}": layer for index, layer in enumerate(weights)}
    elif len(tables) < len(weights):
        raise ValueError("weights must be arrays for all layers, or tables for all")
    arrays |= {f"biases{index}": bias for index, bias in enumerate(biases)}
    return compose("hash_network", {"rows": rows, "buckets": buckets, "encoding": encoding}, arrays, tables)


def packed_floats(values: object, *, exponent_bits: int = 4) -> Table:
    """Return a table of the very values, whose exponents are packed: what `compress(values, "exact")` chooses bits for.

    Exponents count from the row's lowest one, which is 2^exponent_bits - 1 below its largest. Mantissas have as many
    bits as the values need. Values that are too far below the largest of their row are held apart, in a sparse table.

    Args:
        values: (rows, dimension) of f32, f16 or bf16, all finite.
        exponent_bits: Of the exponent of a value, 1 to 8; with the bits of a mantissa 8 to 30.

    Raises:
        ValueError: a value is not finite, the error names its row; or bits are out of range.
    """
    return compose("packed_floats", {"exponent_bits": exponent_bits}, {"values": values})


def trellis(
    codes: object,
    scale_codes: object,
    *,
    bits: object,
    scales: object,
    factors: object,
    states: int,
    multiplier: int,
) -> Table:
    """Return a table of trellis codes (Tseng et al., "QTIP", NeurIPS 2024): values of windows of a row's bits.

    The codes of a row, one after the other, low bits first, are a ring of bits. Column j's state s is the `states` bits
    from its own first bit on. Its value is scales[scale_code] * v * factors[j], where v is the sum of the four bytes of
    s * multiplier modulo 2^32, less 510. A column without bits has the next column's state; the multiplier of one that
    follows n of them is multiplied by 0x9e3779b1 n times.

    Args:
        codes: (rows, dimension) integers; those of column j are from 0 to 2^bits[j] - 1.
        scale_codes: (rows,) integers from 0 to 255.
        bits: (dimension,) integers from 0 to 8, and to states - 4; at most 3 zeros in a row, and none at the end. Their
            sum is a multiple of 8.
        scales: (256,) numbers of at most 14 significant bits; the first is 0.
        factors: (dimension,) numbers.
        states: Bits of a state, 8 to 16.
        multiplier: From 0 to 2^32 - 1.

    Raises:
        ValueError: codes out of range, or arrays that don't go together.
    """
    arrays = {"codes": codes, "scale_codes": scale_codes, "bits": bits, "scales": scales, "factors": factors}
    return compose("trellis", {"states": states, "multiplier": multiplier}, arrays)
