"""The other libraries: what each looks up in, and how. What is not installed is absent, by name."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import _memory
from ._tables import half_parameters
from ._timing import Call

PACKAGES = {"torch": "torch", "fbgemm_gpu": "fbgemm-gpu-cpu", "faiss": "faiss-cpu"}
"""Modules, and the packages that have them."""
NAMES = {
    "torch_f32": "PyTorch f32",
    "torch_f16": "PyTorch f16",
    "torch_quantized": "torch.ops.quantized",
    "fbgemm_tbe": "FBGEMM TBE",
    "faiss_sq": "faiss",
}
QUANTIZED = ("torch_quantized", "fbgemm_tbe", "faiss_sq")
"""Those that look up codes."""


class Absent(Exception):
    """Why a peer does not take part."""


@dataclass(frozen=True)
class Material:
    """What peers make their tables of."""

    bits: str
    weight: NDArray[np.float32]
    packed: NDArray[np.uint8] | None
    """Rows as PyTorch quantizes them."""


class Peer(Protocol):
    """A table of another library."""

    def call(self, ids: NDArray[np.int64], count: int, bag: int | None) -> Call:
        """Return a function that looks up `count` ids, a part of `ids`: sums of bags of so many, or rows for None.

        Raises:
            Absent: it has no such lookup.
        """

    def values(self, result: Any) -> NDArray[np.float32]:
        """Return what such a function returned as an array."""


def versions() -> dict[str, str | None]:
    """Return the versions of the packages that can be imported; None for the others."""
    found: dict[str, str | None] = {}
    for module, package in PACKAGES.items():
        try:
            _module(module)
            found[package] = importlib.metadata.version(package)
        except (Absent, importlib.metadata.PackageNotFoundError):
            found[package] = None
    return found


def set_num_threads(count: int) -> None:
    """Set the threads of every peer that is installed."""
    for module, function in (("torch", "set_num_threads"), ("faiss", "omp_set_num_threads")):
        try:
            getattr(_module(module), function)(count)
        except Absent:
            continue


def torch_rows(weight: NDArray[np.float32], bits: str) -> NDArray[np.uint8] | None:
    """Return the rows that torch.ops.quantized looks up in; None where it can't make them, or is not installed."""
    if bits not in TorchQuantized.OPERATORS:
        return None
    try:
        torch = _module("torch")
        prepack = getattr(torch.ops.quantized, f"embedding_bag_{TorchQuantized.OPERATORS[bits]}_prepack")
        return _memory.copy(prepack(torch.from_numpy(weight)).numpy())
    except (Absent, RuntimeError):
        return None


def build(material: Material) -> tuple[dict[str, Peer], dict[str, str]]:
    """Return the peers of a format by name, and why others of it are absent."""
    makers: dict[str, Callable[[Material], Peer]] = {"torch_f32": Torch}
    if material.bits == "16":
        makers["torch_f16"] = TorchHalf
    if material.bits in ("2", "4", "8"):
        makers |= {"torch_quantized": TorchQuantized, "fbgemm_tbe": Tbe}
    if material.bits in FaissScalar.TYPES:
        makers["faiss_sq"] = FaissScalar
    peers: dict[str, Peer] = {}
    absent: dict[str, str] = {}
    for name, maker in makers.items():
        try:
            peers[name] = maker(material)
        except (Absent, AssertionError, RuntimeError, ValueError) as error:
            # What a peer does not support, such as a dimension, it says in one of these ways.
            lines = str(error).splitlines()
            absent[name] = lines[0] if lines else type(error).__name__
    return peers, absent


class _TensorResult:
    """A peer whose results are tensors."""

    def values(self, result: Any) -> NDArray[np.float32]:
        return np.asarray(result.float().numpy(), np.float32)


class Torch(_TensorResult):
    """torch.nn.functional.embedding_bag and embedding, on the memory of the weight."""

    def __init__(self, material: Material):
        self.torch = _module("torch")
        self.weight = self.torch.from_numpy(material.weight)

    def call(self, ids: NDArray[np.int64], count: int, bag: int | None) -> Call:
        weight, held, functional = self.weight, self.torch.from_numpy(ids), self.torch.nn.functional
        if bag is None:
            return lambda part: functional.embedding(held[part], weight)
        offsets = self.torch.arange(0, count, bag)
        return lambda part: functional.embedding_bag(held[part], weight, offsets, mode="sum")


class TorchHalf(Torch):
    """The same in f16; its results are f16 too."""

    def __init__(self, material: Material):
        super().__init__(material)
        self.weight = self.torch.from_numpy(_memory.copy(material.weight, np.float16))


class TorchQuantized(_TensorResult):
    """torch.ops.quantized.embedding_bag_{byte,4bit,2bit}_rowwise_offsets; rows as they are as bags of 1."""

    OPERATORS = {"8": "byte", "4": "4bit", "2": "2bit"}  # noqa: RUF012

    def __init__(self, material: Material):
        self.torch = _module("torch")
        name = self.OPERATORS[material.bits]
        if material.packed is None:
            raise Absent(f"torch.ops.quantized has no {material.bits}-bit rows of {material.weight.shape[1]} columns")
        self.packed = self.torch.from_numpy(material.packed)
        self.bag = getattr(self.torch.ops.quantized, f"embedding_bag_{name}_rowwise_offsets")

    def call(self, ids: NDArray[np.int64], count: int, bag: int | None) -> Call:
        packed, held, function = self.packed, self.torch.from_numpy(ids), self.bag
        offsets = self.torch.arange(0, count, bag or 1)
        return lambda part: function(packed, held[part], offsets)


class Tbe(_TensorResult):
    """FBGEMM's IntNBitTableBatchedEmbeddingBagsCodegen, one table, with the codes that PyTorch made.

    Its results are f32 and its bounds check is off, which is its fastest way (indices are checked by the kernel all the
    same). Rows have its CPU default of row_alignment, 1. It shares work among threads by tables, so that with one table
    it has one thread whatever the number that it may use.
    """

    def __init__(self, material: Material):
        # It reads these once.
        os.environ.setdefault("FBGEMM_TBE_MAX_NUM_THREADS", str(os.cpu_count() or 1))
        os.environ.setdefault("FBGEMM_TBE_MIN_TABLES_PER_THREAD", "1")
        _module("fbgemm_gpu")
        if material.packed is None:
            raise Absent(f"no {material.bits}-bit rows of {material.weight.shape[1]} columns to take over")
        self.material = material
        self.torch = _module("torch")
        self.weights: Any = None
        self.operators: dict[bool, Any] = {}
        # Whether it takes this dimension at all.
        self._operator(pooled=True)

    def _operator(self, pooled: bool) -> Any:
        if pooled in self.operators:
            return self.operators[pooled]
        inference = importlib.import_module("fbgemm_gpu.split_table_batched_embeddings_ops_inference")
        types = importlib.import_module("fbgemm_gpu.split_embedding_configs").SparseType
        config = importlib.import_module("fbgemm_gpu.tbe.config.embedding_config")
        rows, dimension = self.material.weight.shape
        kind = {"8": types.INT8, "4": types.INT4, "2": types.INT2}[self.material.bits]
        operator = inference.IntNBitTableBatchedEmbeddingBagsCodegen(
            [("table", rows, dimension, kind, config.EmbeddingLocation.HOST)],
            pooling_mode=config.PoolingMode.SUM if pooled else config.PoolingMode.NONE,
            device="cpu",
            output_dtype=types.FP32,
            bounds_check_mode=config.BoundsCheckMode.NONE,
            indices_dtype=self.torch.int64,
        )
        operator.initialize_weights()
        if self.weights is None:
            self.weights = self.torch.from_numpy(_memory.empty((operator.weights_host.numel(),), np.uint8))
            operator.weights_host = self.weights
            self._fill(operator.split_embedding_weights(split_scale_shifts=False)[0][0].numpy())
        operator.weights_host = self.weights
        self.operators[pooled] = operator
        return operator

    def _fill(self, rows: NDArray[np.uint8]) -> None:
        """Write PyTorch's rows in TBE's order: scale and bias first, in f16."""
        packed = self.material.packed
        assert packed is not None
        code_bytes = packed.shape[1] - (8 if self.material.bits == "8" else 4)
        is_half = self.material.bits != "8"
        rows[:, :4] = packed[:, code_bytes:] if is_half else half_parameters(packed, code_bytes)
        rows[:, 4 : 4 + code_bytes] = packed[:, :code_bytes]

    def call(self, ids: NDArray[np.int64], count: int, bag: int | None) -> Call:
        operator, held = self._operator(pooled=bag is not None), self.torch.from_numpy(ids)
        offsets = self.torch.arange(0, count + 1, bag or count)
        return lambda part: operator(held[part], offsets)


class FaissScalar:
    """faiss's IndexScalarQuantizer, whose ranges are of columns, not of rows; rows as they are only.

    NumPy gathers the codes and `sa_decode` decodes them all at once. `reconstruct_batch` does both, but sets up a
    parallel loop for each row, which takes longer than the row.
    """

    TYPES = {"8": "QT_8bit", "4": "QT_4bit"}  # noqa: RUF012

    def __init__(self, material: Material):
        faiss = _module("faiss")
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        weight = material.weight
        kind = getattr(faiss.ScalarQuantizer, self.TYPES[material.bits])
        self.index = faiss.IndexScalarQuantizer(weight.shape[1], kind)
        # Every part of the table has its share in the sample that sets the ranges.
        self.index.train(np.ascontiguousarray(weight[:: max(1, len(weight) // 65_536)]))
        self.codes = _memory.empty((len(weight), self.index.sa_code_size()), np.uint8)
        for start in range(0, len(weight), 1 << 18):
            self.codes[start : start + (1 << 18)] = self.index.sa_encode(weight[start : start + (1 << 18)])

    def call(self, ids: NDArray[np.int64], count: int, bag: int | None) -> Call:
        if bag is not None:
            raise Absent("faiss does not pool")
        index, codes = self.index, self.codes
        return lambda part: index.sa_decode(codes[ids[part]])

    def values(self, result: Any) -> NDArray[np.float32]:
        return np.asarray(result, np.float32)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        # FBGEMM's library does not load beside a release of PyTorch that it was not made for.
        missing = isinstance(error, ModuleNotFoundError)
        raise Absent(f"{PACKAGES[name]} is not installed" if missing else str(error)) from None
