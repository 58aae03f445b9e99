"""The training benchmark: configurations, cells, and runs that are cut off."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from embedcompress import cli, training  # noqa: E402
from embedcompress.bench import _clicks, _data, _lines, _train_cell, _train_config, train  # noqa: E402
from embedcompress.bench._heads import HEADS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TIMES = ("train_seconds", "freeze_seconds", "lookup_ns_per_row", "peak_bytes")
ARGUMENTS = ["--data", "movielens", "--heads", "mf", "--methods", "full", "hash", "dpq", "int16", "--budgets", "0.3",
             "0.02", "--epochs", "1", "--batch", "4000", "--rate", "0.03"]  # fmt: skip


def clicks(rows=3000, numbers=0, seed=0):
    """Clicks that depend on two fields, and on the numbers."""
    random = np.random.default_rng(seed)
    columns = {"a": random.integers(0, 40, rows), "b": random.zipf(1.5, rows) % 200}
    dense = {f"n{i}": random.standard_normal(rows) for i in range(numbers)}
    chance = ((columns["a"] * 7 + columns["b"] * 3) % 10 < 3) + sum(dense.values(), np.zeros(rows))
    labels = chance + 0.3 * random.standard_normal(rows) > 0.5
    return _clicks.split("small", columns, labels, np.arange(rows), (0.8, 0.1), dense)


def request(**changed):
    found = _train_config.Config((_train_config.Grid(("flights",), methods=("full",)),)).requests()[0]
    return found | {"batch": 64, "dimension": 8, "rate": 1e-2} | changed


def comparable(lines):
    """What must be the same in two runs."""
    return [
        (line["request"], {name: value for name, value in line.get("figures", {}).items() if name not in TIMES},
         line.get("refused"))
        for line in lines
    ]  # fmt: skip


# Configurations


def test_requests_of_a_grid():
    grid = _train_config.Grid(
        ("flights",), heads=("dlrm", "dcn"), methods=("full", "tt"), budgets=(0.5, 0.1), seeds=(0, 1)
    )
    found = _train_config.Config((grid, grid)).requests()
    assert len(found) == 2 * 2 * 3
    assert [one["budget"] for one in found[:3]] == [1.0, 0.5, 0.1]
    assert {one["seed"] for one in found[:6]} == {0}
    assert len({_lines.key(one) for one in found}) == len(found)


def test_tables_with_an_optimizer_of_their_own():
    data = clicks()
    own = {"name": "RowwiseAdagrad", "lr": 0.1}
    values = {
        "data": ["flights"],
        "methods": ["full", "INT4"],
        "options": {"full": {"dtype": "bf16"}},
        "optimizer": own,
    }
    config = _train_config.checked(_train_config.Config((_train_config.grid(values, "grid 1"),)))
    full, *others = config.requests()
    assert full["optimizer"] == own and full["options"] == {"dtype": "bf16"}
    assert {one["method"] for one in others} == {"int4"}
    figures = _train_cell.run(request(method="int4", budget=1.0, optimizer=own), data)["figures"]
    assert figures["training_bytes"] < 0.4 * 4 * 8 * data.rows
    assert figures["frozen_apart"] < 1e-6
    for changed, message in [
        ({"optimizer": {"name": "Lion", "lr": 0.1}}, "grid 1: optimizer: name must be one of SGD, Adagrad, "),
        ({"optimizer": {"name": "SGD"}}, "grid 1: optimizer: SGD needs lr"),
        ({"optimizer": {"name": "SGD", "lr": -1}}, "grid 1: optimizer: lr must be finite"),
        (
            {"optimizer": {"name": "SGD", "lr": 0.1, "betas": [0, 0]}},
            "SGD has no betas; it has lr, weight_decay, round",
        ),
        ({"methods": ["dhe"]}, "grid 1: optimizer: dhe takes none of its own"),
        ({"methods": []}, "grid 1: optimizer: not all methods take one"),
        ({"optimizer": 0.1}, "grid 1: optimizer is 0.1, not a table"),
    ]:
        with pytest.raises(ValueError, match=message):
            _train_config.checked(_train_config.Config((_train_config.grid(values | changed, "grid 1"),)))


def test_all_methods_by_default():
    names = {one["method"] for one in _train_config.Config((_train_config.Grid(("flights",)),)).requests()}
    assert {"full", "hash", "robe", "cafe", "autosrh"} <= names


def test_a_toml_file(tmp_path):
    path = tmp_path / "bench.toml"
    path.write_text(
        '[[grid]]\ndata = ["flights"]\nmethods = ["dpq"]\nrate = 1\nbudgets = [0.1]\n'
        'options = { dpq = { kind = "sx" } }\n'
        '[[grid]]\ndata = ["movielens"]\nheads = ["mf"]\nmethods = ["hash"]\nsplit = "temporal"\n'
    )
    found = _train_config.read(path).requests()
    assert [one["data"] for one in found] == ["flights", *["movielens"] * 3]
    assert found[0]["options"] == {"kind": "sx"}
    assert found[1]["split"] == "temporal"


def test_configurations_that_are_committed(tmp_path):
    benchmark = _train_config.read(ROOT / "python" / "benchmarks" / "train.toml").requests()
    assert {one["head"] for one in benchmark} == set(HEADS)
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "benchmark.md").read_text(), re.DOTALL)
    path = tmp_path / "mine.toml"
    path.write_text(text)
    found = _train_config.read(path)
    assert found.requests()[0]["source"]["fields"][-1] == "item x country"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no [[grid]]"),
        ("[[grid]", "bench.toml"),
        ("x = 1", "unknown table 'x'"),
        ("[[grid]]\nheads = ['dlrm']", "grid 1: data is missing"),
        ("[[grid]]\ndata = ['nowhere']", "grid 1: data: 'nowhere' is none of flights, movielens"),
        ("[[grid]]\ndata = ['flights']\nheads = ['cnn']", "grid 1: heads: 'cnn' is none of dlrm"),
        ("[[grid]]\ndata = ['flights']\nmethods = ['greedy']", "grid 1: methods: GREEDY works after training"),
        ("[[grid]]\ndata = ['flights']\nbudgets = [2]", "a budget is a share of the f32 size"),
        ("[[grid]]\ndata = ['flights']\nepochs = 1.5", "grid 1: epochs is 1.5, not a whole number"),
        ("[[grid]]\ndata = ['flights']\nbatch = 0", "grid 1: batch must be above 0"),
        ("[[grid]]\ndata = ['flights']\nsplit = 'odd'", "grid 1: split: 'odd'"),
        ("[[grid]]\ndata = ['flights']\nsteps = 3", "grid 1: unknown setting 'steps'"),
        ("[[grid]]\ndata = ['mine']\n[data.mine]\nreader = 'tape'", "data 'mine': reader must be one of"),
        ("[[grid]]\ndata = ['flights']\n[data.flights]\nreader = 'flights'", "comes from a package"),
    ],
)
def test_configurations_that_can_not_be(tmp_path, text, message):
    path = tmp_path / "bench.toml"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        _train_config.read(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


# Cells


@pytest.mark.parametrize("head", [name for name in HEADS if name != "mf"])
@pytest.mark.parametrize("numbers", [0, 3])
def test_heads_learn(head, numbers):
    data = clicks(numbers=numbers)
    figures = _train_cell.run(request(head=head, epochs=4), data)["figures"]
    assert figures["auc"] > 0.75
    assert figures["frozen_apart"] < 1e-6
    assert figures["stored_bytes"] == 4 * 8 * data.rows
    assert figures["ratio"] == 1


def test_numbers_are_used():
    data = clicks(numbers=3)
    parts = {
        name: replace(getattr(data, name), numbers=getattr(data, name).numbers[:, :0])
        for name in ("train", "validation", "test")
    }
    without = replace(data, numbers=(), **parts)
    found = [_train_cell.run(request(epochs=2), one)["figures"]["auc"] for one in (data, without)]
    assert found[0] > found[1] + 0.1


def test_a_cell_is_the_same_again():
    data = clicks()
    one = request(method="hash", budget=0.4)
    found = [{"request": one, **_train_cell.run(one, data)} for _ in range(2)]
    assert comparable(found[:1]) == comparable(found[1:])
    other = {"request": one, **_train_cell.run(one | {"seed": 1}, data)}
    assert comparable([other]) != comparable(found[:1])


def test_refusals_name_the_least_bytes():
    data = clicks()
    outcome = _train_cell.run(request(method="int16", budget=0.1), data)
    assert outcome["floor"] == data.rows * 8 * 2 + 8
    assert "cannot meet a budget" in outcome["refused"]


@pytest.mark.parametrize("method", ["dedup", "optembed", "pep", "autodim", "hash"])
def test_training_bytes_are_those_of_the_stage_with_the_most(method):
    data = clicks()
    one = request(method=method, budget=0.5, evaluations=1)
    figures = _train_cell.run(one, data)["figures"]
    begun = training.embedding(method, data.rows, 8, budget=0.5, fields=data.sizes)
    begun.enter(begun.stages[0])
    assert figures["training_bytes"] >= begun.training_bytes >= 0.5 * 4 * 8 * data.rows


def test_options_make_counts_of_methods_that_use_them(monkeypatch):
    seen = {}
    made = training.embedding

    def spy(method, *arguments, **keywords):
        seen[method] = keywords["counts"] is not None
        return made(method, *arguments, **keywords)

    monkeypatch.setattr(training, "embedding", spy)
    data = clicks(400)
    for method, options in (("cafe", {"interval": 5}), ("dpq", {"kind": "sx"}), ("autosrh", {}), ("hash", {})):
        assert "figures" in _train_cell.run(request(method=method, budget=0.6, options=options), data)
    assert seen == {"cafe": True, "dpq": False, "autosrh": True, "hash": False}


def test_divergence_is_said():
    outcome = _train_cell.run(request(rate=1e30), clicks())
    assert outcome == {"stopped": "training diverged: predictions are not finite"}


def test_data_is_kept_for_other_processes(tmp_path):
    data = clicks(numbers=2)
    _data.save(data, tmp_path)
    found = _data.load(tmp_path)
    assert (found.name, found.fields, found.sizes, found.numbers) == ("small", ("a", "b"), data.sizes, ("n0", "n1"))
    for part in ("train", "validation", "test"):
        for field in ("ids", "numbers", "labels"):
            assert (getattr(getattr(found, part), field) == getattr(getattr(data, part), field)).all()


# Runs


def run(path, *arguments):
    cli.main(["bench", "train", *ARGUMENTS, "--out", str(path), *arguments])
    return _lines.read(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole") / "train.jsonl")


def test_a_run_has_a_line_for_each_cell(whole, tmp_path, capsys):
    assert [(line["request"]["method"], line["request"]["budget"]) for line in whole] == [
        ("full", 1.0), ("hash", 0.3), ("hash", 0.02), ("dpq", 0.3), ("dpq", 0.02), ("int16", 0.3), ("int16", 0.02),
    ]  # fmt: skip
    for line in whole:
        assert line["machine"]["versions"]["torch"] == torch.__version__
        assert ("figures" in line) != ("refused" in line)
        if "figures" in line:
            assert line["figures"]["stored_bytes"] <= line["request"]["budget"] * 4 * 16 * 2625
            assert line["figures"]["train_seconds"] > 0
    assert whole[0]["figures"]["auc"] > 0.7
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in whole))
    start = time.monotonic()
    # Nothing is left to run: cells are printed as they are in the file.
    run(path, "--json")
    assert json.loads(capsys.readouterr().out) == whole
    assert time.monotonic() - start < 5


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_run_that_was_killed_goes_on(whole, tmp_path):
    path = tmp_path / "train.jsonl"
    command = [
        sys.executable,
        "-m",
        "embedcompress.cli",
        "bench",
        "train",
        *ARGUMENTS,
        "--out",
        str(path),
        "--jobs",
        "2",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = path.read_bytes()
    path.write_bytes(done + done[: len(done) // 3].rpartition(b"\n")[2] + b'{"bench": "tra')
    # Cells that were running end with the process that started them.
    deadline = time.monotonic() + 20
    while _in_session(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    again = run(path)
    assert comparable(again) == comparable(whole)
    kept = [json.loads(line) for line in done.splitlines()]
    assert all(line in again for line in kept)


def _in_session(session):
    found = subprocess.run(["ps", "-o", "pid=,stat=", "-s", str(session)], capture_output=True, text=True, check=False)
    return [line for line in found.stdout.splitlines() if "Z" not in line]


def test_two_runs_do_not_write_to_one_file(tmp_path):
    path = tmp_path / "train.jsonl"
    with _lines.Lines(path, "train"), pytest.raises(ValueError, match="another run is writing"):
        _lines.Lines(path, "train")


def test_cells_that_fail_are_named_and_others_run(tmp_path, monkeypatch):
    grid = _train_config.Grid(("movielens",), heads=("mf",), methods=("hash", "tt"), budgets=(0.2,), batch=4000)
    good = _train_config.Config((grid,))
    broken = _train_config.Config((_train_config.Grid(**{**vars(grid), "options": {"tt": {"rank": 1}}}),))
    path = tmp_path / "train.jsonl"
    with pytest.raises(RuntimeError, match=r"(?s)1 cells failed:.*method tt, budget 0.2, seed 0.*no option 'rank'"):
        train.run(broken, path)
    assert [line["request"]["method"] for line in _lines.read(path)] == ["hash"]
    before = path.read_text()
    found = train.run(good, path, jobs=1)
    assert [line["request"]["method"] for line in found] == ["hash", "tt"]
    assert path.read_text().startswith(before)


def test_heads_that_can_not_take_the_data(tmp_path):
    config = _train_config.Config((_train_config.Grid(("flights",), heads=("mf",), methods=("hash",)),))
    with pytest.raises(ValueError, match="'flights' under the head 'mf': matrix factorisation has two fields"):
        train.run(config, tmp_path / "train.jsonl")


def test_lines_of_something_else(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"bench": "table", "request": {}, "machine": {}, "figures": {}}\n')
    with pytest.raises(ValueError, match="line 1: a result of bench table, not of bench train"):
        _lines.Lines(path, "train")
    path.write_text('{"bench": "train"}\n')
    with pytest.raises(ValueError, match=r"lines\.jsonl', line 1: not a result of a benchmark"):
        _lines.read(path)


def test_the_estimate_learns_from_cells_that_are_alike():
    def line(method, budget, seconds):
        return {"request": {"data": "d", "head": "h", "method": method, "budget": budget}, "seconds": seconds}

    estimate = train.Estimate()
    assert estimate.seconds([line("tt", 0.1, 0)["request"]]) is None
    for one in (line("tt", 0.1, 10), line("tt", 0.5, 20), line("hash", 0.1, 3)):
        estimate.learn(one)
    asked = [line("tt", 0.1, 0), line("tt", 0.01, 0), line("robe", 0.1, 0)]
    assert [estimate.seconds([one["request"]]) for one in asked] == [10, 15, 11]


# The command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --data, or --config"),
        (["--data", "elsewhere"], "'elsewhere' is none of flights, movielens"),
        (["--data", "flights", "--config", "x.toml"], "--data can't be given beside --config"),
        (["--config", "x.toml"], "x.toml"),
        (["--data", "flights", "--jobs", "0"], "--jobs must be at least 1"),
    ],
)
def test_errors_of_the_command(arguments, message, tmp_path, capsys):
    assert cli.main(["bench", "train", *arguments, "--out", str(tmp_path / "train.jsonl")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "train.jsonl").exists()


def test_the_command_lists_cells(tmp_path, capsys):
    cli.main(["bench", "train", *ARGUMENTS, "--out", str(tmp_path / "x.jsonl"), "--list"])
    assert capsys.readouterr().out.splitlines()[1] == "movielens mf hash 0.3 0"
    assert not (tmp_path / "x.jsonl").exists()
