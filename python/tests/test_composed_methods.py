"""Methods of other methods: SVD, MagSVD, TT, and hot and cold rows, against plain NumPy."""

import contextlib

import numpy as np
import pytest

import embedcompress as ec

COMPOSED = ("svd", "magsvd", "tt", "hot_cold", "tiers")


def error(table, weight):
    return float(np.linalg.norm(table.decode().astype(np.float64) - weight) / np.linalg.norm(weight.astype(np.float64)))


@pytest.fixture
def weight(rng):
    """Directions matter unequally, norms differ, and the mean is not zero."""
    rows = rng.standard_normal((700, 30)) / np.arange(1, 31) ** 0.7
    return ((rows + 0.3) * rng.gamma(2, 1, (700, 1))).astype(np.float32)


# SVD


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (30, 30), (1, 5), (5, 1), (200, 64)])
@pytest.mark.parametrize("center", [False, True])
def test_svd_is_numpy_s(rng, shape, center):
    weight = rng.standard_normal(shape).astype(np.float32)
    mean = weight.mean(axis=0) if center else 0
    u, s, vt = np.linalg.svd(weight.astype(np.float64) - mean, full_matrices=False)
    for rank in {1, min(shape) // 2 or 1, min(shape)}:
        table = ec.compress(weight, "svd", rank=rank, center=center)
        np.testing.assert_allclose(table.decode(), (u[:, :rank] * s[:rank]) @ vt[:rank] + mean, atol=2e-5)
        assert table.stored_bytes == 4 * rank * sum(shape) + 4 * shape[1] * center


def test_svd_of_a_low_rank_table_is_exact(rng):
    weight = (rng.standard_normal((400, 3)) @ rng.standard_normal((3, 40))).astype(np.float32)
    assert error(ec.compress(weight, "svd", rank=3), weight) < 1e-6
    assert error(ec.compress(weight, "svd", budget=0.1), weight) < 1e-6


def test_the_mean_costs_d_numbers_and_lowers_the_error(weight):
    with_mean, without = (ec.compress(weight, "svd", rank=4, center=center) for center in (True, False))
    assert with_mean.stored_bytes - without.stored_bytes == 4 * 30
    assert error(with_mean, weight) < error(without, weight)


@pytest.mark.parametrize("inner", ["f16", "bf16", "asym", "kmeans_cls", "eden"])
def test_the_factor_is_compressed_by_any_method(weight, inner):
    options = {} if inner in ("f16", "bf16") else {"bits": 8}
    table = ec.compress(weight, "svd", rank=10, inner=inner, **options)
    plain = ec.compress(weight, "svd", rank=10)
    assert table.stored_bytes < plain.stored_bytes
    assert error(table, weight) < error(plain, weight) + 0.02
    tree, _ = table.parts()
    assert (tree["kind"], tree["element"], tree["children"]["inner"]["dimension"]) == ("project", "f16", 10)
    # Rotations are part of the matrix.
    assert tree["children"]["inner"]["kind"] in ("dense", "uniform", "codebook")


def test_mixing_and_fitting_lower_the_error(weight):
    """Against the same bytes without them: codes of the principal coordinates as they are."""
    table = ec.compress(weight, "svd", rank=30, inner="least_squares", bits=2, element="f32", center=False)
    _, directions = np.linalg.eigh(weight.T.astype(np.float64) @ weight)
    directions = directions[:, ::-1]
    codes = ec.compress(np.ascontiguousarray(weight @ directions, np.float32), "least_squares", bits=2)
    assert error(table, weight) < 0.95 * error(ec.dense(np.float32(codes.decode() @ directions.T)), weight)


def test_a_budget_chooses_rank_and_bits(weight):
    table = ec.compress(weight, "svd", budget=0.2, inner="least_squares")
    tree, _ = table.parts()
    rank, bits = tree["children"]["inner"]["dimension"], tree["children"]["inner"]["bits"]
    errors = {}
    for other in range(1, 9):
        with contextlib.suppress(ec.BudgetError):
            errors[other] = error(ec.compress(weight, "svd", budget=0.2, inner="least_squares", bits=other), weight)
    assert errors[bits] <= 1.03 * min(errors.values())
    given = ec.compress(weight, "svd", rank=rank, inner="least_squares", bits=bits)
    assert given.stored_bytes == table.stored_bytes
    # A rank that is given leaves the bits to the budget.
    tree, _ = ec.compress(weight, "svd", budget=0.2, rank=10, inner="least_squares").parts()
    assert tree["children"]["inner"]["dimension"] == 10


def test_elements_of_the_matrix(weight):
    half, full = (ec.compress(weight, "svd", rank=6, element=element, center=False) for element in ("f16", "f32"))
    assert full.stored_bytes - half.stored_bytes == 2 * 6 * 30
    assert error(half, weight) == pytest.approx(error(full, weight), rel=1e-3)


# MagSVD


def test_larger_norms_have_higher_ranks(weight):
    table = ec.compress(weight, "magsvd", budget=0.5, groups=3)
    tree, _ = table.parts()
    parts = list(tree["children"].values())
    ranks = [part["children"]["inner"]["dimension"] for part in parts]
    assert ranks == sorted(ranks, reverse=True)
    rows = [part["rows"] for part in parts]
    assert rows == sorted(rows)
    # Groups have equal sums of norms.
    norms = np.sort(np.linalg.norm(weight.astype(np.float64), axis=1))[::-1]
    sums = [part.sum() for part in np.split(norms, np.cumsum(rows)[:-1])]
    assert max(sums) - min(sums) < 2 * norms[0]
    assert error(table, weight) < error(ec.compress(weight, "svd", budget=0.5), weight)


def test_a_group_is_its_own_svd(rng):
    small, large = rng.standard_normal((60, 6)) * 0.01, rng.standard_normal((40, 6)) * 10
    weight = np.concatenate([small, large]).astype(np.float32)
    table = ec.compress(weight, "magsvd", groups=2, rank=6, center=False)
    np.testing.assert_allclose(table.decode(), weight, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2, 7, 256])
def test_any_number_of_groups(weight, groups):
    assert ec.compress(weight, "magsvd", groups=groups, rank=2).shape == weight.shape


# TT


@pytest.mark.parametrize("shape", [(64, 8), (60, 30), (100, 7), (27, 27), (1, 1), (2, 3), (5, 64), (1000, 12)])
def test_full_rank_trains_are_exact(rng, shape):
    weight = rng.standard_normal(shape).astype(np.float32)
    table = ec.compress(weight, "tt", rank=10_000)
    assert table.shape == shape
    np.testing.assert_allclose(table.decode(), weight, atol=1e-4)


def test_the_train_is_tt_svd(rng):
    """Against two SVDs of the whole tensor."""
    weight = rng.standard_normal((64, 27)).astype(np.float32)
    (n0, n1, n2), (d0, d1, d2), rank = (4, 4, 4), (3, 3, 3), 5
    tensor = weight.astype(np.float64).reshape(n2, n1, n0, d0, d1, d2).transpose(2, 3, 1, 4, 0, 5)
    u, s, vt = np.linalg.svd(tensor.reshape(n0 * d0, -1), full_matrices=False)
    first, rest = u[:, :rank], (s[:rank, None] * vt[:rank]).reshape(rank * n1 * d1, n2 * d2)
    u, s, vt = np.linalg.svd(rest, full_matrices=False)
    rest = ((u[:, :rank] * s[:rank]) @ vt[:rank]).reshape(rank, -1)
    wanted = (first @ rest).reshape(n0, d0, n1, d1, n2, d2).transpose(4, 2, 0, 1, 3, 5).reshape(64, 27)
    np.testing.assert_allclose(ec.compress(weight, "tt", rank=rank).decode(), wanted, atol=1e-4)


def test_a_train_of_a_train_is_itself(rng):
    cores = [rng.standard_normal(shape).astype(np.float32) for shape in ((4, 2, 3), (4, 3, 2, 3), (4, 3, 2))]
    weight = ec.tensor_train(cores).decode()
    assert error(ec.compress(weight, "tt", rank=3), weight) < 1e-5
    assert error(ec.compress(weight, "tt", rank=3, element="f16"), weight) < 5e-3


# Hot and cold


def test_counts_that_fall_cost_no_bytes(weight):
    counts = np.arange(700, 0, -1)
    table = ec.compress(weight, "hot_cold", counts=counts, share=0.1)
    tree, _ = table.parts()
    assert tree["bytes"] == 0
    hot, cold = ec.compress(weight[:70], bits=8), ec.compress(weight[70:], bits=2)
    assert table.stored_bytes == hot.stored_bytes + cold.stored_bytes
    np.testing.assert_array_equal(table.decode(), np.concatenate([hot.decode(), cold.decode()]))


def test_counts_in_any_order(weight, rng):
    counts = rng.permutation(700)
    table = ec.compress(weight, "hot_cold", counts=counts, share=0.1, hot="f16", cold_bits=3)
    hot = counts >= 630
    np.testing.assert_array_equal(table.decode()[hot], weight[hot].astype(np.float16))
    np.testing.assert_array_equal(table.decode()[~hot], ec.compress(weight[~hot], bits=3).decode())


def test_without_counts_norms_decide(weight):
    table = ec.compress(weight, "hot_cold", share=0.05, hot="dense")
    same = (table.decode() == weight).all(axis=1)
    norms = np.linalg.norm(weight, axis=1)
    assert same.sum() == 35
    assert norms[same].min() >= norms[~same].max()


def test_a_budget_is_spent_where_counts_are(weight):
    counts = 1 / (np.arange(700) + 3.0)
    weighted = counts[:, None] * np.ones((1, 30))

    def weighted_error(table):
        return float((weighted * (table.decode() - weight) ** 2).sum())

    for ratio in (0.25, 0.13):
        plain = ec.compress(weight, budget=ratio)
        split = ec.compress(weight, "hot_cold", counts=counts, budget=ratio)
        assert split.stored_bytes <= ratio * weight.nbytes
        assert weighted_error(split) < 0.6 * weighted_error(plain)


def test_the_cold_rows_take_what_is_left(rng):
    weight = rng.standard_normal((4000, 16)).astype(np.float32)
    counts = 1 / (np.arange(4000) + 3.0)
    table = ec.compress(weight, "hot_cold", counts=counts, cold="kmeans_cls", budget=0.2)
    assert 0.9 * 0.2 * weight.nbytes <= table.stored_bytes <= 0.2 * weight.nbytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": np.ones(3)}, "counts must be 700 numbers"),
        ({"counts": -np.ones(700)}, "counts has -1.0 for row 0"),
        ({"counts": np.full(700, np.nan)}, "counts has nan for row 0"),
        ({"share": 2}, "share must be a number from 0.0 to 1.0"),
        ({"share": 0.5, "budget": 0.5}, "either a share or a budget"),
        ({"hot": "nothing"}, "no inner method 'nothing'"),
        ({"group": 8}, "begin with hot_ or cold_"),
        ({"hot_nothing": 8}, "has the option 'nothing'"),
    ],
)
def test_what_hot_cold_refuses(weight, options, message):
    with pytest.raises(ValueError, match=message):
        ec.compress(weight, "hot_cold", **options)


# All of them


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("svd", {"rank": 0}, "rank must be an integer from 1 to 1048576, not 0"),
        ("svd", {"rank": 31}, "rank must be an integer from 1 to 30, not 31"),
        ("svd", {"rank": 3, "budget": 0.5}, "either a rank or a budget"),
        ("svd", {"inner": "nothing"}, "no inner method 'nothing'"),
        ("svd", {"bits": 4}, "neither svd nor its inner method dense has the option 'bits'"),
        ("svd", {"inner": "asym", "clusters": 4}, "neither svd nor its inner method asym has the option 'clusters'"),
        ("svd", {"element": "f8"}, "element must be one of 'auto', 'f32', 'f16'"),
        ("svd", {"center": 1}, "center must be true or false"),
        ("svd", {"weights": np.ones(700)}, "takes no weights"),
        ("magsvd", {"groups": 0}, "groups must be an integer from 1 to 256"),
        ("magsvd", {"rank": 2, "budget": 0.5}, "either a rank or a budget"),
        ("tt", {"rank": 0}, "rank must be an integer, at least 1"),
        ("tt", {"rank": 2, "budget": 0.5}, "either a rank or a budget"),
        ("tt", {"element": "bf16"}, "element must be one of 'f32', 'f16'"),
        ("tt", {"bits": 4}, "tt has no option 'bits'"),
        ("svd", {"counts": np.ones(3)}, "neither svd nor its inner method dense has the option 'counts'"),
        ("hot_cold", {"counts": np.ones((700, 2))}, "counts must have one axis"),
        ("hot_cold", {"counts": ["a"] * 700}, "counts must be real numbers"),
        ("asym", {"bits": [4, 4]}, "option bits must be a number, a string or a flag, not list"),
    ],
)
def test_what_they_refuse(weight, method, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ec.compress(weight, method, **options)


@pytest.mark.parametrize("method", COMPOSED)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(weight, method, value):
    weight[123, 4] = value
    with pytest.raises(ValueError, match=r"row 123 has (nan|inf) in column 4"):
        ec.compress(weight, method)


@pytest.mark.parametrize("method", COMPOSED)
def test_they_save_load_slice_and_agree(weight, method, tmp_path, rng):
    table = ec.compress(weight, method)
    values = table.decode()
    path = tmp_path / "table.safetensors"
    table.save(path)
    again = ec.load(path)
    assert again.stored_bytes == table.stored_bytes
    np.testing.assert_array_equal(again.decode(), values)
    ids = rng.integers(0, 700, 90)
    np.testing.assert_allclose(table.lookup(ids), values[ids], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(table.slice(13, 500).decode(), values[13:500], rtol=1e-5, atol=1e-6)
    pooled = table.bag(ids, np.arange(0, 90, 9))
    np.testing.assert_allclose(pooled, values[ids].reshape(10, 9, 30).sum(axis=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", COMPOSED)
def test_they_take_tables_of_f16(weight, method):
    half = weight.astype(np.float16)
    np.testing.assert_array_equal(
        ec.compress(half, method).decode(), ec.compress(half.astype(np.float32), method).decode()
    )


@pytest.mark.parametrize("method", COMPOSED)
def test_they_are_the_same_again(weight, method):
    first, second = (ec.compress(weight, method, budget=0.5) for _ in range(2))
    assert first.parts()[0] == second.parts()[0]
    np.testing.assert_array_equal(first.decode(), second.decode())


@pytest.mark.parametrize("method", COMPOSED)
@pytest.mark.parametrize("shape", [(0, 8), (1, 1), (1, 8), (3, 1), (2, 2)])
def test_small_tables(rng, method, shape):
    weight = rng.standard_normal(shape).astype(np.float32)
    assert ec.compress(weight, method).shape == shape


@pytest.mark.parametrize("method", COMPOSED)
def test_progress_rises_to_the_end(method, rng):
    weight = rng.standard_normal((20_000, 16)).astype(np.float32)
    seen = []
    ec.compress(weight, method, progress=lambda done, total: seen.append((done, total)))
    assert seen
    done = [count for count, _ in seen]
    assert done == sorted(done)
    assert {total for _, total in seen} == {done[-1]}


@pytest.mark.parametrize("method", COMPOSED)
def test_progress_can_stop_them(method, weight):
    with pytest.raises(KeyboardInterrupt):
        ec.compress(weight, method, progress=lambda done, total: False)


# What else composes


def test_quotient_and_remainder_with_quantized_factors(rng):
    """CompoEmb of two small tables, each of them compressed."""
    divisor = 20
    quotient, remainder = rng.standard_normal((50, 16)) + 1, rng.standard_normal((divisor, 16)) + 1
    ids = np.arange(1000)
    weight = (quotient[ids // divisor] * remainder[ids % divisor]).astype(np.float32)
    parts = [ec.compress(np.float32(factor), bits=8) for factor in (quotient, remainder)]
    table = ec.combine(
        [ec.remap(parts[0], rows=1000, divisor=divisor), ec.remap(parts[1], rows=1000, modulo=divisor)],
        operation="product",
    )
    assert table.shape == weight.shape
    assert table.stored_bytes == sum(part.stored_bytes for part in parts) < 0.04 * weight.nbytes
    assert error(table, weight) < 0.01
    np.testing.assert_array_equal(table.lookup([3, 999]), table.decode()[[3, 999]])
