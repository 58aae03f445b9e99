"""PyTorch modules that look rows up in compressed tables, and the rewriting of a model to use them.

>>> import torch, embedcompress as ec
>>> from embedcompress import nn
>>> model = torch.nn.Sequential(torch.nn.Embedding(1000, 64), torch.nn.Linear(64, 2))
>>> report = nn.compress_model_(model, bits=4)
>>> model[0].table.stored_bytes
36000
>>> model(torch.tensor([3, 1, 4])).shape
torch.Size([3, 2])

`prepare` and `convert` do so for linear layers and attentions as well, with training in between:

>>> model = torch.nn.Sequential(torch.nn.Embedding(1000, 64), torch.nn.Linear(64, 2))
>>> report = nn.prepare(model, 4, embeddings=8, activations=None)
>>> report = nn.convert(model)
>>> type(model[1]).__name__, model[1].table.stored_bytes
('CompressedLinear', 328)

Compressed modules are for inference, on the CPU. Importing this imports torch; nothing else in embedcompress does. It
registers the operators `embedcompress::lookup`, `embedcompress::bag`, `embedcompress::bags` and
`embedcompress::linear`, which a saved `torch.export` program needs to run.
"""

from __future__ import annotations

from ._attention import CompressedMultiheadAttention
from ._collection import CompressedEmbeddingBagCollection
from ._compressed_linear import CompressedLinear
from ._convert import convert
from ._decomposed import DecomposedEmbedding, decompose_
from ._executorch import ExecuTorchEmbedding, from_executorch, to_executorch
from ._fake import FakeQuantizedActivation, FakeQuantizedWeight, Quantization
from ._load import load_compressed
from ._model import compress_model_
from ._modules import CompressedEmbedding, CompressedEmbeddingBag
from ._parameter_report import ParameterEntry, ParameterReport
from ._prepare import prepare
from ._quantizer import attach as _attach_quantizer  # noqa: F401
from ._report import Layer, Report
from ._save import save_compressed
from ._static import attach as _attach_static  # noqa: F401
from ._torchao import from_torchao, to_torchao
from ._weight import CompressedWeight

__all__ = [
    "CompressedEmbedding",
    "CompressedEmbeddingBag",
    "CompressedEmbeddingBagCollection",
    "CompressedLinear",
    "CompressedMultiheadAttention",
    "CompressedWeight",
    "DecomposedEmbedding",
    "ExecuTorchEmbedding",
    "FakeQuantizedActivation",
    "FakeQuantizedWeight",
    "Layer",
    "ParameterEntry",
    "ParameterReport",
    "Quantization",
    "Report",
    "compress_model_",
    "convert",
    "decompose_",
    "from_executorch",
    "from_torchao",
    "load_compressed",
    "prepare",
    "save_compressed",
    "to_executorch",
    "to_torchao",
]
