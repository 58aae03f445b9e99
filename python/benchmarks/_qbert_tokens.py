"""Word embeddings whose frequent tokens have more bits than rare ones, in the bytes of the same bits for all."""

from __future__ import annotations

import _qbert_data as data
import numpy as np
from _qbert_settings import Tokens
from torch import Tensor

import embedcompress as ec
from embedcompress import hessian

CLASSES = 8
"""Classes of about as many tokens, by how often they occur."""
CHOICES = (1, 2, 3, 4, 5, 6, 8)


def table(weight: Tensor, counts: data.Array, rule: Tokens, block: int) -> tuple[ec.Table, list[int]]:
    """Return the compressed table, and the bits of each class, that of the most frequent tokens first.

    Args:
        weight: (tokens, dimension).
        counts: How often each token occurs.
        rule: Whether errors count as often as tokens occur, and the bits whose bytes are the budget. Which class a
            token belongs to is stored beside.
        block: Columns that share a range.
    """
    rows: data.Array = weight.detach().numpy()
    order = np.argsort(-counts, kind="stable")
    classes = [np.sort(part) for part in np.array_split(order, CLASSES)]
    made = [{bits: _compressed(rows[part], bits, block) for bits in CHOICES} for part in classes]
    sizes = {str(place): {bits: one.stored_bytes for bits, one in each.items()} for place, each in enumerate(made)}
    errors: dict[str, dict[int, float]] = {}
    for place, (part, each) in enumerate(zip(classes, made, strict=True)):
        weights = counts[part] / counts.mean() if rule.counts else np.ones(len(part))
        errors[str(place)] = {
            bits: float(np.square(one.decode() - rows[part]).sum(axis=1) @ weights) for bits, one in each.items()
        }
    budget = sum(each[rule.bits].stored_bytes for each in made)
    chosen = hessian.allocate(dict.fromkeys(sizes, 1.0), sizes, budget, CHOICES, errors=errors)
    assignment = np.empty(len(rows), np.int64)
    for place, part in enumerate(classes):
        assignment[part] = place
    bits = [chosen[str(place)] for place in range(CLASSES)]
    return ec.partition([each[count] for each, count in zip(made, bits, strict=True)], assignment), bits


def _compressed(rows: data.Array, bits: int, block: int) -> ec.Table:
    return ec.compress(np.ascontiguousarray(rows), "least_squares", bits=bits, group=block, scale_dtype="f16")
