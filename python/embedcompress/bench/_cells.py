"""The cells of the lookup benchmark: what is varied, and how a filter on the command line names it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

FORMATS = ("2", "3", "4", "8", "codebook4", "16", "32")
"""Bits of uniform codes; 4-bit codes into a codebook of the row; this library's uncompressed f16 and f32."""
DIMENSIONS = (16, 32, 50, 64, 128, 300, 768)
TABLES = ("10000", "1GiB")
"""A number of rows, or the bytes of the table in f32."""
POOLINGS = ("bag50", "bag1", "lookup")
"""Sums of bags of so many ids; rows as they are."""
THREADS = (1, 2)
IDS = ("uniform", "zipf")

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TABLE = re.compile(r"([1-9]\d{0,11})(KiB|MiB|GiB)?")
_POOLING = re.compile(r"lookup|bag([1-9]\d{0,5})")


@dataclass(frozen=True)
class Cell:
    """One combination of what is varied."""

    bits: str
    dimension: int
    table: str
    pooling: str
    threads: int
    ids: str

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return table_rows(self.table, self.dimension)

    @property
    def bag(self) -> int | None:
        """Ids of a bag; None for rows as they are."""
        return bag_length(self.pooling)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def cell_of(result: dict[str, Any]) -> Cell:
    """Return the cell that a result is of."""
    return Cell(**{name: result[name] for name in Cell.__dataclass_fields__})


@dataclass(frozen=True)
class Grid:
    """The values that are run."""

    bits: tuple[str, ...] = FORMATS
    dimension: tuple[int, ...] = DIMENSIONS
    table: tuple[str, ...] = TABLES
    pooling: tuple[str, ...] = POOLINGS
    threads: tuple[int, ...] = THREADS
    ids: tuple[str, ...] = IDS

    def shapes(self) -> Iterator[tuple[int, str]]:
        """Return dimension and size of each table."""
        for dimension in self.dimension:
            for table in self.table:
                yield dimension, table

    def cells(self, dimension: int, table: str) -> Iterator[Cell]:
        """Return the cells of a table, those of a format in a row."""
        for bits in self.bits:
            for pooling in self.pooling:
                for threads in self.threads:
                    for ids in self.ids:
                        yield Cell(bits, dimension, table, pooling, threads, ids)

    def all(self) -> list[Cell]:
        """Return every cell in the order in which they run."""
        return [cell for shape in self.shapes() for cell in self.cells(*shape)]


def table_rows(table: str, dimension: int) -> int:
    """Return the rows of a table that is named by them, or by its bytes in f32."""
    match = _TABLE.fullmatch(table)
    if match is None:
        raise ValueError(f"'{table}' is not a number of rows, nor a size such as 1GiB")
    count = int(match[1])
    return count if match[2] is None else max(1, count * _UNITS[match[2]] // (4 * dimension))


def bag_length(pooling: str) -> int | None:
    """Return the ids of a bag; None for rows as they are."""
    match = _POOLING.fullmatch(pooling)
    if match is None:
        raise ValueError(f"'{pooling}' is not a pooling: bag50, bag1 or lookup")
    return None if match[1] is None else int(match[1])


# What the command line's filters take.


def table_argument(text: str) -> str:
    """Check a --rows."""
    try:
        table_rows(text, 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def pooling_argument(text: str) -> str:
    """Check a --pooling."""
    try:
        bag_length(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def count_argument(text: str) -> int:
    """Check a positive number."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 20:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to {(1 << 20) - 1}")
    return int(text)


def threads_argument(text: str) -> int:
    """Check a --threads."""
    count = count_argument(text)
    if count > 256:
        raise argparse.ArgumentTypeError(f"threads must be from 1 to 256, not {count}")
    return count
