"""What turns looked-up rows into a prediction: the heads that methods are compared under.

Each takes rows and numbers alone, so that any table goes with any head. Sizes are those of the VLDB 2024 study.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """An embedding of all fields, and a network over its rows; gives logits, (rows,)."""

    def __init__(self, embedding: nn.Module, fields: int, dimension: int, numbers: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.inputs = fields * dimension + numbers

    def flat(self, ids: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of (rows, fields) ids, and what all of them and the numbers are as one vector."""
        rows = self.embedding(ids)
        return rows, torch.cat([rows.flatten(1), numbers], 1)


class DLRM(Head):
    """Naumov et al. 2019 (arXiv 1906.00091): products of every pair of rows, and 512-256-1.

    Numbers become one more row by 512-256-64-d.
    """

    def __init__(self, embedding: nn.Module, fields: int, dimension: int, numbers: int, dropout: float = 0.0) -> None:
        super().__init__(embedding, fields, dimension, numbers)
        vectors = fields + (numbers > 0)
        pairs = torch.triu_indices(vectors, vectors, 1)
        self.register_buffer("pairs", pairs[0] * vectors + pairs[1], persistent=False)
        self.top = _network((vectors * dimension + pairs.shape[1], 512, 256), 1, dropout)
        self.bottom = _network((numbers, 512, 256, 64), dimension, dropout) if numbers else None
        self.apply(_xavier)

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        """Return logits of (rows, fields) ids and (rows, numbers)."""
        rows = self.embedding(ids)
        if self.bottom is not None:
            rows = torch.cat([self.bottom(numbers).unsqueeze(1), rows], 1)
        products = (rows @ rows.transpose(1, 2)).flatten(1)[:, self.pairs]
        top: Tensor = self.top(torch.cat([rows.flatten(1), products], 1))
        return top.squeeze(1)


class WideDeep(Head):
    """Cheng et al. 2016 (arXiv 1606.07792): a linear model beside 256-256-256-1.

    Its wide part is linear in the rows, as there is no second table of weights.
    """

    def __init__(self, embedding: nn.Module, fields: int, dimension: int, numbers: int, dropout: float = 0.0) -> None:
        super().__init__(embedding, fields, dimension, numbers)
        self.wide = nn.Linear(self.inputs, 1)
        self.deep = _network((self.inputs, 256, 256, 256), 1, dropout)
        self.apply(_xavier)

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        """Return logits of (rows, fields) ids and (rows, numbers)."""
        _, flat = self.flat(ids, numbers)
        result: Tensor = self.wide(flat) + self.deep(flat)
        return result.squeeze(1)


class DCN(Head):
    """Deep & Cross (Wang et al. 2017, arXiv 1708.05123): three cross layers beside 256-256."""

    def __init__(self, embedding: nn.Module, fields: int, dimension: int, numbers: int, dropout: float = 0.0) -> None:
        super().__init__(embedding, fields, dimension, numbers)
        self.crosses = nn.ModuleList(nn.Linear(self.inputs, 1, bias=False) for _ in range(3))
        self.biases = nn.Parameter(torch.zeros(3, self.inputs))
        self.deep = nn.Sequential(*_layer(self.inputs, 256, dropout), *_layer(256, 256, dropout))
        self.last = nn.Linear(self.inputs + 256, 1)
        self.apply(_xavier)

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        """Return logits of (rows, fields) ids and (rows, numbers)."""
        _, flat = self.flat(ids, numbers)
        crossed = flat
        for cross, bias in zip(self.crosses, self.biases, strict=True):
            crossed = flat * cross(crossed) + bias + crossed
        result: Tensor = self.last(torch.cat([crossed, self.deep(flat)], 1))
        return result.squeeze(1)


class DeepFM(Head):
    """Guo et al. 2017 (arXiv 1703.04247): a factorisation machine beside 256-256-1.

    Its first order is linear in the rows, as there is no second table of weights.
    """

    def __init__(self, embedding: nn.Module, fields: int, dimension: int, numbers: int, dropout: float = 0.0) -> None:
        super().__init__(embedding, fields, dimension, numbers)
        self.first = nn.Linear(self.inputs, 1)
        self.deep = _network((self.inputs, 256, 256), 1, dropout)
        self.apply(_xavier)

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        """Return logits of (rows, fields) ids and (rows, numbers)."""
        rows, flat = self.flat(ids, numbers)
        second = (rows.sum(1).square() - rows.square().sum(1)).sum(1) / 2
        result: Tensor = (self.first(flat) + self.deep(flat)).squeeze(1) + second
        return result


class MatrixFactorisation(Head):
    """Koren, Bell and Volinsky 2009: the product of two rows, of which the first columns are biases."""

    def __init__(self, embedding: nn.Module, fields: int, dimension: int, numbers: int, dropout: float = 0.0) -> None:
        super().__init__(embedding, fields, dimension, numbers)
        if fields != 2 or numbers:
            raise ValueError(f"matrix factorisation has two fields and no numbers, not {fields} and {numbers}")
        self.bias = nn.Parameter(torch.zeros(()))
        self.drop = nn.Dropout(dropout)

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        """Return logits of (rows, 2) ids; there are no numbers."""
        user, item = self.embedding(ids).unbind(1)
        product = (self.drop(user[:, 1:]) * self.drop(item[:, 1:])).sum(1)
        result: Tensor = product + user[:, 0] + item[:, 0] + self.bias
        return result


def _layer(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]


def _network(widths: tuple[int, ...], outputs: int, dropout: float) -> nn.Sequential:
    hidden = [module for pair in itertools.pairwise(widths) for module in _layer(*pair, dropout)]
    return nn.Sequential(*hidden, nn.Linear(widths[-1], outputs))


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


HEADS: dict[str, Callable[..., Head]] = {
    "dlrm": DLRM,
    "wdl": WideDeep,
    "dcn": DCN,
    "deepfm": DeepFM,
    "mf": MatrixFactorisation,
}
