"""The trainer: stages, best states, early stopping, checkpoints, and that it uses public hooks only."""

import contextlib
import copy

import pytest
import torch
from test_training_methods import COUNTS, METHODS, OPTIONS

from embedcompress import training
from embedcompress.training._spec import Spec

ROWS, DIMENSION = 120, 8


class Model(torch.nn.Module):
    def __init__(self, method="hash", seed=0, **options):
        super().__init__()
        torch.manual_seed(seed)
        budget = 1.0 if method == "full" else 0.6
        self.embedding = training.embedding(
            method,
            ROWS,
            DIMENSION,
            budget=budget,
            counts=COUNTS[:ROWS],
            fields=(100, 20),
            seed=seed,
            **(OPTIONS.get(method, {}) | options),
        )
        self.last = torch.nn.Linear(DIMENSION, 1)

    def forward(self, ids):
        return self.last(self.embedding(ids).sum(1)).squeeze(1)


def batches(epoch, count=6, size=32):
    random = torch.Generator().manual_seed(100 + epoch)
    found = []
    for _ in range(count):
        ids = torch.stack(
            [torch.randint(0, 100, (size,), generator=random), torch.randint(100, 120, (size,), generator=random)], 1
        )
        found.append((ids, (ids[:, 0] % 3 == 0).float()))
    return found


def loss(model, batch):
    return torch.nn.functional.binary_cross_entropy_with_logits(model(batch[0]), batch[1])


def score(model):
    with torch.no_grad():
        return -float(sum(loss(model, batch) for batch in batches(1000)))


def fitted(method="hash", **options):
    model = Model(method)
    trainer = training.Trainer(model, loss, **{"evaluate": score, "epochs": 2, "evaluations": 2} | options)
    return model, trainer, trainer.fit(batches, lambda epoch: batches(500 + epoch))


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_trains_and_freezes(method):
    model, trainer, history = fitted(method)
    table = model.embedding.freeze()
    rows = model.embedding(torch.arange(ROWS)).detach()
    torch.testing.assert_close(torch.from_numpy(table.decode()), rows, rtol=1e-5, atol=1e-6)
    assert table.stored_bytes <= model.embedding.spec.budget
    assert len({one.stage for one in history}) == len(trainer.stages) == len(model.embedding.stages)
    assert all(one.seconds > 0 for one in history)


@pytest.mark.parametrize("method", list(METHODS))
def test_a_run_that_was_cut_off_ends_like_one_that_was_not(method, tmp_path):
    whole, _, _ = fitted(method)
    stages = len(Model(method).embedding.stages)
    for last in range(stages):

        class StoppedError(Exception):
            pass

        seen = []

        def stop(step, of, seen=seen, last=last):
            seen.append(step)
            if sum(step == 1 for step in seen) > last + 1 or (last == stages - 1 and len(seen) > 12 * stages - 2):
                raise StoppedError

        folder = tmp_path / str(last)
        with pytest.raises(StoppedError):
            fitted(method, checkpoints=folder, progress=stop)
        resumed, _, history = fitted(method, checkpoints=folder)
        torch.testing.assert_close(
            torch.from_numpy(resumed.embedding.freeze().decode()), torch.from_numpy(whole.embedding.freeze().decode())
        )
        # All stages but the first are also evaluated before their first step.
        assert len(history) == 5 * stages - 1


def test_keeps_the_best_state():
    scores = iter([1.0, 5.0, 2.0, 3.0])
    states = []

    def evaluate(model):
        states.append(copy.deepcopy(model.state_dict()))
        return next(scores)

    model, _, history = fitted(evaluate=evaluate)
    assert [one.score for one in history] == [1.0, 5.0, 2.0, 3.0]
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, states[1][name])


class Staged(training.LearnedEmbedding):
    """Has two stages that train the same table."""

    method = METHODS["full"].method
    stages = ("first", "second")

    def __init__(self):
        super().__init__(Spec.of(ROWS, DIMENSION, 1.0, None, None, 0))
        self.weight = torch.nn.Parameter(self.initial(ROWS, DIMENSION))

    @classmethod
    def plan(cls, spec):
        return training.Plan(spec.full_bytes, {})

    def rows(self, ids):
        return self.weight[ids]

    def _frozen(self):
        return training.frozen_rows(self.weight)


class Searching(Staged):
    """Has a stage whose last state counts, and that it ends by itself."""

    ends_with_last = ("first",)

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def after_step(self):
        self.left -= 1

    def is_over(self):
        return self.left <= 0 if self.stage == "first" else None

    def get_extra_state(self):
        return super().get_extra_state() | {"left": self.left}

    def set_extra_state(self, state):
        super().set_extra_state(state)
        self.left = state["left"]


def with_table(table):
    model = Model("hash")
    model.embedding = table
    return model


@pytest.mark.parametrize("place", range(9))
def test_the_last_stage_may_end_as_it_began(place):
    scores = iter([float(number == place) for number in range(9)])
    states = []

    def evaluate(model):
        states.append(copy.deepcopy(model.embedding.weight.detach()))
        return next(scores)

    model = with_table(Staged())
    trainer = training.Trainer(model, loss, epochs=2, evaluations=2, evaluate=evaluate)
    finished = trainer.fit(batches)
    assert [one.stage for one in finished] == ["first"] * 4 + ["second"] * 5
    assert finished[4].step == 0
    torch.testing.assert_close(model.embedding.weight.detach(), states[max(place, 4)])
    torch.testing.assert_close(states[4], states[place if place < 4 else 0])


@pytest.mark.parametrize("place", range(4, 9))
def test_a_stage_in_between_may_end_as_it_began(place):
    """AutoSrh's search has no better state than the warm-up in the first case."""
    scores = iter([float(number == place) for number in range(14)])
    states = []

    def evaluate(model):
        states.append(copy.deepcopy(model.embedding.alpha.detach()))
        return next(scores)

    model = Model("autosrh")
    trainer = training.Trainer(model, loss, epochs=2, evaluations=2, evaluate=evaluate)
    history = trainer.fit(batches, lambda epoch: batches(500 + epoch))
    assert [one.stage for one in history] == ["warmup"] * 4 + ["search"] * 5 + ["retrain"] * 5
    torch.testing.assert_close(states[9], states[place])
    assert (states[9] == 1).all() == (place == 4)


def test_a_stage_can_end_by_itself_and_with_its_last_state():
    model = with_table(Searching(8))
    seen, scores, steps = [], iter(range(100, 0, -1)), []

    def evaluate(model):
        seen.append(model.embedding.weight.detach().clone())
        return float(next(scores))

    trainer = training.Trainer(
        model,
        loss,
        epochs=2,
        evaluations=2,
        evaluate=evaluate,
        patience=1,
        progress=lambda step, of: steps.append(step),
    )
    history = trainer.fit(batches)
    # Scores fall; patience ends the second stage, but neither it nor the best score has a say in the first.
    assert [(one.stage, one.epoch, one.step) for one in history] == [
        ("first", 0, 3), ("first", 0, 6), ("first", 1, 8), ("second", 0, 0), ("second", 0, 3),
        ("second", 0, 6),
    ]  # fmt: skip
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6]
    assert torch.equal(seen[3], seen[2]) and not torch.equal(seen[2], seen[0])
    assert torch.equal(model.embedding.weight, seen[3])


def test_a_stage_goes_on_until_all_tables_that_search_are_done():
    model = with_table(Searching(4))
    model.other, model.plain = Searching(9), Model("hash").embedding
    steps = []
    trainer = training.Trainer(model, loss, epochs=2, progress=lambda step, of: steps.append(step))
    trainer.fit(batches)
    assert steps == [*range(1, 10), *range(1, 13)]


def steps_of_optimizers(method, folder, last=None):
    """What optimizers of the table and of the head count at each step of a run, which may be cut off after one."""
    seen = []
    model = with_table(Staged()) if method == "staged" else Model(method)

    def see(step, of):
        state = [optimizer.state for optimizer in trainer.optimizers]
        seen.append([int(state[0][model.embedding.weight]["step"]), int(state[-1][model.last.weight]["step"])])
        return len(seen) != last

    trainer = training.Trainer(model, loss, epochs=2, progress=see, checkpoints=folder)
    with pytest.raises(KeyboardInterrupt) if last else contextlib.nullcontext():
        trainer.fit(batches)
    assert not trainer.moments
    return seen


@pytest.mark.parametrize(("method", "first"), [("staged", 13), ("pep", 1)])
def test_optimizers_go_on_with_parameters_that_stay(method, first, tmp_path):
    """The head's stay in every method; PEP's second stage has another table."""
    wanted = [[first, 13], [first + 1, 14]]
    assert steps_of_optimizers(method, tmp_path, last=14)[12:] == wanted
    # Goes on after the first stage, which alone has a checkpoint.
    assert steps_of_optimizers(method, tmp_path)[:2] == wanted


@pytest.mark.parametrize(
    ("second", "goes_on"),
    [
        (lambda found: torch.optim.Adam(found, lr=0.5), True),
        (lambda found: torch.optim.Adam(found, amsgrad=True), False),
        (lambda found: torch.optim.Adagrad(found), False),
        (lambda found: torch.optim.SGD(found, lr=0.1, momentum=0.9), False),
    ],
)
@pytest.mark.parametrize("has_files", [False, True])
def test_optimizers_go_on_only_where_they_are_alike(second, goes_on, has_files, tmp_path):
    """Another optimizer would look for what the first one does not keep."""
    model = with_table(Staged())
    made = iter([torch.optim.Adam, second, second])
    seen = []

    def see(step, of):
        state = trainer.optimizers[0].state[model.embedding.weight]
        seen.append(int(state["step"]) if "step" in state else None)
        return not has_files or len(seen) != 7

    trainer = training.Trainer(
        model, loss, optimizer=lambda found: next(made)(found), progress=see, checkpoints=tmp_path / "run" if has_files
        else None,
    )  # fmt: skip
    if has_files:
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(batches)
    trainer.fit(batches)
    first = 7 if goes_on else seen[-1] and 1
    assert seen[-6] == first


def test_patience_does_not_count_the_state_that_a_stage_began_with():
    scores = iter([9.0, 8.0, 7.0, 9.0, 1.0, 2.0, 1.5, 1.4, 3.0, 4.0])
    model = with_table(Staged())
    trainer = training.Trainer(model, loss, epochs=3, evaluations=2, evaluate=lambda model: next(scores), patience=2)
    history = trainer.fit(batches)
    assert [one.score for one in history if one.stage == "second"] == [9.0, 1.0, 2.0, 1.5, 1.4]


def test_stops_when_scores_stay_away():
    scores = iter([3.0, 2.0, 1.0, 9.0])
    _, _, history = fitted(evaluate=lambda model: next(scores), patience=2)
    assert len(history) == 3


def test_epochs_can_be_by_stage():
    model = Model("hash")
    trainer = training.Trainer(model, loss, epochs={"train": 3}, evaluate=score)
    assert len(trainer.fit(batches)) == 3


def test_without_a_score_the_last_state_is_kept():
    model = Model("hash")
    before = model.embedding.weight.values().clone()
    assert training.Trainer(model, loss).fit(batches) == []
    assert not torch.equal(before, model.embedding.weight.values())


def test_progress_can_stop():
    with pytest.raises(KeyboardInterrupt):
        fitted(progress=lambda step, of: step < 3)


def test_refuses_what_it_cannot_train():
    with pytest.raises(ValueError, match=r"no module of training\.embedding"):
        training.Trainer(torch.nn.Linear(2, 2), loss)
    with pytest.raises(ValueError, match="at least 1"):
        training.Trainer(Model(), loss, patience=0)
