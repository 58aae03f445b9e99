"""How much a loss depends on each number of a table: the diagonal of the empirical Fisher information."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._checks import check_type


def squared_gradients(
    model: nn.Module,
    table: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[nn.Module, Any], Tensor],
) -> np.ndarray[Any, Any]:
    """Sum the squares of a loss's gradients with respect to the rows of an embedding, one pass over the batches.

    They are what `compress(weight, weights=…)` and `calibrate_ranges` take for an error that counts by what it does to
    the loss: a change e of the rows raises it by about the sum of these numbers times e ** 2, halved. Squares are
    taken for each use of a row, before anything is added up: with samples that use a row once each they are those of
    each sample's own gradient, the diagonal of the empirical Fisher information, and not those of the gradient of a
    batch, in which samples cancel. The model is in evaluation mode meanwhile, and is left as it was: its mode, its
    parameters and their gradients.

    Args:
        model: With the table in it.
        table: A module of the model that is called with ids and gives their rows, (*ids.shape, dimension): such as one
            of torch.nn.Embedding, `training.embedding` or `nn.CompressedEmbedding`. It has `num_embeddings` and
            `embedding_dim`.
        batches: What `loss` takes.
        loss: loss(model, batch) -> the sum over the batch's samples, a scalar tensor. With their mean, squares of a
            batch of n samples are smaller by n².

    Returns:
        (num_embeddings, embedding_dim) f32; zeros in rows that no batch uses.

    Raises:
        ValueError: the table is not in the model or gives pooled rows; a module with max_norm, which changes parameters
            when it is called; a loss that is no scalar, does not depend on the rows, or has gradients whose squares are
            not finite; ids that are not the table's, or not a positional argument.
        TypeError: an argument is of another type.
    """
    check_type(model, nn.Module, "model", "a torch.nn.Module")
    check_type(table, nn.Module, "table", "a torch.nn.Module")
    if not callable(loss):
        raise TypeError(f"loss must be a function, not {type(loss).__name__}")
    check_type(batches, Iterable, "batches", "a sequence of batches")
    if all(module is not table for module in model.modules()):
        raise ValueError("table must be a module of the model")
    for name, module in model.named_modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.max_norm is not None:
            raise ValueError(f"module {name!r} has max_norm, which changes its parameters whenever it is called")
    rows, dimension = (getattr(table, name, None) for name in ("num_embeddings", "embedding_dim"))
    if not isinstance(rows, int) or not isinstance(dimension, int):
        raise ValueError(f"table must have num_embeddings and embedding_dim, as {type(table).__name__} has not")
    sums = torch.zeros(rows, dimension, dtype=torch.float64)
    uses: list[tuple[Tensor, Tensor]] = []
    is_forward = True

    def watch(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor:
        if not inputs:
            raise ValueError("table must be called with ids as a positional argument, not by keyword")
        ids = inputs[0]
        if not isinstance(ids, Tensor) or not isinstance(output, Tensor) or output.shape != (*ids.shape, dimension):
            raise ValueError("table must be called with a tensor of ids and give a row for each, not pooled ones")
        looked_up = output.detach().requires_grad_()
        # What is called again on the way back, as activation checkpointing does, is no further use.
        if is_forward:
            uses.append((ids.detach().reshape(-1).long().cpu(), looked_up))
        return looked_up

    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    hook = table.register_forward_hook(watch)
    try:
        for index, batch in enumerate(batches):
            uses.clear()
            with torch.enable_grad():
                value = loss(model, batch)
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise ValueError("loss must return a scalar tensor")
            looked_up = [row for _, row in uses] if value.requires_grad else []
            is_forward = False
            found = torch.autograd.grad(value, looked_up, allow_unused=True) if looked_up else ()
            is_forward = True
            if all(gradient is None for gradient in found):
                raise ValueError(f"the loss of batch {index} does not depend on the rows of the table")
            for (ids, _), gradient in zip(uses, found, strict=True):
                if gradient is None or not len(ids):
                    continue
                if int(ids.min()) < 0 or int(ids.max()) >= rows:
                    raise ValueError(f"batch {index} has ids from {ids.min()} to {ids.max()}, beyond the {rows} rows")
                sums.index_add_(0, ids, gradient.detach().reshape(-1, dimension).cpu().double().square())
    finally:
        hook.remove()
        for module, mode in modes:
            module.training = mode
    squares: np.ndarray[Any, Any] = sums.to(torch.float32).numpy()
    if not np.isfinite(squares).all():
        raise ValueError("the gradients' squares are not finite, or too large for f32")
    return squares
