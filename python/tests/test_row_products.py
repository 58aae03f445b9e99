"""Products of rows with vectors, against the rows that a table decodes to."""

import numpy as np
import pytest
import random_tables
import reference
from every_table import every_table
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import _core


def products(table, vectors, start=0, stop=None, bias=None):
    stop = table.rows if stop is None else stop
    out = np.full((len(vectors), stop - start), np.nan, np.float32)
    _core.multiply(table, start, stop, vectors, bias, out)
    return out


def assert_products(table, rng, count=3):
    vectors = rng.standard_normal((count, table.dimension)).astype(np.float32)
    rows = reference.rows(table)
    values = table.decode().astype(np.float64)
    wanted = vectors.astype(np.float64) @ values.T
    room = 4e-7 * (table.dimension**0.5 + 8) * (np.abs(vectors) @ rows.magnitude.T) + 1e-30
    found = products(table, vectors)
    assert (np.abs(found - wanted) <= room).all(), np.abs(found - wanted).max()
    # A product depends on no other row, and on whether there are other vectors by rounding only.
    if count > 0 and table.rows > 2:
        alone = [products(table, vectors[index : index + 1], 1, table.rows - 1) for index in range(count)]
        one = products(table, vectors[:1])
        np.testing.assert_array_equal(alone[0], one[:, 1:-1])
        np.testing.assert_allclose(np.concatenate(alone), found[:, 1:-1], rtol=0, atol=float(room.max()))


SHAPES = (st.integers(0, 70), st.sampled_from([1, 7, 8, 15, 16, 17, 63, 64, 65, 96, 128, 200]), st.integers(0, 9))


@given(
    *SHAPES,
    st.sampled_from([1, 2, 3, 4, 5, 8, 16]),
    st.sampled_from([None, 8, 32, "table"]),
    st.sampled_from(["f16", "f32"]),
    st.integers(0, 999),
)
def test_products_of_uniform_rows(rows, dimension, count, bits, group, scale, seed):
    rng = np.random.default_rng(seed)
    if group == "table":
        table = random_tables.random_uniform(rng, rows, dimension, bits, scope="table")
    else:
        table = random_tables.random_uniform(rng, rows, dimension, bits, group, scale)
    assert_products(table, rng, count)


@given(
    *SHAPES,
    st.integers(1, 8),
    st.sampled_from(["f16", "f32"]),
    st.sampled_from(["row", "cluster", "table", "scaled"]),
    st.integers(0, 999),
)
def test_products_of_codebook_rows(rows, dimension, count, bits, entries, scope, seed):
    rng = np.random.default_rng(seed)
    assert_products(random_tables.random_codebook(rng, rows, dimension, bits, entries, scope), rng, count)


@given(*SHAPES, st.sampled_from(["f32", "f16", "bf16"]), st.integers(0, 999))
def test_products_of_dense_rows(rows, dimension, count, element, seed):
    rng = np.random.default_rng(seed)
    assert_products(random_tables.random_dense(rng, rows, dimension, element), rng, count)


@pytest.mark.parametrize(("name", "table"), every_table().items(), ids=list(every_table()))
def test_every_table_is_multiplied(name, table, rng):
    vectors = rng.standard_normal((2, table.dimension)).astype(np.float32)
    values = table.decode().astype(np.float64)
    found = products(table, vectors)
    room = 1e-5 * (np.abs(vectors) @ np.abs(values).T).max() + 1e-6
    np.testing.assert_allclose(found, vectors @ values.T, rtol=0, atol=room)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("group", [None, 32])
def test_vectors_that_are_infinite_or_large(bits, group, rng):
    table = random_tables.random_uniform(rng, 40, 96, bits, group)
    book = random_tables.random_codebook(rng, 40, 96, min(bits, 4), "f16", "row")
    for one in (table, book):
        rows = one.decode().astype(np.float64)
        for value in (np.inf, -np.inf, np.nan, 1e36, 1e38):
            vectors = np.zeros((2, 96), np.float32)
            vectors[:, 5] = value
            with np.errstate(all="ignore"):
                wanted = (rows[:, 5] * value + (0 * rows).sum(1)).astype(np.float32)
            for count in (1, 2):
                np.testing.assert_allclose(products(one, vectors[:count]), [wanted] * count, rtol=1e-5)


def test_a_bias_is_added_and_threads_change_nothing(rng):
    table = random_tables.random_uniform(rng, 5000, 96, 4)
    vectors, bias = rng.standard_normal((2, 96)).astype(np.float32), rng.standard_normal(4998).astype(np.float32)
    threads = ec.get_num_threads()
    try:
        found = []
        for count in (1, 2):
            ec.set_num_threads(count)
            found.append(products(table, vectors, 1, 4999, bias))
    finally:
        ec.set_num_threads(threads)
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(found[0], products(table, vectors, 1, 4999) + bias, rtol=1e-5, atol=1e-5)


def test_what_is_refused(rng):
    table = random_tables.random_uniform(rng, 5, 8, 4)
    vectors, out = np.zeros((2, 8), np.float32), np.zeros((2, 5), np.float32)
    for case in (
        (0, 5, vectors[:, :7], None, out),
        (0, 5, vectors[0], None, out),
        (0, 5, vectors, None, out[:1]),
        (0, 4, vectors, None, out),
        (3, 2, vectors, None, out),
        (0, 5, vectors, np.zeros(4, np.float32), out),
        (1, 6, vectors, None, out),
        (-1, 4, vectors, None, out),
    ):
        with pytest.raises(ValueError):
            _core.multiply(table, *case)
    shared = np.zeros((5, 8), np.float32)
    with pytest.raises(ValueError, match="share"):
        _core.multiply(ec.dense(shared), 0, 5, vectors, None, shared.reshape(-1)[:10].reshape(2, 5))
