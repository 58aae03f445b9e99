"""Groups of rows of similar norm, for methods that give larger rows more bytes."""

from __future__ import annotations

import numpy as np

from .._routes import partition, remap
from .._table import dense
from ._linear import Values


def by_norm(norms: Values, most: int) -> Values:
    """Return each row's group: those of the largest norms are in group 0, and groups have equal sums of norms.

    Args:
        norms: (rows,)
        most: Groups, at most; those that no row would be in are left out.
    """
    order = np.argsort(-norms, kind="stable")
    before = np.cumsum(norms[order]) - norms[order]
    total = float(norms.sum())
    shares = before / total if total > 0 else before
    numbers = np.minimum((shares * most).astype(np.int64), most - 1)
    groups = np.empty(len(norms), np.int64)
    groups[order] = np.unique(numbers, return_inverse=True)[1] if len(norms) else 0
    return groups


def assignment_bytes(assignment: Values) -> int:
    """Return what it takes to say which group each row is in.

    Args:
        assignment: (rows,) the groups' numbers, all of those from 0 on.
    """
    sizes = np.bincount(assignment)
    if len(sizes) < 2:
        return 0
    one = dense(np.zeros((1, 1), np.float32))
    stand_ins = [remap(one, rows=int(size), modulo=1) for size in sizes]
    return partition(stand_ins, assignment=assignment).stored_bytes - sum(table.stored_bytes for table in stand_ins)
