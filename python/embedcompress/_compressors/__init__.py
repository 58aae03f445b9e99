"""The methods that Python composes: dense linear algebra around the core's stores, routes and methods.

Adding one is a module with a class below `Compressor` and a line in `COMPRESSORS`.
"""

from __future__ import annotations

from ._compressor import Compressor, Request
from .hot_cold import HotCold
from .magpq import MagnitudeProduct
from .magsvd import MagnitudeSVD
from .opq import OptimizedProduct
from .svd import SVD
from .tt import TensorTrain

COMPRESSORS: tuple[Compressor, ...] = (
    MagnitudeProduct(),
    OptimizedProduct(),
    SVD(),
    MagnitudeSVD(),
    TensorTrain(),
    HotCold(),
)

__all__ = ["COMPRESSORS", "Compressor", "Request"]
