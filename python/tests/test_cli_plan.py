"""`embedcompress plan`: the study's knobs for Criteo, and ours."""

import json

import pytest

from embedcompress import training
from embedcompress.cli import main

CRITEO = (
    "1460,583,10131227,2202608,305,24,12517,633,3,93145,5683,8351593,3194,27,14992,5461306,10,5652,2173,4,7046547,18,15,"
    "286181,105,142572"
)
"""Sizes of its 26 fields (arXiv 2311.15578)."""
ROWS = 33_762_577


def planned(capsys, method, budget, *arguments):
    code = main(
        ["plan", "--method", method, "--fields", CRITEO, "--dim", "16", "--budget", str(budget), "--json", *arguments]
    )
    return code, capsys.readouterr()


# What an independent implementation of the study's rules gives: knobs, and the share of the bytes.
COMPO = {0.5: (2, 0.500002), 0.1: (10, 0.100008), 0.01: (101, 0.009961)}


@pytest.mark.parametrize("budget", COMPO)
def test_compo_has_the_studys_divisor(capsys, budget):
    code, output = planned(capsys, "compo", budget)
    document = json.loads(output.out)
    assert code == 0
    assert document["study"]["k"] == COMPO[budget][0]
    assert document["study"]["ratio"] == pytest.approx(COMPO[budget][1], abs=1e-6)
    assert document["stored_bytes"] <= budget * ROWS * 64


@pytest.mark.parametrize(
    ("method", "budget", "study"),
    [
        ("tt", 0.5, {"rank": 376, "ratio": 0.49785}),
        ("tt", 0.1, {"rank": 157, "ratio": 0.09990}),
        ("tt", 0.01, {"rank": 46, "ratio": 0.009977}),
        ("tt", 0.001, {"rank": 13, "ratio": 0.000954}),
        ("dhe", 0.5, {"width": 3626, "networks": 4, "ratio": 0.49987}),
        ("dhe", 0.1, {"width": 1372, "networks": 5, "ratio": 0.09996}),
        ("dhe", 0.01, {"width": 271, "networks": 8, "ratio": 0.009992}),
        ("dhe", 0.001, {"width": 29, "networks": 14, "ratio": 0.000975}),
        ("mde", 0.5, {"alpha": 0.0703125, "ratio": 0.50001}),
        ("mde", 0.1, {"alpha": 0.16015625, "ratio": 0.09293}),
        ("robe", 0.5, {"numbers": 270_100_616}),
        ("robe", 0.1, {"numbers": 54_020_123}),
        ("robe", 0.01, {"numbers": 5_402_012}),
        ("robe", 0.001, {"numbers": 540_201}),
    ],
)
def test_the_studys_knobs(capsys, method, budget, study):
    code, output = planned(capsys, method, budget)
    document = json.loads(output.out)
    assert code == 0
    assert document["stored_bytes"] <= budget * ROWS * 64
    # Where the study's rule is ours there is but one.
    found = document["study"] or {**document["knobs"], "ratio": document["ratio"]}
    for name, value in study.items():
        assert found[name] == (pytest.approx(value, abs=1e-5) if name == "ratio" else value)


@pytest.mark.parametrize("budget", [0.01, 0.001])
def test_mde_cannot_go_below_a_column_for_each_row(capsys, budget):
    code, output = planned(capsys, "mde", budget)
    assert code == 1
    assert "the least it can reach is" in output.err


def test_compo_refuses_what_the_study_finds_infeasible_only_below_its_own_floor(capsys):
    code, output = planned(capsys, "compo", 0.001)
    document = json.loads(output.out)
    # One k for all fields cannot do it; a field that is too small for it has its own here.
    assert code == 0
    assert document["study"]["k"] is None
    assert document["stored_bytes"] <= 0.001 * ROWS * 64
    code, output = planned(capsys, "compo", 0.0005)
    assert code == 1
    assert "the least it can reach is" in output.err


def test_prints_both_rules(capsys):
    assert main(["plan", "--method", "hash", "--fields", "30,20", "--dim", "4", "--budget", "50%"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("hash: 400 B, 50.0 % of 800 B")
    assert "by the study's rule" in output


def test_takes_options(capsys):
    arguments = ["plan", "--method", "dpq", "--fields", "500", "--dim", "8", "--budget", "0.5", "--json"]
    assert main([*arguments, "--option", "bits=3", "--option", "kind=sx"]) == 0
    assert json.loads(capsys.readouterr().out)["knobs"]["bits"] == 3
    assert main([*arguments, "--option", "wrong=3"]) == 1
    assert "dpq has no option 'wrong'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fields", "1,x"], "'1,x' is not a list of whole numbers"),
        (["--fields", "10", "--option", "bits"], "'bits' is not KEY=VALUE"),
    ],
)
def test_refuses_bad_arguments(capsys, arguments, message):
    with pytest.raises(SystemExit):
        main(["plan", "--method", "hash", "--dim", "4", "--budget", "0.5", *arguments])
    assert message in capsys.readouterr().err


def test_lists_the_methods(capsys):
    assert main(["methods", "--training", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == [method.name for method in training.methods()]
    assert {entry["stage"] for entry in listed} == {"while training"}


def test_refuses_unknown_methods(capsys):
    assert main(["plan", "--method", "nothing", "--fields", "10", "--dim", "4", "--budget", "0.5"]) == 1
    assert "there is no method 'nothing' to train" in capsys.readouterr().err
