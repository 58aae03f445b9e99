"""Compress embedding tables to a byte budget, and look rows up from the compressed form.

>>> import numpy as np, embedcompress as ec
>>> weight = np.random.default_rng(0).standard_normal((1000, 64), dtype=np.float32)
>>> table = ec.compress(weight, bits=4)
>>> table.stored_bytes
36000
>>> table.lookup([3, 1, 4]).shape
(3, 64)

Everything here needs NumPy only. `ec.nn` has the torch modules, `ec.training` tables that learn, and `ec.hessian`
sensitivities; these need torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import _loader

_loader.load()

from . import _core  # noqa: E402
from ._arrays import coerced  # noqa: E402
from ._codes import codebook, uniform  # noqa: E402
from ._compress import CompressionReport, compress, compress_to_file  # noqa: E402
from ._errors import BudgetError, FormatError, InvalidIdError  # noqa: E402
from ._evaluate import Evaluation, evaluate  # noqa: E402
from ._files import contents, load, save, verify, vocabulary  # noqa: E402
from ._fused_rows import from_fused_rows, to_fused_rows  # noqa: E402
from ._methods import Method, Option  # noqa: E402
from ._product import product  # noqa: E402
from ._registry import methods  # noqa: E402
from ._rotation import rotate, rotated  # noqa: E402
from ._routes import columns, combine, normalize, partition, project, remap  # noqa: E402
from ._row_layout import RowLayout, RowPlacement  # noqa: E402
from ._stores import hash_network, packed_floats, shared_array, sparse, tensor_train, trellis  # noqa: E402
from ._table import Table, dense  # noqa: E402
from ._table_set import TableSet  # noqa: E402

if TYPE_CHECKING:
    from . import hessian as hessian
    from . import nn as nn
    from . import training as training
    from ._calibrate import RangeCalibration, calibrate_ranges
    from ._export import export
    from ._group_quantize import group_quantize
    from ._recommend import Recommendation, recommend

_core.set_array_hook(coerced)
_core.set_table_type(Table)

__version__: str = _core.version()


def isa() -> str:
    """Return the instruction set that the loaded core was compiled for, such as "x86-64-v3"."""
    name: str = _core.isa()
    return name


def set_num_threads(n: int) -> None:
    """Set the most threads that one call uses, from 1 to 256.

    It starts as OMP_NUM_THREADS, or the number of processors that this process may run on. Results don't depend on it.
    """
    _core.set_num_threads(n)


def get_num_threads() -> int:
    """Return the most threads that one call uses."""
    count: int = _core.get_num_threads()
    return count


_LAZY = {
    "RangeCalibration": "_calibrate",
    "calibrate_ranges": "_calibrate",
    "export": "_export",
    "group_quantize": "_group_quantize",
    "Recommendation": "_recommend",
    "recommend": "_recommend",
}
"""What few programs ask for is imported when they do, from these modules: importing the library stays quick."""
_LAZY_MODULES = ("hessian", "nn", "training")


def __getattr__(name: str) -> Any:
    """Import what few programs ask for when they do.

    Raises:
        AttributeError: there is no such name.
        ImportError: `hessian`, `nn` or `training` without torch.
    """
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    if name in _LAZY_MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, those that are not imported yet included."""
    return sorted({*globals(), *__all__, *_LAZY_MODULES})


__all__ = [
    "BudgetError",
    "CompressionReport",
    "Evaluation",
    "FormatError",
    "InvalidIdError",
    "Method",
    "Option",
    "RangeCalibration",
    "Recommendation",
    "RowLayout",
    "RowPlacement",
    "Table",
    "TableSet",
    "calibrate_ranges",
    "codebook",
    "columns",
    "combine",
    "compress",
    "compress_to_file",
    "contents",
    "dense",
    "evaluate",
    "export",
    "from_fused_rows",
    "get_num_threads",
    "group_quantize",
    "hash_network",
    "isa",
    "load",
    "methods",
    "normalize",
    "packed_floats",
    "partition",
    "product",
    "project",
    "recommend",
    "remap",
    "rotate",
    "rotated",
    "save",
    "set_num_threads",
    "shared_array",
    "sparse",
    "tensor_train",
    "to_fused_rows",
    "trellis",
    "uniform",
    "verify",
    "vocabulary",
]
