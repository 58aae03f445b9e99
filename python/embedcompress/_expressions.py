"""Tables put together by hand: one store or route out of arrays and inner tables.

The core checks what it is given, packs what has to be packed, and uses what already lies as it is stored where it lies:
such arrays must not change while the table lives. Inner tables are used as they are. `docs/format.md` lists what each
kind takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import _core
from ._arrays import as_array
from ._table import Table


def compose(
    kind: str,
    fields: Mapping[str, object] | None = None,
    arrays: Mapping[str, object] | None = None,
    children: Sequence[Table] = (),
) -> Table:
    """Return a table whose root is a node of that kind.

    Args:
        kind: Such as "remap".
        fields: Plain values.
        arrays: Anything array-like; those that are None are left out.
        children: The inner tables, in order.

    Raises:
        FormatError: the parts do not make such a node; the message names the field or the array.
    """
    natural = {name: _natural(values, name) for name, values in (arrays or {}).items() if values is not None}
    table: Table = _core.compose(kind, json.dumps(dict(fields or {}), default=_plain), natural, tuple(children))
    return table


def given(**fields: object) -> dict[str, object]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def described(
    kind: str, rows: int, dimension: int, *children: Mapping[str, object], arrays: Sequence[str] = (), **fields: object
) -> dict[str, object]:
    """Return the description of a node that is not made, for `plan_bytes`.

    Args:
        kind: Such as "remap".
        rows: Of the table.
        dimension: Of the table.
        *children: Descriptions of the inner tables, in order.
        arrays: Those of the arrays that such a node may lack which it has.
        **fields: What files say of such a node, as `docs/format.md` lists it; what only slices have may be left out.
    """
    tree: dict[str, object] = {"kind": kind, "rows": rows, "dimension": dimension, **fields}
    if arrays:
        tree["tensors"] = dict.fromkeys(arrays, "")
    if children:
        tree["children"] = {str(index): child for index, child in enumerate(children)}
    return tree


def plan_bytes(tree: Mapping[str, object]) -> int:
    """Return the `stored_bytes` of the table that a description would make, whose nodes have no array in common."""
    return _core.plan_bytes(json.dumps(tree, default=_plain))


def _natural(values: object, name: str) -> np.ndarray[Any, Any]:
    """Return an array whose memory can be lent: C-contiguous, in native byte order."""
    array = as_array(values, name)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return np.asarray(array, order="C")


def _plain(value: object) -> object:
    """Return what JSON can say of a NumPy scalar."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"fields must be plain values, not {type(value).__name__}")
