"""KMEANS and KMEANS-CLS against k-means by definition."""

import numpy as np
import pytest
import random_tables
import reference
from hypothesis import given
from hypothesis import strategies as st
from test_compress import normalized_l2, row_errors, weights

import embedcompress as ec

METHODS = ["kmeans", "kmeans_cls"]
WIDTHS = range(1, 9)


def least_error(values, clusters):
    """The squared error of the best `clusters` centers of numbers, over every division of the sorted numbers."""
    x = np.sort(np.asarray(values, np.float64))
    x = x - x.mean()
    count = len(x)
    run = np.zeros((count + 1, count + 1))
    for start in range(count):
        size = np.arange(1, count - start + 1)
        total, squares = x[start:].cumsum(), (x[start:] ** 2).cumsum()
        run[start, start + 1 :] = np.maximum(squares - total**2 / size, 0)
    best = np.full(count + 1, np.inf)
    best[0] = 0
    for _ in range(min(clusters, count)):
        best = np.minimum(best, np.array([(best[: end + 1] + run[: end + 1, end]).min() for end in range(count + 1)]))
    return best[count]


@given(weights(max_rows=3), st.sampled_from(WIDTHS))
def test_kmeans_finds_the_least_error(weight, bits):
    table = ec.compress(weight, "kmeans", bits=bits, entry_dtype="f32")
    wanted = np.array([least_error(row, 2**bits) for row in weight])
    # Entries are rounded to f32.
    noise = np.spacing(np.abs(weight).max(axis=1)).astype(np.float64) * np.sqrt(weight.shape[1])
    assert (np.sqrt(row_errors(table, weight)) <= np.sqrt(wanted) * (1 + 1e-6) + noise).all()


@given(weights(), st.sampled_from(WIDTHS))
def test_exact_is_no_worse_than_lloyd_and_than_min_max(weight, bits):
    noise = np.spacing(np.abs(weight).max(axis=1)).astype(np.float64) * np.sqrt(weight.shape[1])
    exact = np.sqrt(row_errors(ec.compress(weight, "kmeans", bits=bits, entry_dtype="f32"), weight))
    lloyd = ec.compress(weight, "kmeans", bits=bits, entry_dtype="f32", solver="lloyd")
    plain = ec.compress(weight, "asym", bits=bits, scale_dtype="f32")
    for other in (lloyd, plain):
        assert (exact <= np.sqrt(row_errors(other, weight)) * (1 + 1e-6) + noise).all()


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("entry_type", ["f16", "f32"])
def test_few_distinct_values_are_kept(rng, bits, entry_type):
    few = rng.standard_normal(2**bits).astype(np.float16).astype(np.float32)
    weight = rng.choice(few, (20, 40))
    np.testing.assert_array_equal(ec.compress(weight, "kmeans", bits=bits, entry_dtype=entry_type).decode(), weight)


@pytest.mark.parametrize("dimension", reference.DIMENSIONS)
def test_bytes_are_those_of_the_formula(rng, dimension):
    weight = rng.standard_normal((20, dimension)).astype(np.float32)
    for bits in WIDTHS:
        for entry_type, size in (("f16", 2), ("f32", 4)):
            codes = -(-dimension * bits // 8)
            table = ec.compress(weight, "kmeans", bits=bits, entry_dtype=entry_type)
            assert table.stored_bytes == 20 * (codes + 2**bits * size)
            table = ec.compress(weight, "kmeans_cls", bits=bits, entry_dtype=entry_type, clusters=7)
            assert table.stored_bytes == 20 * (codes + 1) + 7 * 2**bits * size
            rows = reference.rows(table)
            np.testing.assert_array_equal(table.decode(), rows.values.astype(np.float32))


@pytest.mark.parametrize("bits", [2, 4])
def test_clusters_take_no_more_bytes_than_uniform_rows(rng, bits):
    weight = rng.standard_normal((3000, 32)).astype(np.float32)
    uniform = ec.compress(weight, "asym", bits=bits)
    table = ec.compress(weight, "kmeans_cls", bits=bits)
    book = 2 * 2**bits
    assert uniform.stored_bytes - book - 3000 < table.stored_bytes <= uniform.stored_bytes


@pytest.mark.parametrize("name", METHODS)
def test_errors_shrink_with_bits(rng, name):
    weight = rng.standard_normal((40, 300)).astype(np.float32)
    losses = [normalized_l2(ec.compress(weight, name, bits=bits, entry_dtype="f32"), weight) for bits in WIDTHS]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("name", METHODS)
def test_budgets(rng, name):
    weight = rng.standard_normal((100, 50)).astype(np.float32)
    for budget in (2000, 3000, 5000, 0.5, 10**9):
        limit = budget * weight.nbytes if isinstance(budget, float) else budget
        assert ec.compress(weight, name, budget=budget).stored_bytes <= limit
    with pytest.raises(ec.BudgetError, match="the least it can reach is"):
        ec.compress(weight, name, budget=100)


@pytest.mark.parametrize("name", METHODS)
def test_what_can_be_compressed(rng, name):
    weight = rng.standard_normal((30, 21)).astype(np.float32)

    def arrays(source):
        return [array.values.tobytes() for array in ec.compress(source, name).parts()[1].values()]

    wanted = arrays(weight)
    assert arrays(weight.tolist()) == wanted
    assert arrays(ec.dense(weight)) == wanted
    nested = ec.remap(ec.compress(weight, "asym", bits=8), map=rng.integers(-1, 30, 40))
    assert arrays(nested) == arrays(nested.decode())


def test_seeds(rng):
    weight = rng.standard_normal((400, 16)).astype(np.float32)
    tables = [ec.compress(weight, "kmeans_cls", clusters=50, seed=seed).decode().tobytes() for seed in (1, 1, 2)]
    assert tables[0] == tables[1] != tables[2]


def test_a_cluster_that_there_is_not(rng):
    table = random_tables.random_codebook(rng, 5, 9, 4, "f16", "cluster", 3)
    tree, arrays = table.parts()
    packed = arrays[tree["tensors"]["rows"]].values.copy()
    packed[2, -1] = 3
    arrays[tree["tensors"]["rows"]] = ("u8", packed)
    bad = ec.Table.from_parts(tree, arrays)
    with pytest.raises(ec.FormatError, match="row 2 is of cluster 3: it must be from 0 to 2"):
        bad.lookup([0, 2])
    np.testing.assert_array_equal(bad.lookup([2, 0], on_invalid="zero"), [np.zeros(9), table.lookup([0])[0]])
