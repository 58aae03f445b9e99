"""Budgets: every method that takes one keeps it, or says what it needs at least."""

import itertools
import re

import numpy as np
import pytest

import embedcompress as ec
from embedcompress._core import expression_summary as describe

METHODS = [method.name for method in ec.methods() if "budget" in {option.name for option in method.options}]
RATIOS = (0.5, 0.25, 0.1, 0.05, 0.02, 0.01)
FINE = {"hot_cold", "magsvd"}
"""Methods whose knob moves by less than 2 % of the bytes of the tables below, from some ratio down."""

by_method = pytest.mark.parametrize("method", METHODS)


def tables():
    """A tall table and a wide one, of directions that matter unequally, with norms that differ."""
    rng = np.random.default_rng(5)
    for name, rows, dimension in (("tall", 3000, 24), ("wide", 600, 96)):
        spectrum = 1 / np.sqrt(np.arange(dimension) + 3)
        weight = (rng.standard_normal((rows, dimension)) * spectrum) @ np.linalg.qr(
            rng.standard_normal((dimension, dimension))
        )[0]
        yield pytest.param((weight * rng.gamma(2, 1, (rows, 1))).astype(np.float32), id=name)


by_table = pytest.mark.parametrize("weight", list(tables()))


def floor_of(error, method, budget):
    """What the message says that the method needs."""
    match = re.search(r"budget of (\d+) bytes: the least .* reach is (\d+) bytes", str(error))
    assert match, error
    assert method in str(error)
    assert int(match[1]) == budget < int(match[2])
    return int(match[2])


@by_method
@by_table
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_budget_is_met_or_refused(method, weight, ratio):
    budget = int(ratio * weight.nbytes)
    try:
        table = ec.compress(weight, method, budget=ratio)
    except ec.BudgetError as error:
        floor = floor_of(error, method, budget)
        assert ec.compress(weight, method, budget=floor).stored_bytes == floor
        return
    assert table.shape == weight.shape
    assert 0 < table.stored_bytes <= budget
    assert np.isfinite(table.decode()).all()


@by_method
def test_a_ratio_is_the_bytes_that_it_means(method):
    # Of f16, so that what is exact fits too.
    weight = np.random.default_rng(0).standard_normal((301, 16)).astype(np.float16).astype(np.float32)
    for ratio in (0.7, np.float32(0.75), 1.0):
        by_ratio = ec.compress(weight, method, budget=ratio)
        by_bytes = ec.compress(weight, method, budget=int(float(ratio) * weight.nbytes))
        assert by_ratio.stored_bytes == by_bytes.stored_bytes
        np.testing.assert_array_equal(by_ratio.decode(), by_bytes.decode())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("75%", 0.75),
        (" 12.5 %", 0.125),
        ("0.5", 0.5),
        ("100%", 1.0),
        ("9632", 9632),
        ("9.632 kB", 9632),
        ("9KiB", 9216),
    ],
)
def test_text_says_what_a_number_does(text, number, tmp_path):
    """The same for every function that takes a budget."""
    weight = np.random.default_rng(0).standard_normal((301, 16)).astype(np.float32)
    wanted = ec.compress(weight, budget=number)
    np.testing.assert_array_equal(ec.compress(weight, budget=text).decode(), wanted.decode())
    report = ec.compress_to_file(tmp_path / "a", {"a": weight}, budget=text)
    assert report["a"].stored_bytes == wanted.stored_bytes
    best, same = ec.recommend(weight, text)[0], ec.recommend(weight, number)[0]
    assert (best.method, best.stored_bytes) == (same.method, same.stored_bytes)
    training = pytest.importorskip("embedcompress.training")
    assert training.plan("hash", 301, 16, budget=text) == training.plan("hash", 301, 16, budget=number)


def test_text_in_bytes_is_shared(tmp_path):
    weights = {name: np.ones((50, 16), np.float32) for name in "ab"}
    found = ec.compress_to_file(tmp_path / "a", weights, budget="3200B")
    assert sum(report.stored_bytes for report in found.values()) <= 3200


@by_method
@pytest.mark.parametrize(
    ("budget", "error", "message"),
    [
        (1.5, ValueError, "a budget that is a float is a ratio of the f32 size, from 0 to 1, not 1.5"),
        (0.0, ValueError, "from 0 to 1, not 0.0"),
        (float("nan"), ValueError, "from 0 to 1, not nan"),
        (-1, ValueError, "budget must not be negative, not -1"),
        (True, TypeError, "budget must be a number, or text such as '10%', not bool"),
        ("10 percent", ValueError, "'10 percent' is neither a share of the f32 size"),
        ("0%", ValueError, "neither a share"),
        ("101%", ValueError, "neither a share"),
    ],
)
def test_what_is_no_budget(method, budget, error, message):
    with pytest.raises(error, match=message):
        ec.compress(np.ones((4, 8), np.float32), method, budget=budget)


@by_method
@by_table
def test_the_floor_is_the_least(method, weight):
    with pytest.raises(ec.BudgetError) as caught:
        ec.compress(weight, method, budget=0)
    floor = floor_of(caught.value, method, 0)
    assert ec.compress(weight, method, budget=floor).stored_bytes == floor
    with pytest.raises(ec.BudgetError) as caught:
        ec.compress(weight, method, budget=floor - 1)
    assert floor_of(caught.value, method, floor - 1) == floor


@by_method
@by_table
def test_more_bytes_are_not_worse(method, weight):
    """Errors fall as budgets rise, up to what a search on a sample and k-means get wrong."""
    errors = []
    for ratio in (0.5, 0.25, 0.1):
        try:
            table = ec.compress(weight, method, budget=ratio)
        except ec.BudgetError:
            break
        errors.append(float(np.linalg.norm(table.decode() - weight)))
    assert all(large <= small * 1.05 for large, small in itertools.pairwise(errors)), errors


@pytest.mark.parametrize("method", sorted(FINE))
@by_table
@pytest.mark.parametrize("ratio", [0.2, 0.1])
def test_a_fine_knob_leaves_little_over(method, weight, ratio):
    table = ec.compress(weight, method, budget=ratio)
    assert 0.98 * ratio * weight.nbytes <= table.stored_bytes <= ratio * weight.nbytes


@pytest.mark.parametrize("rank", [1, 5, 24])
def test_a_rank_is_as_high_as_bytes_allow(rank):
    """The study's formula: floor(n d c / (n + d)) numbers of U S and V."""
    weight = np.random.default_rng(0).standard_normal((500, 24)).astype(np.float32)
    budget = 4 * rank * (500 + 24)
    for bytes_, wanted in ((budget, rank), (budget + 4 * 523, rank), (budget - 1, rank - 1)):
        if wanted == 0:
            with pytest.raises(ec.BudgetError):
                ec.compress(weight, "svd", budget=bytes_, center=False)
            continue
        tree, _ = ec.compress(weight, "svd", budget=bytes_, center=False).parts()
        assert tree["children"]["inner"]["dimension"] == wanted


# What the knob was


@by_method
def test_the_report_says_what_the_knob_was(method, tmp_path):
    weight = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float16).astype(np.float32)
    path = tmp_path / "tables.safetensors"
    report = ec.compress_to_file(path, {"a": weight, "b": weight[:300]}, method, budget=0.7)
    for name, one in report.items():
        assert one.expression == describe(ec.load(path, name))
        assert re.match(r"[a-z_]+\(.+\)$", one.expression)
        assert one.as_dict()["expression"] == one.expression


def test_expressions_in_a_line():
    weight = np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32)
    shown = {
        "uniform(bits=4)": ec.compress(weight, bits=4),
        "uniform(bits=2, group=8)": ec.compress(weight, bits=2, group=8),
        "dense(element=f32)": ec.dense(weight),
        "remap(modulus=40, dense(element=f32))": ec.remap(ec.dense(weight), rows=80, modulo=40),
        "project(rank=3, dense(element=f32))": ec.compress(weight, "svd", rank=3),
        "project(rank=5, uniform(bits=8))": ec.compress(weight, "svd", rank=5, inner="asym", bits=8),
        "tensor_train(element=f32, rank1=2, rank2=2)": ec.compress(weight, "tt", rank=2),
    }
    for text, table in shown.items():
        assert describe(table) == text
