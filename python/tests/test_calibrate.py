"""Norms of errors, factors of ranges, and the search of both on a loss."""

import math

import numpy as np
import pytest
import range_reference
import reference
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

RANGES = ["sym", "gss", "asym", "aciq", "hist_apprx", "hist_brute", "greedy", "least_squares"]
NORMED = ["gss", "greedy"]
FALLING_BACK = ["sym", "gss", "aciq", "hist_apprx", "hist_brute"]


def fields(table):
    tree, arrays = table.parts()
    (array,) = arrays.values()
    scale_type = tree["scale"]
    codes, scale, bias = reference.uniform_fields(
        array.values, table.dimension, tree["bits"], table.dimension, scale_type
    )
    return codes, scale[:, 0], bias[:, 0]


@pytest.mark.parametrize("p", [0.25, 0.5, 1, 1.75, 2, 2.5, 3, 4.25, 8])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_greedy_minimises_powers_of_errors(rng, p, is_weighted):
    weight = np.concatenate([rng.standard_normal((12, 30)), rng.laplace(size=(12, 30))]).astype(np.float32)
    weights = rng.random(weight.shape).astype(np.float32) if is_weighted else np.ones_like(weight)
    table = ec.compress(
        weight, "greedy", bits=2, p=p, b=40, r=0.5, scale_dtype="f32", weights=weights if is_weighted else None
    )
    ours = [
        range_reference.norm_error(row, found, own, p)
        for row, own, found in zip(weight, weights, zip(*fields(table), strict=True), strict=True)
    ]
    wanted = [range_reference.norm_greedy(row, own, 2, p, 40, 0.5) for row, own in zip(weight, weights, strict=True)]
    differences = np.array(ours) / np.array(wanted) - 1
    # Where two errors are equal but for rounding, either way is the method's.
    assert (np.abs(differences) < 1e-3).mean() >= 0.8
    assert abs(differences.mean()) < 0.02


@pytest.mark.parametrize("method", NORMED)
def test_a_norm_has_the_least_error_by_itself(rng, method):
    weight = rng.laplace(size=(300, 64)).astype(np.float32)
    norms = [1, 2, 4]
    copies = {p: ec.compress(weight, method, bits=2, p=p, **({"r": 0.9} if method == "greedy" else {})) for p in norms}
    for p in norms:
        errors = {other: (np.abs(copy.decode() - weight) ** p).sum() for other, copy in copies.items()}
        assert min(errors, key=errors.__getitem__) == p


@pytest.mark.parametrize("method", NORMED)
def test_norms_that_are_refused(rng, method):
    weight = rng.standard_normal((5, 8)).astype(np.float32)
    for p in (0, -1, 0.1, 8.25, "2", True):
        with pytest.raises(ValueError, match=f"{method}: p must be a number from 0.25 to 8"):
            ec.compress(weight, method, p=p)
    with pytest.raises(ValueError, match=rf"{method}: p must be a multiple of 0.25, not 2.1"):
        ec.compress(weight, method, p=2.1)
    with pytest.raises(ValueError, match="least_squares has no option 'p'"):
        ec.compress(weight, p=2)


@given(
    st.integers(0, 2**32), st.sampled_from(RANGES), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 3, 16, 33]),
    st.sampled_from(["f16", "f32"]),
)  # fmt: skip
def test_factors_stretch_ranges_about_their_middles(seed, method, bits, dimension, scale_type):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((19, dimension)).astype(np.float32)
    weight[3] = 0.75
    factors = rng.uniform(0.5, 2, 19)
    options = {"bits": bits, "scale_dtype": scale_type}
    _, scale, bias = fields(ec.compress(weight, method, **options))
    codes, wide, low = fields(ec.compress(weight, method, range_factors=factors, **options))
    last = 2**bits - 1
    moves = np.ptp(weight, axis=1) > 0
    tolerance = 4e-3 if scale_type == "f16" else 1e-5
    # What the rounding of the bias adds, the scale makes up for.
    np.testing.assert_allclose(wide[moves], (scale * factors)[moves], rtol=tolerance, atol=tolerance / last)
    middle, other = bias + scale * last / 2, low + wide * last / 2
    np.testing.assert_allclose(other[moves], middle[moves], atol=tolerance * 8)
    np.testing.assert_array_equal(np.stack([wide, low])[:, ~moves], np.stack([scale, bias])[:, ~moves])
    # Codes are the nearest, of two that are as near either.
    places = np.clip((weight.astype(np.float64) - low[:, None]) / wide[:, None], 0, last)
    assert np.abs(codes - places).max() <= 0.5 + 1e-3


def test_factors_in_files_and_of_one(rng, tmp_path):
    weight = rng.standard_normal((9000, 16)).astype(np.float32)
    factors = rng.uniform(0.5, 2, 9000)
    table = ec.compress(weight, bits=2, range_factors=factors)
    ec.compress_to_file(tmp_path / "a", {"a": weight}, bits=2, range_factors=factors)
    np.testing.assert_array_equal(ec.load(tmp_path / "a", "a").decode(), table.decode())
    plain = ec.compress(weight, bits=2).decode()
    np.testing.assert_array_equal(ec.compress(weight, bits=2, range_factors=np.ones(9000)).decode(), plain)


def test_factors_that_are_refused(rng):
    weight = rng.standard_normal((5, 8)).astype(np.float32)
    for factors, message in (
        (np.ones(4), "least_squares: range_factors must be 5 numbers, one for each row, not 4"),
        ([1, 1, 0, 1, 1], "least_squares: range_factors has 0.0 for row 2; a factor is above 0 and at most 1024"),
        ([1, 1, 1, math.nan, 1], "range_factors has nan for row 3"),
        ([1, 1, 1, 1, 2000], "range_factors has 2000.0 for row 4"),
        (3, "range_factors must have one axis, not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            ec.compress(weight, range_factors=factors)
    with pytest.raises(ValueError, match=r"row 0 has values from .* beyond the range of f16 scales"):
        ec.compress(np.float32([[-6e4, 5e3]]), "asym", bits=1, scale_dtype="f16", range_factors=[2])


@pytest.mark.parametrize("method", RANGES)
@pytest.mark.parametrize("scale_type", ["f16", "f32"])
def test_factors_of_rows_of_one_sign(rng, method, scale_type):
    """A range about zero may be much wider than what the row spreads over."""
    weight = rng.uniform(5, 6, (20, 16)).astype(np.float32)
    weight[10:] *= -1
    options = {"bits": 4, "scale_dtype": scale_type}
    if method in FALLING_BACK:
        options["fallback"] = False
    _, scale, _ = fields(ec.compress(weight, method, **options))
    factors = rng.uniform(0.4, 0.9, 20)
    _, found, _ = fields(ec.compress(weight, method, range_factors=factors, **options))
    # The bias of f16 is rounded by up to 2^-9, which the scale makes up for.
    np.testing.assert_allclose(found, scale * factors, rtol=1e-5 if scale_type == "f32" else 1e-3, atol=2.0**-9 / 15)


@pytest.mark.parametrize("scale_type", ["f16", "f32"])
@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("factor", [1e-50, 1e-30, 1e-5, 1 / 1024])
def test_small_factors_never_widen_a_range(rng, bits, scale_type, factor):
    weight = (rng.standard_normal((30, 16)) * 100).astype(np.float32)
    weight[::2] = rng.uniform(5, 6, (15, 16))
    options = {"bits": bits, "scale_dtype": scale_type}
    _, scale, bias = fields(ec.compress(weight, "asym", **options))
    _, found, low = fields(ec.compress(weight, "asym", range_factors=np.full(30, factor), **options))
    last = 2**bits - 1
    middle = bias + scale * last / 2
    # As narrow as can be, but for the rounding of the bias, and for the smallest scale.
    rounding = (np.abs(bias) + scale * last) * (2.0**-10 if scale_type == "f16" else 2.0**-22)
    most = scale * last * factor + rounding + last * 2.0**-24
    assert (found * last <= most).all()
    assert (np.abs(low - middle) <= most).all()


def of_l2(weight, factors=1.0):
    """A loss that is least where the ranges are `factors` times as wide."""
    wanted = ec.compress(weight, "asym", bits=2, range_factors=np.broadcast_to(factors, len(weight))).decode()
    return lambda table: float(((table.decode() - wanted) ** 2).mean())


@pytest.mark.parametrize("method", RANGES)
def test_a_search_ends_no_worse_than_it_starts(rng, method):
    weight = rng.standard_normal((40, 16)).astype(np.float32)
    loss = of_l2(weight, 1.3)
    found = ec.calibrate_ranges(weight, loss, method, bits=2, groups=np.arange(40) % 3)
    assert found.loss == loss(found.table)
    assert found.initial_loss == loss(ec.compress(weight, method, bits=2))
    assert found.loss <= found.initial_loss
    options = {} if found.p is None else {"p": found.p}
    again = ec.compress(weight, method, bits=2, range_factors=found.factors[np.arange(40) % 3], **options)
    np.testing.assert_array_equal(again.decode(), found.table.decode())
    assert (found.p is not None) == (method in NORMED)


def test_a_search_finds_the_factors_of_groups(rng):
    weight = rng.standard_normal((400, 16)).astype(np.float32)
    groups = np.arange(400) // 200
    wanted = np.array([1.15, 0.9])
    seen = []

    def loss(table):
        seen.append(table)
        return of_l2(weight, wanted[groups])(table)

    found = ec.calibrate_ranges(weight, loss, "asym", bits=2, groups=groups, rounds=5, step=0.1)
    np.testing.assert_allclose(found.factors, wanted, rtol=0.02)
    assert found.loss < 0.1 * found.initial_loss
    assert found.evaluations == len(seen) <= 1 + 5 * 12


@pytest.mark.parametrize("way", [-1, 1])
def test_a_search_stays_within_what_factors_may_be(rng, way):
    weight = rng.standard_normal((20, 8)).astype(np.float32)

    def loss(table):
        return float(-way * np.abs(fields(table)[1]).mean())

    found = ec.calibrate_ranges(weight, loss, "asym", bits=4, groups=np.arange(20) % 2, rounds=15, step=1)
    np.testing.assert_allclose(found.factors, 1024.0**way, rtol=1e-12)
    again = ec.compress(weight, "asym", bits=4, range_factors=found.factors[np.arange(20) % 2])
    np.testing.assert_array_equal(again.decode(), found.table.decode())


def test_a_search_goes_no_wider_than_scales_can_be(rng):
    weight = np.array([[-3e4, 3, 3e4], [1, 2, 3]], np.float32)

    def loss(table):
        return float(-fields(table)[1].astype(np.float64).mean())

    found = ec.calibrate_ranges(weight, loss, "asym", bits=1, scale_dtype="f16", groups=[0, 1], rounds=4, step=1)
    assert found.loss < found.initial_loss
    assert np.isfinite(found.table.decode()).all()


def test_losses_of_a_search_may_fail(rng):
    def loss(table):
        if seen:
            raise ValueError("not this one")
        seen.append(table)
        return 1.0

    seen = []
    with pytest.raises(ValueError, match="not this one"):
        ec.calibrate_ranges(rng.standard_normal((5, 8)).astype(np.float32), loss, bits=2)


def test_a_search_pays_for_groups_that_exist(rng):
    weight = rng.standard_normal((6000, 4)).astype(np.float32)
    groups = np.where(np.arange(6000) < 50, 7, 5999)
    found = ec.calibrate_ranges(weight, of_l2(weight, 1.2), "asym", bits=2, groups=groups, rounds=1)
    assert found.evaluations <= 1 + 3 * 3 + 3
    assert found.factors.shape == (6000,)
    np.testing.assert_array_equal(np.delete(found.factors, [7, 5999]), 1)


def test_a_search_chooses_the_norm(rng):
    weight = rng.laplace(size=(200, 32)).astype(np.float32)

    def loss(table):
        return float((np.abs(table.decode() - weight) ** 4).mean())

    options = {"bits": 2, "r": 0.9, "rounds": 0}
    found = ec.calibrate_ranges(weight, loss, "greedy", **options)
    assert found.p == 4
    assert found.evaluations == 5
    np.testing.assert_array_equal(found.factors, [1])
    found = ec.calibrate_ranges(weight, loss, "greedy", norms=[1, 3], **options)
    assert (found.p, found.evaluations) == (3, 3)


def test_weights_are_those_of_compress(rng):
    weight = rng.standard_normal((30, 16)).astype(np.float32)
    weights = rng.random((30, 16)).astype(np.float32) ** 4
    found = ec.calibrate_ranges(weight, of_l2(weight), weights=weights, bits=2, rounds=0)
    np.testing.assert_array_equal(found.table.decode(), ec.compress(weight, weights=weights, bits=2).decode())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "table"}, ValueError, "'table' has no ranges of rows"),
        ({"method": "kmeans"}, ValueError, "'kmeans' has no ranges of rows"),
        ({"method": "greedy", "p": 3}, ValueError, "p is what the search chooses"),
        ({"range_factors": np.ones(6)}, ValueError, "range_factors is what the search chooses"),
        ({"norms": [3]}, ValueError, "least_squares has no option 'p'"),
        ({"method": "greedy", "norms": [3.1]}, ValueError, "p must be a multiple of 0.25"),
        ({"method": "greedy", "norms": 3}, TypeError, "norms must be a sequence"),
        ({"groups": np.zeros(5, int)}, ValueError, "groups must be 6 integers, one for each row"),
        ({"groups": np.zeros(6)}, ValueError, "groups must be integers, not float64"),
        ({"groups": [0, 1, 2, 3, 4, -1]}, ValueError, "groups must be from 0 to 5, not from -1 to 4"),
        ({"groups": [0, 1, 2, 3, 4, 6]}, ValueError, "groups must be from 0 to 5, not from 0 to 6"),
        ({"rounds": -1}, ValueError, "rounds must be at least 0"),
        ({"rounds": 1.5}, TypeError, "rounds must be an integer"),
        ({"step": 0}, ValueError, "step must be above 0"),
        ({"step": math.nan}, ValueError, "step must be above 0"),
        ({"loss": 3}, TypeError, "loss must be a function"),
        ({"loss": lambda table: math.nan}, ValueError, "loss must return a finite number, not nan"),
        ({"loss": lambda table: "1"}, TypeError, "what loss returns must be a number"),
    ],
)
def test_what_a_search_refuses(rng, arguments, error, message):
    given = {"weight": rng.standard_normal((6, 8)).astype(np.float32), "loss": lambda table: 1.0} | arguments
    with pytest.raises(error, match=message):
        ec.calibrate_ranges(**given)


def test_a_table_without_rows():
    found = ec.calibrate_ranges(np.zeros((0, 8), np.float32), lambda table: 1.0)
    assert found.table.shape == (0, 8)
    assert found.evaluations == 1
