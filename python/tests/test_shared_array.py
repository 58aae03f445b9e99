"""Shared arrays against their formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_tables import random_codebook, random_dense, random_uniform
from store_reference import assert_agrees, shared_array_rows

import embedcompress as ec


@given(
    st.integers(1, 3000),
    st.sampled_from([1, 2, 3, 8, 15, 16, 17, 33, 64, 300]),
    st.sampled_from([1, 2, 4, 7, 8, 16, 20, 32, 64, 1000]),
    st.integers(0, 600),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.sampled_from([np.float32, np.float16]),
)
def test_rows_are_those_of_the_formula(count, dimension, block, rows, seed, signs, element):
    rng = np.random.default_rng(seed % 2**32)
    values = rng.standard_normal(count).astype(element)
    table = ec.shared_array(values, rows=rows, dimension=dimension, block=block, seed=seed, signs=signs)
    np.testing.assert_array_equal(table.decode(), shared_array_rows(values, rows, dimension, block, seed, signs))
    assert table.stored_bytes == values.nbytes + 16
    assert_agrees(table, rng)


def test_large_arrays_and_files(rng, tmp_path):
    values = rng.standard_normal(2_000_003).astype(np.float32)
    table = ec.shared_array(values, rows=1000, dimension=64, block=16, seed=7, signs=True)
    np.testing.assert_array_equal(table.decode(), shared_array_rows(values, 1000, 64, 16, 7, True))
    assert_agrees(table, rng, tmp_path)


@given(
    st.integers(1, 900),
    st.integers(1, 64),
    st.sampled_from([1, 2, 3, 15, 16, 17, 33, 64, 300]),
    st.sampled_from([1, 2, 7, 8, 16, 20, 64, 1000]),
    st.integers(0, 600),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.sampled_from(["dense", "uniform", 1, 2, 3, 4, 6]),
)
def test_the_array_can_be_a_table(count, width, dimension, block, rows, seed, signs, kind):
    rng = np.random.default_rng(seed % 2**32)
    if isinstance(kind, int) and seed % 4:
        # Rows of sixteen codes are decoded where they lie.
        width = 16
    lines = -(-count // width)
    inner = {
        "dense": lambda: random_dense(rng, lines, width, "f16"),
        "uniform": lambda: random_uniform(rng, lines, width, 4),
    }.get(kind, lambda: random_codebook(rng, lines, width, kind, "f16", "scaled"))()
    fields = {"rows": rows, "dimension": dimension, "block": block, "seed": seed, "signs": signs}
    table = ec.shared_array(inner, count=count, **fields)
    values = inner.decode().reshape(-1)[:count]
    np.testing.assert_array_equal(table.decode(), shared_array_rows(values, rows, dimension, block, seed, signs))
    assert table.stored_bytes == inner.stored_bytes + 16
    assert_agrees(table, rng)


def test_large_arrays_of_codes(rng, tmp_path):
    inner = random_codebook(rng, 150_000, 16, 4, "f16", "scaled")
    values = inner.decode().reshape(-1)[:-5]
    for block in (4, 8, 16, 64):
        table = ec.shared_array(inner, count=len(values), rows=3000, dimension=64, block=block, seed=3, signs=True)
        np.testing.assert_array_equal(table.decode(), shared_array_rows(values, 3000, 64, block, 3, True))
    assert_agrees(table, rng, tmp_path)


def test_long_runs_of_tables(rng, tmp_path):
    """Runs of more rows than are gathered at once, over the array's end."""
    for count, width, block in ((1000, 3, 2000), (700, 1, 700), (5, 2, 900), (40_000, 64, 33_000)):
        inner = ec.dense(rng.standard_normal((-(-count // width), width)).astype(np.float32))
        table = ec.shared_array(inner, count=count, rows=9, dimension=2 * block + 3, block=block, seed=5, signs=True)
        values = inner.decode().reshape(-1)[:count]
        np.testing.assert_array_equal(
            table.decode(), shared_array_rows(values, 9, 2 * block + 3, block, 5, True), f"{count}, {width}"
        )
    assert_agrees(table, rng, tmp_path)


def test_tables_that_are_refused(rng):
    good = {"rows": 5, "dimension": 4, "block": 2}
    inner = random_uniform(rng, 3, 8, 4)
    assert ec.shared_array(inner, **good).stored_bytes == inner.stored_bytes + 16
    for count in (0, -1, 16, 25):
        with pytest.raises(ValueError, match=r"in the last of 3 rows of 8 columns|from 1 to"):
            ec.shared_array(inner, count=count, **good)
    with pytest.raises(ValueError, match="at most 64 columns, not 65"):
        ec.shared_array(random_uniform(rng, 3, 65, 4), **good)
    with pytest.raises(ValueError, match="from 1 to"):
        ec.shared_array(ec.dense(np.ones((0, 8), np.float32)), **good)
    with pytest.raises(ValueError, match="count is for an array that is a table"):
        ec.shared_array(np.ones(10, np.float32), count=10, **good)
    tree, arrays = ec.shared_array(inner, **good).parts()
    for change in ({"count": 25}, {"count": 16}, {"element": "f32"}, {"children": {}}):
        with pytest.raises(ec.FormatError):
            ec.Table.from_parts(tree | change, arrays)


def test_hashes_spread(rng):
    """Places are uniform, and signs are independent of them."""
    count = 97
    rows = shared_array_rows(np.arange(1, count + 1), 20_000, 4, 1, 3, True)
    found = ec.shared_array(
        np.arange(1, count + 1, dtype=np.float32), rows=20_000, dimension=4, block=1, seed=3, signs=True
    )
    np.testing.assert_array_equal(found.decode(), rows)
    counts = np.array([[(rows == sign * value).sum() for value in range(1, count + 1)] for sign in (1, -1)])
    expected = rows.size / counts.size
    assert ((counts - expected) ** 2 / expected).sum() < 194 + 5 * np.sqrt(2 * 194)


def test_what_is_refused(rng):
    values = np.ones(10, np.float32)
    good = {"rows": 5, "dimension": 4, "block": 2}
    for change in ({"block": 0}, {"dimension": 0}, {"rows": -1}, {"seed": 2**64}):
        with pytest.raises(ValueError):
            ec.shared_array(values, **good | change)
    with pytest.raises(ec.FormatError):
        ec.shared_array(values[:0], **good)
    with pytest.raises(ValueError, match="one axis"):
        ec.shared_array(values.reshape(2, 5), **good)
    tree, arrays = ec.shared_array(values, **good).parts()
    for change in ({"count": 11}, {"signs": 2}, {"offset": -1}, {"offset": 2**63 - 1}, {"element": "f16"}):
        with pytest.raises(ec.FormatError):
            ec.Table.from_parts(tree | change, arrays)
