"""The tables that are looked up in: random weights, made fast, and each format of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import embedcompress as ec

from . import _memory

_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class Compressed:
    """This library's table, and the rows that peers look up in too, if they can."""

    table: ec.Table
    packed: NDArray[np.uint8] | None
    """Rows as PyTorch quantizes them, whose codes `table` has. At 2 and 4 bits it is on this memory, and so is
    PyTorch's; at 8 bits PyTorch's scales are f32, and the table's, as FBGEMM's TBE's, f16."""


def weights(rows: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    """Return random numbers.

    Large tables repeat a block at different scales: drawing a GiB would take longer than measuring.
    """
    rng = np.random.default_rng(seed)
    block_rows = min(rows, max(1, _BLOCK_BYTES // (4 * dimension)))
    block = rng.standard_normal((block_rows, dimension), dtype=np.float32)
    result = _memory.empty((rows, dimension), np.float32)
    for index, start in enumerate(range(0, rows, block_rows)):
        part = result[start : start + block_rows]
        np.multiply(block[: len(part)], np.float32(1 + index / 16), out=part)
    return result


def compressed(bits: str, weight: NDArray[np.float32], packed: NDArray[np.uint8] | None) -> Compressed:
    """Return the table of a format.

    Args:
        bits: One of `FORMATS`.
        weight: (rows, dimension).
        packed: What PyTorch makes of the weight at these bits: used where it lies. None: compressed here.
    """
    if bits == "32":
        return Compressed(ec.dense(weight), None)
    if bits == "16":
        return Compressed(ec.dense(_memory.copy(weight, np.float16)), None)
    if bits == "codebook4":
        return Compressed(_codebook(*weight.shape), None)
    if packed is not None and bits == "8":
        return Compressed(_half_scaled(packed, weight.shape[1]), packed)
    if packed is not None:
        return Compressed(ec.from_fused_rows(packed, weight.shape[1], bits=int(bits), layout="torch"), packed)
    return Compressed(ec.compress(weight, "asym", bits=int(bits)), None)


def half_parameters(packed: NDArray[np.uint8], dimension: int) -> NDArray[np.uint8]:
    """Return scale and bias of PyTorch's 8-bit rows in f16: (rows, 4) bytes."""
    return np.ascontiguousarray(packed[:, dimension:]).view(np.float32).astype(np.float16).view(np.uint8)


def _half_scaled(packed: NDArray[np.uint8], dimension: int) -> ec.Table:
    """Return a table of PyTorch's 8-bit codes with f16 scales and biases."""
    scales, biases = half_parameters(packed, dimension).view(np.float16).T
    return ec.uniform(packed[:, :dimension], scales, biases, bits=8, scale_dtype="f16")


def _codebook(rows: int, dimension: int) -> ec.Table:
    """Return a table of random 4-bit codes, with 16 f16 entries a row.

    What the values are makes no difference to lookups, and choosing them for a GiB would take minutes.
    """
    rng = np.random.default_rng(1)
    block_rows = min(rows, 1 << 16)
    entries = np.sort(rng.standard_normal((block_rows, 16), dtype=np.float32), axis=1).astype(np.float16)
    codes = rng.integers(0, 16, (block_rows, dimension), np.uint8)
    return ec.codebook(np.resize(codes, (rows, dimension)), np.resize(entries, (rows, 16)), bits=4)
