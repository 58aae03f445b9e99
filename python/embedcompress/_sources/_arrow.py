"""Parquet and Arrow files (Feather is one): columns whose values are vectors. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from .._atomic import AnyPath
from ._source import Source, TensorInfo, malformed, missing, numpy_type

Array = np.ndarray[Any, Any]


class Columns(Source):
    """A Parquet or Arrow file; tensors are its columns of vectors, called as the columns are."""

    def __init__(self, path: AnyPath, kind: str):
        """Look at a file.

        Args:
            path: The file.
            kind: "Parquet", "an Arrow file" or "an Arrow stream".
        """
        super().__init__(path)
        self.kind = kind
        arrow = _pyarrow(path, kind)
        self._errors = (arrow.ArrowException, OSError, ValueError)
        try:
            schema, file = self._open(arrow)
            vectors = {
                field.name: (field.type, element)
                for field in schema
                if (element := _element(arrow, field.type)) is not None
            }
            self._others = [f"{field.name} ({field.type})" for field in schema if field.name not in vectors]
            if kind == "Parquet":
                rows = file.metadata.num_rows
            else:
                rows = sum(batch.num_rows for batch in self._batches(arrow, list(vectors)[:1]))
            self._tensors = tuple(
                TensorInfo(name, numpy_type(element), (rows, self._columns(arrow, name, type)))
                for name, (type, element) in vectors.items()
            )
        except self._errors as error:
            raise self._damaged(error) from error

    def _columns(self, arrow: ModuleType, name: str, type: Any) -> int:
        """Return the length of a column's vectors; of lists without a fixed size, that of the first row's."""
        type = type.storage_type if isinstance(type, arrow.BaseExtensionType) else type
        if arrow.types.is_fixed_size_list(type):
            size: int = type.list_size
            return size
        return next((_width(batch.column(0)) for batch in self._batches(arrow, [name]) if batch.num_rows), 0)

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """The columns of vectors."""
        return self._tensors

    def only(self) -> str:
        """Return the only column of vectors."""
        if not self._tensors:
            columns = ", ".join(self._others[:8]) or "none"
            what = f"{self.kind} without a column of vectors (lists of numbers): its columns are {columns}"
            raise malformed(self.path, what, "not_a_table_file")
        return super().only()

    def read(self, info: TensorInfo, mmap: bool) -> Array:
        """Return a copy of a column."""
        arrow = _pyarrow(self.path, self.kind)
        rows = info.shape[0]
        result: Array | None = None
        done = 0
        try:
            for batch in self._batches(arrow, [info.name]):
                part = self._vectors(arrow, batch.column(0), info, done)
                result = np.empty(info.shape, part.dtype) if result is None else result
                if done + len(part) > rows:
                    raise malformed(self.path, f"column '{info.name}' has changed while it was read")
                result[done : done + len(part)] = part
                done += len(part)
        except self._errors as error:
            if isinstance(error, (FileNotFoundError, PermissionError)) or hasattr(error, "rule"):
                raise
            raise self._damaged(error) from error
        if result is None or done < rows:
            raise malformed(self.path, f"column '{info.name}' has no rows")
        return result

    def _vectors(self, arrow: ModuleType, column: Any, info: TensorInfo, done: int) -> Array:
        """Return the values of a batch, (rows, dimension)."""
        column = column.storage if isinstance(column, arrow.ExtensionArray) else column
        dimension = info.shape[1]
        if column.null_count:
            row = done + next(row for row, valid in enumerate(column.is_valid().to_pylist()) if not valid)
            raise malformed(self.path, f"column '{info.name}' has no vector in row {row:,}")
        if not arrow.types.is_fixed_size_list(column.type):
            offsets = np.diff(column.offsets.to_numpy())
            wrong = np.flatnonzero(offsets != dimension)
            if wrong.size:
                row, found = done + int(wrong[0]), int(offsets[wrong[0]])
                what = f"{found} numbers in row {row:,}, and {dimension} in the first"
                raise malformed(self.path, f"column '{info.name}' has {what}")
        values = column.flatten()
        if values.null_count:
            row = done + next(at for at, valid in enumerate(values.is_valid().to_pylist()) if not valid) // dimension
            raise malformed(self.path, f"column '{info.name}' has a vector with nulls in row {row:,}")
        array: Array = values.to_numpy(zero_copy_only=False)
        return array.reshape(-1, dimension)

    def _open(self, arrow: ModuleType) -> tuple[Any, Any]:
        """Return the schema of the file and what its batches are read from."""
        if self.kind == "Parquet":
            from pyarrow import parquet

            file = parquet.ParquetFile(self.path)
            return file.schema_arrow, file
        from pyarrow import ipc

        memory = arrow.OSFile(str(self.path) if not isinstance(self.path, bytes) else self.path.decode())
        reader = ipc.open_file(memory) if self.kind == "an Arrow file" else ipc.open_stream(memory)
        return reader.schema, reader

    def _batches(self, arrow: ModuleType, names: list[str]) -> Iterator[Any]:
        """Return the batches of some columns; without any there are none."""
        if not names:
            return
        _, file = self._open(arrow)
        if self.kind == "Parquet":
            yield from file.iter_batches(batch_size=16_384, columns=[f"{names[0]}"])
        elif self.kind == "an Arrow file":
            for index in range(file.num_record_batches):
                yield file.get_batch(index).select(names)
        else:
            for batch in file:
                yield batch.select(names)

    def _damaged(self, error: BaseException) -> ValueError:
        return malformed(self.path, f"{self.kind} that can't be read: {' '.join(str(error).split())[:200]}")


def _element(arrow: ModuleType, type: Any) -> np.dtype[Any] | None:
    """Return the type of a vector's numbers; None for a column of something else."""
    type = type.storage_type if isinstance(type, arrow.BaseExtensionType) else type
    lists = arrow.types
    if not (lists.is_fixed_size_list(type) or lists.is_list(type) or lists.is_large_list(type)):
        return None
    if not (lists.is_floating(type.value_type) or lists.is_integer(type.value_type)):
        return None
    result: np.dtype[Any] = np.dtype(type.value_type.to_pandas_dtype())
    return result


def _width(column: Any) -> int:
    return len(column[0]) if column[0].is_valid else 0


def _pyarrow(path: AnyPath, kind: str) -> ModuleType:
    try:
        import pyarrow
    except ImportError:
        raise missing(path, kind, "pyarrow", "parquet") from None
    module: ModuleType = pyarrow
    return module
