"""Weights: how much an error counts."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
import range_reference
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

SEARCHES = ["gss", "hist_apprx", "hist_brute", "greedy", "least_squares"]


def weighted_errors(weight, weights, method, **options):
    table = ec.compress(weight, method, weights=weights, bits=3, scale_dtype="f32", **options)
    return ((table.decode().astype(np.float64) - weight) ** 2 * reference_weights(weight, weights)).sum(axis=1)


def reference_weights(weight, weights):
    return np.ones_like(weight) if weights is None else np.broadcast_to(weights, weight.shape)


@pytest.mark.parametrize("method", SEARCHES)
def test_searches_honour_the_weights_of_elements(rng, method):
    weight = rng.standard_normal((400, 40)).astype(np.float32)
    weights = (rng.random((400, 40)) ** 4).astype(np.float32)
    aware = ec.compress(weight, method, weights=weights, bits=3)
    blind = ec.compress(weight, method, bits=3)
    cost = [float(((t.decode() - weight) ** 2 * weights).sum()) for t in (aware, blind)]
    assert cost[0] < 0.97 * cost[1]


@pytest.mark.parametrize("method", SEARCHES)
def test_elements_without_weight_do_not_matter(rng, method):
    weight = rng.standard_normal((50, 32)).astype(np.float32)
    weight[:, ::4] = rng.choice([-9, 9], (50, 8))
    weights = np.ones_like(weight)
    weights[:, ::4] = 0
    kept = weights > 0
    options = {"r": 0.9} if method == "greedy" else {}
    aware = ec.compress(weight, method, weights=weights, bits=4, **options).decode()
    blind = ec.compress(weight, method, bits=4, **options).decode()
    errors = [float(((copy - weight)[kept] ** 2).sum()) for copy in (aware, blind)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("method", SEARCHES)
def test_equal_weights_change_nothing(rng, method):
    weight = rng.standard_normal((60, 33)).astype(np.float32)
    plain = ec.compress(weight, method).parts()[1]["rows"].values
    for weights in (np.ones_like(weight), np.full(60, 3.0), np.arange(1, 61), np.ones((60, 1), np.float16)):
        same = ec.compress(weight, method, weights=weights).parts()[1]["rows"].values
        np.testing.assert_array_equal(same, plain)


@given(st.integers(0, 2**32), st.sampled_from(SEARCHES), st.sampled_from([1, 5, 16, 40]), st.sampled_from([None, 8]))
def test_no_row_is_worse_than_min_max_under_its_weights(seed, method, dimension, group):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((20, dimension)).astype(np.float32)
    weights = rng.random((20, dimension)).astype(np.float32) * (rng.random((20, dimension)) < 0.7)
    found = weighted_errors(weight, weights, method, group=group)
    plain = ec.compress(weight, "asym", bits=3, scale_dtype="f32", group=group).decode().astype(np.float64)
    assert (found <= ((plain - weight) ** 2 * weights).sum(axis=1) * (1 + 1e-5) + 1e-12).all()


@pytest.mark.parametrize("method", ["asym", "sym", "aciq", "table"])
def test_methods_that_minimise_no_error_take_no_weights(rng, method):
    weight = rng.standard_normal((5, 8)).astype(np.float32)
    with pytest.raises(
        ValueError, match=f"{method} minimises no error, so it takes no weights; .* are .*least_squares"
    ):
        ec.compress(weight, method, weights=np.ones(5))


def test_the_documentation_lists_methods_that_take_weights_of_numbers(rng):
    text = (Path(__file__).resolve().parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"\n(`gss`[^;.]*?) take\s+weights of numbers", text)
    weight, weights = rng.standard_normal((40, 8)).astype(np.float32), rng.random((40, 8)).astype(np.float32)
    taking = set()
    for method in ec.methods("after training"):
        with contextlib.suppress(ValueError):
            ec.compress(weight, method.name, weights=weights)
            taking.add(method.name)
    assert set(re.findall(r"`(\w+)`", listed)) == taking


def test_weights_that_are_refused(rng):
    weight = rng.standard_normal((30, 8)).astype(np.float32)
    for weights, message in (
        (np.ones(29), "30 x 1 or 30 x 8, not 29 x 1"),
        (np.ones((30, 7)), "30 x 1 or 30 x 8, not 30 x 7"),
        (np.full((30, 8), -1.0), "weights of row 0 have -1.0 in column 0; a weight is finite and not negative"),
        (np.r_[np.ones(20), np.nan, np.ones(9)], "weights of row 20 have nan"),
        (np.full(30, np.inf), "weights of row 0 have inf"),
        (np.ones((1, 30, 8)), "one or two axes"),
        (np.array(["a"] * 30), "real numbers, not str"),
    ):
        with pytest.raises(ValueError, match=message):
            ec.compress(weight, weights=weights)


@pytest.mark.parametrize(("bits", "power"), [(1, 1), (1, 4), (1, 12), (2, 1), (2, 4), (2, 12)])
def test_least_squares_is_near_the_best_of_all_assignments(rng, bits, power):
    rows, columns = 60, 9 if bits == 2 else 14
    weight = rng.standard_normal((rows, columns)).astype(np.float32)
    weights = (rng.random((rows, columns)) ** power).astype(np.float32)
    table = ec.compress(weight, weights=weights, bits=bits, scale_dtype="f32")
    found = ((table.decode().astype(np.float64) - weight) ** 2 * weights).sum(axis=1)
    least = np.array([range_reference.least_weighted_error(*row, bits) for row in zip(weight, weights, strict=True)])
    assert (found >= least * (1 - 1e-4) - 1e-9).all()
    # What the descent misses are other minima.
    assert found.sum() <= 1.05 * least.sum()
    assert (found <= least * 1.01 + 1e-9).mean() >= 0.6


@pytest.mark.parametrize("method", SEARCHES)
def test_the_scale_of_weights_does_not_matter(rng, method):
    weight = rng.standard_normal((40, 24)).astype(np.float32)
    weights = rng.random((40, 24)).astype(np.float32) ** 3
    plain = ec.compress(weight, method, bits=2, weights=weights).decode()
    for power in (-80, 80):
        scaled = weights * np.float32(2.0) ** power
        np.testing.assert_array_equal(ec.compress(weight, method, bits=2, weights=scaled).decode(), plain)


@pytest.mark.parametrize("method", SEARCHES)
def test_weighted_ranges_do_not_depend_on_threads(rng, method):
    weight = rng.standard_normal((3000, 16)).astype(np.float32)
    weights = rng.random((3000, 16)).astype(np.float32)
    before = ec.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            ec.set_num_threads(threads)
            found.append(ec.compress(weight, method, bits=2, weights=weights).parts()[1]["rows"].values)
    finally:
        ec.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_weights_in_files(rng, tmp_path):
    weight = rng.standard_normal((300, 24)).astype(np.float32)
    weights = rng.random((300, 24)).astype(np.float32)
    ec.compress_to_file(tmp_path / "out", {"a": weight, "b": weight}, weights={"a": weights})
    np.testing.assert_array_equal(
        ec.load(tmp_path / "out", "a").decode(), ec.compress(weight, weights=weights).decode()
    )
    np.testing.assert_array_equal(ec.load(tmp_path / "out", "b").decode(), ec.compress(weight).decode())
