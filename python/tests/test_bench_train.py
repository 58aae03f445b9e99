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
        ({"optimizer": {"name": "Lion", "lr": 0.1}}, "grid 1: optimizer: name must be one of Adam, Adagrad, SGD, Row"),
        ({"optimizer": {"name": "SGD", "own": True}}, "grid 1: optimizer: SGD needs lr"),
        ({"optimizer": {"name": "SGD", "lr": -1, "own": True}}, "grid 1: optimizer: lr must be finite"),
        (
            {"optimizer": {"name": "SGD", "lr": 0.1, "betas": [0, 0], "own": True}},
            "SGD has no betas; it has lr, weight_decay, round",
        ),
        ({"optimizer": {"name": "Adam", "lr": 0.1, "own": True}}, "optimizer: name must be one of SGD, Adagrad, Row"),
        ({"optimizer": {"name": "SGD", "lr": 0.1, "own": 1}}, "optimizer: own must be true or false, not 1"),
        ({"methods": ["dhe"]}, "grid 1: optimizer: dhe takes none of its own"),
        ({"methods": []}, "grid 1: optimizer: not all methods take one"),
        ({"optimizer": 0.1}, "grid 1: optimizer is 0.1, not a table"),
    ]:
        with pytest.raises(ValueError, match=message):
            _train_config.checked(_train_config.Config((_train_config.grid(values | changed, "grid 1"),)))


def checked(**values):
    return _train_config.checked(_train_config.Config((_train_config.grid({"data": ["flights"]} | values, "grid 1"),)))


@pytest.mark.parametrize("name", ["Adam", "Adagrad", "SGD"])
@pytest.mark.parametrize("sparse", [False, True])
def test_optimizers_of_torch_by_name(name, sparse):
    """Cells are what a trainer of one's own with these optimizers gives."""
    data = clicks(1000)
    given = {"optimizer": {"name": name, "lr": 0.02}} | ({"sparse": True} if sparse else {})
    (one,) = checked(methods=["robe"], budgets=[0.5], batch=64, dimension=8, rate=1e-2, **given).requests()
    assert one["optimizer"] == given["optimizer"] and one.get("sparse", False) == sparse
    figures = _train_cell.run(one, data)["figures"]
    assert figures == figures | {
        name: value for name, value in _train_cell.run(one, data)["figures"].items() if name not in TIMES
    }
    module = training.embedding("robe", data.rows, 8, budget=0.5, fields=data.sizes, sparse=sparse)
    torch.manual_seed(0)
    model = HEADS["dlrm"](module, len(data.sizes), 8, 0, 0.0)
    kind = torch.optim.SparseAdam if sparse and name == "Adam" else getattr(torch.optim, name)

    def evaluate(model):
        found, labels = _train_cell.predicted(model, data.validation)
        return _train_cell.roc_auc_score(labels, found)

    training.Trainer(
        model,
        _train_cell._loss,
        optimizer=lambda parameters: kind(parameters, lr=0.02),
        head_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
        evaluate=evaluate,
        evaluations=4,
        patience=3,
        steps_per_epoch=-(-len(data.train) // 64),
    ).fit(lambda epoch: _train_cell._shuffled(data.train, 64, 0, epoch))
    found, labels = _train_cell.predicted(model, data.test)
    assert figures["auc"] == pytest.approx(_train_cell.roc_auc_score(labels, found), abs=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": {"name": "Adagrad"}}, "grid 1: optimizer: Adagrad needs lr"),
        ({"optimizer": {"name": "Adam", "lr": -1}}, "grid 1: optimizer: lr must be finite and not negative, not -1"),
        ({"optimizer": {"name": "Adam", "lr": float("inf")}}, "optimizer: lr must be finite and not negative, not inf"),
        ({"optimizer": {"name": "Adam", "lr": True}}, "optimizer: lr must be a number, not True"),
        ({"optimizer": {"name": "SGD", "lr": "x"}}, "optimizer: lr must be a number, not str"),
        ({"optimizer": {"name": "Adam", "lr": 0.1, "betas": 0.9}}, "optimizer: betas must be two numbers, not 0.9"),
        ({"optimizer": {"name": "Adam", "lr": 0.1, "betas": [0.9, 1]}}, "betas must be at least 0 and below 1"),
        ({"optimizer": {"name": ["Adam"], "lr": 0.1}}, r"optimizer: name must be one of .*, not \['Adam'\]"),
        ({"optimizer": {"name": ["SGD"], "lr": 0.1, "own": True}}, r"name must be one of .*, not \['SGD'\]"),
        ({"optimizer": {"name": "RowwiseAdam", "lr": True}, "methods": ["robe"]}, "lr must be a number, not True"),
        ({"optimizer": {"name": "RowwiseAdam", "lr": 1, "own": False}, "methods": ["robe"]}, "own can't be false"),
        ({"optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9}}, "SGD has no momentum; it has lr, weight_decay"),
        (
            {"optimizer": {"name": "Adam", "lr": 0.1, "weight_decay": 0.1}, "sparse": True},
            "Adam has no weight_decay for sparse gradients",
        ),
        ({"sparse": 1}, "sparse is 1, not true or false"),
        ({"trials": [0.1]}, r"trials is \[0.1\], not a list of tables"),
        ({"trials": [{"name": "Adam", "lr": 0.1}], "optimizer": {"name": "SGD", "lr": 1}}, "given beside trials"),
        ({"trial_budget": 0.1}, "grid 1: trial_budget has no effect without trials"),
        ({"trials": [{"name": "Adam", "lr": 0.1}], "trial_budget": 2}, "trial_budget is a share of the f32 size"),
        ({"trials": [{"name": "Adam", "lr": 0.1}, {"name": "Lion", "lr": 1}]}, "grid 1: trial 2: name must be one of"),
        ({"trials": [{"name": "RowwiseAdagrad", "lr": 0.1}]}, "trial 1: not all methods take one of their own"),
        (
            {"trials": [{"name": "RowwiseAdagrad", "lr": 0.1, "otherwise": {"name": "RowwiseAdam", "lr": 1}}]},
            "trial 1: otherwise must be an optimizer of torch",
        ),
        (
            {"trials": [{"name": "Adam", "lr": 0.1, "otherwise": {"name": "SGD", "lr": 1}}]},
            "trial 1: every method takes Adam: there is no otherwise",
        ),
        ({"methods": ["hash"], "after": ["eden"]}, "after: full is not among the methods"),
        ({"after": ["robe"]}, "grid 1: methods: ROBE works while training"),
    ],
)
def test_optimizers_and_trials_that_can_not_be(values, message):
    with pytest.raises(ValueError, match=message):
        checked(**values)


def test_all_methods_have_as_many_trials():
    trials = [
        {"name": "Adam", "lr": 1e-3},
        {"name": "RowwiseAdagrad", "lr": 0.1, "otherwise": {"name": "Adagrad", "lr": 0.2}},
    ]
    config = checked(trials=trials, budgets=[0.5, 0.1], seeds=[3, 4], after=["EDEN", "pq"])
    cells = config.cells()
    assert {len(cell.trials) for cell in cells} == {2}
    for cell in cells:
        assert all(trial["seed"] == 3 and trial["trial"] is True for trial in cell.trials)
        assert "optimizer" not in cell.request
        method = cell.request["method"].split(" + ")[0]
        has_own = training._registry.class_of(method).takes_optimizer
        assert cell.trials[1]["optimizer"] == (
            {"name": "RowwiseAdagrad", "lr": 0.1} if has_own else trials[1]["otherwise"]
        )
    after = [cell for cell in cells if " + " in cell.request["method"]]
    assert [(one.request["method"], one.request["budget"]) for one in after[:4]] == [
        ("full + eden", 0.5), ("full + eden", 0.1), ("full + pq", 0.5), ("full + pq", 0.1),
    ]  # fmt: skip
    assert all((trial["method"], trial["budget"]) == ("full", 1.0) for one in after for trial in one.trials)
    # Trials of one seed serve all others.
    requests = config.requests()
    assert sum("trial" in one for one in requests) == 2 * (1 + 2 * (len(training.methods()) - 1))


def test_trials_can_be_at_one_budget():
    trials = [{"name": "Adam", "lr": 0.1}, {"name": "SGD", "lr": 1.0}]
    config = checked(trials=trials, trial_budget=0.1, budgets=[0.5, 0.1, 0.01], methods=["full", "hash"], after=["pq"])
    cells = config.cells()
    assert {cell.request["budget"] for cell in cells if cell.request["method"] == "hash"} == {0.5, 0.1, 0.01}
    for cell in cells:
        own = 0.1 if cell.request["method"] == "hash" else 1.0
        assert [one["optimizer"] for one in cell.trials] == trials
        assert {one["budget"] for one in cell.trials} == {own}
    # Two trials of either method, two tables that come of it, four budgets in all but one.
    assert len(config.requests()) == 2 * 2 + 1 + 3 + 3


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


def test_counts_are_given_where_a_cell_asks(monkeypatch):
    seen = []
    made = training.embedding

    def spy(method, *arguments, **keywords):
        seen.append(keywords["counts"] is not None)
        return made(method, *arguments, **keywords)

    monkeypatch.setattr(training, "embedding", spy)
    data = clicks(400)
    for method, own, has_counts in (
        ("cafe", {"counts": True}, True),
        ("cafe", {"options": {"interval": 5}}, False),
        ("int4", {"options": {"scope": "row"}}, False),
        ("autosrh", {}, True),
        ("hash", {}, False),
    ):
        assert "figures" in _train_cell.run(request(method=method, budget=0.6, **own), data)
        assert seen.pop() == has_counts


def test_grids_say_which_methods_have_counts():
    made = _train_config.checked(
        _train_config.Config((_train_config.Grid(data=("flights",), methods=("CAFE", "int8"), counts=("CAFE",)),))
    )
    assert {one["method"]: one.get("counts") for one in made.requests()} == {"cafe": True, "int8": None}
    with pytest.raises(ValueError, match="counts: 'hash' is none of"):
        _train_config.checked(_train_config.Config((_train_config.Grid(data=("flights",), counts=("hash",)),)))


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


TRIALS = [
    {"name": "SGD", "lr": 1e-9},
    {"name": "RowwiseAdagrad", "lr": 0.05, "otherwise": {"name": "Adagrad", "lr": 0.05}},
    {"name": "Adam", "lr": 1e30},
]
"""One does not learn, one learns, one diverges."""


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    path = tmp_path_factory.mktemp("tuned") / "train.jsonl"
    return path, train.run(tuning(), path, jobs=2)


def tuning(**changed):
    values = {
        "data": ["movielens"], "heads": ["mf"], "methods": ["full", "hash", "dpq", "int16"], "budgets": [0.3, 0.001],
        "seeds": [0, 1], "batch": 4000, "rate": 0.03, "trials": TRIALS, "after": ["least_squares", "pq"],
    }  # fmt: skip
    return checked(**(values | changed))


def test_trials_choose_the_optimizer_of_all_seeds(tuned):
    path, found = tuned
    lines = _lines.read(path)
    trials = [line for line in lines if "trial" in line["request"]]
    assert [line for line in lines if "trial" not in line["request"]] == found
    assert len(trials) == 3 * 7 and {line["request"]["seed"] for line in trials} == {0}
    own = {"name": "RowwiseAdagrad", "lr": 0.05}
    wanted = {"full": own, "hash": own, "dpq": TRIALS[1]["otherwise"], "full + least_squares": own, "full + pq": own}
    made = [line for line in found if "figures" in line and line["request"]["budget"] > 0.001]
    assert {line["request"]["method"]: line["request"]["optimizer"] for line in made} == wanted
    assert {(line["request"]["method"], line["request"]["seed"]) for line in made} == {
        (method, seed) for method in wanted for seed in (0, 1)
    }
    for line in trials:
        if line["request"]["method"] == "full" and line["request"]["optimizer"] == TRIALS[2]:
            assert line["stopped"].startswith("training diverged")
    # Where nothing is possible, a line says so.
    (refused,) = [one for one in found if one["request"]["method"] == "int16" and one["request"]["budget"] == 0.001
                  and one["request"]["seed"] == 0]  # fmt: skip
    assert refused["floor"] and refused["request"]["optimizer"] == TRIALS[0]


def test_the_line_of_a_chosen_trial_is_not_run_again(tuned, monkeypatch):
    path, found = tuned
    lines = {_lines.key(line["request"]): line for line in _lines.read(path)}
    for line in found:
        if line["request"]["seed"] == 0 and " + " not in line["request"]["method"]:
            trial = lines[_lines.key(line["request"] | {"trial": True})]
            # The time of one training is not there twice.
            assert trial.pop("seconds") > 0
            assert trial | {"request": line["request"]} == line
    monkeypatch.setattr(train, "_Worker", None)
    assert train.run(tuning(), path) == found


def test_cells_that_overlap_are_run_once(tmp_path):
    """A request that trials choose may be one of another grid, or one that other trials chose, and may run already."""
    trials = TRIALS[::2]
    values = {"data": ["movielens"], "heads": ["mf"], "methods": ["hash"], "budgets": [0.3]}
    plain = [{**values, "seeds": [1, 2], "optimizer": one} for one in trials]
    other = {"name": "SGD", "lr": 0.5}
    tried = [{**values, "seeds": [0, 1, 2], "trials": found} for found in (trials, [*trials, other])]
    config = _train_config.Config(tuple(_train_config.grid(one, "grid") for one in [*plain, *tried]))
    with _lines.Lines(tmp_path / "train.jsonl", "train") as lines:
        cells = train._Cells(config.cells(), lines)
        ran = []
        while cells.waiting:
            (request,) = cells.next_job()
            ran.append(_lines.key(request))
            score = 0.9 if request["optimizer"] == trials[0] else 0.5
            figures = {"validation_auc": score}
            assert cells.done < cells.total
            lines.add({"bench": "train", "request": request, "machine": {}, "figures": figures, "seconds": 1.0})
            cells.take_chosen()
        # Two seeds of each plain grid, three trials, and what they chose: of seed 0 it is a trial's.
        assert len(ran) == len(set(ran)) == 4 + 3
        assert cells.done == cells.total == 4 + 3 + 1
        assert sum("seconds" in line for line in lines.found.values()) == 7
    estimate = train.Estimate(lines.found.values())
    assert estimate.seconds(cells.results()[:1]) == 1.0


@pytest.mark.parametrize("name", ["RowwiseAdagrad", "Adagrad"])
def test_gradients_are_sparse_where_the_table_has_no_optimizer_of_its_own(name):
    given = {"name": name, "lr": 0.05} | ({"own": True} if name == "Adagrad" else {})
    shape = {"methods": ["robe"], "budgets": [0.5], "batch": 64, "dimension": 8, "optimizer": given}
    dense, sparse = (checked(**shape, sparse=sparse).requests()[0] for sparse in (False, True))
    figures = [_train_cell.run(one, clicks(1000))["figures"]["auc"] for one in (dense, sparse)]
    assert figures[0] == figures[1]


def test_the_score_is_that_of_the_state_that_is_kept():
    def scored(*history):
        return [training.Evaluation(stage, 0, 1, score, 0.0, counts) for stage, score, counts in history]

    assert _train_cell._kept_score(scored(("a", 9, True), ("b", 8, False), ("b", 5, True), ("b", 4, True))) == 5
    assert _train_cell._kept_score(scored(("b", 8, False), ("b", 5, False))) == 5


def test_trials_that_a_file_has_are_not_run_again(tuned, tmp_path):
    path, found = tuned
    part = tmp_path / "train.jsonl"
    kept = [line for line in _lines.read(path) if "trial" in line["request"]]
    # What chooses is validation, and not the test.
    worse = {"auc": 1.0, "validation_auc": 0.2}
    better = {"auc": 0.0, "validation_auc": 0.99}
    for line in kept:
        if line["request"]["method"] == "hash" and line["request"]["budget"] == 0.3:
            figures = better if line["request"]["optimizer"]["name"] == "SGD" else worse
            line["figures"] = line.pop("figures", found[0]["figures"]) | figures
            line.pop("stopped", None)
    part.write_text("".join(json.dumps(line) + "\n" for line in kept))
    again = train.run(tuning(methods=["hash"], after=[], budgets=[0.3]), part)
    assert [line["request"]["optimizer"]["name"] for line in again] == ["SGD", "SGD"]
    assert again[0]["figures"]["auc"] == 0.0 and again[1]["figures"]["auc"] < 0.6
    assert len(_lines.read(part)) == len(kept) + 2


def test_forms_of_one_table_are_those_of_its_training(tuned):
    _, found = tuned
    full = {line["request"]["seed"]: line["figures"] for line in found if line["request"]["method"] == "full"}
    after = [line for line in found if line["request"]["method"].startswith("full + ") and "figures" in line]
    assert len(after) >= 4
    for line in after:
        figures, whole = line["figures"], full[line["request"]["seed"]]
        assert figures["stored_bytes"] <= line["request"]["budget"] * whole["stored_bytes"]
        assert figures["validation_auc"] == whole["validation_auc"]
        assert 0 < figures["frozen_apart"] < 0.5 and abs(figures["auc"] - whole["auc"]) < 0.1


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
    message = r"(?s)1 cells failed:.*method tt\(rank=1\), budget 0.2, seed 0.*no option 'rank'"
    with pytest.raises(RuntimeError, match=message):
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


def test_tables_in_codes_try_what_methods_without_an_optimizer_of_their_own_try():
    own, otherwise = {"name": "RowwiseAdagrad", "lr": 0.1}, {"name": "Adagrad", "lr": 0.2}
    shape = {"methods": ["robe", "alpt"], "budgets": [0.5], "batch": 64, "dimension": 8}
    options = {"robe": {"bits": 4, "block": 4}, "alpt": {"bits": 4}}
    found = checked(**shape, options=options, trials=[own | {"otherwise": otherwise}]).cells()
    assert [trial["optimizer"] for cell in found for trial in cell.trials] == [otherwise, own]
    assert "figures" in _train_cell.run(found[0].trials[0], clicks(600))
    with pytest.raises(ValueError, match=r"optimizer: robe\(bits=4, block=4\) takes none of its own"):
        checked(**shape, options=options, optimizer=own)


def test_the_estimate_tells_variants_apart():
    def line(seconds, budget=0.1, **options):
        request = {"data": "d", "head": "h", "method": "tt", "budget": budget, "options": options}
        return {"request": request, "seconds": seconds}

    estimate = train.Estimate([line(10), line(40, bits=4), line(20, 0.5)])
    asked = [line(0), line(0, bits=4), line(0, 0.5, bits=4), line(0, bits=8), line(0, 0.01)]
    # The same variant at another budget is more alike than another variant; of one that never ran, the method.
    assert [estimate.seconds([one["request"]]) for one in asked] == [10, 40, 40, 25, 15]


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
    path = tmp_path / "bench.toml"
    path.write_text(
        '[[grid]]\ndata = ["movielens"]\nheads = ["mf"]\nmethods = ["robe"]\nbudgets = [0.1]\n'
        'options.robe = { block = 4, bits = 4 }\ntrials = [{ name = "Adam", lr = 0.1 }]\n'
    )
    cli.main(["bench", "train", "--config", str(path), "--out", str(tmp_path / "x.jsonl"), "--list"])
    assert capsys.readouterr().out.splitlines() == [
        "movielens mf robe(bits=4, block=4) 0.1 0 trial of Adam 0.1",
        "movielens mf robe(bits=4, block=4) 0.1 0",
    ]
    assert not (tmp_path / "x.jsonl").exists()
