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
torch, on any device. Methods that take several stages, or do something around a step, have hooks; `Trainer` calls them.
"""

from __future__ import annotations

from ._advice import Advice, Choice, Refused
from ._embedding import LearnedEmbedding
from ._recommend import recommend
from ._registry import embedding, methods, plan
from ._rules import Rules, read_rules
from ._spec import Plan
from ._trainer import Evaluation, Trainer

__all__ = [
    "Advice",
    "Choice",
    "Evaluation",
    "LearnedEmbedding",
    "Plan",
    "Refused",
    "Rules",
    "Trainer",
    "embedding",
    "methods",
    "plan",
    "read_rules",
    "recommend",
]
