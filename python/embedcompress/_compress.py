"""`compress` and `compress_to_file`: from a weight to a table, in memory or straight into a file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from . import _core
from ._arrays import as_numbers
from ._atomic import AnyPath
from ._budget import checked_budget
from ._checks import check_type
from ._files import as_source, as_table, load
from ._metadata import metadata_text
from ._progress import ProgressOption, reporting
from ._registry import entry
from ._table import Table, dense


def compress(
    weight: object,
    method: str = "least_squares",
    *,
    budget: int | float | str | None = None,
    weights: object | None = None,
    progress: ProgressOption = None,
    **options: Any,
) -> Table:
    """Compress an embedding table.

    Args:
        weight: (rows, dimension) numbers: an array of NumPy, a CPU tensor of torch, a frame or a column of vectors of
            pandas, polars or pyarrow, lists, a buffer, or a Table, such as `load` gives for a tensor of a checkpoint;
            or the path of a file with one table, as `load` takes it. f32, f16 and bf16 are read as they lie, others
            are cast to f32: what f64 has beyond it is lost, and integers have up to 24 bits. Never written to, and not
            kept.
        method: A name from `methods()`.
        budget: The most bytes that the result may have: an int is bytes, a float up to 1 is a ratio of the f32 size,
            and text says either, as "10%" or "6MB". The method chooses its knob for it.
        weights: How much an error counts, for methods that minimise one: (rows, dimension) for each element, such as
            squared gradients, or (rows,) for each row, such as how often it is used. Rows' weights matter where rows
            share what is chosen, as the clusters of kmeans_cls do. Finite, not negative.
        progress: Called as progress(done, total) now and then; returning False stops with KeyboardInterrupt. True
            shows a bar on stderr.
        **options: The method's own; see `methods()`.

    Returns:
        The compressed table. With a method that chooses a range for each row, no row has a larger squared error than
        plain min-max at the same bits gives it, unless fallback=False asks for the method as its paper has it; and no
        row of trellis codes a larger one than least squares gives it in no more bytes a row, unless a budget has no
        room to say which rows are of least squares, rows are normalized, or the codes are part of another method.
        Scales in f16 can't say less than 6e-8, nor more than 65504: a table of values so small that this costs more
        than a tenth of the error, or so large, has scales in f32, unless scale_dtype="f16" asks for the others, or a
        budget has no room. Up to 256 of its rows are tried; `compress_to_file` reports what they lost. Where an f16
        scale is as small as that, it is the one of least error among the nearest number and its neighbours.

    Raises:
        ValueError: an unknown method or option; a value that is not finite, does not fit f16 scales, or is too large
            for what the method computes in f32 (the message names the row); a weight without two axes, or whose dtype
            is not of real numbers (the message names it); elements under a mask, nulls, and numbers that f32 can't
            hold; a weight that somebody writes to meanwhile, if two readings of it don't go together. Otherwise each
            row of the result is one that the weight had at some moment.
        BudgetError: the method can't be that small; the message names the least that it can reach.
        KeyboardInterrupt: Ctrl-C, within half a second.
    """
    source = as_table(weight)
    plain, arrays = _options(method, options, budget)
    with reporting(progress, "compress", "rows") as report:
        result: Table = _core.compress(source, _weights(weights), method, plain, arrays, None, report)
    return result


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
    """Share of rows, or of groups of columns, for which the search found nothing better than plain min-max, or, of
    trellis codes, than least squares; None for methods that don't compare with either."""
    coarse_scale_share: float | None
    """Share of rows, or of groups of columns, whose f16 scale is so small that the nearest f16 number may leave the end
    of the range more than a step away from the last code; the one of least error was taken of it and its neighbours.
    scale_dtype="f32" has no such scales. None for methods that choose no ranges, or make a table at once."""
    f32_reason: str | None
    """Why the method chose f32 for scales, entries or values that are mostly f16; None where it did not."""
    expression: str
    """The table's stores and routes in a line, with the knobs as the method or the budget set them, such as
    "project(rank=37, uniform(bits=8))"."""
    choices: list[dict[str, Any]] = field(default_factory=list)
    """As of `Table.choices`."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)


def compress_to_file(
    path: AnyPath,
    tables: Mapping[str, object],
    method: str = "least_squares",
    *,
    budget: int | float | str | None = None,
    weights: Mapping[str, object] | None = None,
    row_alignment: int = 1,
    metadata: Mapping[str, str] | None = None,
    digests: bool = False,
    progress: ProgressOption = None,
    **options: Any,
) -> dict[str, CompressionReport]:
    """Compress tables straight into one safetensors file, in memory that does not grow with them.

    Rows are read, compressed, compared with their source and written run by run, so that a table that `load` has
    mapped from a checkpoint may be larger than memory, and so may the result. The file is the one that `compress`,
    `Table.aligned` and `save` would write. Methods that make a table at once, such as trellis without fallback=False,
    hold the results in memory.

    Args:
        path: The file; it appears complete or not at all.
        tables: What to compress, by the name in the file; each is anything that `compress` takes.
        method: A name from `methods()`.
        budget: As for `compress`; bytes (an int) are shared among the tables by their sizes.
        weights: How much errors count, as for `compress`, by the table's name; tables that are not in it have none.
        row_alignment: As for `Table.aligned`: 1, 2, 4, 8, 16, 32 or 64 bytes that rows start at multiples of. A budget
            counts rows without padding, and goes with 1 only.
        metadata: Strings to store beside the tables. Of a table that is the path of word vectors, the words go there
            too, for `vocabulary`.
        digests: Write the SHA-256 of each array, which `verify` and `load(verify=True)` check.
        progress: Called as progress(done, total) now and then; returning False stops with KeyboardInterrupt. True
            shows a bar on stderr.
        **options: The method's own; see `methods()`.

    Returns:
        A report for each table.

    Raises:
        ValueError, BudgetError, KeyboardInterrupt, FormatError: as `compress` does; nothing is left behind.
        OSError: the file can't be written; what was there before still is.
    """
    check_type(tables, Mapping, "tables", "a mapping of names to weights")
    if weights is not None:
        check_type(weights, Mapping, "weights", "a mapping of names to weights")
    entries = dict(metadata or {})
    sources: dict[str, Table] = {}
    for name, weight in tables.items():
        sources[name], words = as_source(weight, name)
        entries |= words
    unknown = set(weights or ()) - set(sources)
    if unknown:
        raise ValueError(f"weights are given for '{min(unknown)}', which is not among the tables")
    given = None if budget is None else checked_budget(budget)
    elements = sum(source.rows * source.dimension for source in sources.values())

    def share(source: Table) -> int | float | None:
        if isinstance(given, int) and len(sources) > 1:
            return given * source.rows * source.dimension // max(elements, 1)
        return given

    jobs = tuple(
        (name, source, _weights((weights or {}).get(name)), *_options(method, options, share(source)))
        for name, source in sources.items()
    )
    with reporting(progress, "compress", "rows") as report:
        found = _core.compress_to_file(path, jobs, method, row_alignment, metadata_text(entries, digests), report)
    return {
        name: CompressionReport(
            source.rows,
            source.dimension,
            source.stored_bytes,
            stored,
            stored / (source.rows * source.dimension * 4) if source.rows else 0.0,
            *quality,
            fallbacks,
            coarse,
            None if f16_loss is None else _f32_reason(f16_loss, f32_loss),
            _core.expression_summary(load(path, name)),
            json.loads(choices or "[]"),
        )
        for (name, source), (stored, quality, fallbacks, coarse, f16_loss, f32_loss, choices) in zip(
            sources.items(), found, strict=True
        )
    }


def _f32_reason(f16_loss: float, f32_loss: float | None) -> str:
    """Return what a sample of rows loses with f16 in words; f32_loss is None where that is not known."""
    if f32_loss is None:
        return "values of a sample are beyond f16"
    return f"the normalised l2 loss of a sample is {f16_loss:.3g} with f16, {f32_loss:.3g} with f32"


_Arrays = tuple[tuple[str, np.ndarray[Any, Any]], ...]
"""Options that are arrays, by name, in float64."""


def _options(method: str, options: Mapping[str, Any], budget: int | float | str | None) -> tuple[str, _Arrays]:
    """Return the options of a method as JSON, and those that are arrays; the core says which ones a method takes."""
    takes = {option.name: option.type == "array" for option in entry(method).options}
    arrays = {
        name: as_numbers(value, name, np.float64)
        for name, value in options.items()
        if value is not None and takes.get(name, isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0)
    }
    plain = {name: _plain(name, value) for name, value in options.items() if name not in arrays}
    if budget is not None:
        plain["budget"] = checked_budget(budget)
    return json.dumps(plain), tuple(arrays.items())


def _weights(weights: object | None) -> Table | None:
    """Return weights as a dense table of one column or more."""
    if weights is None or isinstance(weights, Table):
        return weights
    # Through f64, so that counts of more than 24 bits are rounded: what an error counts has no need of its last digits.
    array = as_numbers(as_numbers(weights, "weights", np.float64), "weights")
    if array.ndim not in (1, 2):
        raise ValueError(f"weights must be numbers of one or two axes, not {array.ndim}")
    return dense(array.reshape(-1, 1) if array.ndim == 1 else array)


def _full_bytes(table: Table) -> int:
    return 4 * table.rows * table.dimension


def _plain(name: str, value: Any) -> Any:
    """Return an option as JSON has it; NumPy's scalars become Python's."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"option {name} must be finite, not {value}")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"option {name} must be a number, a string or a flag, not {type(value).__name__}")
