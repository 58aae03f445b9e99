"""Which optimizer has which parameters: those of tables, with sparse and with dense gradients, and all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ._embedding import LearnedEmbedding

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
"""From parameters, one at least, to what moves them."""
RATE = 1e-3


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return what moves parameters with dense gradients where nothing else was asked for."""
    return torch.optim.Adam(parameters, lr=RATE)


def sparse_adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return what moves parameters with sparse gradients where nothing else was asked for."""
    return torch.optim.SparseAdam(parameters, lr=RATE)


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return what moves architecture parameters where nothing else was asked for."""
    return torch.optim.SGD(parameters, lr=RATE)


def weight_optimizers(
    model: nn.Module,
    tables: Sequence[LearnedEmbedding],
    of_tables: MakeOptimizer | None,
    of_sparse: MakeOptimizer | None,
    of_head: MakeOptimizer,
) -> list[torch.optim.Optimizer]:
    """Return the optimizers of all parameters that training batches train; none for no parameters.

    Args:
        model: Has the tables.
        tables: Those of the model.
        of_tables: Makes the optimizer of tables' parameters; `adam` if not given.
        of_sparse: Makes that of those with sparse gradients; if not given, `of_tables` does, or `sparse_adam` without.
        of_head: Makes the optimizer of the others.
    """
    in_tables = {id(parameter) for table in tables for parameter in table.parameters()}
    weights = {id(parameter): parameter for table in tables for parameter in table.weight_parameters()}
    groups: list[tuple[MakeOptimizer, list[nn.Parameter]]] = []
    if of_tables is not None and of_sparse is None:
        groups.append((of_tables, list(weights.values())))
    else:
        sparse = {id(parameter) for table in tables for parameter in table.sparse_parameters()}
        groups.append((of_tables or adam, [one for one in weights.values() if id(one) not in sparse]))
        groups.append((of_sparse or sparse_adam, [one for one in weights.values() if id(one) in sparse]))
    groups.append((of_head, [one for one in model.parameters() if id(one) not in in_tables]))
    return [make(parameters) for make, parameters in groups if parameters]
