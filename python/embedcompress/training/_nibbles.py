"""Codes of four bits, two in a byte."""

from __future__ import annotations

import torch
from torch import Tensor


def packed(codes: Tensor) -> Tensor:
    """Return (n, d) whole numbers from -8 to 7 as (n, ceil(d / 2)) uint8, as rows of int4 lie."""
    positive = (codes + 8).to(torch.uint8)
    result = positive[:, ::2].clone()
    result[:, : codes.shape[1] // 2] |= positive[:, 1::2] << 4
    return result


def unpacked(elements: Tensor, dimension: int) -> Tensor:
    """Return the codes plus 8 of rows of int4, (n, d) uint8."""
    codes = elements.new_empty(len(elements), dimension)
    codes[:, ::2] = elements & 15
    codes[:, 1::2] = elements[:, : dimension // 2] >> 4
    return codes
