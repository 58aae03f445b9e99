"""Rules that `embedcompress bench fit` makes of results, and the curves that they are."""

import hashlib
import json
import math
import statistics

import pytest
from training_results import FULL, ROWS, cell, full, rules_of, three, written

from embedcompress import cli, training
from embedcompress.bench import _fit
from embedcompress.training._rules import Curve, Point


def test_a_fit_has_means_and_errors_of_losses_by_seed(tmp_path):
    lines = [full(0, 0.80), full(1, 0.82), cell("robe", 0.1, 0, 0.79), cell("robe", 0.1, 1, 0.80)]
    (evidence,) = rules_of(tmp_path, lines).evidence
    (point,) = evidence.curves["robe"].points
    assert point.loss == pytest.approx((0.01 + 0.02) / 2)
    assert point.error == pytest.approx(statistics.stdev([0.01, 0.02]) / math.sqrt(2), rel=1e-5)
    assert point.seeds == (0, 1)
    assert evidence.rows == ROWS
    assert evidence.deviation(0.1, cold=False) == pytest.approx(statistics.stdev([0.01, 0.02]), rel=1e-5)


def test_a_fit_keeps_what_was_refused(tmp_path):
    rules = rules_of(tmp_path, [*FULL, cell("dpq", 0.01, 0), *three("dpq", 0.1, 0.79)])
    assert [point.budget for point in rules.evidence[0].curves["dpq"].points] == [0.1]
    document = json.loads((tmp_path / "rules.json").read_text())
    (curve,) = [one for one in document["evidence"][0]["curves"] if one["method"] == "dpq"]
    assert curve["refused"] == [{"budget": 0.01, "floor": 12345}]


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
    with pytest.raises(ValueError, match=r"results\.jsonl': no data set and head with the method full"):
        _fit.fit([written(tmp_path, three("robe", 0.1, 0.7))])
    other = cell("robe", 0.1, 0, 0.7)
    other["request"]["dimension"] = 8
    with pytest.raises(ValueError, match="cells of one/dlrm differ in dimension"):
        _fit.fit([written(tmp_path, [*FULL, other])])
    for name, value in (("optimizer", {"name": "RowwiseAdagrad", "lr": 0.1}), ("source", {"reader": "csv", "rows": 5})):
        other = cell("robe", 0.1, 0, 0.7)
        other["request"][name] = value
        with pytest.raises(ValueError, match=f"cells of one/dlrm differ in {name}"):
            _fit.fit([written(tmp_path, [*FULL, cell("robe", 0.1, 0, 0.7), other])])
    other = cell("robe", 0.1, 0, 0.7)
    other["request"]["note"] = "again"
    with pytest.raises(ValueError, match=r"one/dlrm has two results of robe with the budget 0\.1 and seed 0"):
        _fit.fit([written(tmp_path, [*FULL, cell("robe", 0.1, 0, 0.7), other])])
    with pytest.raises(ValueError, match="line 1: a result of bench lookup"):
        _fit.fit([written(tmp_path, [full(0) | {"bench": "lookup"}])])
    path = written(tmp_path, FULL)
    with pytest.raises(ValueError, match="line 1: its cell has a result before it"):
        _fit.fit([path, path])


def test_gradients_are_of_one_kind(tmp_path):
    lines = [*FULL, *three("robe", 0.1, 0.79)]
    for line in lines[len(FULL) :]:
        line["request"]["sparse"] = True
    with pytest.raises(ValueError, match="cells of one/dlrm differ in sparse"):
        _fit.fit([written(tmp_path, lines)])


def test_optimizers_may_differ_where_trials_chose_them(tmp_path):
    lines = [*FULL, *three("robe", 0.1, 0.79), *three("full + eden", 0.1, 0.7)]
    for line in lines[len(FULL) : len(FULL) + 3]:
        line["request"]["optimizer"] = {"name": "Adagrad", "lr": 0.1}
    with pytest.raises(ValueError, match="cells of one/dlrm differ in optimizer"):
        _fit.fit([written(tmp_path, lines)])
    trial = cell("robe", 0.1, 0, 0.1)
    trial["request"] |= {"optimizer": {"name": "SGD", "lr": 1}, "trial": True}
    rules = rules_of(tmp_path, [*lines, trial])
    assert set(rules.evidence[0].curves) == {"full", "robe"}
    (curve,) = [one for one in json.loads((tmp_path / "rules.json").read_text())["evidence"][0]["curves"]
                if one["method"] == "robe"]  # fmt: skip
    assert curve["points"][0]["loss"] == pytest.approx(0.01, abs=2e-3)
    lines[len(FULL)]["request"]["optimizer"] = {"name": "Adagrad", "lr": 0.2}
    with pytest.raises(ValueError, match=r"cells of one/dlrm/robe/0\.1 differ in optimizer"):
        _fit.fit([written(tmp_path, [*lines, trial])])


HYBRID = {"bits": 4, "block": 4}


def test_a_method_with_other_options_has_a_curve_of_its_own(tmp_path):
    lines = [*FULL, *three("robe", 0.1, 0.77), *three("robe", 0.1, 0.79, options=HYBRID)]
    (evidence,) = rules_of(tmp_path, lines).evidence
    assert set(evidence.curves) == {"full", "robe", "robe(bits=4, block=4)"}
    plain, hybrid = (evidence.curves[name] for name in ("robe", "robe(bits=4, block=4)"))
    assert (plain.method, plain.options, hybrid.method, hybrid.options) == ("robe", {}, "robe", HYBRID)
    assert (plain.points[0].loss, hybrid.points[0].loss) == (pytest.approx(0.03), pytest.approx(0.01))
    document = json.loads((tmp_path / "rules.json").read_text())
    assert [(one["method"], one["options"]) for one in document["evidence"][0]["curves"]] == [
        ("full", {}), ("robe", {}), ("robe", HYBRID),
    ]  # fmt: skip
    # The noise that is usual is that of the median variant.
    lines += [cell("tt", 0.1, seed, 0.78 + 0.02 * seed) for seed in range(3)]
    usual = rules_of(tmp_path, lines).evidence[0].deviation(0.1, cold=False)
    assert usual == evidence.deviation(0.1, cold=False)


def test_the_uncompressed_table_has_no_options(tmp_path):
    lines = [*FULL, *(cell("full", 1.0, seed, 0.7, options={"bits": 8}, ratio=0.27) for seed in range(3))]
    (evidence,) = rules_of(tmp_path, lines).evidence
    assert evidence.full["auc"] == pytest.approx(0.8)
    assert evidence.curves["full(bits=8)"].points[0].loss == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no data set and head with the method full"):
        rules_of(tmp_path, lines[len(FULL) :])


def test_a_variant_has_one_result_at_a_budget_for_a_seed_and_one_way_of_training(tmp_path):
    lines = [*FULL, *three("robe", 0.1, 0.77), *three("robe", 0.1, 0.79, options=HYBRID)]
    again = cell("robe", 0.1, 0, 0.7, options=HYBRID)
    again["request"]["note"] = "again"
    said = r"one/dlrm has two results of robe\(bits=4, block=4\) with the budget 0\.1 and seed 0"
    with pytest.raises(ValueError, match=said):
        rules_of(tmp_path, [*lines, again])
    lines[-1]["request"]["epochs"] = 2
    with pytest.raises(ValueError, match="cells of one/dlrm differ in epochs"):
        rules_of(tmp_path, lines)
    lines[-1]["request"]["epochs"] = None
    for line, rate in zip(lines[-3:], (0.1, 0.1, 0.2), strict=True):
        line["request"]["optimizer"] = {"name": "Adagrad", "lr": rate}
    trial = cell("full", 1.0, 0, 0.1)
    trial["request"] |= {"optimizer": {"name": "SGD", "lr": 1}, "trial": True}
    with pytest.raises(ValueError, match=r"cells of one/dlrm/robe\(bits=4, block=4\)/0\.1 differ in optimizer"):
        rules_of(tmp_path, [*lines, trial])


def test_generated_clicks_are_no_evidence(tmp_path):
    made = cell("robe", 0.1, 0, 0.7, data="generated")
    made["request"]["source"] = {"reader": "generated", "rows": 1000, "samples": 500}
    rules = rules_of(tmp_path, [*FULL, made, *three("robe", 0.1, 0.79)])
    assert [one.data for one in rules.evidence] == ["one"]
    assert rules.results["left_out"] == ["1 cell of generated clicks: an AUC on them says nothing of one on data"]
    with pytest.raises(ValueError, match=r"no data set and head with the method full.*left out: 1 cell of generated"):
        rules_of(tmp_path, [made])


def test_the_digest_is_that_of_the_file(tmp_path):
    path = written(tmp_path, [*FULL, *three("robe", 0.1, 0.79)])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert _fit.fit([path])["results"]["files"] == [{"file": "results.jsonl", "sha256": digest, "cells": 6}]


@pytest.mark.parametrize(
    "content", ["", "{}", '{"format": [1]}', '{"format": 3, "results": {}, "evidence": [], "growth": null}', "[1]"]
)
def test_what_is_no_rules(tmp_path, content):
    path = tmp_path / "rules.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="has no rules of `embedcompress bench fit`"):
        training.read_rules(path)


def test_rules_of_another_version_say_so(tmp_path):
    path = tmp_path / "rules.json"
    path.write_text('{"format": 2}')
    with pytest.raises(ValueError, match="has rules of format 2; this version reads format 3: fit them again with"):
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


def test_bench_fit_writes_rules(capsys, tmp_path):
    rules_of(tmp_path, [*FULL, *three("robe", 0.1, 0.79), *three("hash", 0.1, 0.70), *three("hash", 0.5, 0.75)])
    out = tmp_path / "again.json"
    assert cli.main(["bench", "fit", str(tmp_path / "results.jsonl"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == "one/dlrm: 3 methods, 4 points\n"
    assert out.read_bytes() == (tmp_path / "rules.json").read_bytes()
    assert cli.main(["bench", "fit", str(out), "--out", str(out)]) == 1
    assert "line 1: not a result of a benchmark" in capsys.readouterr().err
    assert (
        cli.main(["bench", "fit", str(tmp_path / "results.jsonl"), "--out", str(tmp_path / "no" / "rules.json")]) == 1
    )
    assert "does not exist" in capsys.readouterr().err
