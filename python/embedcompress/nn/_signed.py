"""Tables as torchao and ExecuTorch have them: signed codes, and for each group a scale and the code that stands for 0.

A value is scale * (code - zero). `Uniform` has codes from 0 on: with the half h = 2^(bits - 1), a code is h more, and
the bias is -(zero + h) * scale.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import Table, uniform
from .._checks import check_type
from .._export import Grouped
from .._uniform_rows import UniformRows


@dataclass(frozen=True)
class SignedCodes:
    """Codes with scales and zeros.

    Attributes:
        codes: (rows, dimension) int8, from -2^(bits - 1) on.
        scales: (rows, groups) f32.
        zeros: (rows, groups) f32; of those that `of` returns each is a whole number.
        bits: Of a code, 1 to 8.
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor
    bits: int

    @property
    def half(self) -> int:
        """The least code, without its sign."""
        return 1 << (self.bits - 1)

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return self.codes.shape[1] // self.scales.shape[1]

    @classmethod
    def of(cls, table: Table, bits: Collection[int], kind: str) -> SignedCodes:
        """Return what a table holds.

        Args:
            table: A `Uniform`.
            bits: Those that fit.
            kind: Whose codes these are, for errors.

        Raises:
            TypeError: it is no table.
            ValueError: it is no `Uniform` of such bits in groups of one width, or a bias is no whole number of scales.
        """
        check_type(table, Table, "table", "an embedcompress.Table")
        rows = UniformRows.of(table)
        if rows is None or rows.bits not in bits or rows.dimension % rows.group:
            *most, last = map(str, bits)
            listed = f"{', '.join(most)} or {last}"
            raise ValueError(f"{kind} has codes of {listed} bits in groups of one width: the table is {table!r}")
        grouped, everything = Grouped(rows, rows.group), slice(0, rows.rows)
        scales, biases = (torch.from_numpy(part.astype("f4")) for part in grouped.parameters(everything))
        half = 1 << (rows.bits - 1)
        zeros = torch.where(scales == 0, 0.0, (-biases / scales).round() - half)
        if not torch.equal(scales * -(zeros + half), biases):
            raise ValueError(f"the table has a bias that is no whole number of scales: {kind} has zeros in their place")
        codes = torch.from_numpy(grouped.codes(everything)).to(torch.int16) - half
        return cls(codes.to(torch.int8), scales, zeros, rows.bits)

    def table(self, *, is_narrow: bool) -> Table:
        """Return the table of these codes.

        Args:
            is_narrow: Whether scales are to be f16 if that holds them and the biases.

        Raises:
            ValueError: groups are none that a table has, or a scale or a zero is not finite.
        """
        biases = self.scales * -(self.zeros + self.half)
        is_narrow = is_narrow and all(torch.equal(part.half().float(), part) for part in (self.scales, biases))
        return uniform(
            (self.codes.to(torch.int16) + self.half).to(torch.uint8),
            self.scales,
            biases,
            bits=self.bits,
            group=None if self.scales.shape[1] == 1 else self.group,
            scale_dtype="f16" if is_narrow else "f32",
        )


def check_scales(scales: Tensor, dtype: torch.dtype) -> None:
    """Refuse a type that does not hold the scales of a table."""
    if not torch.equal(scales.to(dtype).float(), scales):
        raise ValueError(f"{dtype} does not hold all scales of the table")
