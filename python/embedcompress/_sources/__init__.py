"""Files that tables are read from, of every kind that people have."""

from ._numpy import Npy, read_npy
from ._open import open_source, safetensors_header
from ._safetensors import Safetensors, named
from ._source import WEIGHT, Source, TensorInfo, shown

__all__ = [
    "WEIGHT",
    "Npy",
    "Safetensors",
    "Source",
    "TensorInfo",
    "named",
    "open_source",
    "read_npy",
    "safetensors_header",
    "shown",
]
