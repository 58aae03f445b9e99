"""Models of sentence-transformers with compressed tables: importing this lets `SentenceTransformer(path)` open them.

`embedcompress.nn.compress_model_` takes a SentenceTransformer, and its own calls save it.
"""

from __future__ import annotations

from typing import Any

from . import transformers as transformers
from .nn._static import registered

CompressedStaticEmbedding: Any
CompressedStaticEmbedding = registered()[1]

__all__ = ["CompressedStaticEmbedding"]
