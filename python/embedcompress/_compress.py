"""`compress` and `compress_to_file`: from a weight to a table, in memory or straight into a file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import numpy as np

from . import _core
from ._arrays import as_array
from ._describe import describe
from ._files import load, save
from ._registry import composed
from ._table import Progress, Table, dense


def compress(
    weight: object,
    method: str = "least_squares",
    *,
    budget: int | float | None = None,
    weights: object | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Table:
    """Compress an embedding table.

    Args:
        weight: (rows, dimension), f32, f16 or bf16, C-contiguous: a NumPy array, a torch CPU tensor, a buffer, or a
            Table, such as `load` gives for a tensor of a checkpoint. Never written to, and not kept.
        method: A name from `methods()`.
        budget: The most bytes that the result may have: an int is bytes, a float up to 1 is a ratio of the f32 size.
            The method chooses its knob for it.
        weights: How much an error counts, for methods that minimise one: (rows, dimension) for each element, such as
            squared gradients, or (rows,) for each row, such as how often it is used. Rows' weights matter where rows
            share what is chosen, as the clusters of kmeans_cls do. Finite, not negative.
        progress: Called as progress(done, total) now and then; returning False stops with KeyboardInterrupt.
        **options: The method's own; see `methods()`.

    Returns:
        The compressed table. With a method that chooses a range for each row, no row has a larger squared error than
        plain min-max at the same bits gives it, unless fallback=False asks for the method as its paper has it. Scales
        in f16 can't say less than 6e-8: rows whose whole range is near that become constant; scale_dtype="f32" keeps
        them.

    Raises:
        ValueError: an unknown method or option; a value that is not finite, or does not fit f16 scales (the message
            names the row); an array that is strided, byte-swapped, or of the wrong dtype or rank.
        BudgetError: the method can't be that small; the message names the least that it can reach.
        KeyboardInterrupt: Ctrl-C, within half a second.
    """
    source = dense(weight)
    compressor = composed(method)
    if compressor:
        plain = {name: value if name in compressor.arrays else _plain(name, value) for name, value in options.items()}
        bytes_ = None if budget is None else budget_bytes(budget, _full_bytes(source))
        return compressor(source, bytes_, _weights(weights), progress, plain)
    result: Table = _core.compress(source, _weights(weights), method, _options(options, budget, source), progress)
    return result


_Found = list[tuple[int, tuple[float, float, float, int, float], float | None]]
"""Of each table: its bytes, what `evaluate` of the core gives, and the share of fallbacks."""


@dataclass(frozen=True)
class CompressionReport:
    """What compressing a table into a file gave."""

    rows: int
    dimension: int
    source_bytes: int
    stored_bytes: int
    ratio: float
    """Stored bytes over those of f32."""
    normalized_l2: float
    """||X - Q(X)|| / ||X||, Frobenius norms: the normalised l2 loss of Guan et al. 2019."""
    mean_cosine: float
    """Mean over rows of the cosine between a row and its copy."""
    worst_row_l2: float
    """The largest over rows of ||x - q(x)|| / ||x||."""
    worst_row: int
    mean_squared_error: float
    fallback_share: float | None
    """Share of rows, or of groups of columns, for which the search found nothing better than plain min-max; None for
    methods that don't compare with it."""
    expression: str
    """The table's stores and routes in a line, with the knobs as the method or the budget set them, such as
    "project(rank=37, uniform(bits=8))"."""

    def as_dict(self) -> dict[str, float | int | str | None]:
        """Return the figures by name."""
        return asdict(self)


def compress_to_file(
    path: str | PathLike[str],
    tables: Mapping[str, object],
    method: str = "least_squares",
    *,
    budget: int | float | None = None,
    weights: Mapping[str, object] | None = None,
    row_alignment: int = 1,
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, CompressionReport]:
    """Compress tables straight into one safetensors file, in memory that does not grow with them.

    Rows are read, compressed, compared with their source and written run by run, so that a table that `load` has
    mapped from a checkpoint may be larger than memory, and so may the result. The file is the one that `compress`,
    `Table.aligned` and `save` would write. Methods that make a table at once hold the results in memory.

    Args:
        path: The file; it appears complete or not at all.
        tables: What to compress, by the name in the file; each is anything that `compress` takes.
        method: A name from `methods()`.
        budget: As for `compress`; bytes (an int) are shared among the tables by their sizes.
        weights: How much errors count, as for `compress`, by the table's name; tables that are not in it have none.
        row_alignment: As for `Table.aligned`: 1, 2, 4, 8, 16, 32 or 64 bytes that rows start at multiples of. A budget
            counts rows without padding, and goes with 1 only.
        metadata: Strings to store beside the tables.
        progress: Called as progress(done, total) now and then; returning False stops with KeyboardInterrupt.
        **options: The method's own; see `methods()`.

    Returns:
        A report for each table.

    Raises:
        ValueError, BudgetError, KeyboardInterrupt: as `compress` does; nothing is left behind.
        OSError: the file can't be written; what was there before still is.
    """
    sources = {name: dense(weight) for name, weight in tables.items()}
    unknown = set(weights or ()) - set(sources)
    if unknown:
        raise ValueError(f"weights are given for '{min(unknown)}', which is not among the tables")
    elements = sum(source.rows * source.dimension for source in sources.values())

    def share(source: Table) -> int | float | None:
        if type(budget) is int and len(sources) > 1:
            return budget * source.rows * source.dimension // max(elements, 1)
        return budget

    if composed(method):
        if budget is not None and row_alignment != 1:
            raise ValueError(
                "a budget counts rows without padding: give the method's own knob where row_alignment is not 1"
            )
        made = {
            name: compress(
                source, method, budget=share(source), weights=(weights or {}).get(name), progress=progress, **options
            ).aligned(row_alignment)
            for name, source in sources.items()
        }
        save(path, made, metadata=metadata, progress=progress)
        found: _Found = [
            (table.stored_bytes, _core.evaluate(table, sources[name], progress), None) for name, table in made.items()
        ]
    else:
        jobs = tuple(
            (name, source, _weights((weights or {}).get(name)), _options(options, share(source), source))
            for name, source in sources.items()
        )
        found = _core.compress_to_file(path, jobs, method, row_alignment, json.dumps(dict(metadata or {})), progress)
    return {
        name: CompressionReport(
            source.rows,
            source.dimension,
            source.stored_bytes,
            stored,
            stored / (source.rows * source.dimension * 4) if source.rows else 0.0,
            *quality,
            fallbacks,
            describe(load(path, name)),
        )
        for (name, source), (stored, quality, fallbacks) in zip(sources.items(), found, strict=True)
    }


def _options(options: Mapping[str, Any], budget: int | float | None, source: Table) -> str:
    """Return the options of a method as JSON."""
    plain = {name: _plain(name, value) for name, value in options.items()}
    if budget is not None:
        plain["budget"] = budget_bytes(budget, _full_bytes(source))
    return json.dumps(plain)


def _weights(weights: object | None) -> Table | None:
    """Return weights as a dense table of one column or more."""
    if weights is None or isinstance(weights, Table):
        return weights
    array = as_array(weights, "weights") if not isinstance(weights, np.ndarray) else weights
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2):
        raise ValueError(f"weights must be numbers of one or two axes, not {array.ndim} of {array.dtype}")
    return dense(np.ascontiguousarray(array.reshape(len(array), -1) if array.ndim == 1 else array, np.float32))


def _full_bytes(table: Table) -> int:
    return 4 * table.rows * table.dimension


def budget_bytes(budget: int | float, full_bytes: int) -> int:
    """Return a budget in bytes.

    Args:
        budget: An int is bytes, a float a ratio.
        full_bytes: Of the table in f32.
    """
    if isinstance(budget, np.generic):
        budget = budget.item()
    if isinstance(budget, bool) or not isinstance(budget, (int, float)):
        raise TypeError(f"budget must be a number, not {type(budget).__name__}")
    if isinstance(budget, float):
        if not 0 < budget <= 1:
            raise ValueError(f"a budget that is a float is a ratio of the f32 size, from 0 to 1, not {budget}")
        return int(budget * full_bytes)
    if budget < 0:
        raise ValueError(f"budget must not be negative, not {budget}")
    return budget


def _plain(name: str, value: Any) -> Any:
    """Return an option as JSON has it; NumPy's scalars become Python's."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"option {name} must be finite, not {value}")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"option {name} must be a number, a string or a flag, not {type(value).__name__}")
