"""Modules under another default type or device of torch."""

import numpy as np
import pytest
import torch

from embedcompress import training


def step(module):
    ids = torch.tensor([3, 5, 3], device="cpu")
    loss = module(ids).square().sum()
    loss.backward()
    return loss.detach()


METHODS = ("full", "hash", "tt", "cafe", "dhe", "adapt", "int8")


@pytest.mark.parametrize(("method", "has_own"), [*((one, False) for one in METHODS), ("full", True), ("int8", True)])
def test_a_step_under_other_defaults(method, has_own):
    own = {"optimizer": training.RowwiseAdagrad(0.1)} if has_own else {}
    modules = [training.embedding(method, 600, 16, budget=1.0, counts=np.arange(600), **own) for _ in range(3)]
    expected = step(modules[0])
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(step(modules[1]), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    if not has_own and method in ("dhe", "cafe"):
        with torch.device("meta"):
            assert torch.equal(step(modules[2]), expected)
