"""`progress=True`, wherever a call takes `progress`."""

import io

import numpy as np
import pytest

import embedcompress as ec
from embedcompress._progress import reporting


@pytest.fixture
def weight(rng):
    return rng.standard_normal((400, 16)).astype(np.float32)


@pytest.fixture
def bars(monkeypatch):
    """What bars were opened, and where each ended, as (text, done, total)."""
    tqdm = pytest.importorskip("tqdm")
    ended = []

    class Bar(tqdm.tqdm):
        def close(self):
            if not self.disable:
                ended.append((self.desc, self.n, self.total))
            super().close()

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    return ended


def test_what_a_caller_gives():
    def progress(done, total):
        return None

    with reporting(progress, "x", "rows") as report:
        assert report is progress
    for nothing in (None, False):
        with reporting(nothing, "x", "rows") as report:
            assert report is None


def test_a_bar_takes_each_count_and_starts_again_with_a_stage(bars):
    with reporting(True, "x", "rows") as report:
        for done in (1, 5, 10):
            assert report(done, 10) is True
        assert report(2, 0) is True
    assert bars == [("x", 2, None)]


def test_calls_that_take_long_show_bars(bars, weight, tmp_path):
    table = ec.compress(weight, progress=True)
    ec.compress_to_file(tmp_path / "a", {"t": weight}, progress=True)
    ec.evaluate(table, weight, progress=True)
    ec.recommend(weight, 0.3, sample=100, progress=True)
    table.save(tmp_path / "b", progress=True)
    ec.save(tmp_path / "c", {"t": table}, digests=True, progress=True)
    ec.load(tmp_path / "c", verify=True, progress=True).warm_up(progress=True)
    ec.verify(tmp_path / "c", progress=True)
    table.aligned(64, progress=True)
    names = [name for name, _, _ in bars]
    wanted = ["compress", "compress", "evaluate", "recommend", "save", "save", "verify", "warm up", "verify", "align"]
    assert names == wanted
    assert all(done == total for _, done, total in bars)


def test_training_and_sensitivities_show_bars(bars):
    torch = pytest.importorskip("torch")
    from embedcompress import hessian, nn, training

    model = torch.nn.Sequential(training.embedding("robe", 50, 4, budget=0.5), torch.nn.Linear(4, 1))
    batches = [(torch.arange(10), torch.zeros(10, 1))] * 3

    def loss(model, batch):
        return torch.nn.functional.mse_loss(model(batch[0]), batch[1])

    training.Trainer(model, loss, progress=True).fit(lambda epoch: batches)
    plain = torch.nn.Sequential(torch.nn.Embedding(50, 4), torch.nn.Linear(4, 1))
    hessian.sensitivity(plain, loss, batches, runs=1, progress=True)
    hessian.surface(plain, loss, batches, plain[1], points=3, progress=True)
    hessian.measure(plain, choices=(2, 4), progress=True)
    nn.compress_model_(plain, minimum_rows=1, progress=True)
    assert [name for name, _, _ in bars] == ["train", "sensitivity", "loss surface", "measure", "compress"]
    assert all(done == total for _, done, total in bars)
