"""The Table class, and the expressions that are made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import _core
from ._arrays import as_matrix
from ._atomic import AnyPath
from ._checks import check_type
from ._indexing import blocks, decoded, indexed
from ._metadata import metadata_text
from ._progress import ProgressOption, reporting
from ._row_layout import RowLayout
from ._shown import table_html

_NUMPY = {name: np.dtype(format) for name, format in _core.dtypes().items()}
"""What carries an element type, by its name."""


class Array(NamedTuple):
    """One array of a table."""

    dtype: str
    """Such as "u8" or "f16"; "bf16" travels as uint16."""
    values: np.ndarray[Any, Any]


class Table(_core.Table):
    """A compressed embedding table: an expression of stores and routes that rows are looked up in.

    Made by `compress`, `load` and their like. Immutable; any number of threads may use one. `print(table)` shows the
    expression as a tree with the bytes of each piece. It stands in for the array of its rows where that is read: with
    `shape`, `dtype`, `len`, indices, iteration, and `np.asarray`, each of which decodes the rows that it needs.

    Attributes:
        rows: ids are 0 to rows - 1.
        dimension: columns of a row.
        stored_bytes: every byte of the expression: codes, scales, maps, constants. An array that several of its pieces
            are on, as slices of a table are, counts once.
        invalid_count: ids that were answered with zeros under on_invalid="zero".
    """

    __slots__ = ()

    @property
    def ratio(self) -> float:
        """`stored_bytes` over the bytes of the same table in f32; 0 for a table without rows."""
        return self.stored_bytes / (self.rows * self.dimension * 4) if self.rows else 0.0

    @property
    def choices(self) -> list[dict[str, Any]]:
        """What the method chose for options that leave it to it, such as "auto", and what it went by.

        Of a table that `compress` has made, such as [{"option": "rotation", "value": "partial", "candidates":
        [{"value": "none", "normalized_l2": 0.27, "lookup_ns_per_row": 13.0}, ...]}]. Empty where nothing was chosen,
        and of tables that come from files, slices and other tables.
        """
        found: list[dict[str, Any]] = json.loads(_core.choices(self))
        return found

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, dimension)."""
        return self.rows, self.dimension

    @property
    def size(self) -> int:
        """Numbers of all rows: rows * dimension."""
        return self.rows * self.dimension

    @property
    def ndim(self) -> int:
        """2: rows and columns."""
        return 2

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """That of the rows that come out; what they are stored as is another matter."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.rows

    def __getitem__(self, index: Any) -> np.ndarray[Any, Any]:
        """Return rows as a new array, by NumPy's rules: `table[index]` is `table.decode()[index]`.

        Only the rows that it needs are decoded. Unlike those of `lookup`, negative numbers count from the end.

        Args:
            index: An integer, a slice, an array of integers of any shape, a mask of (rows,) bools; or a pair of these,
                for rows and for columns.

        Raises:
            IndexError: what is out of range, or no index.
        """
        return indexed(self, index)

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        """Return the rows one after the other; they are decoded in blocks of a megabyte."""
        return (row for block in blocks(self) for row in block)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Return all rows, decoded, for `np.asarray(table)` and NumPy's functions."""
        return decoded(self, dtype, copy)

    def __repr__(self) -> str:
        """Return one line about the table."""
        return f"<Table {self.rows} x {self.dimension}, {self.stored_bytes:,} bytes, {self.ratio:.2%} of f32>"

    def _repr_html_(self) -> str:
        """Return the table for a notebook: a bar of its bytes and the tree of its stores."""
        return table_html(self)

    def save(
        self,
        path: AnyPath,
        *,
        name: str = "weight",
        metadata: Mapping[str, str] | None = None,
        digests: bool = False,
        progress: ProgressOption = None,
    ) -> None:
        """Write this table to a safetensors file, atomically.

        Args:
            path: The file; it appears complete or not at all.
            name: What the table is called in the file.
            metadata: Strings to store beside it.
            digests: Write the SHA-256 of each array, which `verify` and `load(verify=True)` check; some 4 seconds a GB.
            progress: Told of bytes; see `compress`.

        Raises:
            OSError: the file can't be written; what was there before still is.
        """
        with reporting(progress, "save", "B") as report:
            _core.save(path, ((name, self),), (), metadata_text(metadata, digests), report)

    def aligned(self, row_alignment: int, *, progress: ProgressOption = None) -> Table:
        """Return this table with each row at a multiple of `row_alignment` bytes, and zeros between rows.

        A lookup waits for each cache line of 64 bytes that a row lies in: rows that start at a multiple of 64, 32 or 16
        lie in fewer of them, for the bytes of the padding, which `stored_bytes` counts and files keep. `row_layouts`
        says what it would give. Rows are the same bit for bit. They are copied, into memory that starts at a cache
        line, unless they lie so already.

        Args:
            row_alignment: 1, 2, 4, 8, 16, 32 or 64; 1 takes the padding away.
            progress: Told of rows; see `compress`.

        Raises:
            ValueError: another alignment.
            KeyboardInterrupt: Ctrl-C, within half a second.
        """
        with reporting(progress, "align", "rows") as report:
            table: Table = _core.aligned(self, row_alignment, report)
        return table

    def row_layouts(self) -> tuple[RowLayout, ...]:
        """Return where the rows of each store lie among cache lines, from the outermost store to the innermost."""
        return tuple(RowLayout.from_json(fields) for fields in json.loads(_core.row_layouts(self)))

    def warm_up(self, *, progress: ProgressOption = None) -> int:
        """Read every page of the table's arrays once, on all threads, so that no lookup waits for the disk.

        For a table that `load` has mapped from a file: lookups would bring its pages into memory one by one. The system
        may let go of them again when memory is short. Other tables lie in memory already.

        Args:
            progress: Told of bytes; see `compress`.

        Returns:
            How many bytes the arrays have: `stored_bytes` less those of constants, such as seeds.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        with reporting(progress, "warm up", "B") as report:
            count: int = _core.warm_up(self, report)
        return count

    def parts(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return the expression as a tree of plain values, and its arrays by name, on this table's memory."""
        arrays = {
            name: Array(dtype, np.frombuffer(memory, _NUMPY[dtype]).reshape(shape))
            for name, dtype, shape, memory in _core.arrays(self)
        }
        return json.loads(_core.tree(self)), arrays

    @classmethod
    def from_parts(cls, tree: Mapping[str, Any], arrays: Mapping[str, Array | tuple[str, Any]]) -> Table:
        """Build a table from what `parts` returns, on the memory of the arrays.

        Raises:
            FormatError: the parts are not those of a table; the message says which rule they break.
        """
        check_type(arrays, Mapping, "arrays", "a mapping of names to (dtype, values)")
        listed = tuple((name, dtype, values) for name, (dtype, values) in arrays.items())
        table: Table = _core.assemble(json.dumps(tree), listed)
        return table

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as parts."""
        return _unpickle, self.parts()


def _unpickle(tree: dict[str, Any], arrays: dict[str, Array]) -> Table:
    return Table.from_parts(tree, arrays)


def dense(weight: object) -> Table:
    """Return a table of the rows as they are, on the memory of `weight`, which must not change while the table lives.

    Args:
        weight: (rows, dimension) numbers, as for `compress`. f32, f16 and bf16 that are C-contiguous are used where
            they lie; of anything else there is a copy.
    """
    if isinstance(weight, Table):
        return weight
    table: Table = _core.dense(*as_matrix(weight))
    return table
