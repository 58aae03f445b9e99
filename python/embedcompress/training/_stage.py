"""One stage of a training: its steps, evaluations, best state, and the checkpoints within it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._batches import Batches, Endless, begun, length_of
from ._checkpoints import Position, State, random_state, set_random_state
from ._moments import hand_over
from ._second_pass import second_pass
from ._weight_optimizers import weight_optimizers

if TYPE_CHECKING:
    from ._embedding import LearnedEmbedding
    from ._trainer import Trainer


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
    counts: bool
    """Whether the stage may end with the state that it is of, if its score is the best of those that count."""


class Stage:
    """A stage that a trainer is in, from its beginning or from the state within it that a checkpoint had."""

    def __init__(self, trainer: Trainer, index: int, validation: Batches | None, part: State | None) -> None:
        """Make the optimizers.

        Args:
            trainer: Has the model, which has entered the stage.
            index: Of the stage.
            validation: Batches for architecture parameters.
            part: What `_save` wrote; the model has taken its state already.

        Raises:
            ValueError: there are architecture parameters and no validation batches, or a table with an optimizer of its
                own beside them.
        """
        self.trainer, self.index, self.part = trainer, index, part
        self.name = "/".join(dict.fromkeys(trainer.stages[index]))
        self.searching = [table for table in trainer.tables if table.architecture_parameters()]
        """Tables that validation batches train, too: for others a step on such a batch is none."""
        searched = [parameter for table in self.searching for parameter in table.architecture_parameters()]
        if searched and validation is None:
            raise ValueError(f"the stage {self.name!r} trains architecture parameters: give validation batches")
        if searched and any(table.spec.optimizer for table in trainer.tables):
            raise ValueError("a table with an optimizer of its own would learn from validation batches, too")
        self.ends_with_last = any(
            stage in table.ends_with_last for table, stage in zip(trainer.tables, trainer.stages[index], strict=True)
        )
        """Whether scores of the stage don't say which of its states is the best."""
        self.weights = weight_optimizers(
            trainer.model, trainer.tables, trainer.optimizer, trainer.sparse_optimizer, trainer.head_optimizer
        )
        if part is None:
            hand_over(trainer.moments, self.weights)
        trainer.moments = {}
        self.search = [trainer.search_optimizer(searched)] if searched else []
        trainer.optimizers = [*self.weights, *self.search]
        self.position = Position()
        if part is not None:
            self.position = Position(**part["position"])
            for optimizer, state in zip(trainer.optimizers, part["optimizers"], strict=True):
                optimizer.load_state_dict(state)
        at = self.position
        self.checked: Endless | None = None
        if searched and validation is not None:
            self.checked = Endless(validation, at.validation_epoch, at.validation_done)
        self._best: State | None = None
        self._saved_best = at.best_step if part is not None and at.best is not None else None

    def run(self, batches: Batches) -> None:
        """Train the rest of the stage, bring its best state back unless it ends with its last, and search."""
        trainer, at = self.trainer, self.position
        if trainer.evaluate and self.part is None and self.index:
            # More training may only make worse what stages before have made.
            self._evaluate()
        epochs = trainer.epochs if isinstance(trainer.epochs, int) else trainer.epochs.get(self.name, 1)
        while at.epoch < epochs and not self._is_over():
            self._run_epoch(batches, epochs)
        if self.part is not None:
            # Nothing was left to be trained.
            set_random_state(self.part["random"])
        self._take_best()
        if trainer.evaluate:
            evaluate = trainer.evaluate
            trainer.model.eval()
            for table in trainer.tables:
                table.search(lambda: float(evaluate(trainer.model)))

    def _run_epoch(self, batches: Batches, epochs: int) -> None:
        trainer, at = self.trainer, self.position
        found = batches(at.epoch)
        length = length_of(found)
        if length is None:
            length = trainer.steps_per_epoch or trainer.counted
        if not at.step and length is not None:
            at.total = epochs * length
        if at.total is not None and (not at.step or self.part is not None):
            for table in trainer.tables:
                table.schedule(at.total)
        total = at.total or epochs * (length or 0)
        # More evaluations than batches are one after each.
        evaluations = min(trainer.evaluations, length or 0)
        marks = {(length or 0) * (mark + 1) // evaluations for mark in range(evaluations)}
        iterator = begun(found, at.done)
        if self.part is not None:
            # What was drawn to skip batches does not count.
            set_random_state(self.part["random"])
            self.part = None
        for batch in iterator:
            start = time.perf_counter()
            trainer.model.train()
            self._step(batch, self.weights, self.search, trainer.tables)
            if self.checked is not None:
                self._step(next(self.checked), self.search, self.weights, self.searching)
                at.validation_epoch, at.validation_done = self.checked.epoch, self.checked.done
            trainer.seconds += time.perf_counter() - start
            at.step, at.done = at.step + 1, at.done + 1
            if trainer.report and trainer.report(at.step, total) is False:
                raise KeyboardInterrupt
            if trainer.evaluate and (at.done in marks or self._is_over()):
                self._evaluate()
            # Saved after the last evaluation, as a run that goes on from a stage that is over has no other.
            if trainer.checkpoint_steps is not None and at.step % trainer.checkpoint_steps == 0:
                self._save()
            if self._is_over():
                return
        if not at.done:
            raise ValueError(f"epoch {at.epoch} has no batch: batches must begin anew each time")
        if trainer.evaluate and at.evaluated != at.done:
            self._evaluate()
        if trainer.counted is None:
            trainer.counted = at.done
        at.epoch, at.done, at.evaluated = at.epoch + 1, 0, 0

    def _step(
        self,
        batch: Any,
        optimizers: list[torch.optim.Optimizer],
        others: list[torch.optim.Optimizer],
        tables: list[LearnedEmbedding],
    ) -> None:
        """Compute the gradients of a batch, and have optimizers, but not the others, and hooks of tables use them."""
        trainer = self.trainer
        for optimizer in (*optimizers, *others):
            optimizer.zero_grad()

        def loss() -> Tensor:
            total: Tensor = trainer.loss(trainer.model, batch)
            for table in trainer.tables:
                total = total + table.regularization()
            return total

        loss().backward()  # type: ignore[no-untyped-call]
        for table in tables:
            table.before_step()
        for optimizer in optimizers:
            optimizer.step()
        for table in tables:
            table.after_step()
        second_pass(trainer.model, loss)

    def _is_over(self) -> bool:
        trainer = self.trainer
        ends = [over for table in trainer.tables if (over := table.is_over()) is not None]
        if ends and all(ends):
            return True
        return trainer.patience is not None and self.position.waited >= trainer.patience

    def _evaluate(self) -> None:
        trainer, at = self.trainer, self.position
        assert trainer.evaluate is not None
        trainer.model.eval()
        score = float(trainer.evaluate(trainer.model))
        counts = not self.ends_with_last and all(table.counts_scores() for table in trainer.tables)
        trainer.history.append(Evaluation(self.name, at.epoch, at.step, score, trainer.seconds, counts))
        at.evaluated = at.done
        if not counts:
            return
        if at.step:
            is_better = at.best_trained is None or score > at.best_trained
            at.waited = 0 if is_better else at.waited + 1
            at.best_trained = score if is_better else at.best_trained
        if at.best is None or score > at.best:
            at.best, at.best_step = score, at.step
            self._keep_best()

    def _keep_best(self) -> None:
        files, state = self.trainer.checkpoints, self.trainer.model.state_dict()
        if files is None:
            self._best = _copied(state)
            return
        files.write(files.best(self.index, self.position.best_step), state)
        self._clean()

    def _take_best(self) -> None:
        files, at = self.trainer.checkpoints, self.position
        if at.best is None:
            return
        if files is None:
            assert self._best is not None
            self.trainer.model.load_state_dict(self._best)
            self._best = None
        else:
            # Mapped, as there may be no room for a second model.
            self.trainer.model.load_state_dict(files.read(files.best(self.index, at.best_step), mapped=True))

    def _save(self) -> None:
        trainer, files = self.trainer, self.trainer.checkpoints
        assert files is not None
        state = trainer.state() | {
            "position": asdict(self.position),
            "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
            "random": random_state(),
        }
        files.write(files.part(self.index), state)
        self._saved_best = None if self.position.best is None else self.position.best_step
        self._clean()

    def _clean(self) -> None:
        """Remove best states that neither this process nor the checkpoint is going to take."""
        files = self.trainer.checkpoints
        assert files is not None
        steps = {self.position.best_step, self._saved_best} - {None}
        keep = {files.part(self.index), *(files.best(self.index, step) for step in steps if step is not None)}
        files.clean(self.index, keep)


def _copied(state: Any) -> Any:
    """Return a state whose tensors later steps don't change."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {name: _copied(value) for name, value in state.items()}
    return state
