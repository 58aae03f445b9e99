"""One cell of the benchmark of scale: a model is trained on a stream, in a process of its own, and measured there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

import embedcompress as ec

from .. import training
from ..training._batches import Batches
from ..training._registry import class_of
from ._generated import Generated, Values
from ._heads import HEADS
from ._lines import refusal
from ._peak import peak_memory
from ._timing import spread
from ._train_cell import CHUNK, Frozen

Batch = tuple[Tensor, Tensor]


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell's outcome: its figures, or why there are none.

    Returns:
        `figures`; or `refused`, and `floor`, the least bytes that the method needs; or `stopped`.
    """
    torch.set_num_threads(request["threads"])
    ec.set_num_threads(request["threads"])
    data = Generated(request["rows"], request["seed"])
    before = peak_memory()
    try:
        module = _table(request, data)
    except ec.BudgetError as error:
        return refusal(error)
    torch.manual_seed(request["seed"])
    model = HEADS[request["head"]](module, len(data.sizes), request["dimension"], 0)
    steps = -(-request["samples"] // request["batch"])
    watch = _Watch(request["warm_up"])

    def batches(part: str) -> Batches:
        return lambda epoch: watch.timed(_stream(data, part, request["samples"], request["batch"]))

    trainer = training.Trainer(
        model, _loss, steps_per_epoch=steps, progress=lambda step, total: watch.see(trainer, step), seed=request["seed"]
    )
    trainer.fit(batches("train"), lambda epoch: _stream(data, "validation", request["samples"], request["batch"]))
    peak = peak_memory()
    # Moments of a large table are twice its size: they go before there is a frozen copy beside it.
    trainer.optimizers.clear()
    table = module.freeze()
    auc, best = _evaluated(model, table, data, request["test_samples"])
    if auc is None:
        return {"stopped": "training diverged: predictions are not finite"}
    return {
        "figures": {
            "step_ms": _rounded(spread(watch.wall)),
            "step_cpu_ms": _rounded(spread(watch.processors)),
            "timed_steps": len(watch.wall),
            "stages": len(module.stages),
            "table_bytes": watch.table_bytes,
            "head_bytes": watch.head_bytes,
            "peak_bytes": peak,
            "start_bytes": before,
            "stored_bytes": table.stored_bytes,
            "auc": auc,
            "bayes_auc": best,
        }
    }


def training_bytes(
    parameters: Iterable[nn.Parameter], buffers: Iterable[Tensor], optimizers: Iterable[torch.optim.Optimizer]
) -> dict[str, int]:
    """Return the bytes that are there after a step, by what they are: those of some parameters and of all buffers."""
    parameters = list(parameters)
    states = [state for one in optimizers for parameter in parameters if (state := one.state.get(parameter))]
    return {
        "parameters": sum(map(_bytes, parameters)),
        "buffers": sum(map(_bytes, buffers)),
        "gradients": sum(_bytes(parameter.grad) for parameter in parameters if parameter.grad is not None),
        "optimizer": sum(_bytes(value) for state in states for value in state.values() if isinstance(value, Tensor)),
    }


class _Watch:
    """What is measured while a model is trained."""

    def __init__(self, warm_up: int) -> None:
        self.warm_up = warm_up
        self.wall: list[float] = []
        """Milliseconds of each step but the first ones of a stage, without making batches."""
        self.processors: list[float] = []
        """The same, of processor time of all threads."""
        self.table_bytes: dict[str, int] = {}
        """Of the stage and step with the most."""
        self.head_bytes: dict[str, int] = {}

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield batches, and time what is done with each."""
        for number, batch in enumerate(batches):
            wall, processors = time.perf_counter(), time.process_time()
            yield batch
            if number >= self.warm_up:
                self.wall.append(1e3 * (time.perf_counter() - wall))
                self.processors.append(1e3 * (time.process_time() - processors))

    def see(self, trainer: training.Trainer, step: int) -> None:
        """Measure bytes once in each stage, after the last step of the warm-up."""
        if step != self.warm_up:
            return
        (table,) = trainer.tables
        mine = {id(parameter) for parameter in table.parameters()}
        others = [parameter for parameter in trainer.model.parameters() if id(parameter) not in mine]
        found = training_bytes(table.parameters(), table.buffers(), trainer.optimizers)
        if sum(found.values()) > sum(self.table_bytes.values()):
            self.table_bytes = found
            self.head_bytes = training_bytes(others, (), trainer.optimizers)


def _table(request: Mapping[str, Any], data: Generated) -> training.LearnedEmbedding:
    needs_counts = class_of(request["method"]).needs_counts
    return training.embedding(
        request["method"],
        data.rows,
        request["dimension"],
        budget=request["budget"],
        counts=data.counts(request["samples"]) if needs_counts else None,
        fields=data.sizes,
        seed=request["seed"],
        sparse=request["gradients"] == "sparse",
    )


def _stream(data: Generated, part: str, samples: int, size: int) -> Iterator[Batch]:
    """Yield batches as they are made: the same ones in each epoch."""
    for number, start in enumerate(range(0, samples, size)):
        ids, labels, _ = data.batch(part, number, min(size, samples - start))
        yield torch.from_numpy(ids), torch.from_numpy(labels)


def _loss(model: nn.Module, batch: Batch) -> Tensor:
    ids, labels = batch
    return functional.binary_cross_entropy_with_logits(model(ids, _no_numbers(ids)), labels)


def _no_numbers(ids: Tensor) -> Tensor:
    return torch.empty(len(ids), 0)


def _evaluated(model: Any, table: ec.Table, data: Generated, samples: int) -> tuple[float | None, float]:
    """Return the AUC of a model with its frozen table, None if it is none, and that of the true probabilities."""
    model.embedding = Frozen(table)
    found: list[Values] = []
    labels: list[Values] = []
    chances: list[Values] = []
    with torch.no_grad():
        for number, start in enumerate(range(0, samples, CHUNK)):
            ids, clicked, chance = data.batch("test", number, min(CHUNK, samples - start))
            batch = torch.from_numpy(ids)
            found.append(model(batch, _no_numbers(batch)).double().numpy())
            labels.append(clicked)
            chances.append(chance)
    wanted, predicted = np.concatenate(labels), np.concatenate(found)
    best = float(roc_auc_score(wanted, np.concatenate(chances)))
    return (float(roc_auc_score(wanted, predicted)) if np.isfinite(predicted).all() else None), best


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def _bytes(tensor: Tensor) -> int:
    if tensor.is_sparse:
        return _bytes(tensor._indices()) + _bytes(tensor._values())
    return tensor.numel() * tensor.element_size()
