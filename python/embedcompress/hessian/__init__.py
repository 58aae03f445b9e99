"""How many bits each part of a model needs: curvature of its loss, and bits for a byte budget (Q-BERT).

>>> import torch
>>> from embedcompress import hessian
>>> model = torch.nn.Sequential(torch.nn.Embedding(50, 8), torch.nn.Flatten(), torch.nn.Linear(24, 2))
>>> batches = [(torch.randint(0, 50, (16, 3)), torch.randint(0, 2, (16,))) for _ in range(10)]
>>> loss = lambda model, batch: torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
>>> found = hessian.sensitivity(model, loss, batches)
>>> bits = hessian.allocate(found, {"0": (50, 8), "2": (2, 24)}, budget=500)
>>> bits.stored_bytes <= 500
True

After Shen et al., "Q-BERT: Hessian based ultra low precision quantization of BERT", AAAI 2020, arXiv 1909.05840.
"""

from __future__ import annotations

from ._allocate import Allocation, allocate
from ._measure import Measurement, measure
from ._plot import plot
from ._result import Sensitivities, Sensitivity
from ._sensitivity import sensitivity
from ._sizes import Size, sizes
from ._surface import Surface, surface

__all__ = [
    "Allocation",
    "Measurement",
    "Sensitivities",
    "Sensitivity",
    "Size",
    "Surface",
    "allocate",
    "measure",
    "plot",
    "sensitivity",
    "sizes",
    "surface",
]
