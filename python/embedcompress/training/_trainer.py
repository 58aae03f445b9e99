"""Training of a model that has learned tables: their stages one after the other, with everything around a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._atomic import exists
from .._checks import check_type
from .._progress import Progress, ProgressOption, reporting
from ._batches import Batches
from ._checkpoints import Checkpoints, State
from ._embedding import LearnedEmbedding
from ._moments import Known, known
from ._stage import Evaluation, Stage
from ._weight_optimizers import MakeOptimizer, adam, sgd

STATE = ("model", "history", "seconds", "counted")
"""What `Trainer.state` has."""


class Trainer:
    """Runs every stage of a model's learned tables through their public hooks.

    A stage begins with the best state of the one before, and may end with the state it began with, which has a score
    before the first step. Scores count as soon as all tables say so by `counts_scores`, and a stage without one that
    counts ends with its last state. So does a stage that a table names in `ends_with_last`, and `is_over` ends it
    sooner where all tables that have an opinion agree. Optimizers of the same class and settings go on with what they
    know of parameters that are the same ones as in the stage before. Parameters that a table names in
    `architecture_parameters()` are trained on validation batches, one for each training batch, by an optimizer of their
    own. After the last stage the tables are finished, and the model is in eval mode.

    Batches are read as they come and never listed. How many an epoch has is their `len()`; where they have none,
    `steps_per_epoch`; without that, the count of the first epoch, which then is evaluated at its end only, in a stage
    whose tables are not told how many steps it has.

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
        steps_per_epoch: int | None = None,
        optimizer: MakeOptimizer | None = None,
        sparse_optimizer: MakeOptimizer | None = None,
        head_optimizer: MakeOptimizer | None = None,
        search_optimizer: MakeOptimizer | None = None,
        evaluate: Callable[[nn.Module], float] | None = None,
        evaluations: int = 1,
        patience: int | None = None,
        checkpoints: str | Path | None = None,
        checkpoint_steps: int | None = None,
        progress: ProgressOption = None,
        seed: int = 0,
    ) -> None:
        """Take a model and how it is trained.

        Args:
            model: Has one or more modules of `training.embedding`.
            loss: From the model and a batch to a scalar; what tables add by `regularization()` is added to it.
            epochs: Of every stage, or by the name of the stage.
            steps_per_epoch: Batches of an epoch that has no `len()`.
            optimizer: From the tables' parameters; Adam with a learning rate of 1e-3 if not given. Not called where
                tables have none.
            sparse_optimizer: From those that a table names in `sparse_parameters()`. If not given, `optimizer` has
                them, too, and without that, SparseAdam with a learning rate of 1e-3.
            head_optimizer: From all other parameters of the model; Adam with a learning rate of 1e-3 if not given.
            search_optimizer: Of architecture parameters; SGD with a learning rate of 1e-3 if not given.
            evaluate: From the model in eval mode to a score; larger is better. The best state of a stage is kept, in
                the folder of checkpoints if there is one, else in memory; the last one if no score counts, or where a
                table's stage ends with that.
            evaluations: Of each epoch; the last is at its end.
            patience: Evaluations that count without a better score after which a stage ends; that of the state it
                began with, which pruning may first fall behind, is none of them.
            checkpoints: A folder for the state after each stage. `fit` goes on after the last stage that it has.
            checkpoint_steps: Save the state within a stage there, too, after every so many steps: `fit` goes on after
                the last of them, to the same table bit for bit where the batches, the loss and the score are the same.
                Random numbers may be drawn from torch's global generators.
            progress: Told of steps done of the stage, and of all of them; of 0 while that is not known. False stops.
                True shows a bar on stderr.
            seed: Of random numbers that torch draws while training.

        Raises:
            ValueError: the model has no learned table, or numbers that make no training.
        """
        check_type(model, nn.Module, "model", "a torch.nn.Module")
        self.tables = [module for module in model.modules() if isinstance(module, LearnedEmbedding)]
        if not self.tables:
            raise ValueError("the model has no module of training.embedding")
        counts = {
            "evaluations": evaluations,
            "patience": patience,
            "steps_per_epoch": steps_per_epoch,
            "checkpoint_steps": checkpoint_steps,
        }
        for name, value in counts.items():
            if value is not None:
                check_type(value, int, name, "an integer")
                if value < 1:
                    raise ValueError(f"{name} must be at least 1, not {value}")
        if checkpoint_steps is not None and checkpoints is None:
            raise ValueError("checkpoint_steps needs checkpoints, a folder")
        self.model, self.loss, self.evaluate = model, loss, evaluate
        self.optimizer, self.sparse_optimizer = optimizer, sparse_optimizer
        self.head_optimizer = head_optimizer or adam
        self.search_optimizer = search_optimizer or sgd
        self.epochs, self.evaluations, self.patience = epochs, evaluations, patience
        self.steps_per_epoch, self.checkpoint_steps = steps_per_epoch, checkpoint_steps
        self.checkpoints = None if checkpoints is None else Checkpoints(Path(checkpoints))
        self.progress, self.seed = progress, seed
        self.report: Progress | None = None
        """What a training that runs tells of its steps."""
        self.history: list[Evaluation] = []
        self.seconds = 0.0
        """Of training, without evaluations."""
        self.optimizers: list[torch.optim.Optimizer] = []
        """Those of the stage that is being trained."""
        self.moments: Known = {}
        """What optimizers know of parameters after a stage that is not the last."""
        self.counted: int | None = None
        """Batches of the first epoch, once it has ended."""

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
            batches: Of training, by the number of the epoch, which alone must decide what they are and their order: a
                run that goes on within an epoch reads those that were done, and leaves them out.
            validation: Batches for architecture parameters, by a number likewise; needed if a table has such.

        Returns:
            All evaluations, those of stages that a checkpoint had included.

        Raises:
            ValueError: there are architecture parameters and no validation batches, an epoch has no batch, or fewer
                than had been done when the checkpoint was saved; a checkpoint lacks what one has.
            KeyboardInterrupt: the progress callback wants to stop. What had been saved is in the checkpoints.
        """
        with reporting(self.progress, "train", "steps") as self.report:
            self._fit(batches, validation)
        for table in self.tables:
            table.finish()
        self.model.eval()
        return self.history

    def _fit(self, batches: Batches, validation: Batches | None) -> None:
        begin, part = self._resume()
        for index in range(begin, len(self.stages)):
            if part is None:
                torch.manual_seed(self.seed * 1009 + index)
                for table, stage, before in zip(
                    self.tables, self.stages[index], self.stages[max(index - 1, 0)], strict=True
                ):
                    if index == 0 or stage != before:
                        table.enter(stage)
            Stage(self, index, validation, part).run(batches)
            self.moments = known(self.optimizers) if index < len(self.stages) - 1 else {}
            if self.checkpoints:
                moments = {name: self.moments[one] for name, one in self.model.named_parameters()
                           if one in self.moments}  # fmt: skip
                self.checkpoints.write(self.checkpoints.stage(index), self.state() | {"moments": moments})
                self.checkpoints.clean(index)
            part = None

    def state(self) -> State:
        """Return the model's state and what was measured, as a checkpoint has them."""
        return {
            "model": self.model.state_dict(),
            "history": [asdict(one) for one in self.history],
            "seconds": self.seconds,
            "counted": self.counted,
        }

    def _resume(self) -> tuple[int, State | None]:
        """Return the first stage that is still to be trained, and the state within it if there is one."""
        if self.checkpoints is None:
            return 0, None
        for index in reversed(range(len(self.stages))):
            if exists(path := self.checkpoints.stage(index)):
                state = self.checkpoints.read(path, needed=("moments", *STATE))
                self._take(state)
                named = dict(self.model.named_parameters())
                self.moments = {named[name]: moments for name, moments in state["moments"].items()}
                return index + 1, None
            if exists(path := self.checkpoints.part(index)):
                state = self.checkpoints.read(path, needed=("position", "optimizers", "random", *STATE))
                self._take(state)
                return index, state
        return 0, None

    def _take(self, state: State) -> None:
        self.model.load_state_dict(state["model"])
        self.history = [Evaluation(**one) for one in state["history"]]
        self.seconds, self.counted = state["seconds"], state["counted"]
