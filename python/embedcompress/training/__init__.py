"""Tables that are trained in compressed form: the 14 methods of the VLDB 2024 study, their ancestors, and successors.

>>> import torch, embedcompress as ec
>>> from embedcompress import training
>>> module = training.embedding("compo", 100_000, 16, budget=0.1)
>>> optimizer = torch.optim.Adam(module.parameters())
>>> loss = module(torch.tensor([[3, 1], [4, 1]])).square().sum()
>>> loss.backward()
>>> optimizer.step()
>>> table = module.freeze()
>>> table.stored_bytes <= 0.1 * 100_000 * 16 * 4
True

A module is called like torch.nn.Embedding, or like EmbeddingBag if it has a mode, and trains with any optimizer of
torch, on any device. With an optimizer of its own, such as `RowwiseAdagrad`, a table trains in the form in which it is
stored, on a CPU. Methods that take several stages, or do something around a step, have hooks; `Trainer` calls them.
"""

from __future__ import annotations

from ._advice import Advice, Choice, Refused
from ._embedding import LearnedEmbedding, frozen_rows, numbers
from ._fields import Fields
from ._recommend import recommend
from ._registry import embedding, import_registered, methods, plan, register
from ._row_optimizers import SGD, Adagrad, RowOptimizer, RowwiseAdagrad, RowwiseAdam
from ._rules import Rules, read_rules
from ._second_pass import second_pass
from ._spec import Plan, Spec, largest, refuse
from ._squared_gradients import squared_gradients
from ._stage import Evaluation
from ._trainer import Trainer

import_registered()

__all__ = [
    "SGD",
    "Adagrad",
    "Advice",
    "Choice",
    "Evaluation",
    "Fields",
    "LearnedEmbedding",
    "Plan",
    "Refused",
    "RowOptimizer",
    "RowwiseAdagrad",
    "RowwiseAdam",
    "Rules",
    "Spec",
    "Trainer",
    "embedding",
    "frozen_rows",
    "largest",
    "methods",
    "numbers",
    "plan",
    "read_rules",
    "recommend",
    "refuse",
    "register",
    "second_pass",
    "squared_gradients",
]
