"""The constructor of `product`: codes of parts into the parts' codebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._arrays import as_array
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
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not 1 <= bits <= 16:
        raise ValueError(f"bits must be 1 to 16, not {bits}")
    if mode not in ("concatenate", "sum"):
        raise ValueError(f"mode must be 'concatenate' or 'sum', not {mode!r}")
    numbers = codes if isinstance(codes, np.ndarray) else as_array(codes, "codes")
    if numbers.dtype.kind not in "iu" or numbers.ndim != 2 or not numbers.shape[1]:
        raise ValueError(f"codes must be integers of shape (rows, parts), not {numbers.dtype} {numbers.shape}")
    rows, parts = numbers.shape
    if rows and (numbers.min() < 0 or numbers.max() >> int(bits)):
        raise ValueError(f"codes of {bits} bits are from 0 to {(1 << bits) - 1}")
    books = [book if isinstance(book, np.ndarray) else as_array(book, "codebooks") for book in codebooks]
    if len(books) != parts:
        raise ValueError(f"{parts} parts need as many codebooks, not {len(books)}")
    element = books[0].dtype
    if element not in (np.float16, np.float32):
        raise ValueError(f"codebooks must be f16 or f32, not {element}")
    dimension = sum(book.shape[-1] for book in books) if mode == "concatenate" else books[0].shape[-1]
    for part, book in enumerate(books):
        width = dimension // parts + (part < dimension % parts) if mode == "concatenate" else dimension
        if book.shape != (1 << bits, width) or book.dtype != element:
            raise ValueError(
                f"the codebook of part {part} must have the shape {(1 << bits, width)} and the type {element}, "
                f"not {book.shape} and {book.dtype}"
            )
    name = "f16" if element == np.float16 else "f32"
    return compose(
        "product",
        rows,
        dimension,
        {"parts": parts, "bits": int(bits), "mode": mode, "element": name},
        {
            "rows": ("u8", packed(numbers, int(bits))),
            "codebooks": (name, np.concatenate([book.ravel() for book in books])),
        },
    )


def packed(codes: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    """Return rows of codes packed to the bit: code j takes bits j * bits to (j + 1) * bits - 1, low bits first."""
    if bits == 8:
        return codes.astype(np.uint8)
    if bits == 16:
        return codes.astype("<u2").view(np.uint8)
    shifts = np.arange(bits, dtype=np.uint16)
    ones = (codes.astype(np.uint16)[:, :, None] >> shifts & 1).astype(np.uint8)
    return np.packbits(ones.reshape(len(codes), codes.shape[1] * bits), axis=1, bitorder="little")
