"""Sums and means of tables that step by themselves, beside steps and rows of single ids."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_rows_reference import BITS, OPTIMIZERS, F, Rows, Step

import embedcompress as ec
from embedcompress import _core, training


def draw(rng, rows, total, bags, mode, has_weights, kind):
    """Return ids, where bags begin, and weights."""
    starts = np.sort(rng.integers(0, total + 1, bags)).astype(kind)
    starts[:1] = 0
    weights = rng.standard_normal(total).astype(F) if has_weights and mode == "sum" else None
    return rng.integers(0, rows, total).astype(kind), starts, mode, weights


def expanded(gradients, bags):
    """The gradient of each id, (n, d), of those of its bag's sum or mean."""
    ids, starts, mode, weights = bags
    lengths = np.diff([*starts.tolist(), len(ids)])
    factors = np.ones(len(ids), F) if weights is None else weights
    if mode == "mean":
        factors = np.repeat(F(1) / np.maximum(lengths, 1).astype(F), lengths)
    return np.repeat(gradients, lengths, axis=0) * factors[:, None]


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(sorted(BITS)),
    st.sampled_from(OPTIMIZERS),
    st.sampled_from([1, 3, 15, 16, 17, 33]),
    st.integers(1, 100),
    st.integers(0, 200),
    st.integers(1, 40),
    st.sampled_from(["sum", "mean"]),
    st.booleans(),
    st.sampled_from([np.int32, np.int64]),
    st.integers(0, 2**32),
)
def test_bags_are_sums_of_rows_and_step_as_their_ids(
    format, optimizer, dimension, rows, total, count, mode, has_weights, kind, seed
):
    rng = np.random.default_rng(seed)
    found = Rows.random(rng, format, rows, dimension)
    expected = found.copy()
    bags = draw(rng, rows, total, count, mode, has_weights, kind)
    pooled, each = np.full((count, dimension), np.nan, F), np.empty((total, dimension), F)
    _core.trained_rows_pool(found.table, bags, pooled)
    _core.trained_rows_gather(found.table, bags[0], each)
    ends = [*bags[1].tolist(), total]
    for bag in range(count):
        part = slice(ends[bag], ends[bag + 1])
        values = each[part] if bags[3] is None else each[part] * bags[3][part, None]
        wanted = values.sum(axis=0, dtype=np.float64)
        size = np.abs(values).sum(axis=0)
        if mode == "mean" and len(values):
            wanted, size = wanted / len(values), size / len(values)
        assert (np.abs(pooled[bag] - wanted) <= 1e-5 * size + 1e-30).all()
    gradients = rng.standard_normal((count, dimension)).astype(F)
    step = Step(optimizer, "stochastic", 0.05, seed=seed, step=1)
    _core.trained_rows_step_bags(found.table, bags, gradients, *step.arguments)
    _core.trained_rows_step(expected.table, bags[0], expanded(gradients, bags), *step.arguments)
    for one, other in zip(found.arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_threads_change_no_bit(mode, rng):
    start = Rows.random(rng, "int8", 3000, 17)
    bags = draw(rng, 3000, 9000, 700, mode, True, np.int64)
    gradients = rng.standard_normal((700, 17)).astype(F)
    results, sums = [], []
    for threads in (1, 2, 5):
        ec.set_num_threads(threads)
        results.append(start.copy())
        sums.append(np.empty((700, 17), F))
        _core.trained_rows_pool(results[-1].table, bags, sums[-1])
        _core.trained_rows_step_bags(results[-1].table, bags, gradients, *Step("rowwise_adagrad").arguments)
    for other, pooled in zip(results[1:], sums[1:], strict=True):
        np.testing.assert_array_equal(pooled, sums[0])
        for one, two in zip(results[0].arrays, other.arrays, strict=True):
            np.testing.assert_array_equal(one, two)


def test_what_is_wrong_writes_nothing(rng):
    rows = Rows.random(rng, "int8", 100, 8)
    before, step = rows.copy(), Step("adagrad").arguments
    ids, starts = rng.integers(0, 100, 50), np.array([0, 10, 20])
    gradients, weights = np.ones((3, 8), F), np.ones(50, F)
    invalid, infinite, uneven = ids.copy(), gradients.copy(), weights.copy()
    invalid[33], infinite[2, 7], uneven[41] = 100, np.inf, np.nan
    for bags, slopes, message in [
        ((invalid, starts, "sum", None), gradients, "id 100 at position 33"),
        ((ids, starts, "sum", None), infinite, r"position 2 has .* in column 7"),
        ((ids, starts, "sum", uneven), gradients, "weights must be finite, but the one at position 41"),
        ((ids, starts, "mean", weights), gradients, "weights go with the mode sum"),
        ((ids, starts, "max", None), gradients, "mode must be one of"),
        ((ids, starts + 1, "sum", None), gradients, "offsets must start at 0"),
        ((ids, starts[::-1].copy(), "sum", None), gradients, "offsets must"),
        ((ids, starts * 9, "sum", None), gradients, "past the end of 50 ids"),
        ((ids, starts, "sum", weights[:9]), gradients, "weights must have a number for each id"),
        ((ids, starts, "sum", None), gradients[:2], "for each bag"),
        ((ids, starts[:0], "sum", None), gradients[:0], "no offsets"),
    ]:
        with pytest.raises((ValueError, ec.InvalidIdError), match=message):
            _core.trained_rows_step_bags(rows.table, bags, slopes, *step)
        out = np.full((len(slopes), 8), 7, F)
        if slopes is not infinite:
            with pytest.raises((ValueError, ec.InvalidIdError), match=message):
                _core.trained_rows_pool(rows.table, bags, out)
        assert (out == 7).all()
    for one, other in zip(rows.arrays, before.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_bags_and_no_ids(rng):
    rows = Rows.random(rng, "f32", 9, 4)
    before, none = rows.copy(), np.zeros(0, np.int64)
    for starts in (none, np.zeros(3, np.int64)):
        out = np.full((len(starts), 4), 7, F)
        _core.trained_rows_pool(rows.table, (none, starts, "mean", None), out)
        assert (out == 0).all()
        _core.trained_rows_step_bags(rows.table, (none, starts, "mean", None), out, *Step("sgd").arguments)
    np.testing.assert_array_equal(rows.elements, before.elements)


@pytest.mark.parametrize("method", ["full", "int8", "int16"])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_a_module_pools_while_it_reads(method, mode, rng, monkeypatch):
    """Nothing gathers the rows of all ids, and the rows move as if something did."""
    made = {"budget": 1.0, "optimizer": training.RowwiseAdagrad(0.1), "seed": 5}
    pooling = training.embedding(method, 200, 24, mode=mode, **made)
    single = training.embedding(method, 200, 24, **made)
    wanted = torch.from_numpy(rng.standard_normal(24).astype(F))
    gathers = []
    for _ in range(5):
        ids = torch.from_numpy(rng.integers(0, 200, 60))
        starts = torch.tensor([0, 20, 20, 45])
        lengths = torch.tensor([20, 0, 25, 15])
        (pooling(ids, starts) - wanted).square().sum().backward()
        bags = torch.repeat_interleave(torch.arange(4), lengths)
        sums = torch.zeros(4, 24).index_add(0, bags, single(ids))
        if mode == "mean":
            sums = sums / lengths.clamp(min=1)[:, None]
        (sums - wanted).square().sum().backward()
    near = {"full": 1e-5, "int16": 1e-3, "int8": 2e-2}[method]
    np.testing.assert_allclose(pooling.freeze().decode(), single.freeze().decode(), rtol=0, atol=near)
    monkeypatch.setattr(_core, "trained_rows_gather", lambda *_: gathers.append(1))
    pooling(torch.arange(8), torch.tensor([0, 3])).sum().backward()
    assert not gathers


def test_weights_that_learn_have_a_gradient(rng):
    module = training.embedding("full", 50, 8, budget=1.0, mode="sum", optimizer=training.SGD(0.1))
    ids = torch.from_numpy(rng.integers(0, 50, (6, 5)))
    weights = torch.rand(6, 5, requires_grad=True)
    before = torch.from_numpy(module.freeze().decode())
    module(ids, per_sample_weights=weights).sum().backward()
    np.testing.assert_allclose(weights.grad.numpy(), before[ids].sum(-1).numpy(), rtol=1e-5, atol=1e-6)
    fixed = training.embedding("full", 50, 8, budget=1.0, mode="sum", optimizer=training.SGD(0.1))
    fixed(ids, per_sample_weights=weights.detach()).sum().backward()
    np.testing.assert_allclose(fixed.freeze().decode(), module.freeze().decode(), rtol=0, atol=1e-6)


def test_ids_that_change_before_backward_are_an_error():
    module = training.embedding("full", 50, 8, budget=1.0, mode="sum", optimizer=training.SGD(0.1))
    ids = torch.arange(6).view(2, 3)
    loss = module(ids).sum()
    ids.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
