"""Lookups in terms of `Parts`: eagerly on their table, or as an operator where a graph is traced."""

from __future__ import annotations

import torch
from torch import Tensor

from ._operators import bag, bag_operator, lookup, lookup_operator, runs_eagerly
from ._parts import Parts


def look_up(parts: Parts, ids: Tensor) -> Tensor:
    """Return rows, (*ids.shape, dimension), f32; see `_operators.lookup` for errors."""
    if runs_eagerly(ids):
        return lookup(parts.table(), ids)
    check_tensor(ids)
    rows: Tensor = lookup_operator(parts.arrays(), parts.text, ids)
    return rows


def pool(
    parts: Parts,
    ids: Tensor,
    offsets: Tensor | None,
    mode: str,
    per_sample_weights: Tensor | None,
    include_last_offset: bool,
    padding_idx: int | None,
) -> Tensor:
    """Return pooled rows, (bags, dimension), f32; see `_operators.bag` for arguments and errors."""
    if per_sample_weights is not None:
        per_sample_weights = inference_weights(per_sample_weights)
    rest = ids, offsets, mode, per_sample_weights, include_last_offset, padding_idx
    if runs_eagerly(ids):
        return bag(parts.table(), *rest)
    check_tensor(ids)
    rows: Tensor = bag_operator(parts.arrays(), parts.text, *rest)
    return rows


def inference_weights(weights: Tensor) -> Tensor:
    """Return weights as f32 if they are of half of it, their signs in memory; refuse those that require grad."""
    if isinstance(weights, Tensor):
        if weights.requires_grad and torch.is_grad_enabled():
            raise NotImplementedError(
                "per_sample_weights require grad, but a compressed table is for inference: detach them, or call "
                "the module under torch.no_grad()"
            )
        return weights.float() if weights.dtype in (torch.float16, torch.bfloat16) else weights.resolve_neg()
    return weights


def check_tensor(value: object) -> None:
    """Refuse ids that are no tensor."""
    # What stands for a tensor while a graph is traced has this too.
    if not hasattr(type(value), "__torch_function__"):
        raise TypeError(f"input must be a tensor, not {type(value).__name__}")
