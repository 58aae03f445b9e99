"""What turns looked-up rows into a prediction: the heads that methods are compared under."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """An embedding of all fields, and a network over its rows; gives logits, (rows,)."""

    def __init__(self, embedding: nn.Module, fields: int, dimension: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.fields, self.dimension = fields, dimension


class DLRM(Head):
    """Naumov et al. 2019 (arXiv 1906.00091): products of every pair of rows, and 512-256-1, as in the VLDB study.

    The data here has no numbers beside the ids, so there is no bottom network.
    """

    def __init__(self, embedding: nn.Module, fields: int, dimension: int, dropout: float = 0.0) -> None:
        super().__init__(embedding, fields, dimension)
        pairs = torch.triu_indices(fields, fields, 1)
        self.register_buffer("pairs", pairs[0] * fields + pairs[1], persistent=False)
        self.top = nn.Sequential(
            *_layer(fields * dimension + pairs.shape[1], 512, dropout), *_layer(512, 256, dropout), nn.Linear(256, 1)
        )
        self.apply(_xavier)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits of (rows, fields) ids."""
        rows = self.embedding(ids)
        products = (rows @ rows.transpose(1, 2)).flatten(1)[:, self.pairs]
        top: Tensor = self.top(torch.cat([rows.flatten(1), products], 1))
        return top.squeeze(1)


class MatrixFactorisation(Head):
    """Koren, Bell and Volinsky 2009: the product of two rows, of which the first columns are biases."""

    def __init__(self, embedding: nn.Module, fields: int, dimension: int, dropout: float = 0.0) -> None:
        super().__init__(embedding, fields, dimension)
        if fields != 2:
            raise ValueError(f"matrix factorisation has two fields, not {fields}")
        self.bias = nn.Parameter(torch.zeros(()))
        self.drop = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits of (rows, 2) ids."""
        user, item = self.embedding(ids).unbind(1)
        product = (self.drop(user[:, 1:]) * self.drop(item[:, 1:])).sum(1)
        result: Tensor = product + user[:, 0] + item[:, 0] + self.bias
        return result


def _layer(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)


HEADS: dict[str, Callable[..., Head]] = {"dlrm": DLRM, "mf": MatrixFactorisation}
