"""Pooled sums of few ids, which are made in one pass, beside longer ones and a slow reference."""

import numpy as np
import pytest
import random_tables
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

import embedcompress as ec

# The longest bags of the one pass, and the first that are not, of each store.
LENGTHS = [0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 40, 255, 256, 257, 600]


def table_of(rng, kind, rows, dimension):
    if kind in ("f32", "f16", "bf16"):
        return random_tables.random_dense(rng, rows, dimension, kind)
    bits, scale = kind.split()
    return random_tables.random_uniform(rng, rows, dimension, int(bits), None, scale)


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["f32", "f16", "bf16", "2 f16", "4 f16", "8 f16", "2 f32", "4 f32", "8 f32", "3 f16"]),
    st.sampled_from([1, 2, 15, 16, 17, 32, 33, 48, 50, 64, 65, 100, 128, 129, 200, 300]),
    st.lists(st.sampled_from(LENGTHS), max_size=30),
    st.sampled_from(["sum", "mean"]),
    st.sampled_from([np.int32, np.int64]),
    st.sampled_from([1, 2]),
)
def test_bags_of_any_length_are_the_sums_of_their_rows(seed, kind, dimension, lengths, mode, ids_type, threads):
    rng = np.random.default_rng(seed)
    table = table_of(rng, kind, int(rng.integers(1, 60)), dimension)
    rows = reference.rows(table)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    ids = rng.integers(0, table.rows, int(offsets[-1])).astype(ids_type)
    ec.set_num_threads(threads)
    found = table.bag(ids, offsets, mode, include_last_offset=True)
    expected = reference.bag(rows, ids, offsets[:-1], mode, None)
    reference.assert_pooled(found, expected, max(lengths, default=1), repeated=True)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_bag_does_not_depend_on_the_others(bits):
    rng = np.random.default_rng(bits)
    table = random_tables.random_uniform(rng, 500, 64, bits)
    bags = [rng.integers(0, 500, length) for length in rng.choice(LENGTHS, 60)]
    together = table.bag(np.concatenate(bags), np.cumsum([0, *map(len, bags[:-1])]))
    for bag, found in zip(bags, together, strict=True):
        assert np.array_equal(table.bag(bag, [0])[0] + 0.0, found + 0.0)


def test_ids_that_there_are_not_are_named_or_zeros():
    table = random_tables.random_uniform(np.random.default_rng(0), 9, 20, 8)
    for ids_type in (np.int32, np.int64):
        ids = np.array([1, 2, 9, 3], ids_type)
        with pytest.raises(IndexError, match="9"):
            table.bag(ids, [0, 2])
        zeros = table.bag(ids, [0, 2], on_invalid="zero")
        assert np.allclose(zeros[1], table.lookup([3])[0])


def test_short_bags_beside_a_very_long_one():
    rng = np.random.default_rng(3)
    table = random_tables.random_dense(rng, 50, 16, "f32")
    lengths = [*[7] * 40, 70_000, *[7] * 40]
    ids = rng.integers(0, 50, sum(lengths))
    offsets = np.cumsum([0, *lengths[:-1]])
    wide, narrow = (table.bag(ids.astype(kind), offsets) for kind in (np.int64, np.int32))
    np.testing.assert_array_equal(wide, narrow)
    np.testing.assert_array_equal(wide[0], table.bag(ids[:7], [0])[0])
