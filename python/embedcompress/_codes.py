"""Tables of codes that are given: the stores `uniform` and `codebook`, which are packed here and not chosen."""

from __future__ import annotations

from ._expressions import compose, given
from ._table import Table


def uniform(
    codes: object,
    scales: object,
    biases: object,
    *,
    bits: int,
    group: int | None = None,
    scale_dtype: str | None = None,
    dimension: int | None = None,
) -> Table:
    """Return a table whose rows are `scale * code + bias`: codes that somebody else has chosen, as they are stored.

    Rows take ceil(dimension * bits / 8) bytes of codes, and 4 or 8 for each scale and bias of theirs. Guan et al.,
    "Post-Training 4-bit Quantization on Embedding Tables", 2019 (arXiv 1911.02079), equation 1.

    Args:
        codes: (rows, dimension) integers from 0 to 2^bits - 1; they are packed to the bit.
        scales: Finite numbers: one for the whole table, (rows,) for rows, or (rows, groups) for groups of columns.
        biases: As many.
        bits: Of a code: 1 to 8, or 16.
        group: Columns that share a scale and a bias, a multiple of 8; the whole row if not given. The last group may
            have fewer.
        scale_dtype: What scales and biases of rows and groups are stored as, "f16" or "f32"; if not given, f16 if
            `scales` are, else f32. One for the table is f32.
        dimension: Columns of a row, if the codes are packed already: (rows, ceil(dimension * bits / 8)) uint8, low bits
            first, and zeros after the last code.

    Raises:
        ValueError: codes out of range, arrays of other shapes, or a scale or a bias that the type does not hold.
    """
    arrays = {"codes": codes, "scales": scales, "biases": biases}
    return compose("uniform", given(bits=bits, group=group, scale=scale_dtype, dimension=dimension), arrays)


def codebook(
    codes: object, codebooks: object, *, bits: int, clusters: object | None = None, scales: object | None = None
) -> Table:
    """Return a table whose elements are entries of a codebook: of their row, of a cluster of rows, or of the table.

    Rows take ceil(dimension * bits / 8) bytes of codes, and their own entries, or 1 to 4 bytes for their cluster, or
    their scale. KMEANS and KMEANS-CLS of Guan et al., "Post-Training 4-bit Quantization on Embedding Tables", 2019
    (arXiv 1911.02079), are such tables.

    Args:
        codes: (rows, dimension) integers from 0 to 2^bits - 1; they are packed to the bit.
        codebooks: Finite numbers, stored as f16 if they are, else as f32: (2^bits,) for the table, (rows, 2^bits) for
            rows, (count, 2^bits) for clusters.
        bits: Of a code, 1 to 8.
        clusters: (rows,) integers: which of the codebooks a row has.
        scales: (rows,) numbers that the entries of the table's codebook are multiplied by; of their type.

    Raises:
        ValueError: codes or clusters out of range, or arrays of other shapes.
    """
    arrays = {"codes": codes, "codebooks": codebooks, "clusters": clusters, "scales": scales}
    return compose("codebook", {"bits": bits}, arrays)
