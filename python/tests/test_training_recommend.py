"""`training.recommend`: what is first, what is refused, and what holds whatever is asked."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_results import F32, FIELDS, FULL, ROWS, cell, full, labels, rules_of, three

import embedcompress as ec
from embedcompress import training


def test_the_least_loss_comes_first(tmp_path):
    rules = rules_of(tmp_path, [*FULL, *three("hash", 0.1, 0.70), *three("robe", 0.1, 0.79), *three("tt", 0.1, 0.78)])
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=rules)
    assert labels(choice) == ["robe", "tt", "hash"]
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
    assert labels(choice) == ["hash", "robe", "tt", "compo"]
    assert [one.rank for one in choice] == [1, 1, 1, 2]
    assert "robe and tt are within the noise of seeds" in choice[0].reason
    assert "within the noise of seeds of hash" in choice[1].reason


def test_one_seed_gives_no_noise(tmp_path):
    rules = rules_of(tmp_path, [full(0), cell("robe", 0.1, 0, 0.79), cell("hash", 0.1, 0, 0.7899)])
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=rules)
    assert labels(choice) == ["robe", "hash"]
    assert choice[0].auc_loss_error is None
    assert "one seed" in choice[0].reason


def test_cold_rows_have_a_ranking_of_their_own(tmp_path):
    lines = [*FULL, *three("robe", 0.1, 0.79, cold_auc=0.6), *three("tt", 0.1, 0.77, cold_auc=0.7)]
    rules = rules_of(tmp_path, lines)
    assert labels(training.recommend(FIELDS, 16, budget=0.1, rules=rules)) == ["robe", "tt"]
    choice = training.recommend(FIELDS, 16, budget=0.1, cold=True, rules=rules)
    assert labels(choice) == ["tt", "robe"]
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
    assert labels(training.recommend(FIELDS, 16, **ask)) == ["dpq", "tt", "hash"]
    assert labels(training.recommend(FIELDS, 16, train_memory=F32 / 2, **ask)) == ["tt", "hash"]
    choice = training.recommend(FIELDS, 16, train_memory=F32 / 2, latency=50, **ask)
    assert labels(choice) == ["hash"]
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


def test_a_method_is_tried_at_its_floor(tmp_path):
    # What was measured at 5 % is below the floor here, and what was measured at 50 % is too slow.
    lines = [*FULL, *three("mde", 0.05, 0.78, lookup_ns_per_row=5.0), *three("mde", 0.5, 0.79, lookup_ns_per_row=50.0)]
    (one,) = training.recommend(FIELDS, 16, budget=0.5, latency=8, rules=rules_of(tmp_path, lines))
    with pytest.raises(ec.BudgetError):
        training.plan("mde", ROWS, 16, budget=one.budget - 1, fields=FIELDS)
    assert one.lookup_ns_per_row < 8


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
    assert labels(training.recommend(FIELDS, 16, budget=0.03, rules=rules))[0] == "dpq"


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


HYBRID = {"bits": 4, "block": 4}


def test_a_method_with_options_is_advice_of_its_own(tmp_path):
    lines = [*FULL, *three("robe", 0.1, 0.77), *three("robe", 0.1, 0.79, options=HYBRID), *three("hash", 0.1, 0.7)]
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=rules_of(tmp_path, lines))
    assert labels(choice) == ["robe(bits=4, block=4)", "robe", "hash"]
    first, second, _ = choice
    assert (first.method, dict(first.options), second.method, dict(second.options)) == ("robe", HYBRID, "robe", {})
    assert first.as_dict()["options"] == HYBRID
    assert "label" not in first.as_dict()
    module = training.embedding(first.method, ROWS, 16, budget=first.budget, fields=FIELDS, **first.options)
    assert module.stored_bytes == first.stored_bytes <= first.budget
    assert first.knobs == module.planned.knobs
    assert first.knobs["numbers"] > 4 * second.knobs["numbers"]
    assert first.cells == ("one/dlrm/robe(bits=4, block=4)/0.1: seeds 0 1 2", "one/dlrm/full/1: seeds 0 1 2")
    assert "0.0200 more than robe(bits=4, block=4)" in second.reason


def test_variants_within_the_noise_are_named_with_their_options(tmp_path):
    lines = [*FULL, *three("tt", 0.1, 0.79, lookup_ns_per_row=90.0), *three("tt", 0.1, 0.7899, options={"bits": 4})]
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=rules_of(tmp_path, lines))
    assert [(one.rank, one.label) for one in choice] == [(1, "tt(bits=4)"), (1, "tt")]
    assert "tt is within the noise of seeds" in choice[0].reason
    assert "within the noise of seeds of tt(bits=4)" in choice[1].reason


def test_a_method_that_was_measured_with_options_only_is_no_choice_without(tmp_path):
    lines = [*FULL, *three("tt", 0.1, 0.79, options={"bits": 4}), *three("int8", 0.5, 0.79)]
    lines += [cell("tt", 0.1, 0, 0.7, head="wdl"), cell("tt", 0.1, 0, 0.72, head="wdl", options={"bits": 4})]
    lines += [cell("full", 1.0, 0, 0.8, head="wdl")]
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=rules_of(tmp_path, lines))
    assert labels(choice) == ["tt(bits=4)"]
    assert choice[0].elsewhere == {"one/wdl": pytest.approx(0.08)}
    refused = {one.label: one for one in choice.refused}
    assert "tt" not in refused and refused["robe"].options == {}
    assert refused["int8"].limit == "budget"


def test_refusals_name_the_options(tmp_path):
    lines = [*FULL, *three("compo", 0.1, 0.79), *three("compo", 0.1, 0.79, options={"bits": 4}, lookup_ns_per_row=50.0)]
    rules = rules_of(tmp_path, lines)
    (one,) = [one for one in training.recommend(FIELDS, 16, budget=0.1, latency=20, rules=rules).refused
              if one.method == "compo"]  # fmt: skip
    assert (one.label, one.limit, one.as_dict()["options"]) == ("compo(bits=4)", "latency", {"bits": 4})
    assert one.reason == "compo(bits=4) took 50.0 ns for a row at least."
    floors = {}
    for options in ({}, {"bits": 4}):
        with pytest.raises(ec.BudgetError) as caught:
            training.plan("compo", ROWS, 16, budget=1, fields=FIELDS, **options)
        floors[str(options)] = caught.value.floor
    assert floors["{'bits': 4}"] < floors["{}"]
    budget = floors["{}"] - 1
    choice = training.recommend(FIELDS, 16, budget=budget, rules=rules)
    assert labels(choice) == ["compo(bits=4)"]
    (one,) = [one for one in choice.refused if one.method == "compo"]
    assert (one.label, one.floor) == ("compo", floors["{}"])


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
    for name, options in (("robe", HYBRID), ("robe", {"block": 4}), ("hash", {"bits": 4}), ("compo", {"bits": 8})):
        for budget in (0.1, 0.01):
            lines += three(name, budget, random.uniform(0.7, 0.79), options=options)
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
        planned = training.plan(one.method, sum(sizes), dimension, budget=one.budget, fields=sizes, **one.options)
        assert planned.stored_bytes == one.stored_bytes <= one.budget <= int(share * f32)
        assert memory is None or one.training_bytes <= memory + 1
    assert len(set(labels(found))) == len(found)
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
            labels(
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
