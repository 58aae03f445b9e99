"""A training that is killed at any step goes on from its checkpoint to the same table, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_training_methods import METHODS
from test_training_trainer import Model, Searching, batches, loss, score, with_table

from embedcompress import training
from embedcompress.training._batches import Endless, begun
from embedcompress.training._sparse import SAMPLE

EPOCHS, EACH = 2, 6


class StoppedError(Exception):
    """Of a run that ends early."""


class Stop:
    """Ends a run at its n-th step, counted over all stages."""

    def __init__(self, last):
        self.last, self.steps = last, 0

    def __call__(self, step, total):
        self.steps += 1
        if self.steps == self.last:
            raise StoppedError


def noisy(model, batch):
    """A loss that draws from torch's generator, as dropout does."""
    return loss(model, batch) * (0.5 + torch.rand(()))


def noisy_score(model):
    """A score that draws, too, and often is not the best."""
    return score(model) + 0.3 * float(torch.rand(()))


def stream(epoch):
    yield from batches(epoch, EACH)


def fitted(method, folder=None, **options):
    model = Model(method)
    chosen = {"evaluate": noisy_score, "epochs": EPOCHS, "evaluations": 3, "checkpoint_steps": 3 if folder else None}
    trainer = training.Trainer(model, noisy, checkpoints=folder, **chosen | options)
    history = trainer.fit(stream, lambda epoch: batches(500 + epoch, 4))
    return model, [(one.stage, one.epoch, one.step, one.score) for one in history]


def stored(model, folder, name):
    """The frozen table's bytes, and the head's."""
    path = folder / f"{name}.safetensors"
    model.embedding.freeze().save(path)
    return path.read_bytes(), [parameter.tolist() for parameter in model.last.parameters()]


@pytest.mark.parametrize("method", list(METHODS))
def test_ends_like_a_run_that_was_not_stopped(method, tmp_path):
    model, wanted_history = fitted(method)
    wanted = stored(model, tmp_path, "whole")
    steps = EPOCHS * EACH * len(model.embedding.stages)
    places = range(1, steps + 1) if method in ("full", "dedup") else (3, 8, steps - EACH - 2, steps)
    for last in places:
        folder = tmp_path / str(last)
        with pytest.raises(StoppedError):
            fitted(method, folder, progress=Stop(last))
        resumed = Stop(0)
        model, history = fitted(method, folder, progress=resumed)
        # No more than what came after the last checkpoint, which are three steps apart, is done again.
        assert resumed.steps == steps - 3 * ((last - 1) // 3)
        assert history == wanted_history
        assert stored(model, tmp_path, last) == wanted
        assert sorted(os.listdir(folder)) == [f"stage-{index}.pt" for index in range(len(model.embedding.stages))]


@pytest.mark.parametrize("options", [{"patience": 1}, {"patience": 2, "steps_per_epoch": EACH}, {"evaluate": None}])
def test_stops_early_as_without(options, tmp_path):
    for method in ("hash", "dedup"):
        model, wanted_history = fitted(method, **options)
        wanted = stored(model, tmp_path, "whole")
        for last in range(1, 9):
            folder = tmp_path / f"{method}-{last}"
            with pytest.raises(StoppedError):
                fitted(method, folder, progress=Stop(last), checkpoint_steps=1, **options)
            model, history = fitted(method, folder, checkpoint_steps=2, **options)
            assert history == wanted_history
            assert stored(model, tmp_path, last) == wanted


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_stage_that_ends_by_itself_is_evaluated_once(last, tmp_path):
    """Where its last step has a checkpoint, the evaluation that closes the stage must not be missing."""

    def run(folder=None, last=0):
        torch.manual_seed(0)
        model = with_table(Searching(5))
        evaluations = Stop(last)

        def evaluate(model):
            evaluations(0, 0)
            return score(model)

        trainer = training.Trainer(model, loss, evaluate=evaluate, checkpoints=folder, checkpoint_steps=folder and 1)
        history = trainer.fit(batches)
        return model, [(one.stage, one.step, one.score, one.counts) for one in history]

    whole, wanted = run()
    assert [(stage, step) for stage, step, _, _ in wanted] == [("first", 5), ("second", 0), ("second", 6)]
    with pytest.raises(StoppedError):
        run(tmp_path, last)
    resumed, history = run(tmp_path)
    assert history == wanted
    assert torch.equal(resumed.embedding.weight, whole.embedding.weight)


@pytest.mark.parametrize("method", ["deeplight", "gmp"])
@pytest.mark.parametrize("sparse", [False, True])
def test_large_tables_that_are_pruned_go_on(method, sparse, tmp_path):
    """Rows that were moved since the last threshold are known again."""
    rows = 20_000

    def run(folder=None, last=0):
        torch.manual_seed(0)
        module = training.embedding(method, rows, 8, budget=0.2, sparse=sparse, interval=3)
        assert module.weight.numel() > SAMPLE
        losses = []

        def loss_of(model, ids):
            found = (model(ids) - 0.01).square().sum()
            losses.append(float(found.detach()))
            return found

        def found(epoch):
            random = torch.Generator().manual_seed(epoch)
            return ((torch.rand(20, 300, generator=random) ** 3) * rows).long()

        training.Trainer(
            module,
            loss_of,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.05),
            checkpoints=folder,
            checkpoint_steps=folder and 5,
            progress=Stop(last),
        ).fit(found)
        return module.weight.detach(), losses

    wanted, losses = run()
    for last in (11, 17):
        with pytest.raises(StoppedError):
            run(tmp_path / str(last), last)
        found, left = run(tmp_path / str(last))
        assert left == losses[last // 5 * 5 :]
        assert torch.equal(found, wanted)


def test_a_checkpoint_that_lacks_something_is_named(tmp_path):
    def run(last=0):
        training.Trainer(Model("dedup"), loss, checkpoints=tmp_path, checkpoint_steps=2, progress=Stop(last)).fit(
            batches
        )

    with pytest.raises(StoppedError):
        run(9)
    for path, name in ((tmp_path / "stage-1-part.pt", "optimizers"), (tmp_path / "stage-0.pt", "moments")):
        state = torch.load(path, weights_only=True)
        del state[name]
        torch.save(state, path)
        with pytest.raises(ValueError, match=rf"{path.name}' is no checkpoint .*: it lacks {name}"):
            run()
        path.unlink() if name == "optimizers" else None


def test_a_run_may_be_stopped_again_and_again(tmp_path):
    for method in ("cafe", "optembed"):
        model, wanted_history = fitted(method)
        wanted = stored(model, tmp_path, "whole")
        for _ in range(100):
            try:
                model, history = fitted(method, tmp_path / method, progress=Stop(4), checkpoint_steps=2)
                break
            except StoppedError:
                pass
        assert history == wanted_history
        assert stored(model, tmp_path, "resumed") == wanted


def test_sparse_gradients_go_on_too(tmp_path):
    def run(folder=None, last=0):
        model = Model("int8", sparse=True)
        training.Trainer(
            model, noisy, epochs=2, checkpoints=folder, checkpoint_steps=folder and 3, progress=Stop(last)
        ).fit(stream)
        return model

    wanted = stored(run(), tmp_path, "whole")
    with pytest.raises(StoppedError):
        run(tmp_path / "run", 8)
    assert stored(run(tmp_path / "run"), tmp_path, "resumed") == wanted


def test_best_states_are_files_where_there_is_a_folder(tmp_path):
    scores = [1.0, 5.0, 2.0, 3.0]
    left = iter(scores)
    seen = []

    def evaluate(model):
        seen.append(sorted(os.listdir(tmp_path)) if tmp_path.exists() else [])
        return next(left)

    model = Model("hash")
    trainer = training.Trainer(
        model, loss, epochs=2, evaluations=2, evaluate=evaluate, checkpoints=tmp_path,
        progress=lambda step, total: states.append(model.last.weight.tolist()),
    )  # fmt: skip
    states = []
    trainer.fit(batches)
    assert seen == [[], ["stage-0-best-3.pt"], ["stage-0-best-6.pt"], ["stage-0-best-6.pt"]]
    assert model.last.weight.tolist() == states[5]
    assert os.listdir(tmp_path) == ["stage-0.pt"]


def test_the_best_state_of_the_checkpoint_stays(tmp_path):
    """What was the best when the checkpoint was saved is needed even where there was a better one since."""
    scores = {2: 1.0, 4: 2.0}

    def run(last, better):
        model = Model("hash")
        position = Stop(last)

        def evaluate(model):
            return better.get(position.steps, 0.0)

        training.Trainer(
            model, loss, evaluations=3, evaluate=evaluate, checkpoints=tmp_path, checkpoint_steps=3, progress=position
        ).fit(batches)

    with pytest.raises(StoppedError):
        run(5, scores)
    assert sorted(os.listdir(tmp_path)) == ["stage-0-best-2.pt", "stage-0-best-4.pt", "stage-0-part.pt"]
    # A score may be of something else than the state: then it is the state of the checkpoint.
    run(0, {})
    assert os.listdir(tmp_path) == ["stage-0.pt"]


def test_batches_that_are_not_there_any_more(tmp_path):
    model = Model("hash")
    with pytest.raises(StoppedError):
        training.Trainer(model, loss, checkpoints=tmp_path, checkpoint_steps=2, progress=Stop(5)).fit(batches)
    trainer = training.Trainer(model, loss, checkpoints=tmp_path)
    with pytest.raises(ValueError, match="saved after 4 batches of an epoch that now has 3"):
        trainer.fit(lambda epoch: batches(epoch, 3))


def test_endless_batches_go_on_where_they_were():
    lengths = [3, 2, 4]

    def found(epoch):
        return [(epoch, number) for number in range(lengths[epoch % 3])]

    whole = Endless(found)
    wanted = [next(whole) for _ in range(20)]
    for start in range(20):
        before = Endless(found)
        for _ in range(start):
            next(before)
        after = Endless(found, before.epoch, before.done)
        assert [next(after) for _ in range(20 - start)] == wanted[start:]
    assert list(begun(iter("abc"), 2)) == ["c"]
    with pytest.raises(ValueError, match="no validation batches"):
        next(Endless(lambda epoch: []))


def test_refuses_numbers_that_make_no_checkpoints(tmp_path):
    for name in ("steps_per_epoch", "checkpoint_steps", "evaluations", "patience"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
            training.Trainer(Model(), loss, checkpoints=tmp_path, **{name: 0})
    with pytest.raises(ValueError, match="checkpoint_steps needs checkpoints"):
        training.Trainer(Model(), loss, checkpoint_steps=2)


KILLED = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import test_training_checkpoints as here
folder, method, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
class Kill(here.Stop):
    def __call__(self, step, total):
        self.steps += 1
        if self.steps == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
model, history = here.fitted(method, folder / "run", progress=Kill(last), checkpoint_steps=2)
model.embedding.freeze().save(folder / "resumed.safetensors")
(folder / "head.json").write_text(json.dumps([one.tolist() for one in model.last.parameters()]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(("method", "last"), [("full", 3), ("int8", 8), ("compo", 5), ("dedup", 18)])
def test_goes_on_after_being_killed(method, last, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        table, head = stored(fitted(method)[0], tmp_path, "whole")
    finally:
        torch.set_num_threads(threads)
    command = [sys.executable, "-c", KILLED, str(tmp_path), method]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    killed = subprocess.run([*command, str(last)], env=environment, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert "stage-0-part.pt" in os.listdir(tmp_path / "run") or method == "dedup"
    subprocess.run([*command, "0"], check=True, env=environment, timeout=300)
    assert (tmp_path / "resumed.safetensors").read_bytes() == table
    assert json.loads((tmp_path / "head.json").read_text()) == head
