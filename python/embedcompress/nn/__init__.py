"""PyTorch modules that look rows up in compressed tables, and the rewriting of a model to use them.

>>> import torch, embedcompress as ec
>>> from embedcompress import nn
>>> model = torch.nn.Sequential(torch.nn.Embedding(1000, 64), torch.nn.Linear(64, 2))
>>> report = nn.compress_model_(model, bits=4)
>>> model[0].table.stored_bytes
36000
>>> model(torch.tensor([3, 1, 4])).shape
torch.Size([3, 2])

Modules are for inference, on the CPU. Importing this imports torch; nothing else in embedcompress does. It registers
the operators `embedcompress::lookup`, `embedcompress::bag` and `embedcompress::bags`, which a saved `torch.export`
program needs to run.
"""

from __future__ import annotations

from ._collection import CompressedEmbeddingBagCollection
from ._model import compress_model_
from ._modules import CompressedEmbedding, CompressedEmbeddingBag
from ._report import Layer, Report

__all__ = [
    "CompressedEmbedding",
    "CompressedEmbeddingBag",
    "CompressedEmbeddingBagCollection",
    "Layer",
    "Report",
    "compress_model_",
]
