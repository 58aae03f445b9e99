"""The bytes of pieces that frozen tables are made of. The core states them: nothing here knows how bytes lie."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .._expressions import described, plan_bytes

_MOST_ASSIGNED = (1 << 32) - 1
"""Ids of a partition by assignment."""
SHORT = 32
"""Numbers of the longest row of codes that has one scale; longer ones have a scale and a bias for each so many."""


@lru_cache(maxsize=4096)
def array_bytes(rows: int, dimension: int, bits: int | None) -> int:
    """Return the bytes of an array of rows of a learned table: of codes, or in f32 if there are no bits."""
    if bits is None:
        return 4 * rows * dimension
    if dimension <= SHORT:
        fields: dict[str, Any] = {"bits": bits, "entries": "f16", "scope": "table", "row_scale": "f16"}
        return plan_bytes(described("codebook", rows, dimension, **fields))
    return plan_bytes(described("uniform", rows, dimension, bits=bits, scale="f16", group=SHORT))


def empty(rows: int, dimension: int = 1) -> dict[str, object]:
    """Return the description of a table of zeros, which takes no bytes."""
    return described("sparse", rows, dimension, element="f32", nonzeros=0, layout="coo")


@lru_cache(maxsize=4096)
def assignment_bytes(rows: int) -> int | None:
    """Return the bytes that say which of two tables each row is of; None if rows are too many for that."""
    if rows > _MOST_ASSIGNED:
        return None
    return plan_bytes(described("partition", rows, 1, empty(rows), empty(0), by="assignment"))


@lru_cache(maxsize=4096)
def map_bytes(rows: int, inner_rows: int, block: int = 1, zeros: bool = False) -> int:
    """Return the bytes of a map.

    Args:
        rows: Ids.
        inner_rows: Rows of the table that ids are sent to.
        block: Rows that stay together.
        zeros: Whether some ids are sent to rows of zeros.
    """
    inner = empty(inner_rows)
    return plan_bytes(described("remap", rows, 1, inner, function="map", block_rows=block, zeros=int(zeros)))


@lru_cache(maxsize=1)
def hash_bytes() -> int:
    """Return the bytes of a hash."""
    return plan_bytes(described("remap", 1, 1, empty(1), function="hash"))


@lru_cache(maxsize=4096)
def sparse_bytes(rows: int, dimension: int, nonzeros: int, values: str = "f32", layout: str | None = None) -> int:
    """Return the bytes of a sparse table; of the layout of fewer bytes if none is given."""
    fields: dict[str, Any] = {"element": values, "nonzeros": nonzeros} | ({} if layout is None else {"layout": layout})
    return plan_bytes(described("sparse", rows, dimension, **fields))


@lru_cache(maxsize=4096)
def product_bytes(rows: int, dimension: int, parts: int, bits: int) -> int:
    """Return the bytes of codes into f32 codebooks of parts of a row."""
    return plan_bytes(described("product", rows, dimension, parts=parts, bits=bits, element="f32"))
