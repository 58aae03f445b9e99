"""Two trained tables as one, beside a slow reference of each by itself, and where their rows are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_rows_reference import BITS, OPTIMIZERS, F, Rows, Step, take_step

import embedcompress as ec
from embedcompress import _core

ARRAYS = st.tuples(st.sampled_from(sorted(BITS)), st.integers(0, 40))


def pair(rng, formats, dimension):
    return [Rows.random(rng, format, rows, dimension) for format, rows in formats]


def tables(rows):
    return tuple(one.table for one in rows)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        for array, wanted in zip(one.arrays, other.arrays, strict=True):
            np.testing.assert_array_equal(array, wanted)


def step_each(rows, ids, gradients, step):
    """Step each table by the reference, with the ids and the random numbers of its own."""
    first = len(rows[0].elements)
    for number, one in enumerate(rows):
        own = (ids >= first) == bool(number)
        take_step(one, ids[own] - first * number, gradients[own], replace(step, seed=step.seed + number))


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(ARRAYS, ARRAYS).filter(lambda both: both[0][1] + both[1][1] > 0),
    st.sampled_from(OPTIMIZERS),
    st.sampled_from(["nearest", "stochastic"]),
    st.sampled_from([1, 3, 16, 17, 33]),
    st.integers(0, 100),
    st.sampled_from([np.int32, np.int64]),
    st.integers(0, 2**32),
)
def test_a_step_is_that_of_each_table(formats, optimizer, rounding, dimension, count, kind, seed):
    rng = np.random.default_rng(seed)
    found = pair(rng, formats, dimension)
    expected = [one.copy() for one in found]
    total = sum(rows for _, rows in formats)
    for number in (1, 2):
        ids = rng.integers(0, total, count).astype(kind)
        gradients = rng.standard_normal((count, dimension)).astype(F)
        step = Step(optimizer, rounding, 0.05, seed=seed, step=number)
        _core.trained_rows_step(tables(found), ids, gradients, *step.arguments)
        step_each(expected, ids, gradients, step)
    assert_same(found, expected)
    every = np.arange(total, dtype=kind)[::-1].copy()
    out = np.full((total, dimension), np.nan, F)
    _core.trained_rows_gather(tables(found), every, out)
    np.testing.assert_array_equal(out, np.concatenate([one.values for one in expected])[::-1])


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(ARRAYS, ARRAYS).filter(lambda both: both[0][1] + both[1][1] > 0),
    st.sampled_from(["sum", "mean", "weights"]),
    st.sampled_from([1, 3, 16, 17]),
    st.lists(st.integers(0, 9), min_size=1, max_size=9),
    st.integers(0, 2**32),
)
def test_bags_are_those_of_their_rows(formats, mode, dimension, lengths, seed):
    rng = np.random.default_rng(seed)
    found = pair(rng, formats, dimension)
    expected = [one.copy() for one in found]
    lengths = np.array(lengths)
    ids = rng.integers(0, sum(rows for _, rows in formats), lengths.sum())
    weights = rng.standard_normal(len(ids)).astype(F) if mode == "weights" else None
    bags = ids, np.cumsum(lengths) - lengths, "sum" if mode == "weights" else mode, weights
    out = np.full((len(lengths), dimension), np.nan, F)
    _core.trained_rows_pool(tables(found), bags, out)
    values = np.concatenate([one.values for one in found])
    owner = np.repeat(np.arange(len(lengths)), lengths)
    factors = np.ones(len(ids), F) if weights is None else weights
    wanted, size = np.zeros((len(lengths), dimension)), np.zeros((len(lengths), dimension))
    np.add.at(wanted, owner, values[ids].astype(np.float64) * factors[:, None])
    np.add.at(size, owner, np.abs(values[ids].astype(np.float64) * factors[:, None]))
    if mode == "mean":
        wanted, size = (one / np.maximum(lengths, 1)[:, None] for one in (wanted, size))
    assert (np.abs(out - wanted) <= 2e-6 * size).all()
    gradients = rng.standard_normal((len(lengths), dimension)).astype(F)
    # That of an empty bag does not matter.
    gradients[lengths == 0] = np.nan
    step = Step("rowwise_adagrad", seed=3)
    _core.trained_rows_step_bags(tables(found), bags, gradients, *step.arguments)
    if mode == "mean":
        factors = F(1) / lengths[owner].astype(F)
    step_each(expected, ids, gradients[owner] * factors[:, None], step)
    assert_same(found, expected)


def test_threads_change_no_bit(rng):
    before = ec.get_num_threads()
    start = pair(rng, [("int8", 3000), ("f16", 500)], 17)
    ids = rng.integers(0, 3500, 30_000)
    gradients = rng.standard_normal((30_000, 17)).astype(F)
    results = []
    try:
        for threads in (1, 2, 5):
            ec.set_num_threads(threads)
            results.append([one.copy() for one in start])
            _core.trained_rows_step(tables(results[-1]), ids, gradients, *Step("rowwise_adam").arguments)
    finally:
        ec.set_num_threads(before)
    assert all((one.elements != other.elements).any() for one, other in zip(results[0], start, strict=True))
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


def test_what_is_refused_writes_to_neither_table(rng):
    found = pair(rng, [("int4", 5), ("f16", 4)], 6)
    before = [one.copy() for one in found]
    step = Step("rowwise_adagrad").arguments
    gradients = np.ones((2, 6), F)
    out = np.zeros((2, 6), F)
    with pytest.raises(ec.InvalidIdError, match="id 9 at position 1"):
        _core.trained_rows_step(tables(found), np.array([0, 9]), gradients, *step)
    with pytest.raises(ec.InvalidIdError, match="id -1 at position 0"):
        _core.trained_rows_gather(tables(found), np.array([-1, 8]), out)
    for place in (0, 1):
        bad = gradients.copy()
        bad[place, 4] = np.inf
        with pytest.raises(ValueError, match=f"the one at position {place} has inf in column 4"):
            _core.trained_rows_step(tables(found), np.array([0, 8]), bad, *step)
    with pytest.raises(ValueError, match="the same dimension, but that of table 1 is 3, not 6"):
        _core.trained_rows_gather((found[0].table, Rows.random(rng, "f16", 4, 3).table), np.array([0, 8]), out)
    with pytest.raises(ValueError, match="memory"):
        inside = found[1].row_state[:2].view(np.int32)
        _core.trained_rows_step(tables(found), inside, gradients, *step)
    with pytest.raises(TypeError, match="table must be a tuple of six"):
        _core.trained_rows_gather((*tables(found), found[0].table), np.array([0, 8]), out)
    with pytest.raises(TypeError, match="table must be a tuple of six"):
        _core.trained_rows_write(tables(found), np.array([0, 8]), gradients, None, "nearest", 0.0, 0, 1)
    assert_same(found, before)
    assert not out.any()


def arrays_of_flags(is_second):
    padded = np.zeros(-(-len(is_second) // 64) * 64, bool)
    padded[: len(is_second)] = is_second
    each = padded.reshape(-1, 64).sum(1)
    words = np.packbits(padded, bitorder="little").view("<i8").astype(np.int64)
    return words, (np.cumsum(each) - each).astype(np.int32), None, None


def slow_places(is_second):
    first = int((~is_second).sum())
    done, places = [0, 0], []
    for one in is_second.astype(int):
        places.append(done[one] + first * one)
        done[one] += 1
    return np.array(places)


def arrays_of_runs(is_second):
    ends = np.append(np.flatnonzero(np.diff(is_second)) + 1, len(is_second))
    return None, None, ends, slow_places(is_second)[ends - 1] - (ends - 1)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 90)), min_size=1, max_size=12),
    st.sampled_from([arrays_of_flags, arrays_of_runs]),
    st.sampled_from([np.int32, np.int64]),
    st.integers(0, 9000),
)
def test_places_are_those_of_counting(runs, arrays, kind, count):
    is_second = np.concatenate([np.full(rows, one) for one, rows in runs])
    rows = len(is_second)
    ids = np.random.default_rng(count).integers(0, rows, count).astype(kind)
    found = np.full(count, -7)
    _core.divided_rows_places(rows, *arrays(is_second), ids, found)
    np.testing.assert_array_equal(found, slow_places(is_second)[ids])
    for bad in (-1, rows):
        found = np.full(count + 1, -7)
        with pytest.raises(ec.InvalidIdError, match=f"id {bad} at position {count}"):
            _core.divided_rows_places(rows, *arrays(is_second), np.append(ids, kind(bad)), found)
        assert (found == -7).all()


def test_arrays_that_do_not_go_together():
    words, before, _, _ = arrays_of_flags(np.arange(200) % 3 == 0)
    ids, out = np.arange(4), np.zeros(4, np.int64)

    def refuse(text, rows=200, flags=words, before=before, ends=None, shifts=None, ids=ids, out=out):
        with pytest.raises(ValueError, match=text):
            _core.divided_rows_places(rows, flags, before, ends, shifts, ids, out)

    refuse("flags must have a word for each 64 rows", rows=300)
    refuse("before must have 4 elements", before=before[:3])
    refuse("out must have 4 elements", out=out[:3])
    refuse("out must have elements of 8 bytes", out=np.zeros(4, np.int32))
    refuse("memory", out=ids)
    refuse("rows must not be negative", rows=-1)
    refuse("either flags and before must be given, or ends and shifts", before=None)
    refuse("either flags and before must be given, or ends and shifts", ends=ids, shifts=ids)
    refuse("shifts must have 4 elements", flags=None, before=None, ends=np.arange(4), shifts=np.arange(3))
    refuse("run_count must be at least 1", flags=None, before=None, ends=ids[:0], shifts=ids[:0])
