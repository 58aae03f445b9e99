"""Rows of a table in blocks, so that nothing of the table's size is made beside it."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK = 1 << 18
"""Elements of a block."""


def blocks(rows: int, dimension: int) -> Iterator[slice]:
    """Yield the rows of one block after the other."""
    each = max(BLOCK // dimension, 1)
    for start in range(0, rows, each):
        yield slice(start, min(start + each, rows))
