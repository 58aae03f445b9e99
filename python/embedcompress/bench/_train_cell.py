"""One cell of a training benchmark: a model is trained, its table frozen, and both are measured, on one thread.

Times are CPU time, as other cells run beside it; peak memory is that of the process, which runs nothing else.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch.nn import functional

import embedcompress as ec

from .. import training
from ..training._row_optimizers import named
from ._clicks import Clicks, Part, Values
from ._heads import HEADS
from ._lines import refusal

CHUNK = 8192
"""Rows that are evaluated at once."""
LOOKUP_ROWS, LOOKUP_TURNS = 2048, 21
COLD_SHARE = 0.25

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def run(request: Mapping[str, Any], data: Clicks) -> dict[str, Any]:
    """Return a cell's outcome: its figures, or why there are none.

    Returns:
        `figures`; or `refused` and `floor`, the least bytes that the method needs; or `stopped`.
    """
    try:
        module = training.embedding(
            request["method"],
            data.rows,
            request["dimension"],
            budget=request["budget"],
            counts=data.counts,
            fields=data.sizes,
            seed=request["seed"],
            optimizer=named(request["optimizer"]) if "optimizer" in request else None,
            **request.get("options", {}),
        )
    except ec.BudgetError as error:
        return refusal(error)
    return trained(module, request, data)


def trained(module: training.LearnedEmbedding, request: Mapping[str, Any], data: Clicks) -> dict[str, Any]:
    """Return the outcome of a cell whose table somebody else has made."""
    torch.set_num_threads(1)
    ec.set_num_threads(1)
    dimension, seed = request["dimension"], request["seed"]
    torch.manual_seed(seed)
    model = HEADS[request["head"]](module, len(data.sizes), dimension, len(data.numbers), request["dropout"])
    evaluating = _Clock()

    def evaluate(model: torch.nn.Module) -> float:
        with evaluating.running():
            found = probabilities(model, data.validation)
            return float(roc_auc_score(data.validation.labels, found)) if np.isfinite(found).all() else 0.0

    def adam(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=request["rate"])

    trainer = training.Trainer(
        model,
        _loss,
        epochs=request["epochs"],
        steps_per_epoch=-(-len(data.train) // request["batch"]),
        optimizer=adam,
        head_optimizer=adam,
        evaluate=evaluate,
        evaluations=request["evaluations"],
        patience=request["patience"],
        seed=seed,
    )
    all_of_it = _Clock()
    with all_of_it.running():
        history = trainer.fit(
            lambda epoch: _batches(data.train, request["batch"], seed, epoch),
            lambda epoch: _batches(data.validation, request["batch"], seed, epoch),
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    freezing = _Clock()
    with freezing.running():
        table = module.freeze()
    learned = probabilities(model, data.test)
    model.embedding = Frozen(table)
    found = probabilities(model, data.test)
    if not (np.isfinite(found).all() and np.isfinite(learned).all()):
        return {"stopped": "training diverged: predictions are not finite"}
    cold = _coldest(data)
    return {
        "figures": {
            "auc": float(roc_auc_score(data.test.labels, found)),
            "log_loss": float(log_loss(data.test.labels, found)),
            "cold_auc": float(roc_auc_score(data.test.labels[cold], found[cold])),
            "validation_auc": max(one.score for one in history if one.stage == history[-1].stage),
            "frozen_apart": float(np.abs(found - learned).max()),
            "stored_bytes": table.stored_bytes,
            "ratio": table.stored_bytes / (4 * data.rows * dimension),
            "training_bytes": module.training_bytes,
            "peak_bytes": peak,
            "train_seconds": all_of_it.seconds - evaluating.seconds,
            "steps": sum(
                max(one.step for one in history if one.stage == stage) for stage in {h.stage for h in history}
            ),
            "freeze_seconds": freezing.seconds,
            "lookup_ns_per_row": _lookup_time(table, data.test),
        }
    }


def probabilities(model: torch.nn.Module, part: Part) -> Values:
    """Return what a model predicts of every row, (rows,)."""
    found = []
    with torch.no_grad():
        for start in range(0, len(part), CHUNK):
            ids, numbers, _ = _tensors(part, slice(start, start + CHUNK))
            found.append(model(ids, numbers))
    return torch.cat(found).sigmoid().double().numpy()


class _Clock:
    """Adds up CPU time of this process."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        start = time.process_time()
        try:
            yield
        finally:
            self.seconds += time.process_time() - start


class Frozen(torch.nn.Module):
    """Rows of a frozen table, where the learned one was."""

    def __init__(self, table: ec.Table) -> None:
        super().__init__()
        self.table = table

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.table.lookup(ids.numpy()))


def _loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    ids, numbers, labels = batch
    return functional.binary_cross_entropy_with_logits(model(ids, numbers), labels)


def _tensors(part: Part, rows: Any) -> Batch:
    return (
        torch.from_numpy(part.ids[rows].astype(np.int64)),
        torch.from_numpy(np.array(part.numbers[rows])),
        torch.from_numpy(np.array(part.labels[rows])),
    )


def _batches(part: Part, size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """Yield batches as they are made, in an order that the epoch decides."""
    order = np.random.default_rng((seed, epoch)).permutation(len(part))
    for start in range(0, len(order), size):
        yield _tensors(part, order[start : start + size])


def _coldest(data: Clicks) -> Values:
    """Return the test rows whose ids were seen the least in training: a quarter, by the mean logarithm of uses.

    All rows, where that quarter has labels of one kind only.
    """
    uses = np.log1p(data.counts)[data.test.ids].mean(1)
    rows: Values = np.argsort(uses, kind="stable")[: max(1, round(COLD_SHARE * len(uses)))]
    return rows if len(np.unique(data.test.labels[rows])) > 1 else np.arange(len(uses))


def _lookup_time(table: ec.Table, part: Part) -> float:
    ids = np.ascontiguousarray(part.ids[:LOOKUP_ROWS]).ravel()
    seconds = []
    for _ in range(LOOKUP_TURNS):
        start = time.thread_time()
        table.lookup(ids)
        seconds.append(time.thread_time() - start)
    return statistics.median(seconds) / len(ids) * 1e9
