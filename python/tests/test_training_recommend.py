"""`training.recommend`, the rules that it reads, and `embedcompress recommend --task ctr`."""

import dataclasses
import json
import math
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import cli, training
from embedcompress.bench import _fit
from embedcompress.training._rules import Curve, Point, committed_rules

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results" / "train.jsonl"
RULES = ROOT / "python" / "embedcompress" / "training" / "rules.json"
MACHINE = {"cpu": "a processor", "processors": 2, "isa": "x86-64-v3", "versions": {}}
ROWS = 10_000
F32 = ROWS * 16 * 4
FIELDS = [9_000, 900, 100]


def cell(method, budget, seed, auc=None, data="one", head="dlrm", **figures):
    """A line of results; None of AUC is a refusal."""
    request = {"data": data, "head": head, "method": method, "budget": budget, "seed": seed, "dimension": 16}
    line = {"bench": "train", "machine": MACHINE, "request": request}
    if auc is None:
        return line | {"refused": "cannot", "floor": 12345}
    known = {
        "auc": auc,
        "cold_auc": auc - 0.02,
        "ratio": budget,
        "stored_bytes": budget * F32,
        "training_bytes": budget * F32,
        "train_seconds": 10.0,
        "lookup_ns_per_row": 10.0,
    }
    return line | {"figures": known | figures}


def full(seed, auc=0.8, **figures):
    return cell("full", 1.0, seed, auc, lookup_ns_per_row=3.0, **figures)


def written(folder, lines):
    path = folder / "results.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def rules_of(folder, lines):
    out = folder / "rules.json"
    _fit.write(_fit.fit(written(folder, lines)), out)
    return training.read_rules(out)


def three(method, budget, auc, **figures):
    """Three seeds that are 0.003 apart, which makes the usual standard deviation 0.003."""
    return [cell(method, budget, seed, auc + 0.003 * (seed - 1), **figures) for seed in range(3)]


FULL = [full(seed) for seed in range(3)]


def methods(choice):
    return [one.method for one in choice]


# The rules


def test_a_fit_has_means_and_errors_of_losses_by_seed(tmp_path):
    lines = [full(0, 0.80), full(1, 0.82), cell("robe", 0.1, 0, 0.79), cell("robe", 0.1, 1, 0.80)]
    (evidence,) = rules_of(tmp_path, lines).evidence
    (point,) = evidence.curves["robe"].points
    assert point.loss == pytest.approx((0.01 + 0.02) / 2)
    assert point.error == pytest.approx(statistics.stdev([0.01, 0.02]) / math.sqrt(2), rel=1e-5)
    assert point.seeds == (0, 1)
    assert evidence.rows == ROWS
    assert evidence.deviation(0.1, cold=False) == pytest.approx(statistics.stdev([0.01, 0.02]), rel=1e-5)


def test_a_fit_skips_seeds_without_an_uncompressed_table(tmp_path):
    lines = [full(0), cell("robe", 0.1, 0, 0.79), cell("robe", 0.1, 1, 0.5)]
    (point,) = rules_of(tmp_path, lines).evidence[0].curves["robe"].points
    assert (point.seeds, point.error) == ((0,), None)
    assert point.loss == pytest.approx(0.01)


def test_what_diverges_for_a_seed_is_no_point(tmp_path):
    stopped = cell("robe", 0.1, 1) | {"stopped": "diverged"}
    del stopped["refused"], stopped["floor"]
    rules = rules_of(tmp_path, [*FULL, cell("robe", 0.1, 0, 0.79), stopped, *three("hash", 0.1, 0.7)])
    assert set(rules.evidence[0].curves) == {"full", "hash"}
    document = json.loads((tmp_path / "rules.json").read_text())
    (curve,) = [one for one in document["evidence"][0]["curves"] if one["method"] == "robe"]
    assert curve["stopped"] == [0.1]


def test_a_fit_refuses_what_can_not_be_summed_up(tmp_path):
    with pytest.raises(ValueError, match="has no data set and head with the method full"):
        _fit.fit(written(tmp_path, three("robe", 0.1, 0.7)))
    other = cell("robe", 0.1, 0, 0.7)
    other["request"]["dimension"] = 8
    with pytest.raises(ValueError, match="cells of one/dlrm differ in dimension"):
        _fit.fit(written(tmp_path, [*FULL, other]))
    with pytest.raises(ValueError, match="line 1: a result of bench lookup"):
        _fit.fit(written(tmp_path, [full(0) | {"bench": "lookup"}]))


def test_the_digest_is_that_of_the_file(tmp_path):
    path = written(tmp_path, [*FULL, *three("robe", 0.1, 0.79)])
    digest = subprocess.run(
        [sys.executable, "-c", f"import hashlib; print(hashlib.sha256(open({str(path)!r}, 'rb').read()).hexdigest())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert _fit.fit(path)["results"]["sha256"] == digest


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', '{"format": 1, "results": {}, "evidence": []}', "[1]"])
def test_what_is_no_rules(tmp_path, content):
    path = tmp_path / "rules.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="has no rules of `embedcompress bench fit`"):
        training.read_rules(path)


def point(budget, loss=0.0, **values):
    known = {"ratio": budget, "training_ratio": 1.0, "training_time": 1.0, "lookup_ns": 10.0}
    known |= {"error": 0.001, "cold_loss": loss, "cold_error": 0.001}
    return Point(budget=budget, seeds=(0,), loss=loss, **known | values)


CURVE = Curve("robe", (point(0.01, 0.06, lookup_ns=8.0), point(0.1, 0.02, lookup_ns=32.0), point(0.5, 0.01)))


def test_losses_are_linear_in_the_logarithm_of_the_budget():
    middle = CURVE.at(math.sqrt(0.01 * 0.099))
    assert middle.loss == pytest.approx(0.04)
    assert middle.lookup_ns == pytest.approx(16.0)
    assert [one.budget for one in middle.points] == [0.01, 0.1]
    assert not middle.extrapolated


@pytest.mark.parametrize("index", range(3))
def test_measured_budgets_give_what_was_measured(index):
    measured = CURVE.points[index]
    found = CURVE.at(measured.budget)
    assert (found.loss, found.points, found.extrapolated) == (measured.loss, (measured,), False)


def test_a_point_holds_down_to_the_bytes_that_it_stored():
    curve = Curve("int8", (point(0.1, 0.05), point(0.5, 0.01, ratio=0.25)))
    assert curve.at(0.3).loss == 0.01
    assert 0.01 < curve.at(0.2).loss < 0.05


def test_below_the_smallest_budget_losses_go_on_and_it_is_said():
    found = CURVE.at(0.001)
    assert found.extrapolated
    assert found.loss == pytest.approx(0.06 + 0.04, rel=0.01)
    assert found.lookup_ns == 8.0
    assert [one.budget for one in found.points] == [0.01, 0.1]
    # A method that lost less with less is not expected to go on doing so.
    odd = Curve("dedup", (point(0.1, 0.02), point(0.5, 0.05)))
    assert odd.at(0.01).loss == 0.02


# Advice


def test_the_least_loss_comes_first(tmp_path):
    rules = rules_of(tmp_path, [*FULL, *three("hash", 0.1, 0.70), *three("robe", 0.1, 0.79), *three("tt", 0.1, 0.78)])
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=rules)
    assert methods(choice) == ["robe", "tt", "hash"]
    assert [one.rank for one in choice] == [1, 2, 3]
    first = choice[0]
    assert first.auc_loss == pytest.approx(0.01)
    assert first.auc_loss_error == pytest.approx(0.003 / math.sqrt(3), rel=1e-4)
    assert first.cells == ("one/dlrm/robe/0.1: seeds 0 1 2", "one/dlrm/full/1: seeds 0 1 2")
    planned = training.plan("robe", ROWS, 16, budget=0.1, fields=FIELDS)
    assert (first.stored_bytes, first.knobs) == (planned.stored_bytes, planned.knobs)
    assert first.reason.startswith("Expected to lose 0.0100 ± 0.0017 of AUC, the least of 3 methods.")


def test_within_the_noise_the_cheaper_comes_first(tmp_path):
    # A standard error of a difference is 0.003 * sqrt(2 / 3) = 0.00245.
    lines = [
        *FULL,
        *three("tt", 0.1, 0.7900, train_seconds=20.0),
        *three("robe", 0.1, 0.7880, lookup_ns_per_row=12.0),
        *three("hash", 0.1, 0.7879, lookup_ns_per_row=6.0),
        *three("compo", 0.1, 0.7870, train_seconds=1.0),
    ]
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=rules_of(tmp_path, lines))
    assert methods(choice) == ["hash", "robe", "tt", "compo"]
    assert [one.rank for one in choice] == [1, 1, 1, 2]
    assert "robe and tt are within the noise of seeds" in choice[0].reason
    assert "within the noise of seeds of hash" in choice[1].reason


def test_one_seed_gives_no_noise(tmp_path):
    rules = rules_of(tmp_path, [full(0), cell("robe", 0.1, 0, 0.79), cell("hash", 0.1, 0, 0.7899)])
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=rules)
    assert methods(choice) == ["robe", "hash"]
    assert choice[0].auc_loss_error is None
    assert "one seed" in choice[0].reason


def test_cold_rows_have_a_ranking_of_their_own(tmp_path):
    lines = [*FULL, *three("robe", 0.1, 0.79, cold_auc=0.6), *three("tt", 0.1, 0.77, cold_auc=0.7)]
    rules = rules_of(tmp_path, lines)
    assert methods(training.recommend(FIELDS, 16, budget=0.1, rules=rules)) == ["robe", "tt"]
    choice = training.recommend(FIELDS, 16, budget=0.1, cold=True, rules=rules)
    assert methods(choice) == ["tt", "robe"]
    assert choice[0].cold_auc_loss == pytest.approx(0.08)
    assert "of AUC on cold rows" in choice[0].reason


def test_limits_leave_out_what_breaks_them(tmp_path):
    lines = [
        *FULL,
        *three("dpq", 0.1, 0.799, training_bytes=F32, lookup_ns_per_row=5.0),
        *three("tt", 0.1, 0.79, lookup_ns_per_row=90.0),
        *three("hash", 0.1, 0.70),
    ]
    rules = rules_of(tmp_path, lines)
    ask = {"budget": 0.1, "rules": rules}
    assert methods(training.recommend(FIELDS, 16, **ask)) == ["dpq", "tt", "hash"]
    assert methods(training.recommend(FIELDS, 16, train_memory=F32 / 2, **ask)) == ["tt", "hash"]
    choice = training.recommend(FIELDS, 16, train_memory=F32 / 2, latency=50, **ask)
    assert methods(choice) == ["hash"]
    refused = {one.method: one for one in choice.refused}
    assert (refused["dpq"].limit, refused["dpq"].least) == ("train_memory", pytest.approx(F32, rel=1e-3))
    assert (refused["tt"].limit, refused["tt"].reason) == ("latency", "tt took 90.0 ns for a row at least.")
    assert refused["robe"].limit == "results"
    assert refused["mgqe"].reason == "mgqe needs counts: how often each id is used."
    wanted = r"the least training memory is 640,000 bytes \(dpq\); the fastest lookup took 10 ns a row \(hash\)"
    with pytest.raises(ValueError, match=wanted) as caught:
        training.recommend(FIELDS, 16, train_memory=F32 / 5, latency=9, **ask)
    assert not isinstance(caught.value, ec.BudgetError)


def test_less_than_the_budget_where_only_that_keeps_a_limit(tmp_path):
    lines = [*FULL, *three("robe", 0.01, 0.75), *three("robe", 0.1, 0.78), *three("robe", 0.5, 0.79)]
    (one,) = training.recommend(FIELDS, 16, budget=0.5, train_memory=F32 // 4, rules=rules_of(tmp_path, lines))
    assert one.budget == pytest.approx(F32 / 4, rel=1e-2)
    assert one.stored_bytes <= one.training_bytes <= F32 // 4
    assert 0.01 < one.auc_loss < 0.02
    assert one.reason.endswith("more breaks the limit of training memory.")


def test_less_than_the_budget_where_that_is_better(tmp_path):
    lines = [*FULL, *three("dedup", 0.01, 0.78), *three("dedup", 0.1, 0.74), *three("robe", 0.1, 0.7999)]
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=rules_of(tmp_path, lines))
    assert [(one.method, one.budget) for one in choice] == [("robe", F32 // 10), ("dedup", F32 // 100)]
    assert "it was worse with more" in choice[1].reason


def test_no_more_than_was_measured(tmp_path):
    choice = training.recommend(FIELDS, 16, budget=0.9, rules=rules_of(tmp_path, [*FULL, *three("robe", 0.5, 0.79)]))
    assert [(one.method, one.budget, one.extrapolated) for one in choice] == [("robe", F32 // 2, False)]
    assert choice[0].reason.endswith("more was not measured.")


def test_the_extrapolated_never_comes_before_the_measured(tmp_path):
    lines = [
        *FULL,
        *three("dpq", 0.1, 0.7995),
        *three("dpq", 0.5, 0.7998),
        *three("robe", 0.05, 0.79),
        *three("hash", 0.05, 0.60),
    ]
    rules = rules_of(tmp_path, lines)
    choice = training.recommend(FIELDS, 16, budget=0.05, rules=rules)
    assert [(one.method, one.extrapolated) for one in choice] == [("robe", False), ("dpq", True), ("hash", False)]
    assert choice[1].auc_loss_error is None
    assert "extrapolated" in choice[1].reason
    # Where nothing was measured, the least loss is first after all.
    assert methods(training.recommend(FIELDS, 16, budget=0.03, rules=rules))[0] == "dpq"


def test_floors_are_those_of_the_solver(tmp_path):
    names = ["robe", "hash", "int8", "dpq", "compo"]
    rules = rules_of(tmp_path, [*FULL, *(line for name in names for line in three(name, 0.5, 0.79))])
    choice = training.recommend(FIELDS, 16, budget=0.012, rules=rules)
    impossible = {one.method: one for one in choice.refused if one.limit == "budget"}
    assert {"int8", "dpq"} <= impossible.keys()
    for name in ("int8", "dpq"):
        floor = impossible[name].floor
        assert training.plan(name, ROWS, 16, budget=floor, fields=FIELDS).stored_bytes == floor
        with pytest.raises(ec.BudgetError):
            training.plan(name, ROWS, 16, budget=floor - 1, fields=FIELDS)
        assert f"{floor:,} bytes" in impossible[name].reason
    with pytest.raises(ec.BudgetError, match=r"the least that any of them can reach is \d+ bytes"):
        training.recommend(FIELDS, 16, budget=4, rules=rules)


def test_the_data_set_is_the_one_with_as_many_rows_under_its_best_measured_head(tmp_path):
    def small(line):
        line["figures"] |= {name: line["figures"][name] / 100 for name in ("stored_bytes", "training_bytes")}
        line["request"]["data"] = "small"
        return line

    lines = [*FULL, *three("robe", 0.1, 0.79)]
    lines += [small(line) for line in [full(0), cell("robe", 0.1, 0, 0.75)]]
    lines += [cell("full", 1.0, 0, 0.9, head="wdl"), cell("robe", 0.1, 0, 0.88, head="wdl")]
    rules = rules_of(tmp_path, lines)
    large = training.recommend([20_000], 16, budget=0.1, rules=rules)
    assert large.evidence.name == "one/dlrm"
    assert large[0].elsewhere == {"one/wdl": pytest.approx(0.02), "small/dlrm": pytest.approx(0.05)}
    assert training.recommend([50], 16, budget=0.5, rules=rules).evidence.name == "small/dlrm"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 0.1, "train_memory": 0}, "train_memory must be above 0"),
        ({"budget": 0.1, "latency": math.nan}, "latency must be above 0"),
        ({"budget": 1.5}, "ratio of the f32 size"),
        ({"budget": 0.1, "counts": [1, 2]}, "counts must be 10000 numbers"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        training.recommend(FIELDS, 16, **arguments)
    with pytest.raises(ValueError, match="every field needs at least 1 id"):
        training.recommend([3, 0], 16, budget=0.5)


# Properties


def _many(folder):
    """Results of most methods, drawn at random."""
    random = np.random.default_rng(7)
    lines = list(FULL)
    for name in ("hash", "compo", "dpq", "tt", "robe", "mde", "dhe", "int8", "cafe", "cce", "dedup", "pep"):
        auc, nanoseconds = 0.79, 10 ** random.uniform(0.5, 2.5)
        for budget in (0.5, 0.1, 0.01)[: random.integers(1, 4)]:
            auc -= random.uniform(-0.005, 0.05)
            lines += three(
                name,
                budget,
                auc,
                ratio=budget * random.uniform(0.2, 1),
                lookup_ns_per_row=nanoseconds * random.uniform(0.5, 2),
                train_seconds=random.uniform(3, 40),
            )
    return rules_of(folder, lines)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return _many(tmp_path_factory.mktemp("rules"))


def advised(*arguments, **keywords):
    try:
        return list(training.recommend(*arguments, **keywords))
    except ValueError:
        return []


FIELD_SIZES = st.lists(st.integers(1, 20_000), min_size=1, max_size=4)
SHARES = st.floats(-8, 0).map(math.exp)
LIMITS = st.one_of(st.none(), SHARES)


@settings(max_examples=60, deadline=None)
@given(sizes=FIELD_SIZES, dimension=st.sampled_from([4, 16, 33]), share=SHARES, memory=LIMITS, cold=st.booleans())
def test_advice_keeps_the_budget_and_is_in_order(many, sizes, dimension, share, memory, cold):
    f32 = 4 * dimension * sum(sizes)
    memory = None if memory is None else memory * f32
    found = advised(sizes, dimension, budget=share, train_memory=memory, cold=cold, rules=many)
    for one in found:
        planned = training.plan(one.method, sum(sizes), dimension, budget=one.budget, fields=sizes)
        assert planned.stored_bytes == one.stored_bytes <= one.budget <= int(share * f32)
        assert memory is None or one.training_bytes <= memory + 1
    assert len(set(methods(found))) == len(found)
    places = [one for one in found if not one.extrapolated]
    assert not places or not found[0].extrapolated
    losses = [(one.rank, one.cold_auc_loss if cold else one.auc_loss) for one in found]
    assert [rank for rank, _ in losses] == sorted(rank for rank, _ in losses)
    # Of two ranks, the better loses less, but for what was extrapolated and could not come first.
    for rank, loss in losses:
        assert all(loss < other for place, other in losses if place > rank and rank > 1)


@settings(max_examples=60, deadline=None)
@given(
    sizes=FIELD_SIZES,
    shares=st.tuples(SHARES, SHARES),
    memories=st.tuples(SHARES, SHARES),
    latencies=st.tuples(st.floats(1, 500), st.floats(1, 500)),
)
def test_tighter_limits_never_add_methods(many, sizes, shares, memories, latencies):
    f32 = 64 * sum(sizes)

    def names(pick):
        return set(
            methods(
                advised(
                    sizes,
                    16,
                    budget=pick(shares),
                    train_memory=pick(memories) * f32,
                    latency=pick(latencies),
                    rules=many,
                )
            )
        )

    assert names(min) <= names(max)


# What is committed


def test_the_committed_rules_are_fitted_to_the_committed_results():
    if not RESULTS.exists():
        pytest.skip("there are no committed results")
    assert json.loads(RULES.read_text(encoding="utf-8")) == json.loads(json.dumps(_fit.fit(RESULTS)))


FLIGHTS = [12, 31, 19, 1020, 16, 3835, 4037, 3, 104, 44173, 44932, 19432, 11979]
MOVIELENS = [943, 1_682]
CRITEO = (
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10, 5652),
    *(2173, 4, 7046547, 18, 15, 286181, 105, 142572),
)
SITUATIONS = [
    ("half of the bytes", FLIGHTS, {"budget": 0.5}),
    ("a tenth", FLIGHTS, {"budget": 0.1}),
    ("a hundredth", FLIGHTS, {"budget": 0.01}),
    ("a thousandth", FLIGHTS, {"budget": 0.001}),
    ("a tenth, and the uncompressed table does not fit in training", FLIGHTS, {"budget": 0.1, "train_memory": 2e6}),
    ("half, on a server that must answer fast", FLIGHTS, {"budget": 0.5, "latency": 12.0}),
    ("a hundredth, and most ids are rare", FLIGHTS, {"budget": 0.01, "cold": True}),
    ("between what was measured, and most ids are rare", FLIGHTS, {"budget": 0.03, "cold": True}),
    ("a hundredth, on a device that trains in little memory", FLIGHTS, {"budget": 0.01, "train_memory": 2e5}),
    ("a tenth, in little memory and fast", FLIGHTS, {"budget": 0.1, "train_memory": 4e6, "latency": 15.0}),
    ("a small table, a tenth", MOVIELENS, {"budget": 0.1}),
    ("a table of two gigabytes that trains in half of one", CRITEO, {"budget": 0.1, "train_memory": 1e9}),
]


def measured(data, head, cold):
    """Cells of the committed results: losses by seed and costs, by method and budget."""
    lines = [json.loads(text) for text in RESULTS.read_text(encoding="utf-8").splitlines()]
    lines = [
        line
        for line in lines
        if (line["request"]["data"], line["request"]["head"]) == (data, head) and "figures" in line
    ]
    name = "cold_auc" if cold else "auc"
    uncompressed = {
        line["request"]["seed"]: line["figures"][name] for line in lines if line["request"]["method"] == "full"
    }
    cells = {}
    for line in lines:
        request, figures = line["request"], line["figures"]
        if request["seed"] in uncompressed:
            found = cells.setdefault(
                (request["method"], request["budget"]), {"seeds": [], "loss": [], "memory": [], "ns": []}
            )
            found["seeds"].append(request["seed"])
            found["loss"].append(uncompressed[request["seed"]] - figures[name])
            found["memory"].append(figures["training_bytes"] / figures["stored_bytes"] * figures["ratio"])
            found["ns"].append(figures["lookup_ns_per_row"])
    return cells


def plannable(method, budget, fields, counts):
    try:
        training.plan(method, sum(fields), 16, budget=budget, counts=counts, fields=fields)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("situation", "fields", "arguments"), SITUATIONS, ids=[one[0] for one in SITUATIONS])
def test_situations_get_what_the_results_support(situation, fields, arguments):
    """The first choice is within the noise of the best cell that keeps the limits, and its cells are there."""
    if not RESULTS.exists():
        pytest.skip("there are no committed results")
    counts = None if sum(fields) > 1e6 else 1000 // np.arange(1, sum(fields) + 1)
    choice = training.recommend(fields, 16, counts=counts, **arguments)
    first = choice[0]
    cold, f32 = arguments.get("cold", False), 64 * sum(fields)
    cells = measured(*choice.evidence.name.split("/"), cold)
    allowed = {
        place: statistics.mean(found["loss"])
        for place, found in cells.items()
        if place[1] <= arguments["budget"]
        and statistics.mean(found["memory"]) * f32 <= arguments.get("train_memory", math.inf)
        and statistics.mean(found["ns"]) <= arguments.get("latency", math.inf)
        and plannable(*place, fields, counts)
    }
    assert allowed, "no cell keeps the limits"
    (_, budget), best = min(allowed.items(), key=lambda item: item[1])
    deviations = {}
    for (method, there), found in cells.items():
        if method != "full" and len(found["loss"]) > 1:
            deviations.setdefault(there, []).append(statistics.stdev(found["loss"]))
    spreads = [statistics.median(deviations[there]) for there in {there for _, there in allowed} & deviations.keys()]
    noise = max(spreads, default=0.0) * math.sqrt(2 / min(len(found["loss"]) for found in cells.values()))
    expected = first.cold_auc_loss if cold else first.auc_loss
    assert expected <= best + noise + 1e-5, f"{first.method} loses {expected}; the best measured at {budget}, {best}"
    assert not first.extrapolated
    assert first.training_bytes <= arguments.get("train_memory", math.inf)
    assert first.lookup_ns_per_row <= arguments.get("latency", math.inf)
    budgets = []
    for one in first.cells:
        data, head, method, share, seeds = re.fullmatch(r"(.+)/(.+)/(.+)/(.+): seeds? (.+)", one).groups()
        assert f"{data}/{head}" == choice.evidence.name
        named, there = set(map(int, seeds.split())), set(cells[method, float(share)]["seeds"])
        assert named <= there if method == "full" else named == there
        budgets += [(method, float(share))] if method != "full" else []
    # What it is expected to lose lies between what was measured.
    losses = [statistics.mean(cells[place]["loss"]) for place in budgets]
    assert min(losses) - 1e-5 <= expected <= max(losses) + 1e-5


# The command


def run(capsys, *arguments):
    code = cli.main(["recommend", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


CTR = ("--task", "ctr", "--fields", "9000,900,100", "--dim", 16)


@pytest.fixture
def files(tmp_path):
    lines = [*FULL, *three("robe", 0.1, 0.79), *three("hash", 0.1, 0.70), *three("mgqe", 0.1, 0.799)]
    rules_of(tmp_path, lines)
    np.save(tmp_path / "counts.npy", np.arange(ROWS))
    return tmp_path


def test_the_command_ranks_and_says_why(capsys, files):
    code, out, err = run(capsys, *CTR, "--budget", "10%", "--rules", files / "rules.json")
    assert (code, err) == (0, "")
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=training.read_rules(files / "rules.json"))
    assert methods(choice) == ["robe", "hash"]
    for one in choice:
        assert f"{one.rank}. {one.method}: {one.reason}" in out
        assert "; ".join(one.cells) in out
    assert "int8 needs" in out
    call = re.search(r"The first one: (.*)$", out, re.MULTILINE)[1]
    assert eval(call).stored_bytes == choice[0].stored_bytes


def test_its_json(capsys, files):
    arguments = ("--budget", "64kB", "--rules", files / "rules.json", "--counts", files / "counts.npy", "--cold")
    code, out, _ = run(capsys, *CTR, *arguments, "--train-memory", "1MB", "--latency", "20", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["task"], document["train_memory"], document["latency"]) == ("ctr", 1_000_000, 20)
    assert document["cold"] is True
    assert document["measured_on"] == "one/dlrm"
    assert [one["method"] for one in document["advice"]] == ["mgqe", "robe", "hash"]
    names = {field.name for field in dataclasses.fields(training.Advice)}
    assert all(one.keys() == names and one["stored_bytes"] <= 64_000 for one in document["advice"])
    floors = {one["method"]: one["floor"] for one in document["refused"]}
    assert floors["int8"] > 64_000


def test_the_committed_rules_are_taken_by_default(capsys):
    code, out, _ = run(capsys, *CTR, "--budget", "0.1", "--json")
    assert code == 0
    assert json.loads(out)["results"] == committed_rules().results


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0.1", "--cold"], "--cold belongs to --task ctr, not to --task table"),
        (["table.npy", "--budget", "0.1", "--train-memory", "2GB"], "--train-memory belongs to --task ctr"),
        (["--budget", "0.1"], "--task table needs FILE"),
        ([*CTR, "--budget", "0.1", "--metric", "l2"], "--metric belongs to --task table, not to --task ctr"),
        ([*CTR, "--budget", "0.1", "table.npy"], "FILE belongs to --task table, not to --task ctr"),
        (["--task", "ctr", "--dim", "16", "--budget", "0.1"], "--task ctr needs --fields"),
        (["--task", "ctr", "--fields", "5", "--budget", "0.1"], "--task ctr needs --dim"),
        ([*CTR, "--budget", "3"], "no method can meet a budget of 3 bytes"),
        ([*CTR, "--budget", "0.1", "--latency", "0.001"], "is within the limits: the fastest lookup took"),
        ([*CTR, "--budget", "0.1", "--rules", "none.json"], "none.json"),
    ],
)
def test_how_the_command_fails(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


def test_memory_is_bytes(capsys):
    with pytest.raises(SystemExit):
        run(capsys, *CTR, "--budget", "0.1", "--train-memory", "0.5")
    assert "is not a number of bytes, such as 2GB" in capsys.readouterr().err


def test_bench_fit_writes_rules(capsys, files):
    out = files / "again.json"
    assert cli.main(["bench", "fit", str(files / "results.jsonl"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == "one/dlrm: 4 methods, 4 points\n"
    assert out.read_bytes() == (files / "rules.json").read_bytes()
    assert cli.main(["bench", "fit", str(out), "--out", str(out)]) == 1
    assert "line 1: not a result of a benchmark" in capsys.readouterr().err
    assert cli.main(["bench", "fit", str(files / "results.jsonl"), "--out", str(files / "no" / "rules.json")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_it_takes_no_more_than_a_few_seconds():
    """Nothing is trained, and nothing large is imported beside torch."""
    program = (
        "import sys, time; from embedcompress import cli; import embedcompress.training; start = time.process_time(); "
        f"code = cli.main(['recommend', '--task', 'ctr', '--fields', '{','.join(map(str, CRITEO))}', '--dim', '16', "
        "'--budget', '0.1']); sys.exit(code or time.process_time() - start > 1 or 'sklearn' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
