"""`measure`: squared error and bytes of each block at each number of bits, by compressing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from .._arrays import as_numbers
from .._checks import check_type
from .._compress import compress
from .._progress import ProgressOption, reporting
from .._report import figure, text_table
from ._blocks import BlockLike, find_blocks


@dataclass(frozen=True)
class Measurement:
    """What `allocate` needs to know of each block."""

    errors: dict[str, dict[int, float]]
    """Squared error by block and bits; rows count as often as the counts say."""
    sizes: dict[str, dict[int, int]]
    """Stored bytes by block and bits."""

    def as_table(self) -> str:
        """Return a table for a terminal: bytes and squared error of each block at each number of bits."""
        rows = [
            [name, str(bits), f"{self.sizes[name][bits]:,}", figure(error)]
            for name, errors in self.errors.items()
            for bits, error in errors.items()
        ]
        return text_table(["block", "bits", "bytes", "squared error"], rows)

    def __str__(self) -> str:
        return self.as_table()


def measure(
    model: nn.Module,
    blocks: Mapping[str, BlockLike] | None = None,
    choices: Sequence[int] = (2, 3, 4, 8),
    method: str = "least_squares",
    *,
    counts: Mapping[str, object] | None = None,
    progress: ProgressOption = None,
    **options: Any,
) -> Measurement:
    """Compress the matrices of each block at each number of bits, and note their squared errors and bytes.

    Vectors, such as biases and the weights of LayerNorm, stay in f32: they count in bytes and have no error. A weight
    of more than two axes is a matrix of its first axis by the rest.

    Args:
        model: On the CPU or not; it isn't changed.
        blocks: As for `sensitivity`.
        choices: Bits that `method` has; 16 and 32 are f16 and f32 as they are.
        method: A name from `embedcompress.methods()` that takes bits.
        counts: By block, how often each row of its only matrix is used, such as tokens: the error of a row counts in
            proportion to it, at a mean of 1 over rows.
        progress: Told of blocks at each number of bits; see `embedcompress.compress`.
        **options: The method's own, such as group=64 for groups of columns with a range of their own.

    Raises:
        ValueError: as `sensitivity` and `embedcompress.compress` have it; counts of an unknown block, of another
            length, negative, or all zero.
    """
    parts = find_blocks(model, blocks)
    if counts is not None:
        check_type(counts, Mapping, "counts", "a mapping of names to counts")
    if unknown := set(counts or ()) - set(parts):
        raise ValueError(f"counts are given for {min(unknown)!r}, which is not among the blocks")
    found = Measurement({name: {} for name in parts}, {name: {} for name in parts})
    steps = len(parts) * len(choices)
    with reporting(progress, "measure", "blocks") as report:
        for place, (name, parameters) in enumerate(parts.items()):
            matrices = [_matrix(parameter) for parameter in parameters if parameter.dim() > 1]
            vectors = sum(4 * parameter.numel() for parameter in parameters if parameter.dim() <= 1)
            weights = _weights(name, (counts or {}).get(name), matrices)
            for number, bits in enumerate(choices):
                try:
                    pairs = [_compressed(matrix, bits, method, options) for matrix in matrices]
                except (ValueError, TypeError) as error:
                    error.add_note(f"in block {name!r} at {bits} bits")
                    raise
                found.sizes[name][bits] = vectors + sum(size for _, size in pairs)
                found.errors[name][bits] = float(sum((errors * weights).sum() for errors, _ in pairs))
                if report and report(place * len(choices) + number + 1, steps) is False:
                    raise KeyboardInterrupt
    return found


def _matrix(parameter: Tensor) -> np.ndarray:
    array = parameter.detach().cpu().numpy().astype(np.float32)
    return np.ascontiguousarray(array.reshape(len(array), -1))


def _compressed(matrix: np.ndarray, bits: int, method: str, options: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    """Return the squared error of each row, and the bytes."""
    if bits in (16, 32):
        kept = matrix.astype(np.float16 if bits == 16 else np.float32)
        decoded, size = kept.astype(np.float32), kept.nbytes
    else:
        table = compress(matrix, method, bits=bits, **options)
        decoded, size = table.decode(), table.stored_bytes
    return np.square(decoded.astype(np.float64) - matrix).sum(1), size


def _weights(name: str, counts: object | None, matrices: Sequence[np.ndarray]) -> np.ndarray | float:
    """Return what the error of each row counts."""
    if counts is None:
        return 1.0
    array = as_numbers(counts, f"counts of block {name!r}", np.float64)
    if len(matrices) != 1 or array.shape != matrices[0].shape[:1]:
        shapes = " and ".join(str(matrix.shape) for matrix in matrices) or "none"
        raise ValueError(f"counts of block {name!r} have shape {array.shape}, and its matrices: {shapes}")
    if not np.isfinite(array).all() or (array < 0).any() or not array.any():
        raise ValueError(f"counts of block {name!r} must be finite, not negative, and not all zero")
    weights: np.ndarray = array / array.mean()
    return weights
