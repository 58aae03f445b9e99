"""Bits for a byte budget: against every allocation there is, the paper's order, sizes, errors as measured, refusals."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import embedcompress as ec
from embedcompress import hessian
from embedcompress.hessian import _knapsack


def cheapest(items, limit):
    """The least cost of all choices that fit."""
    every = itertools.product(*items)
    return min(sum(cost for _, cost in choice) for choice in every if sum(size for size, _ in choice) <= limit)


options = st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1e6)), min_size=1, max_size=4)


@given(st.lists(options, min_size=1, max_size=5), st.integers(0, 200), st.booleans())
def test_the_least_cost_is_that_of_all_choices(items, limit, tight):
    """Costs of any shape: neither convex nor falling with bytes."""
    least = sum(min(size for size, _ in item) for item in items)
    limit = least if tight else max(limit, least)
    chosen, exact = _knapsack.least_cost(items, limit)
    assert exact
    assert sum(item[place][0] for item, place in zip(items, chosen, strict=True)) <= limit
    cost = sum(item[place][1] for item, place in zip(items, chosen, strict=True))
    assert cost == pytest.approx(cheapest(items, limit), rel=1e-8, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1e3), st.integers(1, 3000)), min_size=1, max_size=6), st.floats(0, 1))
def test_an_allocation_is_the_best_there_is(blocks, share):
    omegas = {str(place): omega for place, (omega, _) in enumerate(blocks)}
    sizes = {str(place): size for place, (_, size) in enumerate(blocks)}
    floor = sum(-(-size * 2 // 8) for size in sizes.values())
    budget = floor + int(share * (sum(sizes.values()) - floor))
    found = hessian.allocate(omegas, sizes, budget)
    items = [
        [(-(-size * bits // 8), omega * size / (12 * (2**bits - 1) ** 2)) for bits in (2, 3, 4, 8)]
        for omega, size in blocks
    ]
    assert found.solver == "exact"
    assert found.stored_bytes <= budget
    assert found.cost == pytest.approx(cheapest(items, budget), rel=1e-8, abs=1e-12)


def test_many_unlike_blocks_are_greedy_and_near_the_bound(monkeypatch):
    monkeypatch.setattr(_knapsack, "MOST_STATES", 2)
    random = np.random.default_rng(1)
    omegas = {str(place): float(omega) for place, omega in enumerate(random.lognormal(0, 2, 40))}
    sizes = {name: int(size) for name, size in zip(omegas, random.integers(1000, 100_000, 40), strict=True)}
    budget = sum(sizes.values()) * 3 // 8
    found = hessian.allocate(omegas, sizes, budget)
    assert found.solver == "greedy"
    assert 0.99 * budget < found.stored_bytes <= budget
    monkeypatch.setattr(_knapsack, "MOST_STATES", 10**6)
    best = hessian.allocate(omegas, sizes, budget)
    assert best.solver == "exact"
    assert best.cost <= found.cost < 1.05 * best.cost


def test_more_bytes_never_cost_more():
    omegas = {"a": 3.0, "b": 1.0, "c": 0.2}
    sizes = {"a": 900, "b": 4000, "c": (100, 30)}
    costs = [hessian.allocate(omegas, sizes, budget).cost for budget in range(3000, 9000, 250)]
    assert costs == sorted(costs, reverse=True)


# The paper's order


def test_the_ranking_gives_the_paper_s_bits():
    """SST-2's 2/3 bits: six of twelve layers at 3, those in the middle, the embedding at 8."""
    omegas = {f"layer {number}": 7 - abs(number - 6.5) for number in range(1, 13)} | {"embeddings": 0.0}
    sizes = dict.fromkeys(omegas, 7_087_872) | {"embeddings": 23_837_184}
    budget = 23_837_184 + 6 * 7_087_872 * (2 + 3) // 8
    found = hessian.allocate(omegas, sizes, budget, (2, 3), "ranking", fixed={"embeddings": 8})
    assert "".join(str(found[f"layer {number}"]) for number in range(1, 13)) == "222333333222"
    assert found["embeddings"] == 8
    assert found.stored_bytes == budget
    assert found.solver == "ranking"


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(8, 500)), min_size=1, max_size=8), st.integers(0, 4000))
def test_the_ranking_follows_omega(blocks, more):
    omegas = {str(place): omega for place, (omega, _) in enumerate(blocks)}
    sizes = {str(place): size for place, (_, size) in enumerate(blocks)}
    budget = sum(-(-size * 2 // 8) for size in sizes.values()) + more
    found = hessian.allocate(omegas, sizes, budget, method="ranking")
    assert found.stored_bytes <= budget
    assert len(set(found.values())) <= 2
    for one, other in itertools.permutations(found, 2):
        assert found[one] >= found[other] or omegas[one] <= omegas[other]


# Bytes


@pytest.mark.parametrize("group", [None, 8, 24])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_bytes_are_those_of_the_tables(group, bits):
    weight = np.random.default_rng(0).standard_normal((11, 40)).astype(np.float32)
    found = hessian.allocate({"a": 1.0}, {"a": (11, 40)}, 10**6, [bits], group=group)
    assert found.stored_bytes == ec.compress(weight, "asym", bits=bits, group=group).stored_bytes


def test_bytes_of_other_sizes():
    for size, bits, expected in [
        (10, 3, 4),
        ([(2, 10), (3, 5)], 4, 2 * (5 + 4) + 3 * (3 + 4)),
        ({2: 17, 8: 30}, 8, 30),
        ((4, 10), 16, 80),
        (10, 32, 40),
    ]:
        assert hessian.allocate({"a": 1.0}, {"a": size}, 100, [bits], errors={"a": {bits: 0}}).stored_bytes == expected


def test_a_budget_may_be_a_ratio_of_f32():
    found = hessian.allocate({"a": 1.0, "b": 2.0}, {"a": 100, "b": (10, 10)}, 0.25)
    assert found.budget == 200
    with pytest.raises(ValueError, match="sizes of block 'a' have nothing for 32 bits"):
        hessian.allocate({"a": 1.0}, {"a": {2: 10}}, 0.25, [2], errors={"a": {2: 1.0}})


def test_the_least_that_fits_is_named():
    with pytest.raises(ec.BudgetError, match="the least they can reach is 50 bytes"):
        hessian.allocate({"a": 1.0, "b": 2.0}, {"a": 100, "b": 100}, 49)
    for method in ("error", "ranking"):
        found = hessian.allocate({"a": 1.0, "b": 2.0}, {"a": 100, "b": 100}, 50, method=method)
        assert found == {"a": 2, "b": 2}
    with pytest.raises(ec.BudgetError, match="the least they can reach is 125 bytes"):
        hessian.allocate({"a": 1.0, "b": 2.0}, {"a": 100, "b": 100}, 100, method="ranking", fixed={"a": 8})


# The table


def test_the_table_says_what_a_step_would_change():
    errors = {"low": {2: 8.0, 4: 1.0}, "high": {2: 8.0, 4: 1.0}}
    found = hessian.allocate({"low": 1.0, "high": 10.0}, {"low": 4000, "high": 4000}, 3000, (2, 4), errors=errors)
    assert found == {"low": 2, "high": 4}
    lines = found.as_table().splitlines()
    assert lines[1].split() == ["high", "10.00", "4", "2,000", "1.000", "10.00", "-", "70.00"]
    assert lines[2].split() == ["low", "1.000", "2", "1,000", "8.000", "8.000", "7.000", "-"]
    assert lines[3] == "3,000 of 3,000 bytes; Ω × error 18.00 in all (exact, errors as measured)"
    assert str(found) == found.as_table()


# Errors as measured


def small_model():
    torch.manual_seed(0)
    return nn.ModuleDict({"word": nn.Embedding(60, 24), "head": nn.Linear(24, 5)})


def test_measured_errors_and_bytes_are_those_of_the_tables():
    model = small_model()
    found = hessian.measure(model, None, (2, 4, 16, 32), "asym", group=8)
    weight = model["head"].weight.detach().numpy()
    table = ec.compress(weight, "asym", bits=2, group=8)
    assert found.sizes["head"][2] == table.stored_bytes + 5 * 4
    assert found.errors["head"][2] == pytest.approx(float(np.square(table.decode() - weight).sum()), rel=1e-5)
    assert found.errors["head"][32] == 0
    assert 0 < found.errors["head"][16] < 1e-4
    assert found.sizes["word"] == {2: 60 * (6 + 12), 4: 60 * (12 + 12), 16: 60 * 48, 32: 60 * 96}
    assert len(str(found).splitlines()) == 9
    bits = hessian.allocate({"word": 1.0, "head": 1.0}, found.sizes, 0.3, (2, 4), errors=found.errors)
    assert bits.cost == sum(found.errors[name][bits[name]] for name in bits)


def test_counts_weigh_rows():
    model = small_model()
    counts = np.zeros(60)
    counts[7] = 5
    found = hessian.measure(model, {"word": model["word"]}, [2], "asym", counts={"word": counts})
    weight = model["word"].weight.detach().numpy()
    row = ec.compress(weight, "asym", bits=2).decode()[7] - weight[7]
    assert found.errors["word"][2] == pytest.approx(60 * float(np.square(row).sum()), rel=1e-5)
    even = hessian.measure(model, None, [2], "asym", counts={"word": np.full(60, 3)})
    assert even.errors["word"] == pytest.approx(hessian.measure(model, None, [2], "asym").errors["word"])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"none": [1]}, "counts are given for 'none', which is not among the blocks"),
        ({"word": np.ones(59)}, r"counts of block 'word' have shape \(59,\), and its matrices: \(60, 24\)"),
        ({"word": np.zeros(60)}, "must be finite, not negative, and not all zero"),
        ({"word": np.full(60, -1)}, "must be finite, not negative, and not all zero"),
        ({"word": np.full(60, np.nan)}, "must be finite, not negative, and not all zero"),
    ],
)
def test_counts_that_make_no_sense_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        hessian.measure(small_model(), counts=counts)


def test_measuring_can_be_stopped_and_names_what_fails():
    with pytest.raises(KeyboardInterrupt):
        hessian.measure(small_model(), progress=lambda done, total: done < 3)
    model = small_model()
    with torch.no_grad():
        model["head"].weight[2, 1] = torch.nan
    with pytest.raises(ValueError) as error:
        hessian.measure(model)
    assert "in block 'head' at 2 bits" in error.value.__notes__


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "best"}, "method must be one of error, ranking"),
        ({"choices": []}, "no choices"),
        ({"choices": [9]}, "bits must be from 1 to 8, 16 or 32, not 9"),
        ({"choices": [2.0]}, "bits must be from 1 to 8, 16 or 32"),
        ({"sensitivities": {}}, "there are no blocks"),
        ({"sensitivities": {"a": float("nan"), "b": 1.0}}, "Ω of block 'a' must be finite"),
        ({"sensitivities": {"a": -1.0, "b": 1.0}}, "Ω of block 'a' must be finite and not negative"),
        ({"sizes": {"a": 100}}, "sizes have nothing for block 'b'"),
        ({"sizes": {"a": 100, "b": 100, "c": 1}}, "sizes are given for 'c'"),
        ({"sizes": {"a": 0, "b": 100}}, "size of block 'a' must be positive"),
        ({"sizes": {"a": {2: 10}, "b": 100}, "choices": [2, 3]}, "errors are needed for block 'a'"),
        ({"errors": {"a": {2: 1}, "b": {2: 1}}}, "errors of block 'a' have nothing for 3 bits"),
        ({"errors": {"a": {2: -1}, "b": {2: 1}}, "choices": [2]}, "errors of block 'a' at 2 bits must be finite"),
        ({"fixed": {"c": 2}}, "fixed has 'c', which is not among the blocks"),
        ({"group": 0}, "group must be at least 1"),
        ({"budget": 2.5}, "a budget that is a float is a ratio"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    given = {"sensitivities": {"a": 1.0, "b": 2.0}, "sizes": {"a": 100, "b": 100}, "budget": 100, **arguments}
    with pytest.raises(ValueError, match=message):
        hessian.allocate(**given)
