"""Training of a model that has learned tables: their stages one after the other, with everything around a step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._atomic import replacing
from ._embedding import LearnedEmbedding

Batches = Callable[[int], Iterable[Any]]
"""From the number of an epoch, which decides the order, to its batches."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured once."""

    stage: str
    """Of the modules' stages, joined by a slash where they differ."""
    epoch: int
    """Within the stage."""
    step: int
    """Steps since the stage began."""
    score: float
    seconds: float
    """Of training, since `fit` began; those of a run that was resumed are added up."""


class Trainer:
    """Runs every stage of a model's learned tables through their public hooks.

    A stage begins with the best state of the one before; the last of several may end with the state it began with.
    Each has its own optimizer. Parameters that a table names in `architecture_parameters()` are trained on validation
    batches, one for each training batch, by an optimizer of their own. After the last stage the tables are finished,
    and the model is in eval mode.

    >>> import torch
    >>> from embedcompress import training
    >>> module = training.embedding("dpq", 1000, 8, budget=0.2)
    >>> batches = lambda epoch: torch.arange(1000).split(100)
    >>> trainer = training.Trainer(module, lambda model, ids: (model(ids) - 1).square().mean(), epochs=2)
    >>> _ = trainer.fit(batches)
    >>> module.freeze().rows
    1000
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module, Any], Tensor],
        *,
        epochs: int | Mapping[str, int] = 1,
        optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
        search_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
        evaluate: Callable[[nn.Module], float] | None = None,
        evaluations: int = 1,
        patience: int | None = None,
        checkpoints: str | Path | None = None,
        progress: Callable[[int, int], object] | None = None,
        seed: int = 0,
    ) -> None:
        """Take a model and how it is trained.

        Args:
            model: Has one or more modules of `training.embedding`.
            loss: From the model and a batch to a scalar; what tables add by `regularization()` is added to it.
            epochs: Of every stage, or by the name of the stage.
            optimizer: From parameters; Adam with a learning rate of 1e-3 if not given. Sparse gradients need one that
                takes them.
            search_optimizer: Of architecture parameters; SGD with a learning rate of 1e-3 if not given.
            evaluate: From the model in eval mode to a score; larger is better. The best state of a stage is kept; the
                last one if there is no score.
            evaluations: Of each epoch.
            patience: Evaluations without a better score after which a stage ends.
            checkpoints: A folder for the state after each stage. `fit` goes on after the last stage that it has.
            progress: Told of steps done and, once an epoch has ended, of all steps of the stage; False stops.
            seed: Of random numbers that torch draws while training.

        Raises:
            ValueError: the model has no learned table, or numbers that make no training.
        """
        self.tables = [module for module in model.modules() if isinstance(module, LearnedEmbedding)]
        if not self.tables:
            raise ValueError("the model has no module of training.embedding")
        if evaluations < 1 or (patience is not None and patience < 1):
            raise ValueError("evaluations and patience must be at least 1")
        self.model, self.loss, self.evaluate = model, loss, evaluate
        self.optimizer = optimizer or (lambda parameters: torch.optim.Adam(parameters, lr=1e-3))
        self.search_optimizer = search_optimizer or (lambda parameters: torch.optim.SGD(parameters, lr=1e-3))
        self.epochs, self.evaluations, self.patience = epochs, evaluations, patience
        self.checkpoints = None if checkpoints is None else Path(checkpoints)
        self.progress, self.seed = progress, seed
        self.history: list[Evaluation] = []
        self.seconds = 0.0
        """Of training, without evaluations."""

    @property
    def stages(self) -> list[tuple[str, ...]]:
        """The stages of every table, one tuple for each stage of the training: shorter tables stay in their last."""
        count = max(len(table.stages) for table in self.tables)
        return [
            tuple(table.stages[min(index, len(table.stages) - 1)] for table in self.tables) for index in range(count)
        ]

    def fit(self, batches: Batches, validation: Batches | None = None) -> list[Evaluation]:
        """Train all stages, and finish the tables.

        Args:
            batches: Of training, by the number of the epoch.
            validation: Batches for architecture parameters; needed if a table has such.

        Returns:
            All evaluations, those of stages that a checkpoint had included.

        Raises:
            ValueError: there are architecture parameters and no validation batches.
            KeyboardInterrupt: the progress callback wants to stop. Stages that had ended are in the checkpoints.
        """
        begin = self._resume()
        for index in range(begin, len(self.stages)):
            torch.manual_seed(self.seed * 1009 + index)
            for table, stage, before in zip(
                self.tables, self.stages[index], self.stages[max(index - 1, 0)], strict=True
            ):
                if index == 0 or stage != before:
                    table.enter(stage)
            self._run(index, batches, validation)
            self._save(index)
        for table in self.tables:
            table.finish()
        self.model.eval()
        return self.history

    def _run(self, index: int, batches: Batches, validation: Batches | None) -> None:
        stage = "/".join(dict.fromkeys(self.stages[index]))
        searched = [parameter for table in self.tables for parameter in table.architecture_parameters()]
        if searched and validation is None:
            raise ValueError(f"the stage {stage!r} trains architecture parameters: give validation batches")
        left_out = {id(parameter) for table in self.tables for parameter in table.parameters()} - {
            id(parameter) for table in self.tables for parameter in table.weight_parameters()
        }
        weights = [parameter for parameter in self.model.parameters() if id(parameter) not in left_out]
        optimizer = self.optimizer(weights)
        search = self.search_optimizer(searched) if searched else None
        checked = _endless(validation) if search and validation is not None else None
        best: tuple[float, dict[str, Any]] | None = None
        step, waited = 0, 0

        def evaluated(epoch: int) -> float:
            nonlocal best
            assert self.evaluate is not None
            self.model.eval()
            score = float(self.evaluate(self.model))
            self.history.append(Evaluation(stage, epoch, step, score, self.seconds))
            if best is None or score > best[0]:
                best = (score, _copied(self.model.state_dict()))
            return score

        if self.evaluate and 0 < index == len(self.stages) - 1:
            # More training may only make worse what stages before have made.
            evaluated(0)
        epochs = self.epochs if isinstance(self.epochs, int) else self.epochs.get(stage, 1)
        for epoch in range(epochs):
            found = list(batches(epoch))
            if epoch == 0:
                for table in self.tables:
                    table.schedule(epochs * len(found))
            marks = {len(found) * (mark + 1) // self.evaluations for mark in range(self.evaluations)}
            for number, batch in enumerate(found, 1):
                start = time.perf_counter()
                self.model.train()
                self._step(batch, optimizer, search)
                if search and checked is not None:
                    self._step(next(checked), search, optimizer)
                self.seconds += time.perf_counter() - start
                step += 1
                if self.progress and self.progress(step, len(found)) is False:
                    raise KeyboardInterrupt
                if self.evaluate and number in marks:
                    least = -math.inf if best is None else best[0]
                    waited = 0 if evaluated(epoch) > least else waited + 1
                    if self.patience is not None and waited >= self.patience:
                        break
            if self.patience is not None and waited >= self.patience:
                break
        if best is not None:
            self.model.load_state_dict(best[1])
        if self.evaluate:
            evaluate = self.evaluate
            self.model.eval()
            for table in self.tables:
                table.search(lambda: float(evaluate(self.model)))

    def _step(self, batch: Any, optimizer: torch.optim.Optimizer, other: torch.optim.Optimizer | None) -> None:
        optimizer.zero_grad()
        if other:
            other.zero_grad()
        loss = self.loss(self.model, batch)
        for table in self.tables:
            loss = loss + table.regularization()
        loss.backward()  # type: ignore[no-untyped-call]
        for table in self.tables:
            table.before_step()
        optimizer.step()
        for table in self.tables:
            table.after_step()

    def _path(self, index: int) -> Path | None:
        return None if self.checkpoints is None else self.checkpoints / f"stage-{index}.pt"

    def _save(self, index: int) -> None:
        if (path := self._path(index)) is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "model": self.model.state_dict(),
            "history": [asdict(one) for one in self.history],
            "seconds": self.seconds,
        }
        with replacing(path) as partial:
            torch.save(document, partial)

    def _resume(self) -> int:
        """Return the first stage that is still to be trained."""
        for index in reversed(range(len(self.stages))):
            path = self._path(index)
            if path is not None and path.exists():
                document = torch.load(path, weights_only=True)
                self.model.load_state_dict(document["model"])
                self.history = [Evaluation(**one) for one in document["history"]]
                self.seconds = document["seconds"]
                return index + 1
        return 0


def _endless(batches: Batches) -> Iterator[Any]:
    epoch = 0
    while True:
        found = False
        for batch in batches(epoch):
            found = True
            yield batch
        if not found:
            raise ValueError("there are no validation batches")
        epoch += 1


def _copied(state: Any) -> Any:
    """Return a state whose tensors later steps don't change."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {name: _copied(value) for name, value in state.items()}
    return state
