"""`recommend`: which method to take for a table and a budget, by trying them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _core
from ._arrays import as_numbers
from ._budget import budget_bytes
from ._compress import compress
from ._files import as_table
from ._progress import ProgressOption, reporting
from ._report import figure, percent, size
from ._shown import Shown
from ._table import Table

_HEADER = ("method", "bytes", "of f32", "norm. l2", "cosine", "recall@10", "lookup, ns/row")
METRICS = ("l2", "cosine", "recall")


@dataclass(frozen=True)
class Recommendation:
    """A way to compress a table, and what it gave."""

    method: str
    options: Mapping[str, Any]
    """What `compress` is to be given beside the method, the budget included."""
    expression: str
    """The result's stores and routes in a line, with what the budget chose."""
    stored_bytes: int
    ratio: float
    """Stored bytes over those of f32."""
    normalized_l2: float
    """||X - Q(X)|| / ||X||; with counts, rows' squared norms count so many times."""
    mean_cosine: float
    """Mean over rows of the cosine between a row and its copy; with counts, over uses."""
    recall_at_10: float | None
    """As `evaluate` has it; with counts, queries are chosen by use. None for tables of up to 10 rows."""
    compress_seconds: float
    lookup_ns_per_row: float
    """Of random ids, or with counts, of ids as they are used; on one thread."""
    reason: str
    """A sentence."""

    def compress(self, weight: object, *, progress: ProgressOption = None) -> Table:
        """Compress a table this way; it may be another than the one that was measured, but for counts."""
        return compress(weight, self.method, progress=progress, **self.options)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name; of arrays among the options, their shape."""
        options = {name: _plain(value) for name, value in self.options.items()}
        names = [name for name in self.__dataclass_fields__ if name != "options"]
        return {"method": self.method, "options": options} | {name: getattr(self, name) for name in names}


def recommend(
    weight: object,
    budget: int | float | str,
    *,
    counts: object | None = None,
    metric: str = "l2",
    sample: int = 16_384,
    seed: int = 0,
    progress: ProgressOption = None,
) -> list[Recommendation]:
    """Try methods and hybrids on a table, and rank them.

    Those that are plausible for the budget are run on a sample of rows, with the knobs that the budget means for the
    whole table; the best few are then run on the whole of it and measured.

    Args:
        weight: (rows, dimension); anything that `compress` takes.
        budget: The most bytes, or a ratio of the f32 size, as for `compress`.
        counts: (rows,) numbers: how often each row is used. Errors are weighted by them.
        metric: What to rank by: "l2", the squared error; "cosine"; or "recall", recall@10 of `evaluate`.
        sample: Rows of the sample.
        seed: Of the sample and of the queries. Everything but times is the same again.
        progress: Told of candidates; see `compress`.

    Returns:
        The best few, best first: a list that prints as a table.

    Raises:
        BudgetError: nothing is that small; the message names the least that any method can reach.
        ValueError: a metric of another name, or counts that are not one for each row.
    """
    source = as_table(weight)
    size = budget_bytes(budget, 4 * source.rows * source.dimension)
    uses = None if counts is None else _counts(counts, source)
    with reporting(progress, "recommend", "steps") as report:
        found = json.loads(_core.recommend(source, size, uses, metric, sample, seed, report))
    return Shown([Recommendation(**_given(one, uses)) for one in found], _HEADER, _cells)


def _cells(one: Recommendation) -> tuple[str, ...]:
    figures = (one.normalized_l2, one.mean_cosine, one.recall_at_10)
    return (
        one.expression,
        size(one.stored_bytes),
        percent(one.ratio),
        *map(figure, figures),
        f"{one.lookup_ns_per_row:.0f}",
    )


def _given(fields: dict[str, Any], uses: np.ndarray[Any, Any] | None) -> dict[str, Any]:
    """Return fields of the core with counts in their places."""
    options = {name: uses if value is None else value for name, value in fields["options"].items()}
    l2 = math.inf if fields["normalized_l2"] is None else fields["normalized_l2"]
    return fields | {"options": options, "normalized_l2": l2}


def _counts(counts: object, source: Table) -> np.ndarray[Any, Any]:
    array = as_numbers(counts, "counts", np.float64)
    if array.shape != (source.rows,):
        raise ValueError(f"counts must be {source.rows} numbers, one for each row, not of shape {array.shape}")
    return array


def _plain(value: Any) -> Any:
    return f"array of {' x '.join(map(str, value.shape))}" if isinstance(value, np.ndarray) else value
