"""The benchmark of scale: clicks that are generated, what is measured of a training, and runs that are cut off."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from sklearn.metrics import roc_auc_score  # noqa: E402

from embedcompress import cli, training  # noqa: E402
from embedcompress.bench import _generated, _lines, _peak, _scale_cell, scale  # noqa: E402
from embedcompress.bench._generated import Generated, effects, field_sizes  # noqa: E402

TINY = ["--rows", "300", "--batch", "64", "--samples", "1000", "--test-samples", "500", "--warm-up", "2",
        "--dimension", "4", "--head", "wdl"]  # fmt: skip
SETTINGS = scale.Settings(
    rows=(300,), methods=("full", "int8"), budgets=(0.5, 0.01), head="wdl", dimension=4, batch=64, samples=1000,
    test_samples=500, warm_up=2,
)  # fmt: skip


def request(**changed):
    return SETTINGS.requests()[0] | changed


# Clicks


@pytest.mark.parametrize("rows", [52, 53, 300, 100_000, 33_762_577, 10**9])
def test_fields_have_the_shape_of_criteo(rows):
    sizes = field_sizes(rows)
    assert sum(sizes) == rows and len(sizes) == 26 and min(sizes) >= 2
    assert np.argsort(sizes)[-1] == np.argsort(_generated.CRITEO_SIZES)[-1] or rows < 60
    if rows >= 100_000:
        share = np.array(sizes) / rows - np.array(_generated.CRITEO_SIZES) / sum(_generated.CRITEO_SIZES)
        assert np.abs(share).max() < 1e-3


def test_a_field_needs_two_ids():
    with pytest.raises(ValueError, match="rows must be at least 52"):
        field_sizes(51)


def test_batches_are_the_same_whenever_they_are_asked_for():
    data = Generated(1000, seed=3)
    first = data.batch("train", 7, 50)
    for one, other in zip(first, Generated(1000, seed=3).batch("train", 7, 50), strict=True):
        assert np.array_equal(one, other)
    for other in (data.batch("train", 8, 50), data.batch("test", 7, 50), Generated(1000, seed=4).batch("train", 7, 50)):
        assert not np.array_equal(first[0], other[0])
    assert first[0].dtype == np.int64 and first[1].dtype == np.float32
    assert first[0].shape == (50, 26) and first[1].shape == first[2].shape == (50,)


@pytest.mark.parametrize("skew", [_generated.SKEW, 0, 0.7, 1, 1.3, 4])
def test_ids_are_in_their_fields_and_fall_as_a_power_law(skew):
    data = Generated(2000, skew=skew)
    ids, _, _ = data.batch("train", 0, 100_000)
    starts = np.cumsum((0, *data.sizes))
    assert (ids >= starts[:-1]).all() and (ids < starts[1:]).all()
    # Four standard deviations, and one in a few thousand of so many ids is beyond.
    found, wanted = np.bincount(ids.ravel(), minlength=2000), data.counts(100_000)
    assert wanted.sum() == pytest.approx(26 * 100_000)
    assert (np.abs(found - wanted) <= 5 * np.sqrt(wanted) + 5).all()
    largest = wanted[starts[2] : starts[3]]
    rank = np.arange(len(largest)) + 1.5
    slope = np.polyfit(np.log(rank[3:]), np.log(largest[3:]), 1)[0]
    assert slope == pytest.approx(-skew, abs=0.02)


@pytest.mark.parametrize("skew", [0, 0.7, 1, _generated.SKEW, 4])
@pytest.mark.parametrize("size", [1, 2, 10, 10**8])
def test_the_ends_of_a_field_are_in_it(size, skew):
    ranks = _generated._ranks(np.array([[0.0], [np.nextafter(1.0, 0.0)]]), np.array([size]), skew)
    assert ranks[0, 0] == 0
    # Under the largest skew, no number below 1 is as near to it as the last of many ids.
    last = size - 1 - size // 10**6 if skew < 4 else min(size - 1, 10**5)
    assert last <= ranks[1, 0] <= size - 1


def test_effects_are_those_of_a_hash():
    """SplitMix64 in plain integers."""

    def reference(number, seed):
        bits = (number + (seed + 1) * 0x9E3779B97F4A7C15) % 2**64
        bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % 2**64
        bits ^= bits >> 31
        return (((bits >> 32) + (bits & 0xFFFFFFFF)) / 2**32 - 1) * 6**0.5

    for seed in (0, 5):
        assert effects(np.arange(20), seed).tolist() == pytest.approx([reference(one, seed) for one in range(20)])
    many = effects(np.arange(200_000), 0)
    assert many.mean() == pytest.approx(0, abs=0.02) and many.std() == pytest.approx(1, abs=0.02)


def test_labels_have_their_probabilities():
    data = Generated(1000)
    ids, labels, chances = data.batch("test", 0, 100_000)
    np.testing.assert_allclose(data.probabilities(ids), chances)
    logit = _generated.BIAS + _generated.SPREAD * effects(ids, 0).sum(1) / 26**0.5
    np.testing.assert_allclose(np.log(chances / (1 - chances)), logit, rtol=1e-6, atol=1e-9)
    for low in np.arange(0, 1, 0.2):
        here = (chances >= low) & (chances < low + 0.2)
        error = (chances[here] * (1 - chances[here])).sum() ** 0.5
        assert abs(labels[here].sum() - chances[here].sum()) <= 5 * error
    assert roc_auc_score(labels, chances) > 0.7


# Cells


def test_figures_of_a_cell():
    found = _scale_cell.run(request(dimension=4))["figures"]
    assert found["timed_steps"] == 16 - 2 and found["stages"] == 1
    for one in ("step_ms", "step_cpu_ms"):
        assert 0 < found[one]["p10"] <= found[one]["median"] <= found[one]["p90"]
    table = found["table_bytes"]
    # 64 rows of 26 ids: 16 bytes of indices and values each; the moments of Adam are two tables.
    assert table["parameters"] == found["stored_bytes"] == 300 * 16
    assert table["gradients"] == 64 * 26 * (8 + 16)
    assert table["optimizer"] == 2 * 300 * 16
    assert found["peak_bytes"] >= found["start_bytes"] > 10_000_000
    data = Generated(300)
    parts = [data.batch("test", 0, 500)]
    wanted = roc_auc_score(np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts]))
    assert found["bayes_auc"] == pytest.approx(wanted)
    assert found["auc"] < found["bayes_auc"] + 0.02


def test_dense_gradients_take_a_table():
    table = _scale_cell.run(request(gradients="dense"))["figures"]["table_bytes"]
    assert table["gradients"] == 300 * 16
    # Adam keeps the number of steps beside its moments.
    assert table["optimizer"] == 2 * 300 * 16 + 4


@pytest.mark.parametrize("method", ["deeplight", "autosrh", "mgqe"])
def test_methods_with_stages_or_counts(method):
    found = _scale_cell.run(request(method=method, budget=0.5, samples=640))["figures"]
    stages = len(training._registry.class_of(method).stages)
    assert found["stages"] == stages and found["timed_steps"] == stages * 8


def test_a_model_learns():
    found = _scale_cell.run(request(samples=20_000, test_samples=4000))["figures"]
    assert 0.6 < found["auc"] < found["bayes_auc"]


def test_batches_are_made_as_they_are_used(monkeypatch):
    order = []
    made, lost = Generated.batch, _scale_cell._loss
    monkeypatch.setattr(Generated, "batch", lambda self, part, *rest: order.append(part) or made(self, part, *rest))
    monkeypatch.setattr(_scale_cell, "_loss", lambda *arguments: order.append("step") or lost(*arguments))
    _scale_cell.run(request(samples=256))
    assert order == ["train", "step"] * 4 + ["test"]


def test_a_cell_is_the_same_again():
    first, second = (_scale_cell.run(request(method="hash", budget=0.5))["figures"] for _ in range(2))
    assert first["auc"] == second["auc"] and first["table_bytes"] == second["table_bytes"]


def test_refusals_and_divergence(monkeypatch):
    outcome = _scale_cell.run(request(method="int8", budget=0.01))
    assert "cannot meet a budget" in outcome["refused"] and outcome["floor"] > 0
    lost = _scale_cell._loss
    monkeypatch.setattr(_scale_cell, "_loss", lambda *arguments: lost(*arguments) * float("inf"))
    assert _scale_cell.run(request(samples=256)) == {"stopped": "training diverged: predictions are not finite"}


def test_bytes_of_sparse_gradients():
    weight = torch.nn.Parameter(torch.zeros(10, 3))
    torch.nn.functional.embedding(torch.tensor([1, 1, 2]), weight, sparse=True).sum().backward()
    optimizer = torch.optim.SparseAdam([weight])
    found = _scale_cell.training_bytes([weight], [torch.zeros(5, dtype=torch.int8)], [optimizer])
    assert found == {"parameters": 120, "buffers": 5, "gradients": 3 * (8 + 12), "optimizer": 0}
    optimizer.step()
    assert _scale_cell.training_bytes([weight], [], [optimizer])["optimizer"] == 240


# Runs


def test_requests():
    found = replace(SETTINGS, rows=(600, 300), seeds=(0, 1), budgets=(0.5, 0.1, 0.5)).requests()
    assert len({_lines.key(one) for one in found}) == len(found) == 2 * 2 * 3
    assert [one["rows"] for one in found] == [300] * 6 + [600] * 6
    assert {one["data"] for one in found} == {"generated"}


def test_a_run_goes_on(tmp_path, capsys):
    path = tmp_path / "scale.jsonl"
    arguments = ["bench", "scale", *TINY, "--methods", "full", "int8", "--budgets", "0.5", "0.01", "--out", str(path)]
    assert cli.main(arguments) in (0, None)
    out = capsys.readouterr().out
    assert "best AUC" in out and "refused" in out
    lines = _lines.read(path)
    assert [("figures" in line, "refused" in line) for line in lines] == [(True, False)] * 2 + [(False, True)]
    assert lines[0]["machine"]["versions"]["torch"] == torch.__version__
    # A run that was killed while it wrote the last line.
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n", 0, -1) + 1]
    path.write_bytes(whole + b'{"bench": "sc')
    cli.main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out) == lines
    assert path.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_process_that_dies_says_so(monkeypatch):
    monkeypatch.setattr(scale, "_work", _die)
    outcome = scale._outcome(request())
    assert outcome == {
        "refused": "the process was ended by signal 9: a system does so where memory is short", "floor": None,
    }  # fmt: skip
    monkeypatch.setattr(scale, "_work", _leave)
    assert scale._outcome(request())["refused"] == "the process ended with code 3"


def _die(request, connection):
    os.kill(os.getpid(), signal.SIGKILL)


def _leave(request, connection):
    os._exit(3)


def test_what_can_not_be_run_says_why():
    # 160 TB are more than a process has addresses for.
    outcome = scale._outcome(request(rows=10**13))
    assert outcome["floor"] is None
    assert outcome["refused"].startswith("RuntimeError: ") and "memory" in outcome["refused"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "20"], "rows must be at least 52"),
        (["--methods", "greedy"], "GREEDY works after training"),
        (["--head", "mf"], "head must be one of dlrm"),
        (["--gradients", "none"], "gradients must be one of sparse, dense"),
        (["--warm-up", "16"], "no more than 16 steps"),
        (["--seeds", "-1"], "seeds must be 0 or more"),
        (["--out", "nowhere/scale.jsonl"], "the folder 'nowhere' does not exist"),
    ],
)
def test_errors_of_the_command(arguments, message, tmp_path, capsys):
    out = tmp_path / "scale.jsonl"
    assert cli.main(["bench", "scale", "--out", str(out), *TINY, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_the_command_lists_cells(tmp_path, capsys):
    out = tmp_path / "scale.jsonl"
    cli.main(["bench", "scale", *TINY, "--methods", "hash", "--budgets", "0.5", "--out", str(out), "--list"])
    assert capsys.readouterr().out == "300 hash 50 % 0\n"
    assert not out.exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what is a process's own")
def test_the_peak_of_a_process_is_its_own():
    """What the process that began it had used does not count, as it does in `ru_maxrss`."""
    large = np.ones(200 << 20, np.uint8)
    code = "from embedcompress.bench._peak import peak_memory; print(peak_memory())"
    alone = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    more = code.replace(";", "; import numpy; numpy.ones(100 << 20, numpy.uint8);")
    with_it = int(subprocess.run([sys.executable, "-c", more], capture_output=True, check=True, text=True).stdout)
    assert with_it - alone == pytest.approx(100 << 20, rel=0.2)
    assert _peak.peak_memory() > len(large)


def test_results_that_are_committed(capsys):
    """They are those of the commands that the page names."""
    root = Path(__file__).resolve().parents[2]
    lines = _lines.parse((root / "docs" / "results" / "scale.jsonl").read_bytes(), Path("scale.jsonl"), "scale")
    text = (root / "docs" / "benchmark.md").read_text()
    listed = []
    for command in re.findall(r"^embedcompress (bench scale .* --out docs/results/scale.jsonl)$", text, re.MULTILINE):
        cli.main([*command.split(), "--list", "--json"])
        listed += json.loads(capsys.readouterr().out)
    assert {_lines.key(line["request"]) for line in lines} == {_lines.key(one) for one in listed}
    assert len(lines) == len(listed)
    for line in lines:
        if "figures" in line:
            assert line["figures"]["auc"] < line["figures"]["bayes_auc"]
