"""`TableSet.bag` against a call for each feature; its arguments."""

import pickle

import numpy as np
import pytest
import random_tables
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec


@pytest.fixture(scope="module")
def mixed():
    """One table of each kind, of different dimensions."""
    rng = np.random.default_rng(4)

    def normal(rows, dimension):
        return rng.standard_normal((rows, dimension)).astype(np.float32)

    uniform = ec.compress(normal(300, 64), bits=4)
    return (
        uniform,
        ec.dense(normal(20, 5)),
        ec.compress(normal(60, 24), "kmeans", bits=4),
        ec.remap(uniform, map=rng.integers(-1, 300, 1000)),
        ec.compress(normal(50, 17), "asym", bits=3, group=8, scale_dtype="f32"),
        ec.dense(normal(1, 1)),
    )


def jagged(rng, tables, batch, lengths):
    """Ids and offsets of a call."""
    counts = rng.choice(lengths, len(tables) * batch)
    sizes = counts.reshape(len(tables), batch).sum(axis=1)
    ids = [rng.integers(0, table.rows, size) for table, size in zip(tables, sizes, strict=True)]
    return np.concatenate(ids), np.concatenate([[0], np.cumsum(counts)])


def by_feature(tables, ids, offsets, mode="sum", weights=None, on_invalid="raise"):
    """A call for each feature, side by side."""
    batch = (len(offsets) - 1) // len(tables)
    results = []
    for feature, table in enumerate(tables):
        bounds = offsets[feature * batch : (feature + 1) * batch + 1]
        part = slice(bounds[0], bounds[-1])
        some = None if weights is None else weights[part]
        results.append(
            table.bag(ids[part], bounds - bounds[0], mode, some, include_last_offset=True, on_invalid=on_invalid)
        )
    return np.hstack(results)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.integers(0, 40),
    st.sampled_from([[0], [1], [0, 1], [1, 1, 1, 2], [0, 1, 3, 7], [255, 256, 257], [0, 600]]),
    st.sampled_from(["sum", "mean", "max"]),
    st.booleans(),
    random_tables.id_types,
    random_tables.id_types,
    st.integers(0, 2**32),
)
def test_one_call_is_a_call_for_each_feature(
    mixed, features, batch, lengths, mode, weighted, id_type, offset_type, seed
):
    rng = np.random.default_rng(seed)
    tables = ec.TableSet(mixed, features)
    chosen = [mixed[index] for index in features]
    ids, offsets = jagged(rng, chosen, batch, lengths)
    weights = rng.standard_normal(len(ids)).astype(np.float32) if weighted and mode == "sum" else None
    ids, offsets = ids.astype(id_type), offsets.astype(offset_type)
    wanted = by_feature(chosen, ids, offsets, mode, weights)
    found = tables.bag(ids, offsets, mode, weights)
    assert found.shape == (batch, tables.dimension) and found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)
    out = np.full(found.shape, np.nan, np.float32)
    assert tables.bag(ids, offsets, mode, weights, out=out) is out
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("lengths", [[1], [0, 1, 30], [1, 1, 1, 1, 3000]])
def test_results_do_not_depend_on_the_number_of_threads(mixed, rng, lengths):
    tables = ec.TableSet(mixed)
    ids, offsets = jagged(rng, mixed, 500, lengths)
    weights = rng.standard_normal(len(ids)).astype(np.float32)
    calls = [("sum", None), ("sum", weights), ("mean", None), ("max", None)]
    results = []
    for threads in (1, 2, 5):
        ec.set_num_threads(threads)
        results.append([tables.bag(ids, offsets, *call).tobytes() for call in calls])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_one_id_are_rows(mixed, rng, mode):
    for table in mixed:
        ids = rng.integers(0, table.rows, 300)
        np.testing.assert_array_equal(table.bag(ids, np.arange(300), mode), table.lookup(ids))
        # In the company of a longer bag.
        found = table.bag(np.repeat(ids, 2)[1:], np.concatenate([[0], np.arange(1, 599, 2)]), mode)
        np.testing.assert_array_equal(found[0], table.lookup(ids[:1])[0])
    tables = ec.TableSet(mixed)
    ids, offsets = jagged(rng, mixed, 100, [1])
    np.testing.assert_array_equal(
        tables.bag(ids, offsets, mode),
        np.hstack([table.lookup(ids[i * 100 : (i + 1) * 100]) for i, table in enumerate(mixed)]),
    )


def test_columns_and_bytes(mixed):
    tables = ec.TableSet(mixed, [1, 0, 1])
    assert tables.tables == mixed and tables.features == (1, 0, 1) and len(tables) == 3
    assert tables.columns == (slice(0, 5), slice(5, 69), slice(69, 74)) and tables.dimension == 74
    assert tables.stored_bytes == sum(table.stored_bytes for table in mixed)
    assert repr(tables).startswith("<TableSet of 6 tables, 3 features, 74 columns, ")
    again = pickle.loads(pickle.dumps(tables))
    np.testing.assert_array_equal(again.bag([0, 1, 2], range(4)), tables.bag([0, 1, 2], range(4)))
    assert ec.TableSet(mixed).features == tuple(range(6))


def test_nothing_to_pool(mixed):
    tables = ec.TableSet(mixed[:2])
    assert tables.bag([], [0]).shape == (0, 69)
    np.testing.assert_array_equal(tables.bag([], [0] * 7), np.zeros((3, 69)))
    found = tables.bag([3, 4], [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(found[:, :64], np.zeros((2, 64)))
    np.testing.assert_array_equal(found[:, 64:], mixed[1].lookup([3, 4]))


def test_invalid_ids_name_their_feature(mixed):
    tables = ec.TableSet(mixed[:2], [1, 0])
    out = np.full((2, 69), 7, np.float32)
    for ids, message in (
        ([0, 0, 300, 0], r"id 300 at position 2, of feature 1, is out of range: ids must be from 0 to 299"),
        ([0, 20, 300, 0], r"id 20 at position 1, of feature 0"),
        ([0, 0, 0, -1], r"id -1 at position 3, of feature 1"),
        ([0, 0, 2**40, 0], r"id 1099511627776 at position 2, of feature 1"),
    ):
        with pytest.raises(IndexError, match=message):
            tables.bag(ids, range(5), out=out)
        assert (out == 7).all()
    before = [table.invalid_count for table in mixed[:2]]
    found = tables.bag([-1, 1, 300, 2**40], range(5), on_invalid="zero")
    assert [table.invalid_count for table in mixed[:2]] == [before[0] + 2, before[1] + 1]
    np.testing.assert_array_equal(found[0], np.zeros(69))
    np.testing.assert_array_equal(found[1, :5], mixed[1].lookup(1))
    with pytest.raises(IndexError, match="feature 0, is out of range: the table has no rows"):
        ec.TableSet([ec.dense(np.empty((0, 3), np.float32))]).bag([0], [0, 1])


@given(st.sampled_from(["sum", "mean", "max"]), st.integers(1, 300), st.integers(0, 2**32))
def test_invalid_ids_are_rows_of_zeros(mixed, mode, length, seed):
    rng = np.random.default_rng(seed)
    ids, offsets = jagged(rng, mixed, 12, [0, 1, 1, length])
    ids = np.where(rng.random(len(ids)) < 0.2, rng.choice([-1, 2**33, -(2**60)], len(ids)), ids)
    wanted = by_feature(mixed, ids, offsets, mode, on_invalid="zero")
    np.testing.assert_array_equal(ec.TableSet(mixed).bag(ids, offsets, mode, on_invalid="zero"), wanted)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([], "0 do not go with 2 features"),
        ([0, 2], "2 do not go with 2 features"),
        ([1, 1, 2], "must start at 0, not 1"),
        ([0, 2, 1], "position 2 is 1 after 2"),
        ([0, 3, 3], "position 1 is 3, past the end of 2 ids"),
        ([0, 2**62, 2], "past the end"),
        ([0, -(2**63), 2], "must not decrease"),
        ([0, 1, 1], "last offset must be the number of ids, 2, not 1"),
        ([[0, 1, 2]], "one axis"),
        ([0.0, 1.0, 2.0], "integers, not float64"),
    ],
)
def test_offsets_that_are_none(mixed, offsets, message):
    with pytest.raises(ValueError, match=message):
        ec.TableSet(mixed[:2]).bag([0, 1], offsets)


def test_arguments_that_cannot_be(mixed):
    with pytest.raises(ValueError, match="at least one feature"):
        ec.TableSet([])
    with pytest.raises(ValueError, match="at least one feature"):
        ec.TableSet(mixed, [])
    for index in (-1, 6):
        with pytest.raises(ValueError, match=f"feature 1 has the table {index}, but there are 6 tables"):
            ec.TableSet(mixed, [0, index])
    with pytest.raises(TypeError, match="must be of Table, not ndarray"):
        ec.TableSet([np.zeros((2, 2), np.float32)])
    with pytest.raises(TypeError):
        ec.TableSet(mixed, [0.5])
    tables = ec.TableSet(mixed[:2])
    ids, offsets = np.arange(2), np.arange(3)
    weights = np.ones(2, np.float32)
    for arguments, message in (
        ({"ids": ids.reshape(1, 2)}, "one axis"),
        ({"mode": "median"}, "mode must be one of"),
        ({"on_invalid": "ignore"}, "on_invalid must be one of"),
        ({"per_sample_weights": weights[:1]}, "shape of ids"),
        ({"per_sample_weights": weights > 0}, "real numbers, not bool"),
        ({"per_sample_weights": weights, "mode": "mean"}, "weights go with the mode sum only"),
        ({"out": np.empty((1, 68), np.float32)}, r"out must have the shape \(1, 69\)"),
        ({"ids": weights}, "integers, not float32"),
    ):
        with pytest.raises(ValueError, match=message):
            tables.bag(**{"ids": ids, "offsets": offsets} | arguments)
    memory = np.zeros(69, np.float32)
    shared = memory[:2].view(np.int32)
    with pytest.raises(ValueError, match="must not share memory with ids"):
        tables.bag(shared, offsets, out=memory.reshape(1, 69))
    for arguments in (((), ids, offsets), ([mixed[0]], ids, offsets), ((1,), ids, offsets)):
        with pytest.raises(TypeError):
            ec._core.bags(*arguments)
