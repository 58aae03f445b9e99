"""Models of Hugging Face's transformers with compressed tables: importing this makes transformers know them.

`from_pretrained` opens folders whose config.json names `embedcompress`, with their tables mapped from the files, and
compresses dense ones that are given an `EmbedCompressConfig`; `save_pretrained` writes what it opens again. It needs
transformers 5.
"""

from __future__ import annotations

from typing import Any

from .nn._quantizer import registered

EmbedCompressConfig: Any
EmbedCompressQuantizer: Any
EmbedCompressConfig, EmbedCompressQuantizer = registered()

__all__ = ["EmbedCompressConfig", "EmbedCompressQuantizer"]
