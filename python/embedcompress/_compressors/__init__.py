"""The methods that Python composes: dense linear algebra around the core's stores, routes and methods.

Adding one is a module with a class below `Compressor` and a line in `COMPRESSORS`.
"""

from __future__ import annotations

from ._compressor import Compressor, Request
from .magpq import MagnitudeProduct
from .opq import OptimizedProduct

COMPRESSORS: tuple[Compressor, ...] = (MagnitudeProduct(), OptimizedProduct())

__all__ = ["COMPRESSORS", "Compressor", "Request"]
