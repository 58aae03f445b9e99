"""Tables written down as expressions: what stores and routes are made of, put together.

Each function here makes one store or route out of arrays and inner tables, as `docs/format.md` describes it; the core
checks what it is given. Arrays are used where they lie if they have the type that the expression holds, and must not
change while the table lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._table import Array, Table


def compose(
    kind: str,
    rows: int,
    dimension: int,
    fields: Mapping[str, Any] | None = None,
    tensors: Mapping[str, tuple[str, np.ndarray[Any, Any]]] | None = None,
    children: Mapping[str, Table] | None = None,
) -> Table:
    """Return a table whose root is a node of that kind.

    Args:
        kind: Such as "remap".
        rows: Ids of the result are 0 to rows - 1.
        dimension: Columns of a row.
        fields: What the kind's node says beside that.
        tensors: Its arrays: element type, such as "u8", and values.
        children: Its inner tables.

    Raises:
        FormatError: the parts do not make such a node; the message says which rule they break.
    """
    tree: dict[str, Any] = {"kind": kind, "rows": rows, "dimension": dimension, **(fields or {})}
    arrays: dict[str, Array] = {}
    for field, (dtype, values) in (tensors or {}).items():
        arrays[field] = Array(dtype, np.ascontiguousarray(values))
    if tensors:
        tree["tensors"] = {field: field for field in tensors}
    for field, child in (children or {}).items():
        subtree, parts = child.parts()
        tree.setdefault("children", {})[field] = _renamed(subtree, field)
        arrays |= {f"{field}.{name}": array for name, array in parts.items()}
    return Table.from_parts(tree, arrays)


def _renamed(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return a tree whose arrays have the prefix before their names."""
    result = dict(tree)
    if "tensors" in tree:
        result["tensors"] = {field: f"{prefix}.{name}" for field, name in tree["tensors"].items()}
    if "children" in tree:
        result["children"] = {field: _renamed(child, prefix) for field, child in tree["children"].items()}
    return result
