"""The constructor of `product`: codes of parts into the parts' codebooks."""

from __future__ import annotations

from collections.abc import Sequence

from ._expressions import compose
from ._table import Table


def product(codes: object, codebooks: Sequence[object], *, bits: int, mode: str = "concatenate") -> Table:
    """Return a table whose rows are made of an entry of each part's codebook: product, additive or residual codes.

    Args:
        codes: (rows, parts) integers from 0 to 2^bits - 1.
        codebooks: Of each part, (2^bits, width) f16 or f32, all of one type.
        bits: Of a code, 1 to 16.
        mode: "concatenate": a row is its parts' entries one after the other. The dimension, the sum of the widths, is
            divided evenly: of d columns and m parts, the first d % m have d // m + 1 columns and the others d // m.
            "sum": every entry is as wide as the row, and a row is the sum of its parts' entries.

    Raises:
        ValueError: codes out of range, or codebooks of the wrong number, shape or type.
    """
    books = {f"codebook{part}": book for part, book in enumerate(codebooks)}
    return compose("product", {"bits": bits, "mode": mode}, {"codes": codes, **books})
