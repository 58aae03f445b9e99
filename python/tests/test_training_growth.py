"""How training grows with the rows: what is fitted to results of `bench scale`, and what `recommend` makes of it."""

import json
import math

import pytest
from training_results import CRITEO, F32, FIELDS, FULL, MACHINE, ROWS, labels, rules_of, scaled, three

from embedcompress import cli, training
from embedcompress.training._growth import FAR, Cost, GrowthCurve, is_far
from embedcompress.training._rules import committed_rules

SCALED = [
    *(scaled("full", rows, 1.0) for rows in (10_000, 100_000, 1_000_000)),
    *(scaled("robe", rows, time=time) for rows, time in ((10_000, 80.0), (100_000, 160.0), (1_000_000, 640.0))),
    *(scaled("hash", rows) for rows in (10_000, 100_000, 1_000_000)),
]
LINES = [*FULL, *three("robe", 0.1, 0.79, train_seconds=5.0), *three("hash", 0.1, 0.78, train_seconds=5.0)]


def fields(rows):
    return [size * rows // ROWS for size in FIELDS]


def advice(choice):
    return {one.label: one for one in choice}


@pytest.fixture
def rules(tmp_path):
    return rules_of(tmp_path, [*LINES, *SCALED])


# Fits


def test_a_fit_takes_ratios_to_the_uncompressed_table_of_the_same_run(tmp_path):
    lines = [scaled("full", 1000, 1.0, time=50.0), scaled("full", 1000, 1.0, time=150.0, samples=9)]
    lines += [scaled("robe", 1000, time=60.0), scaled("robe", 1000, time=80.0, samples=9, optimizer=0)]
    growth = rules_of(tmp_path, [*LINES, *lines]).growth
    (cost,) = growth.curves["robe"].points
    assert (cost.rows, cost.budget, cost.time) == (1000, 0.1, pytest.approx((60 / 50 + 80 / 150) / 2, rel=1e-5))
    assert cost.training_ratio == pytest.approx(0.1)
    assert cost.state_ratio == pytest.approx((0.3 + 0.1) / 2)
    assert growth.curves["full"].points[0].time == 1.0
    assert growth.machines == ("a processor, 2 processors, x86-64-v3",)
    assert (growth.data, growth.head, growth.settings["batch"]) == ("generated", "dlrm", 256)


def test_what_was_refused_or_has_no_uncompressed_table_gives_nothing(tmp_path, capsys):
    refused = scaled("int8", 10_000) | {"refused": "cannot", "floor": 5}
    del refused["figures"]
    rules = rules_of(tmp_path, [*LINES, *SCALED, refused, scaled("robe", 10**8)])
    assert set(rules.growth.curves) == {"full", "robe", "hash"}
    assert rules.growth.sizes == (10_000, 100_000, 1_000_000)
    said = (
        "bench scale, robe at 0.1 with 100,000,000 rows: no result of full beside it, which its time is measured "
        "against"
    )
    assert rules.results["left_out"] == [said]
    cli.main(["bench", "fit", str(tmp_path / "results.jsonl"), "--out", str(tmp_path / "again.json")])
    assert f"left out: {said}\n" in capsys.readouterr().out


def test_fits_that_can_not_be(tmp_path):
    with pytest.raises(ValueError, match="bench scale: no result of the method full"):
        rules_of(tmp_path, [*LINES, scaled("robe", 1000)])
    other = scaled("full", 1000, 1.0)
    other["request"]["gradients"] = "dense"
    with pytest.raises(ValueError, match="cells of bench scale differ in gradients"):
        rules_of(tmp_path, [*LINES, *SCALED, other])
    for name, value in (("head", "wdl"), ("dimension", 8)):
        lines = [scaled("full", 1000, 1.0)]
        lines[0]["request"][name] = value
        with pytest.raises(ValueError, match=f"cells of bench scale have the {name} {value}, those of bench train"):
            rules_of(tmp_path, [*LINES, *lines])


@pytest.mark.parametrize("curves", [[], [{"method": "robe", "points": []}]])
def test_growth_without_points_is_refused(tmp_path, curves):
    rules_of(tmp_path, [*LINES, *SCALED])
    path = tmp_path / "rules.json"
    document = json.loads(path.read_text())
    document["growth"]["curves"] = curves
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="has no rules of `embedcompress bench fit`"):
        training.read_rules(path)


def test_results_of_bench_scale_are_not_needed(tmp_path):
    rules = rules_of(tmp_path, LINES)
    assert rules.growth is None
    near, far = (advice(training.recommend(fields(rows), 16, budget=0.1, rules=rules)) for rows in (20_000, 100_000))
    assert (near["robe"].beyond, near["robe"].state_bytes) == ((), None)
    assert far["robe"].beyond == ("rows", "training")
    assert far["robe"].training_time == near["robe"].training_time == pytest.approx(0.5)


# Curves


CURVE = GrowthCurve(
    "robe",
    (Cost(1000, 0.1, 1.0, 0.1, 0.3), Cost(1000, 0.5, 2.0, 0.5, 1.5),
     Cost(100_000, 0.01, 1.0, 0.01, 0.03), Cost(100_000, 0.1, 4.0, 0.1, 0.3)),
)  # fmt: skip


def test_costs_are_power_laws_of_rows_and_budget():
    assert CURVE.at(10_000, 0.1).time == pytest.approx(2.0)
    assert CURVE.at(1000, math.sqrt(0.1 * 0.5)).time == pytest.approx(math.sqrt(2))
    assert CURVE.at(100_000, math.sqrt(0.01 * 0.1)).state_ratio == pytest.approx(math.sqrt(0.03 * 0.3))
    for point in CURVE.points:
        assert CURVE.at(point.rows, point.budget) == point


def test_beyond_what_was_measured_costs_stay():
    assert CURVE.at(10**8, 0.1) == CURVE.points[3]
    assert CURVE.at(1, 0.5) == CURVE.points[1]
    # A size at which no such budget was measured is left out: the other one is all there is.
    assert CURVE.at(1000, 0.01) == CURVE.at(100_000, 0.01) == CURVE.points[2]


def test_beyond_the_budgets_bytes_of_what_is_stored_grow():
    more, less = CURVE.at(100_000, 0.3), CURVE.at(100_000, 0.004)
    assert (more.time, less.time) == (4.0, 1.0)
    assert (more.training_ratio, more.state_ratio) == (pytest.approx(0.3), pytest.approx(0.9))
    assert (less.training_ratio, less.state_ratio) == (pytest.approx(0.004), pytest.approx(0.012))
    # A twentieth for something of each id, and as much for the gradients of a batch, stay as they are.
    fixed = GrowthCurve("adapt", (Cost(1000, 0.1, 1.0, 0.15, 0.4),))
    assert fixed.at(1000, 0.2).training_ratio == pytest.approx(0.25)
    assert fixed.at(1000, 0.2).state_ratio == pytest.approx(0.25 + 0.4 + 0.05)
    assert fixed.at(1000, 0.05).training_ratio == pytest.approx(0.1)
    assert fixed.at(1000, 0.05).state_ratio == pytest.approx(0.1 + 0.1 + 0.05)


@pytest.mark.parametrize(
    ("rows", "budget", "covered"),
    [
        (10_000, 0.1, True), (100_000 * FAR, 0.1, True), (100_001 * FAR, 0.1, False), (1000 / FAR, 0.1, True),
        (999 / FAR, 0.1, False), (10_000, 0.01 / FAR, False), (100_000, 0.0101 / FAR, True), (10_000, 0.034, True),
        (100_000, 0.0099 / FAR, False), (10_000, 1.0, False), (1000, 1.0, True),
    ],
)  # fmt: skip
def test_what_is_covered(rows, budget, covered):
    assert CURVE.covers(rows, budget) is covered


def test_far_is_a_factor():
    assert not is_far(3, 1) and not is_far(1, 3) and is_far(3.01, 1) and is_far(1, 3.01)


# Advice


def test_times_grow_from_the_size_that_losses_were_measured_at(rules):
    # Near the data set, of its trainings, grown with the rows; where it is far, of the steps of such a table.
    for rows, robe, hashed in ((10_000, 0.5, 0.5), (20_000, 0.5 * 2**0.30103, 0.5), (100_000, 1.6, 1), (10**6, 6.4, 1)):
        found = advice(training.recommend(fields(rows), 16, budget=0.1, rules=rules))
        assert found["robe"].training_time == pytest.approx(robe, rel=1e-3)
        assert found["hash"].training_time == pytest.approx(hashed, rel=1e-3)
        assert found["robe"].state_bytes == pytest.approx(0.3 * 64 * rows, rel=1e-3)
        assert found["robe"].training_bytes == pytest.approx(0.1 * 64 * rows, rel=1e-3)
        assert found["robe"].auc_loss == pytest.approx(0.01)
        assert found["robe"].beyond == (("rows",) if rows > FAR * ROWS else ())
        assert found["robe"].extrapolated == (rows > FAR * ROWS)


def test_time_decides_within_a_rank(tmp_path):
    lines = [*FULL, *three("robe", 0.1, 0.79, train_seconds=5.0), *three("hash", 0.1, 0.79, train_seconds=9.0)]
    rules = rules_of(tmp_path, [*lines, *SCALED])
    assert labels(training.recommend(fields(10_000), 16, budget=0.1, rules=rules)) == ["robe", "hash"]
    assert labels(training.recommend(fields(1_000_000), 16, budget=0.1, rules=rules)) == ["hash", "robe"]


def test_bytes_of_training_grow_too(tmp_path):
    # Of a method that keeps something of each id only where there are many.
    scale = [*SCALED[:3], scaled("robe", 10_000), scaled("robe", 1_000_000, parameters=round(0.4 * 64e6))]
    rules = rules_of(tmp_path, [*LINES, *scale])
    (robe,) = (one for one in training.recommend(fields(10**6), 16, budget=0.1, rules=rules) if one.method == "robe")
    assert robe.training_bytes == pytest.approx(0.4 * 64e6, rel=1e-3)
    found = training.recommend(fields(10**6), 16, budget=0.1, train_memory=0.3 * 64e6, rules=rules)
    assert robe.budget > advice(found)["robe"].budget if "robe" in advice(found) else True
    assert all(one.training_bytes <= 0.3 * 64e6 for one in found)


def test_what_was_not_measured_at_a_size_says_so(tmp_path):
    rules = rules_of(tmp_path, [*LINES, *three("tt", 0.1, 0.77), *SCALED])
    found = advice(training.recommend(fields(1_000_000), 16, budget=0.1, rules=rules))
    assert (found["tt"].beyond, found["tt"].state_bytes) == (("rows", "training"), None)
    assert "measured with 10,000 rows" in found["robe"].reason and "time and bytes" not in found["robe"].reason
    assert "So are time and bytes of training" in found["tt"].reason
    beyond = advice(training.recommend(fields(10_000_000), 16, budget=0.1, rules=rules))
    assert beyond["robe"].beyond == ("rows", "training")
    # Of the trainings of the data set, as no such table was measured: 0.5, grown 8 times.
    assert beyond["robe"].training_time == pytest.approx(4.0, rel=1e-3)
    assert beyond["robe"].as_dict()["beyond"] == ["rows", "training"]


def test_training_with_options_grows_as_without(tmp_path):
    hybrid = three("robe", 0.1, 0.795, options={"bits": 4}, train_seconds=8.0, training_bytes=0.6 * F32)
    rules = rules_of(tmp_path, [*LINES, *hybrid, *SCALED])
    near = advice(training.recommend(fields(10_000), 16, budget=0.1, rules=rules))["robe(bits=4)"]
    assert (near.beyond, near.state_bytes, near.training_time) == ((), None, pytest.approx(0.8))
    found = advice(training.recommend(fields(1_000_000), 16, budget=0.1, rules=rules))
    far = found["robe(bits=4)"]
    # robe's steps take .8 of full's with ten thousand rows, and 6.4 with a million.
    assert far.training_time == pytest.approx(0.8 * 8, rel=1e-3)
    assert far.training_bytes == pytest.approx(0.6 * 64e6, rel=1e-3)
    assert (far.beyond, far.state_bytes) == (("rows", "training"), None)
    assert found["robe"].beyond == ("rows",)
    said = "So are time and bytes of training. The time grows with the rows as that of robe without options."
    assert said in far.reason
    # Of a method that bench scale had nothing of, the time stays, and nobody says that it grows.
    alone = [*FULL, *three("tt", 0.1, 0.77, options={"bits": 4}), *SCALED]
    (tt,) = training.recommend(fields(1_000_000), 16, budget=0.1, rules=rules_of(tmp_path, alone))
    assert (tt.training_time, "without options" in tt.reason) == (pytest.approx(1.0), False)


def test_the_extrapolated_budget_still_never_comes_first(tmp_path):
    lines = [*FULL, *three("dpq", 0.1, 0.7995), *three("dpq", 0.5, 0.7998), *three("robe", 0.05, 0.79)]
    choice = training.recommend(fields(1_000_000), 16, budget=0.05, rules=rules_of(tmp_path, [*lines, *SCALED]))
    assert [(one.method, one.beyond) for one in choice] == [
        ("robe", ("rows",)), ("dpq", ("budget", "rows", "training")),
    ]  # fmt: skip


# The committed rules and the command


def test_the_committed_rules_know_the_size_of_criteo():
    """A table of 33.8 million rows is said to be far from those of the losses; costs are those of its size."""
    choice = training.recommend(CRITEO, 16, budget=0.01)
    assert all("rows" in one.beyond for one in choice)
    rows = sum(CRITEO)
    points = {name: curve.points for name, curve in committed_rules().growth.curves.items()}
    measured = {
        name: point for name, found in points.items() for point in found if (point.rows, point.budget) == (rows, 0.01)
    }
    checked = 0
    for one in choice:
        if one.label in measured and one.budget == int(0.01 * 64 * rows):
            point = measured[one.label]
            assert "training" not in one.beyond
            assert one.training_time == pytest.approx(point.time)
            assert one.state_bytes == pytest.approx(point.state_ratio * 64 * rows, rel=1e-6)
            checked += 1
    assert checked
    assert all("training" in one.beyond for one in choice if one.options)


@pytest.mark.parametrize(("fields", "budget"), [(CRITEO, 0.3), (CRITEO, 0.025), ((200_000, 200_000), 0.034)])
def test_training_holds_what_is_stored_at_least(fields, budget):
    """Of methods whose parameters are what is stored, that and little more, at budgets that were not measured, too."""
    found = advice(training.recommend(fields, 16, budget=budget))
    for method in {"robe", "hash", "mde", "compo"} & found.keys():
        one = found[method]
        assert 0.95 * one.stored_bytes < one.training_bytes < 1.25 * one.stored_bytes, method
    limited = training.recommend([sum(CRITEO)], 16, budget=0.3, train_memory=300_000_000)
    assert {"robe", "hash"} <= set(labels(limited))
    for one in limited:
        if one.label in ("robe", "hash", "mde", "compo"):
            assert one.stored_bytes <= 1.05 * one.training_bytes <= 1.05 * 300_000_000


def test_what_steps_hold_is_no_less_than_the_table():
    """Both are of the same measurement, also where the rows are near those of the data set."""
    for rows in (60_000, 130_000, 388_000, 5_000_000):
        for budget in (0.004, 0.01, 0.05, 0.2, 0.5):
            for one in training.recommend([rows // 2, rows - rows // 2], 16, budget=budget):
                assert one.state_bytes is None or one.state_bytes >= one.training_bytes, (rows, budget, one.method)


def test_budgets_that_make_the_same_table_train_in_the_same_bytes():
    found = advice(training.recommend([500_000, 500_000], 16, budget=0.5))
    assert found["int8"].training_bytes == pytest.approx(64e6, rel=0.01)


def test_the_command_says_what_is_extrapolated(capsys, tmp_path):
    rules_of(tmp_path, [*LINES, *three("tt", 0.1, 0.77), *SCALED])
    sizes = ",".join(map(str, fields(1_000_000)))
    arguments = ["--task", "ctr", "--fields", sizes, "--dim", "16", "--budget", "10%", "--rules"]
    assert cli.main(["recommend", *arguments, str(tmp_path / "rules.json")]) in (0, None)
    out = capsys.readouterr().out
    assert "Training grows with the rows as on generated clicks, under dlrm: 10,000 to 1,000,000 rows." in out
    assert "r: extrapolated (all): losses were measured with 10,000 rows, not with 1,000,000." in out
    assert "t: extrapolated (tt): time and bytes of training were not measured at this size." in out
    assert "no such budget" not in out and "robe (r) " in out and "tt (rt) " in out
    assert "with Adam, gradients, those of a batch of 256 samples, and moments are counted, too." in out


def test_bench_fit_takes_both_kinds(capsys, tmp_path):
    rules_of(tmp_path, [*LINES, *SCALED])
    out = tmp_path / "again.json"
    assert cli.main(["bench", "fit", str(tmp_path / "results.jsonl"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == (
        "one/dlrm: 3 methods, 3 points\ntraining, by rows: 3 methods, 10,000 to 1,000,000 rows\n"
    )
    assert training.read_rules(out) == training.read_rules(tmp_path / "rules.json")
    assert MACHINE["cpu"] in out.read_text()
