"""The second pass over a batch: what is learnt with the rows that its step has moved."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ._embedding import LearnedEmbedding


def second_pass(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Let tables that ask for it learn from a second pass over the batch. Call it after the step.

    Gradients of the model's parameters are left as they are: only what tables name in `begin_second_pass()` has one.

    Args:
        model: Has tables of `training.embedding`, or is one.
        loss: Computes the loss of the same batch again, with the rows as they are now; not called if no table asks.

    Raises:
        RuntimeError: the loss does not depend on any rows.
    """
    tables = [module for module in model.modules() if isinstance(module, LearnedEmbedding)]
    waiting = [(table, wanted) for table in tables if (wanted := table.begin_second_pass())]
    if not waiting:
        return
    slopes = None
    try:
        wanted = [tensor for _, tensors in waiting for tensor in tensors]
        slopes = iter(torch.autograd.grad(loss(), wanted, allow_unused=True))
    finally:
        for table, tensors in waiting:
            table.end_second_pass(None if slopes is None else [next(slopes) for _ in tensors])
