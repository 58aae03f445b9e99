"""Columns, frames and Arrow's arrays as NumPy's: those of pandas, polars and pyarrow, which are never imported here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np


def position_text(place: int, shape: Sequence[int]) -> str:
    """Return where an element stands, such as "3" or "[3, 4]", by its position in the flattened array."""
    if len(shape) < 2:
        return str(place)
    return "[" + ", ".join(str(int(i)) for i in np.unravel_index(place, tuple(shape))) + "]"


def from_frame(value: Any, name: str) -> Any:
    """Return the elements of a column or a frame as NumPy has them; anything else as it is.

    Columns of vectors, and frames of numbers, give two axes.

    Raises:
        ValueError: it has nulls, categories, or vectors of several lengths; the message says where.
    """
    if isinstance(value, (np.ndarray, np.generic, list, tuple, int, float)):
        return value
    for module, convert in (("pandas", _from_pandas), ("polars", _from_polars), ("pyarrow", _from_arrow)):
        package = sys.modules.get(module)
        if package is not None:
            value = convert(package, value, name)
    return value


def _refuse_null(place: object, name: str) -> None:
    raise ValueError(f"{name} has a null at {place}: fill it or drop it before")


def _refuse_categories(dtype: object, codes: str, name: str) -> None:
    raise ValueError(f"{name} must be numbers, not {dtype}; their codes are {codes}")


def _from_pandas(pandas: Any, value: Any, name: str) -> Any:
    if isinstance(value, pandas.DataFrame):
        columns = [_pandas_column(pandas, column, f"{name}[{label!r}]") for label, column in value.items()]
        return _matrix(columns, [f"{name}[{label!r}]" for label in value.columns], len(value))
    is_column = isinstance(value, (pandas.Series, pandas.Index, pandas.api.extensions.ExtensionArray))
    return _pandas_column(pandas, pandas.Series(value), name) if is_column else value


def _pandas_column(pandas: Any, column: Any, name: str) -> Any:
    dtype = column.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        _refuse_categories("category", "Series.cat.codes", name)
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return column.to_numpy()
    nulls = column.isna().to_numpy()
    if nulls.any():
        _refuse_null(int(np.argmax(nulls)), name)
    if isinstance(dtype, np.dtype):
        return column.to_numpy()
    if isinstance(dtype, pandas.ArrowDtype):
        return from_frame(column.array.__arrow_array__(), name)
    if not pandas.api.types.is_numeric_dtype(dtype):
        raise ValueError(f"{name} must be numbers, not {dtype}")
    return column.to_numpy(getattr(dtype, "numpy_dtype", None))


def _from_polars(polars: Any, value: Any, name: str) -> Any:
    if isinstance(value, polars.LazyFrame):
        raise TypeError(f"{name} must be an array, not LazyFrame: use {name}.collect()")
    if isinstance(value, polars.DataFrame):
        names = [f"{name}[{label!r}]" for label in value.columns]
        columns = [_polars_column(polars, *pair) for pair in zip(value, names, strict=True)]
        return _matrix(columns, names, value.height)
    return _polars_column(polars, value, name) if isinstance(value, polars.Series) else value


def _polars_column(polars: Any, column: Any, name: str) -> Any:
    if column.dtype in (polars.Categorical, polars.Enum):
        _refuse_categories(column.dtype, "Series.to_physical()", name)
    if column.null_count():
        _refuse_null(column.is_null().arg_true()[0], name)
    if column.dtype in (polars.List, polars.Array):
        lengths = column.list.len() if column.dtype == polars.List else None
        if lengths is not None and lengths.n_unique() > 1:
            raise ValueError(f"{name} must have rows of one length, not of {lengths.min()} and {lengths.max()}")
        inner = _polars_column(polars, column.explode(), name)
        return np.asarray(inner).reshape(len(column), -1) if len(column) else np.zeros((0, 0), np.float32)
    is_number = column.dtype.is_integer() or column.dtype.is_float() or column.dtype == polars.Boolean
    if not is_number or column.dtype.base_type().__name__ in ("Int128", "UInt128"):
        # NumPy has no integers of 128 bits.
        raise ValueError(f"{name} must be numbers, not {column.dtype}")
    return column.to_numpy()


def _from_arrow(pyarrow: Any, value: Any, name: str) -> Any:
    if isinstance(value, (pyarrow.Table, pyarrow.RecordBatch)):
        names = [f"{name}[{label!r}]" for label in value.schema.names]
        columns = [_arrow_column(pyarrow, *pair) for pair in zip(value.columns, names, strict=True)]
        return _matrix(columns, names, value.num_rows)
    if isinstance(value, pyarrow.Tensor):
        return value.to_numpy()
    is_column = isinstance(value, (pyarrow.Array, pyarrow.ChunkedArray))
    return _arrow_column(pyarrow, value, name) if is_column else value


def _arrow_column(pyarrow: Any, column: Any, name: str) -> Any:
    if isinstance(column, pyarrow.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pyarrow.ChunkedArray):
            # Some versions leave chunks that are too long for one, or none.
            column = pyarrow.concat_arrays(column.chunks) if column.num_chunks else pyarrow.array([], column.type)
    types, kind = pyarrow.types, column.type
    if types.is_dictionary(kind):
        _refuse_categories(kind, "its .indices", name)
    if column.null_count:
        _refuse_null(column.is_null().to_numpy(zero_copy_only=False).argmax(), name)
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _arrow_column(pyarrow, column.storage, name)
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) > 1:
            raise ValueError(f"{name} must have rows of one length, not of {lengths[0]} and {lengths[-1]}")
        inner = _arrow_column(pyarrow, column.flatten(), name)
        return inner.reshape(len(column), int(lengths[0]) if len(lengths) else 0, *inner.shape[1:])
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise ValueError(f"{name} must be numbers, not {kind}")
    return column.to_numpy(zero_copy_only=False)


def _matrix(columns: Sequence[Any], names: Sequence[str], rows: int) -> Any:
    """Return columns as a matrix of the dtype that NumPy finds for them all; a single one of vectors is it already."""
    if not columns:
        return np.zeros((rows, 0), np.float32)
    if len(columns) == 1 and (columns[0].ndim == 2 or columns[0].dtype.kind == "O"):
        return columns[0]
    for column, name in zip(columns, names, strict=True):
        if column.ndim != 1 or column.dtype.kind not in "iuf":
            what = column.dtype if column.ndim == 1 else f"vectors of {column.shape[1]}"
            raise ValueError(f"{name} must be numbers, not {what}")
    return np.stack(columns, axis=1)
