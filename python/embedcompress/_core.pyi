"""The compiled core, which `_loader` loads under this name."""

from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ._errors import BudgetError as BudgetError
from ._errors import FormatError as FormatError
from ._errors import InvalidIdError as InvalidIdError
from ._table import Table as _PublicTable

class Table:
    @property
    def rows(self) -> int: ...
    @property
    def dimension(self) -> int: ...
    @property
    def stored_bytes(self) -> int: ...
    @property
    def invalid_count(self) -> int: ...
    def lookup(self, ids: object, out: object | None = None, on_invalid: str = "raise") -> NDArray[np.float32]: ...
    def bag(
        self,
        ids: object,
        offsets: object | None = None,
        mode: str = "sum",
        per_sample_weights: object | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        out: object | None = None,
        on_invalid: str = "raise",
    ) -> NDArray[np.float32]: ...
    def decode(self, start: int = 0, stop: int | None = None, out: object | None = None) -> NDArray[np.float32]: ...
    def slice(self, start: int, stop: int) -> _PublicTable: ...

class Array: ...

def lookup_tensor(table: Table, ids: torch.Tensor) -> torch.Tensor: ...
def bag_tensor(
    table: Table,
    ids: torch.Tensor,
    offsets: torch.Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: torch.Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> torch.Tensor: ...
def bags_tensor(
    tables: tuple[Table, ...],
    ids: torch.Tensor,
    offsets: torch.Tensor,
    mode: str = "sum",
    per_sample_weights: torch.Tensor | None = None,
) -> torch.Tensor: ...
def bags(
    tables: tuple[Table, ...],
    ids: object,
    offsets: object,
    mode: str = "sum",
    per_sample_weights: object | None = None,
    out: object | None = None,
    on_invalid: str = "raise",
) -> NDArray[np.float32]: ...

_Path = str | bytes | PathLike[str] | PathLike[bytes]
_Arrays = tuple[tuple[str, NDArray[np.float64]], ...]
_Progress = Callable[[int, int], object] | None

def dense(values: object, dtype: str) -> _PublicTable: ...
def compress(
    source: Table,
    weights: Table | None,
    method: str,
    options: str,
    arrays: _Arrays,
    counted_rows: int | None,
    progress: _Progress,
) -> _PublicTable: ...
def assemble(tree: str, arrays: tuple[tuple[str, str, Any], ...]) -> _PublicTable: ...
def compose(kind: str, fields: str, arrays: dict[str, NDArray[Any]], children: tuple[Table, ...]) -> _PublicTable: ...
def plan_bytes(tree: str, /) -> int: ...
def is_read_only(memory: object, /) -> bool: ...
def dtypes() -> dict[str, str]: ...
def aligned(table: Table, row_alignment: int, progress: _Progress) -> _PublicTable: ...
def row_layouts(table: Table, /) -> str: ...
def from_fused_rows(
    rows: object, dimension: int, bits: int, layout: str, scale_dtype: str | None, row_alignment: int
) -> _PublicTable: ...
def fused_row_memory(table: Table, layout: str, row_alignment: int) -> tuple[int, Any]: ...
def write_fused_rows(table: Table, layout: str, row_alignment: int, out: object) -> None: ...
def group_shape(groups: tuple[Any, ...], rows: int, columns: int) -> tuple[int, int, int]: ...
def group_bytes(groups: tuple[Any, ...], rows: int, columns: int) -> int: ...
def group_ranges(source: Table, groups: tuple[Any, ...], ranges: str, scales: object, biases: object) -> None: ...
def group_encode(source: Table, groups: tuple[Any, ...], scales: object, biases: object) -> _PublicTable: ...
def group_quantize(source: Table, groups: tuple[Any, ...], ranges: str) -> _PublicTable: ...
def tree(table: Table, /) -> str: ...
def arrays(table: Table, /) -> list[tuple[str, str, tuple[int, ...], Any]]: ...
def multiply(table: Table, start: int, stop: int, vectors: object, bias: object | None, out: object) -> None: ...
def touch(table: Table, ids: object) -> int: ...
def nearest_codes(rows: object, centroids: object, codes: object) -> None: ...
def fake_quantize(
    values: object,
    scales: object,
    biases: object,
    group_rows: int,
    group_columns: int,
    last: int,
    out: object,
    kept: object,
) -> int: ...

_TrainedRows = tuple[str, int, object, object | None, object | None, object | None]
_TrainedTables = _TrainedRows | tuple[_TrainedRows, _TrainedRows]
"""A format, the dimension, elements as (rows, bytes) uint8, scales, and the optimizer's states of elements and rows."""

def trained_rows_gather(table: _TrainedTables, ids: object, out: object) -> None: ...
def trained_rows_step(
    table: _TrainedTables,
    ids: object,
    gradients: object,
    optimizer: str,
    rounding: str,
    learning_rate: float,
    eps: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    seed: int,
    step: int,
) -> None: ...

_Bags = tuple[Any, Any, str, Any]
"""Ids, the offset at which each bag begins, "sum" or "mean", and weights of ids or None."""

def trained_rows_pool(table: _TrainedTables, bags: _Bags, out: object) -> None: ...
def trained_rows_step_bags(
    table: _TrainedTables,
    bags: _Bags,
    gradients: object,
    optimizer: str,
    rounding: str,
    learning_rate: float,
    eps: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    seed: int,
    step: int,
) -> None: ...
def trained_rows_write(
    table: _TrainedRows,
    ids: object,
    values: object,
    slopes: object | None,
    rounding: str,
    scale_rate: float,
    seed: int,
    step: int,
) -> None: ...
def divided_rows_places(
    rows: int,
    flags: object | None,
    before: object | None,
    ends: object | None,
    shifts: object | None,
    ids: object,
    out: object,
) -> None: ...
def hash_ids(ids: object, factors: object, summands: object, moduli: object, out: object, buckets: int) -> None: ...
def hot_sketch_places(keys: object, scores: object, places: object, seed: int, ids: object, out: object) -> None: ...
def hot_sketch_add(keys: object, scores: object, places: object, seed: int, ids: object, norms: object) -> None: ...
def train_products_rows(left: object, middle: object, right: object, owners: object, out: object) -> None: ...
def train_products_gradients(
    left: object,
    middle: object,
    right: object,
    owners: object,
    slopes: object,
    left_gradient: object,
    middle_gradient: object,
    right_gradient: object,
) -> None: ...
def train_products_step(
    table: _TrainedRows,
    owners: object,
    left: object,
    right: object,
    slopes: object,
    left_gradient: object,
    right_gradient: object,
    optimizer: str,
    rounding: str,
    learning_rate: float,
    eps: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    seed: int,
    step: int,
) -> None: ...
def evaluate(
    table: Table, source: Table, progress: _Progress, queries: int = 0, k: int = 10, seed: int = 0
) -> tuple[tuple[float, float, float, int, float], float | None]: ...
def recommend(
    source: Table,
    budget: int,
    counts: NDArray[np.float64] | None,
    metric: str,
    sample: int,
    seed: int,
    progress: _Progress,
) -> str: ...
def expression_summary(table: Table, /) -> str: ...
def choices(table: Table, /) -> str: ...
def neighbours(
    table: Table, source: Table, queries: NDArray[np.int64], out: NDArray[np.int64], progress: _Progress
) -> None: ...
def symmetric_eigenvectors(
    matrix: object, values: NDArray[np.float64], vectors: NDArray[np.float64], progress: _Progress
) -> None: ...
def inner_rows(table: Table, ids: NDArray[np.int64], out: NDArray[np.int64]) -> None: ...
def save(
    path: _Path,
    tables: tuple[tuple[str, Table], ...],
    tensors: tuple[tuple[str, str, tuple[int, ...], object], ...],
    metadata: str,
    progress: _Progress,
) -> int: ...
def write_file(path: _Path, fill: Callable[[int], object]) -> None: ...
def read_tensors(path: _Path, tensors: tuple[tuple[str, object], ...]) -> None: ...
def read_vectors(text: object, rows: NDArray[np.float32], words: NDArray[np.int64]) -> tuple[int, int]: ...
def compress_to_file(
    path: _Path,
    jobs: tuple[tuple[str, Table, Table | None, str, _Arrays], ...],
    method: str,
    row_alignment: int,
    metadata: str,
    progress: _Progress,
) -> list[
    tuple[
        int,
        tuple[float, float, float, int, float],
        float | None,
        float | None,
        float | None,
        float | None,
        str | None,
    ]
]: ...
def load(path: _Path, name: str | None, mmap: bool, verify: bool, progress: _Progress) -> _PublicTable: ...
def file_verify(path: _Path, progress: _Progress) -> None: ...
def warm_up(table: Table, progress: _Progress) -> int: ...
def file_contents(path: _Path, /) -> str: ...
def methods() -> str: ...
def method_name(method: str, stage: str) -> str: ...
def method_options(method: str, stage: str, options: str) -> str: ...
def method_register(entry: str) -> None: ...
def version() -> str: ...
def isa() -> str: ...
def set_num_threads(n: int, /) -> None: ...
def get_num_threads() -> int: ...
def refuse_allocation(count: int, /) -> int: ...
def check_interpreter() -> None: ...
def has_values(dict: dict[str, Any], values: tuple[object, ...], /) -> bool: ...
def set_array_hook(hook: Callable[[object, str, str | None], NDArray[Any]], /) -> None: ...
def set_tensor_type(type: type[torch.Tensor], /) -> bool: ...
def set_table_type(type: type[Table], /) -> None: ...
