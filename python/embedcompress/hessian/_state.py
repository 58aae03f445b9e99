"""A model in the state that curvature is measured in, and as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256

import torch
from torch import Tensor, nn


@contextmanager
def measured(model: nn.Module, wanted: Iterable[Tensor]) -> Iterator[None]:
    """Put a model into evaluation with gradients for `wanted` alone; put everything back afterwards.

    Put back are modes, gradients, which parameters need gradients, buffers, and torch's random state.
    """
    parameters = list(model.parameters())
    modes = [(module, module.training) for module in model.modules()]
    needed = [parameter.requires_grad for parameter in parameters]
    gradients = [parameter.grad for parameter in parameters]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = sorted({parameter.device.index or 0 for parameter in parameters if parameter.is_cuda})
    try:
        with torch.random.fork_rng(devices):
            model.eval()
            chosen = {id(parameter) for parameter in wanted}
            for parameter in parameters:
                parameter.grad = None
                parameter.requires_grad_(id(parameter) in chosen)
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, need, gradient in zip(parameters, needed, gradients, strict=True):
            parameter.requires_grad_(need)
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


def seeded(*parts: object) -> torch.Generator:
    """Return a generator whose numbers depend on nothing but the parts."""
    return torch.Generator().manual_seed(seed_of(*parts))


def seed_of(*parts: object) -> int:
    """Return a seed from 0 to 2^63 - 1 that depends on nothing but the parts."""
    text = "/".join(map(str, parts))
    return int.from_bytes(sha256(text.encode()).digest()[:8]) >> 1
