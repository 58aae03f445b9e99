"""Learned tables that are only partly codes of few bits, or of different ones: dpq, mgqe, and adapt with hot_bits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training_bits import reference

import embedcompress as ec
from embedcompress import training
from embedcompress.training._spec import BITS


def made(method, fields, dimension, budget, **options):
    """A table within a budget, or within the least that the method can do."""
    counts = np.random.default_rng(3).zipf(1.3, sum(fields)) if method in ("adapt", "mgqe") else None
    arguments = {"fields": fields, "counts": counts, "seed": 5, **options}
    try:
        return training.embedding(method, sum(fields), dimension, budget=budget, **arguments)
    except ec.BudgetError as error:
        return training.embedding(method, sum(fields), dimension, budget=int(error.floor), **arguments)


def assert_frozen_is_module(module):
    table = module.eval().freeze()
    assert table.stored_bytes == module.stored_bytes <= module.spec.budget
    rows = module(torch.arange(module.num_embeddings)).detach().numpy()
    np.testing.assert_allclose(table.decode(), rows, rtol=0, atol=1e-6)


def trained(module, steps=5):
    """Train a module towards .3; returns the mean squared errors before and after."""
    optimizer = torch.optim.Adagrad(module.parameters(), lr=0.1)
    ids = torch.randint(0, module.num_embeddings, (64,), generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(steps + 1):
        optimizer.zero_grad()
        loss = (module(ids) - 0.3).square().mean()
        losses.append(float(loss.detach()))
        (loss + module.regularization()).backward()
        optimizer.step()
    return losses[0], losses[-1]


FIELDS = st.lists(st.integers(1, 600), min_size=1, max_size=6)
DIMENSIONS = st.sampled_from([1, 3, 8, 16, 20, 40, 65, 128])
SHARES = st.floats(0.005, 1)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["dpq", "mgqe"]), st.sampled_from(["vq", "sx"]), FIELDS, DIMENSIONS, SHARES, st.sampled_from(BITS)
)
def test_budgets_of_coded_centroids_hold_to_the_byte(method, kind, fields, dimension, budget, bits):
    if method == "mgqe" and sum(fields) < 8:
        fields = [*fields, 8]
    assert_frozen_is_module(made(method, fields, dimension, budget, kind=kind, centroid_bits=bits))


@settings(max_examples=40, deadline=None)
@given(
    FIELDS,
    DIMENSIONS,
    SHARES,
    st.sampled_from(BITS),
    st.sampled_from([None, *BITS]),
    st.sampled_from(["even", "counts"]),
)
def test_budgets_of_hot_and_shared_rows_hold_to_the_byte(fields, dimension, budget, bits, hot_bits, split):
    assert_frozen_is_module(made("adapt", fields, dimension, budget, bits=bits, hot_bits=hot_bits, split=split))


@pytest.mark.parametrize("kind", ["vq", "sx"])
@pytest.mark.parametrize("method", ["dpq", "mgqe"])
def test_centroids_train_as_they_are_stored(method, kind):
    module = made(method, (300, 97, 3), 16, 0.1, kind=kind, centroid_bits=4)
    before, after = trained(module)
    assert after < before
    assert_frozen_is_module(module)
    books = module.centroids if kind == "vq" else module.values
    values = reference(books.detach().flatten(0, 1).numpy(), 4).reshape(books.shape)
    rows = module(torch.arange(400)).detach().numpy().reshape(400, module.parts, module.width)
    for part in range(module.parts):
        # Every part of every row is one of the rounded centroids of that part.
        assert (rows[:, part, None] == values[part]).all(2).any(1).all()


@pytest.mark.parametrize("kind", ["vq", "sx"])
def test_gradients_of_centroids_pass_through_the_rounding(kind):
    """They are those of f32 centroids that are what codes stand for."""
    module = made("dpq", (400,), 16, 0.1, kind=kind, centroid_bits=3)
    knobs = {name: module.planned.knobs[name] for name in ("parts", "bits")}
    plain = training.embedding("dpq", 400, 16, budget=1.0, seed=5, kind=kind, **knobs)
    name = "centroids" if kind == "vq" else "values"
    with torch.no_grad():
        plain.query.copy_(module.query)
        plain.centroids.copy_(module.centroids)
        books = getattr(module, name)
        values = reference(books.detach().flatten(0, 1).numpy(), 3).reshape(books.shape)
        getattr(plain, name).copy_(torch.from_numpy(values))
    ids = torch.randint(0, 400, (64,), generator=torch.Generator().manual_seed(1))
    for one in (module, plain):
        (one(ids).square().sum() + one.regularization()).backward()
    for one, other in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-6)
    assert books.grad.abs().sum() > 0


@pytest.mark.parametrize("hot_bits", [2, 8])
@pytest.mark.parametrize("sparse", [False, True])
def test_hot_rows_have_their_own_bits(hot_bits, sparse):
    module = made("adapt", (300, 97, 3), 16, 0.06, bits=4, hot_bits=hot_bits, sparse=sparse)
    before, after = trained(module)
    assert after < before
    assert_frozen_is_module(module)
    hot, shared = module.planned.knobs["hot"], module.planned.knobs["shared"]
    assert sum(hot)
    assert sum(shared)
    weight, first, expected = module.weight.elements.detach().numpy(), 0, []
    for own, others in zip(hot, shared, strict=True):
        expected += [reference(weight[first : first + own], hot_bits)]
        expected += [reference(weight[first + own : first + own + others], 4)]
        first += own + others
    np.testing.assert_array_equal(module.weight(torch.arange(len(weight))).detach().numpy(), np.concatenate(expected))


@given(st.lists(st.integers(0, 50), min_size=20, max_size=200), st.floats(0.1, 1), st.sampled_from([None, 2, 4, 8]))
@settings(max_examples=40, deadline=None)
def test_the_split_by_counts_has_no_more_error_than_others(counts, budget, hot_bits):
    """Beside all numbers of ids with rows of their own that the plan tries, whose error is found an id at a time."""
    counts = np.asarray(counts)

    def error(plan):
        hot, shared = plan.knobs["hot"][0], plan.knobs["shared"][0]
        noise = {bits: 1 / (2**bits - 1) ** 2 for bits in BITS}
        own = noise[hot_bits or 4]
        if not shared:
            return own * counts.sum()
        order = np.argsort(-counts, kind="stable")
        rare = sorted(order[hot:])
        found = own * counts[order[:hot]].sum() + noise[4] * counts[rare].sum()
        for place in range(shared):
            mine = counts[rare[place::shared]]
            if mine.sum():
                found += mine.sum() - np.square(mine).sum() / mine.sum()
        return found

    arguments = {"budget": budget, "counts": counts, "bits": 4, "hot_bits": hot_bits}
    try:
        found = training.plan("adapt", len(counts), 8, split="counts", **arguments)
        even = training.plan("adapt", len(counts), 8, **arguments)
    except ec.BudgetError:
        return
    none = training.plan("adapt", len(counts), 8, top_percent=0.0, **arguments)
    assert error(found) <= min(error(none), error(even) * 1.25 + 1e-9) + 1e-9


def test_states_know_the_bits_of_their_parts():
    cases = [
        ("dpq", {"centroid_bits": 4}, {"centroid_bits": None}, "has centroid_bits=None, but .* with centroid_bits=4"),
        ("adapt", {"bits": 4, "hot_bits": 8}, {"bits": 4}, "has hot_bits=None, but .* with hot_bits=8"),
        ("adapt", {"bits": 4}, {"bits": 4, "hot_bits": 8}, "has hot_bits=8, but .* with hot_bits=None"),
    ]
    for method, options, others, message in cases:
        module, same = (made(method, (300, 97), 16, 0.2, **options) for _ in range(2))
        with torch.no_grad():
            next(module.parameters()).mul_(2)
        same.load_state_dict(module.state_dict())
        np.testing.assert_array_equal(same.freeze().decode(), module.freeze().decode())
        with pytest.raises(ValueError, match=message):
            made(method, (300, 97), 16, 0.2, **others).load_state_dict(module.state_dict())


def test_a_state_of_other_counts_has_its_hot_rows():
    fields, rows = (300, 97), 397
    counts = [np.random.default_rng(seed).zipf(1.3, rows) for seed in (1, 2)]
    one, other = (
        training.embedding("adapt", rows, 16, budget=0.1, fields=fields, counts=found, bits=4, hot_bits=8)
        for found in counts
    )
    other.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(other.freeze().decode(), one.freeze().decode())
    np.testing.assert_array_equal(other(torch.arange(rows)).detach(), one(torch.arange(rows)).detach())


def test_what_is_refused():
    with pytest.raises(ValueError, match="hot_bits is for a table with bits"):
        made("adapt", (300,), 16, 0.1, hot_bits=8)
    with pytest.raises(ValueError, match="split must not be 'counts'"):
        made("adapt", (300,), 16, 0.1, split="counts", top_percent=0.1)
    for method, name in (("adapt", "hot_bits"), ("dpq", "centroid_bits")):
        for bits in (1, 9):
            with pytest.raises(ValueError, match=name):
                made(method, (300,), 16, 0.1, **{name: bits})
