"""`evaluate` against NumPy."""

import numpy as np
import pytest
import random_tables
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress._evaluate import neighbours


def by_hand(table, weight):
    x, q = np.asarray(weight, np.float64), table.decode().astype(np.float64)
    error, norm, copy_norm = (np.linalg.norm(a, axis=1) for a in (x - q, x, q))
    both = norm * copy_norm
    cosine = np.where(both > 0, (x * q).sum(axis=1) / np.where(both > 0, both, 1), norm == copy_norm)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(error == 0, 0, error / np.where(norm > 0, norm, 0))
    return {
        "normalized_l2": np.linalg.norm(x - q) / np.linalg.norm(x) if error.any() else 0,
        "mean_cosine": cosine.mean(),
        "worst_row_l2": relative.max(),
        "worst_row": int(relative.argmax()),
        "mean_squared_error": ((x - q) ** 2).mean(),
    }


def recall(table, weight, queries, count=10):
    """Exact neighbours by cosine, one query at a time."""

    def unit(rows):
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(norms > 0, norms, 1)

    x, q = unit(np.asarray(weight, np.float64)), unit(table.decode().astype(np.float64))
    shares = []
    for query in queries:
        kept = []
        for rows in (x, q):
            scores = rows @ x[query]
            scores[query] = -np.inf
            kept.append(set(np.argsort(-scores, kind="stable")[:count].tolist()))
        shares.append(len(kept[0] & kept[1]) / count)
    return float(np.mean(shares))


@given(random_tables.tables(max_rows=30, max_depth=1), st.integers(0, 1000))
def test_figures_are_those_of_numpy(table, seed):
    rng = np.random.default_rng(seed)
    weight = (table.decode() + 0.1 * rng.standard_normal(table.shape)).astype(np.float32)
    weight[rng.random(table.rows) < 0.2] = 0
    if not weight.any():
        weight[0, 0] = 1
    found = ec.evaluate(table, weight, queries=0)
    for name, wanted in by_hand(table, weight).items():
        if name == "worst_row" and np.isinf(found.worst_row_l2):
            continue
        assert getattr(found, name) == pytest.approx(wanted, rel=1e-9, abs=1e-12), name
    assert found.recall_at_10 is None
    assert found.stored_bytes == table.stored_bytes
    assert found.ratio == table.ratio
    assert found.as_dict()["normalized_l2"] == found.normalized_l2


def test_recall_is_that_of_numpy(rng):
    weight = rng.standard_normal((500, 20)).astype(np.float32)
    for bits in (1, 2, 4, 8):
        table = ec.compress(weight, bits=bits)
        found = ec.evaluate(table, weight, queries=500).recall_at_10
        assert found == pytest.approx(recall(table, weight, range(500)), abs=0.002)
    assert found > 0.9
    assert ec.evaluate(table, weight, seed=1) == ec.evaluate(table, weight, seed=1)
    # More queries than rows are all rows, whatever the seed.
    assert ec.evaluate(table, weight, queries=501, seed=2).recall_at_10 == found
    table = ec.compress(weight, bits=2)
    assert len({ec.evaluate(table, weight, queries=60, seed=seed).recall_at_10 for seed in range(5)}) > 1


def test_neighbours_are_those_of_numpy(rng):
    """More rows and more queries than a block holds, at every place of the query."""
    weight = rng.standard_normal((2100, 8)).astype(np.float32)
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    for table in (ec.dense(weight), ec.remap(ec.dense(weight[::-1].copy()), map=np.arange(2100)[::-1].copy())):
        found = neighbours(table, ec.dense(weight), np.arange(2100), 10)
        wanted = np.argsort(-scores, axis=1, kind="stable")[:, :10]
        nearest = np.take_along_axis(scores, wanted, axis=1)
        np.testing.assert_allclose(np.take_along_axis(scores, found, axis=1), nearest, atol=1e-6)
        assert (found == wanted).mean() > 0.999


def test_equal_neighbours_come_in_order():
    weight = np.ones((300, 3), np.float32)
    found = neighbours(ec.dense(weight), ec.dense(weight), np.array([0, 2, 299]), 4)
    assert found.tolist() == [[1, 2, 3, 4], [0, 1, 3, 4], [0, 1, 2, 3]]
    few = neighbours(ec.dense(weight[:3]), ec.dense(weight), np.array([1]), 4)
    assert few.tolist() == [[0, 2, -1, -1]]


def test_a_copy_without_loss(rng):
    weight = rng.standard_normal((50, 6)).astype(np.float32)
    weight[3] = 0
    found = ec.evaluate(ec.dense(weight), weight)
    assert found.normalized_l2 == found.worst_row_l2 == found.mean_squared_error == 0
    assert found.mean_cosine == pytest.approx(1)
    assert found.recall_at_10 == 1
    assert found.ratio == 1


def test_small_tables_have_no_recall(rng):
    for rows in (0, 1, 10, 11):
        weight = rng.standard_normal((rows, 4)).astype(np.float32)
        found = ec.evaluate(ec.compress(weight, bits=8), weight)
        assert (found.recall_at_10 is None) == (rows < 11)
        assert np.isfinite(found.normalized_l2)


def test_sources_of_every_kind(rng):
    weight = rng.standard_normal((40, 12)).astype(np.float16)
    table = ec.compress(weight)
    wanted = ec.evaluate(table, weight)
    assert ec.evaluate(table, weight.astype(np.float32)) == wanted
    assert ec.evaluate(table, ec.dense(weight)) == wanted
    torch = pytest.importorskip("torch")
    assert ec.evaluate(table, torch.from_numpy(weight)) == wanted
    with pytest.raises(ValueError, match="can't be compared"):
        ec.evaluate(table, weight[:39])
    assert ec.evaluate(table, weight.astype(np.float64)) == wanted
    with pytest.raises(ValueError, match="real numbers, not complex64"):
        ec.evaluate(table, weight.astype(np.complex64))


def test_a_table_of_zeros():
    weight = np.zeros((20, 5), np.float32)
    found = ec.evaluate(ec.compress(weight), weight)
    assert (found.normalized_l2, found.mean_cosine, found.worst_row_l2) == (0, 1, 0)
    infinite = ec.evaluate(ec.dense(np.ones((20, 5), np.float32)), weight, queries=0)
    assert infinite.normalized_l2 == infinite.worst_row_l2 == np.inf
    assert infinite.mean_cosine == 0
