"""One cell of a training benchmark: a model is trained, its table frozen, and both are measured, on one thread.

Times are CPU time, as other cells run beside it; peak memory is that of the process, which runs nothing else.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch.nn import functional

import embedcompress as ec

from .. import training
from ..training._registry import class_of
from ._clicks import Part, Values
from ._data import Data
from ._generated_clicks import GeneratedClicks, GeneratedPart
from ._heads import HEADS
from ._lines import refusal
from ._optimizers import of_torch, own
from ._peak import peak_memory
from ._train_config import AFTER, training_of

CHUNK = 8192
"""Rows that are evaluated at once."""
LOOKUP_ROWS, LOOKUP_TURNS = 2048, 21
COLD_SHARE = 0.25

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Trained:
    """A model whose training has ended."""

    module: training.LearnedEmbedding
    model: torch.nn.Module
    learned: Values
    """What it predicts of test rows, (rows,) f64."""
    figures: dict[str, Any]
    """Of the training."""


def run(request: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """Return the outcome of one cell; see `run_all`."""
    return run_all([request], data)[0]


def run_all(requests: Sequence[Mapping[str, Any]], data: Data) -> list[dict[str, Any]]:
    """Return the outcomes of cells that differ in what their trained table is compressed by afterwards only.

    Returns:
        Of each its `figures`; or `refused` and `floor`, the least bytes that the method needs; or `stopped`.
    """
    request = training_of(dict(requests[0]))
    options = request.get("options", {})
    kind = class_of(request["method"])
    optimizer = own(request.get("optimizer"))
    try:
        module = training.embedding(
            request["method"],
            data.rows,
            request["dimension"],
            budget=request["budget"],
            counts=data.counts if kind.needs_counts or request.get("counts") else None,
            fields=data.sizes,
            seed=request["seed"],
            # A table with an optimizer of its own has no gradient.
            sparse=request.get("sparse", False) and optimizer is None,
            optimizer=optimizer,
            **options,
        )
    except ec.BudgetError as error:
        return [refusal(error)] * len(requests)
    ended = train(module, request, data)
    return [_outcome(ended, one, data) for one in requests]


def trained(module: training.LearnedEmbedding, request: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """Return the outcome of a cell whose table somebody else has made."""
    return _outcome(train(module, request, data), request, data)


def train(module: training.LearnedEmbedding, request: Mapping[str, Any], data: Data) -> Trained:
    torch.set_num_threads(1)
    ec.set_num_threads(1)
    dimension, seed = request["dimension"], request["seed"]
    torch.manual_seed(seed)
    model = HEADS[request["head"]](module, len(data.sizes), dimension, len(data.numbers), request["dropout"])
    evaluating = _Clock()

    def evaluate(model: torch.nn.Module) -> float:
        with evaluating.running():
            found, labels = predicted(model, data.validation)
            return float(roc_auc_score(labels, found)) if np.isfinite(found).all() else 0.0

    adam = {"name": "Adam", "lr": request["rate"]}
    of_tables = adam if module.spec.optimizer else request.get("optimizer", adam)
    held = 0

    def see(step: int, steps: int) -> None:
        nonlocal held
        if step == 1:
            held = max(held, module.training_bytes)

    trainer = training.Trainer(
        model,
        _loss,
        epochs=request["epochs"],
        steps_per_epoch=-(-len(data.train) // request["batch"]),
        optimizer=of_torch(of_tables),
        sparse_optimizer=of_torch(of_tables, sparse=True) if module.spec.sparse else None,
        head_optimizer=of_torch(adam),
        evaluate=evaluate,
        evaluations=request["evaluations"],
        patience=request["patience"],
        progress=see,
        seed=seed,
    )
    all_of_it = _Clock()
    with all_of_it.running():
        history = trainer.fit(
            lambda epoch: _shuffled(data.train, request["batch"], seed, epoch),
            lambda epoch: _shuffled(data.validation, request["batch"], seed, epoch),
        )
    peak = peak_memory()
    learned, _ = predicted(model, data.test)
    return Trained(
        module,
        model,
        learned,
        {
            "validation_auc": _kept_score(history),
            # Of the stage with the most, or of the table that it ends with.
            "training_bytes": max(held, module.training_bytes),
            "peak_bytes": peak,
            "train_seconds": all_of_it.seconds - evaluating.seconds,
            "steps": sum(
                max(one.step for one in history if one.stage == stage) for stage in {h.stage for h in history}
            ),
        },
    )


def _kept_score(history: Sequence[training.Evaluation]) -> float:
    """Return the score of the state that the last stage ends with: the best that counts, or the last."""
    counted = [one.score for one in history if one.stage == history[-1].stage and one.counts]
    return max(counted, default=history[-1].score)


def _outcome(ended: Trained, request: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """Return what the frozen form that a cell wants of a trained table is worth, and costs."""
    _, *after = request["method"].split(AFTER)
    freezing = _Clock()
    with freezing.running():
        table = ended.module.freeze()
    if after and np.isfinite(ended.learned).all():
        weight = np.ascontiguousarray(table.decode(), np.float32)
        try:
            with freezing.running():
                table = ec.compress(weight, after[0], budget=request["budget"])
        except ec.BudgetError as error:
            return refusal(error)
    # The learned table comes back for the next form.
    ended.model.embedding = Frozen(table)
    found, labels = predicted(ended.model, data.test)
    ended.model.embedding = ended.module
    learned = ended.learned
    if not (np.isfinite(found).all() and np.isfinite(learned).all()):
        return {"stopped": "training diverged: predictions are not finite"}
    cold = _coldest(data, labels)
    made = {
        "auc": float(roc_auc_score(labels, found)),
        "log_loss": float(log_loss(labels, found)),
        "cold_auc": float(roc_auc_score(labels[cold], found[cold])),
        "validation_auc": ended.figures["validation_auc"],
        "frozen_apart": float(np.abs(found - learned).max()),
        "stored_bytes": table.stored_bytes,
        "ratio": table.stored_bytes / (4 * data.rows * request["dimension"]),
    }
    costs = {"freeze_seconds": freezing.seconds, "lookup_ns_per_row": _lookup_time(table, data.test)}
    return {"figures": made | ended.figures | costs | _best(data)}


def predicted(model: torch.nn.Module, part: Part | GeneratedPart) -> tuple[Values, Values]:
    """Return what a model predicts of every row, (rows,) f64, and the labels, (rows,) f32."""
    found, labels = [], []
    with torch.no_grad():
        for batch in part.batches(CHUNK):
            ids, numbers, clicked = _tensors(batch)
            found.append(model(ids, numbers))
            labels.append(clicked)
    return torch.cat(found).sigmoid().double().numpy(), torch.cat(labels).numpy()


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


def _tensors(batch: tuple[Values, Values, Values]) -> Batch:
    ids, numbers, labels = batch
    return (
        torch.from_numpy(ids.astype(np.int64)),
        torch.from_numpy(np.array(numbers)),
        torch.from_numpy(np.array(labels)),
    )


def _shuffled(part: Part | GeneratedPart, size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """Yield batches as they are made, in an order that the epoch decides."""
    return map(_tensors, part.batches(size, np.random.default_rng((seed, epoch))))


def _coldest(data: Data, labels: Values) -> Values:
    """Return the test rows whose ids were seen the least in training: a quarter, by the mean logarithm of uses.

    All rows, where that quarter has labels of one kind only.
    """
    uses = np.concatenate([np.log1p(data.uses(ids)).mean(1) for ids, _, _ in data.test.batches(CHUNK)])
    rows: Values = np.argsort(uses, kind="stable")[: max(1, round(COLD_SHARE * len(uses)))]
    return rows if len(np.unique(labels[rows])) > 1 else np.arange(len(uses))


def _best(data: Data) -> dict[str, float]:
    """Return the AUC of the probabilities that labels were drawn with, where they are known."""
    if not isinstance(data, GeneratedClicks):
        return {}
    labels, chances = data.test.truth()
    return {"bayes_auc": float(roc_auc_score(labels, chances))}


def _lookup_time(table: ec.Table, part: Part | GeneratedPart) -> float:
    first, _, _ = next(iter(part.batches(LOOKUP_ROWS)))
    ids = np.ascontiguousarray(first).ravel()
    seconds = []
    for _ in range(LOOKUP_TURNS):
        start = time.thread_time()
        table.lookup(ids)
        seconds.append(time.thread_time() - start)
    return statistics.median(seconds) / len(ids) * 1e9
