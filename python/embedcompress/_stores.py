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

    Row x has the digits x = i0 + N0 (i1 + N1 i2), and is core0[i0] · core1[i1] · core2[i2], reshaped to d0 d1 d2 columns.

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
        raise ValueError(
            f"cores must agree on their ranks: {core0.shape}, {core1.shape} and {core2.shape} have {rank1} and {before}, "
            f"{rank2} and {after}"
        )
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
