"""Routes by hand: tables whose rows come from other tables."""

from __future__ import annotations

from collections.abc import Sequence

from ._checks import check_type, checked_items
from ._expressions import compose, given
from ._table import Table


def remap(
    table: Table,
    *,
    rows: int | None = None,
    modulo: int | None = None,
    divisor: int | None = None,
    hash: int | None = None,
    map: object | None = None,
    block: int | None = None,
) -> Table:
    """Return a table whose rows are those of `table` at f(id).

    Args:
        table: The inner table. Give exactly one of modulo, divisor, hash and map.
        rows: Ids of the result are 0 to rows - 1, at most 2^48 as of every table; needed unless a map without `block`
            says it.
        modulo: f(id) = id % modulo, the simplest hash.
        divisor: f(id) = id // divisor.
        hash: f(id) is a row that looks random, another one for each seed; this is the seed, at least 0. With NumPy:

            h = np.uint64(seed) + (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            h = (h ^ (h >> np.uint64(31))) >> np.uint64(32)
            f = (h * np.uint64(table.rows)) >> np.uint64(32)

        map: f(id) = map[id], integers of shape (rows,), where -1 stands for a row of zeros. Kept in as many bits as the
            inner table's rows need.
        block: With a map: f(id) = map[id // block] * block + id % block, where the map has one entry for each block of
            so many rows.
    """
    check_type(table, Table, "table", "a Table")
    fields = given(rows=rows, modulo=modulo, divisor=divisor, hash=hash, block=block)
    return compose("remap", fields, {"map": map}, [table])


def combine(tables: Sequence[Table], operation: str = "sum") -> Table:
    """Return a table whose rows are the sums or products, element by element, of those of other tables.

    Args:
        tables: Two or more, of the same rows and dimension.
        operation: "sum" or "product".
    """
    return compose("combine", {"operation": operation}, children=_checked(tables))


def columns(tables: Sequence[Table]) -> Table:
    """Return a table whose rows are those of other tables side by side.

    Args:
        tables: One or more, of the same rows.
    """
    return compose("columns", children=_checked(tables))


def partition(tables: Sequence[Table], assignment: object | None = None) -> Table:
    """Return a table each of whose rows belongs to one of other tables.

    Args:
        tables: One to 4096, of the same dimension.
        assignment: For each id, which table it is a row of: the next row of it that no id before has. Integers of shape
            (rows,). Takes ceil(log2(tables)) + tables / 16 bits for each id. If not given, each table has the next ids,
            as many as its rows, which takes no bytes.
    """
    return compose("partition", arrays={"assignment": assignment}, children=_checked(tables))


def project(table: Table, matrix: object, bias: object | None = None, element: str = "f32") -> Table:
    """Return a table whose rows are those of `table` times a matrix, plus a bias.

    A pooled sum pools the rows of `table` first, and multiplies once. The row of an invalid id under
    on_invalid="zero", or of a -1 in a map over the result, is zeros, without bias.

    Args:
        table: The inner table.
        matrix: (table.dimension, dimension).
        bias: (dimension,).
        element: What the matrix is kept as: "f32" or "f16".
    """
    check_type(table, Table, "table", "a Table")
    if element not in ("f32", "f16"):
        raise ValueError(f"element must be 'f32' or 'f16', not {element!r}")
    return compose("project", {"element": element}, {"matrix": matrix, "bias": bias}, [table])


def normalize(table: Table) -> Table:
    """Return a table whose rows are those of `table` over their norms, so that scalar products are cosines.

    Every row has the norm 1 to within 1e-6, whatever compressing has made of it; rows of zeros stay so. It takes no
    bytes. Norms are computed as rows are decoded, and pooling decodes the rows of a bag.

    Args:
        table: The inner table.
    """
    check_type(table, Table, "table", "a Table")
    return compose("normalize", children=[table])


def _checked(tables: Sequence[Table]) -> Sequence[Table]:
    """Return some tables, of which there must be one, and which must be tables."""
    listed = checked_items(tables, "tables")
    for index, table in enumerate(listed):
        check_type(table, Table, f"table {index} of tables", "a Table")
    if not listed:
        raise ValueError("tables must have one table or more")
    return listed
