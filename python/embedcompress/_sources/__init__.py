"""Files that tables are read from, of every kind that people have."""

from ._gguf import GGUF
from ._mlx import BITS, GROUPS, QUANTIZATION, SCALES, f32, settings_text
from ._numpy import Npy, read_npy
from ._open import open_source, safetensors_header
from ._safetensors import Safetensors, named
from ._source import WEIGHT, Source, TensorInfo, missing, shown

__all__ = [
    "BITS",
    "GGUF",
    "GROUPS",
    "QUANTIZATION",
    "SCALES",
    "WEIGHT",
    "Npy",
    "Safetensors",
    "Source",
    "TensorInfo",
    "f32",
    "missing",
    "named",
    "open_source",
    "read_npy",
    "safetensors_header",
    "settings_text",
    "shown",
]
