"""Methods inside methods: what compresses the factor of an SVD, or the hot rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import _core
from .._table import Progress, Table, dense

Values = np.ndarray[Any, Any]

PLAIN = {"dense": 4, "f16": 2, "bf16": 2}
"""Rows as they are: bytes of a value."""

_PROBE_ROWS = 256
"""Has as many rows as a codebook of 8 bits has entries, so that codebooks are whole."""


def plain(values: Values, element: str) -> Table:
    """Return rows as they are, in f32 ("dense"), f16 or bf16.

    Raises:
        ValueError: f16 can't say them.
    """
    if element == "dense":
        return dense(np.ascontiguousarray(values, np.float32))
    if element == "f16":
        return dense(half(values, "rows"))
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    table: Table = _core.dense(rounded, "bf16")
    return table


def half(values: Values, what: str) -> Values:
    """Return values in f16.

    Raises:
        ValueError: they are too large for it.
    """
    with np.errstate(over="ignore"):
        result: Values = np.ascontiguousarray(values, np.float16)
    if not np.isfinite(result).all():
        raise ValueError(f"{what} do not fit f16: the largest is {np.abs(values).max():.6g}")
    return result


class Inner:
    """A method with its options, for tables of any number of rows and columns."""

    def __init__(self, name: str, options: Mapping[str, Any], *, within: str):
        """Check a choice.

        Args:
            name: "dense", "f16", "bf16", or a name from `methods()`.
            options: Of that method.
            within: The method that it is part of, for errors.

        Raises:
            ValueError: there is no such method, or it has no such option.
        """
        from .._registry import methods

        self.name, self.options = name, dict(options)
        found = next((method for method in methods() if method.name == name), None)
        if name not in PLAIN and (found is None or found.kind != "post-training"):
            raise ValueError(f"{within} has no inner method '{name}'; give dense, f16, bf16 or a post-training method")
        known = {option.name for option in found.options} if found else set()
        self.known = frozenset(known)
        """The method's options."""
        unknown = set(self.options) - known
        if unknown:
            raise ValueError(
                f"neither {within} nor its inner method {name} has the option '{min(unknown)}'"
                + (f"; those of {name} are {', '.join(sorted(known))}" if known else "")
            )
        self.is_by_row = name in PLAIN or "group" in known
        """Whether rows are compressed each by itself, with a range of values."""
        self.has_free_bits = "bits" in known and "bits" not in self.options
        self._sizes: dict[tuple[int, tuple[tuple[str, Any], ...]], tuple[int, int]] = {}

    def with_bits(self, bits: int) -> Inner:
        """Return the same method with bits of a code."""
        return Inner(self.name, {**self.options, "bits": bits}, within=self.name)

    def choices(self, widths: tuple[int, ...] = (8, 7, 6, 5, 4, 3, 2, 1)) -> Iterator[Inner]:
        """Return this method with each number of bits that it takes; itself where bits are given or have no part."""
        if not self.has_free_bits:
            yield self
            return
        for bits in widths:
            one = self.with_bits(bits)
            try:
                one.compress(np.zeros((1, 8), np.float32))
            except ValueError:
                continue
            yield one

    def compress(self, values: Values, progress: Progress | None = None) -> Table:
        """Return rows in f32, compressed."""
        return self.compress_table(dense(values), progress)

    def compress_table(self, table: Table, progress: Progress | None = None) -> Table:
        """Return a table's rows, compressed."""
        if self.name in PLAIN:
            return plain(table.decode(), self.name)
        from .._compress import compress

        return compress(table, self.name, progress=progress, **self.options)

    def bytes(self, rows: int, dimension: int) -> int:
        """Return the bytes of so many rows: exact where each row has the same and the table's share is fixed."""
        if self.name in PLAIN:
            return PLAIN[self.name] * rows * dimension
        key = (dimension, tuple(sorted(self.options.items())))
        if key not in self._sizes:
            self._sizes[key] = self._size(dimension)
        each, shared = self._sizes[key]
        return each * rows + shared

    def _size(self, dimension: int) -> tuple[int, int]:
        """Return the bytes of a row, and of what rows share."""
        if self.is_by_row:
            return self.compress(np.zeros((1, dimension), np.float32)).stored_bytes, 0
        probe = np.random.default_rng(0).standard_normal((2 * _PROBE_ROWS, dimension), np.float32)
        one, two = (self.compress(probe[: n * _PROBE_ROWS]).stored_bytes for n in (1, 2))
        each = (two - one) // _PROBE_ROWS
        return each, one - each * _PROBE_ROWS

    def __str__(self) -> str:
        """Return it as it is written in a call."""
        given = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name}({given})" if given else self.name
