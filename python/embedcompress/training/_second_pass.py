"""The second pass over a batch: what is learnt with the rows that its step has moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .._checks import check_type
from ._embedding import LearnedEmbedding


def second_pass(model: nn.Module, loss: Callable[[], Tensor] | None) -> None:
    """Let tables that ask for it learn from a second pass over the batch. Call it after the step.

    Gradients of the model's parameters are left as they are: only what tables name in `begin_second_pass()` has one.
    The model runs a second time, in the mode that it is in: what it counts, such as the statistics of batch
    normalization, counts the batch twice. After an error rows wait on, for another call.

    Args:
        model: Has tables of `training.embedding`, or is one.
        loss: Computes the loss of the same batch again, with the rows as they are now; not called if no table asks.
            None ends the step without a second pass: rows are written, and nothing is learnt from it.

    Raises:
        TypeError: an argument is of another type.
        RuntimeError: the loss does not depend on any of the rows.
        ValueError: a gradient is not finite.
    """
    check_type(model, nn.Module, "model", "a torch.nn.Module")
    if loss is not None and not callable(loss):
        raise TypeError(f"loss must be a function or None, not {type(loss).__name__}")
    waiting: list[tuple[LearnedEmbedding, Sequence[Tensor]]] = []
    found: list[Tensor | None] | None = None
    errors: list[Exception] = []
    try:
        for table in (module for module in model.modules() if isinstance(module, LearnedEmbedding)):
            if wanted := table.begin_second_pass():
                waiting.append((table, wanted))
        if waiting:
            found = _gradients([tensor for _, tensors in waiting for tensor in tensors], loss)
    finally:
        rest = iter(found or ())
        for table, tensors in waiting:
            try:
                # Each has to end, whatever becomes of the others.
                table.end_second_pass(None if found is None else [next(rest) for _ in tensors])
            except Exception as error:
                errors.append(error)
    if errors:
        raise errors[0]


def _gradients(wanted: Sequence[Tensor], loss: Callable[[], Tensor] | None) -> list[Tensor | None]:
    if loss is None:
        return [None] * len(wanted)
    found: list[Tensor | None] = list(torch.autograd.grad(loss(), wanted, allow_unused=True))
    if all(one is None for one in found):
        raise RuntimeError("the loss of the second pass does not depend on any of the rows that wait for it")
    if not all(one is None or bool(one.isfinite().all()) for one in found):
        raise ValueError("gradients of the second pass must be finite")
    return found
