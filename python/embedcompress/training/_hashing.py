"""The hash of `embedcompress.remap` and `embedcompress.shared_array`, on tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def hashed(ids: Tensor, rows: int | Tensor, seed: int | Tensor) -> Tensor:
    """Return the row of each id under `remap(…, hash=seed)`.

    Args:
        ids: int64.
        rows: Of the inner table, from 1 to 2^31; a number, or a tensor to broadcast with ids, as the seed.
        seed: From 0 to 2^63 - 1.
    """
    return scaled(mixed(ids, seed), rows)


def mixed(numbers: Tensor, seed: int | Tensor) -> Tensor:
    """Return outputs of SplitMix64, counted from 0, as signed integers of the same 64 bits."""
    found = seed + (numbers + 1) * _signed(0x9E3779B97F4A7C15)
    found = (found ^ _shifted(found, 30)) * _signed(0xBF58476D1CE4E5B9)
    found = (found ^ _shifted(found, 27)) * _signed(0x94D049BB133111EB)
    return found ^ _shifted(found, 31)


def scaled(hashes: Tensor, count: int | Tensor) -> Tensor:
    """Return the upper halves of hashes as numbers from 0 to count - 1, of at most 2^31."""
    # Neither factor has more than 32 bits, and the product 63.
    product: Tensor = _shifted(hashes, 32) * count
    return product >> 32


def _signed(bits: int) -> int:
    """Return the signed integer of the same 64 bits."""
    return bits - (1 << 64) if bits >> 63 else bits


def _shifted(values: Tensor, by: int) -> Tensor:
    """Return values shifted right, zeros coming in from the left: torch's integers of 64 bits have a sign."""
    return (values >> by) & ((1 << (64 - by)) - 1)


def seeds(count: int, random: torch.Generator) -> Tensor:
    """Return seeds of hashes, (count,) int64."""
    return torch.randint(0, 2**62, (count,), generator=random)
