"""What the core does for learned tables: hashes of ids, the sketch of important ids, products of tensor trains."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import _core, training
from embedcompress.training._importance import DEPTH, STAYS, HotSketch
from embedcompress.training._rows import ParameterRows
from embedcompress.training._spec import Spec
from embedcompress.training._train_products import train_products
from embedcompress.training.methods import tt

F = np.float32


@pytest.fixture
def threads():
    before = ec.get_num_threads()
    yield ec.set_num_threads
    ec.set_num_threads(before)


# Hashes


def hashed(ids, functions, buckets):
    out = np.full((len(ids), len(functions[0])), np.nan, F)
    _core.hash_ids(ids, *functions, out, buckets)
    return out


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(1, 40), st.integers(2, 2**24), st.sampled_from([np.int32, np.int64]), st.data())
def test_hashes_are_those_of_whole_numbers(count, functions, buckets, kind, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    ids = rng.integers(0, 2**31 if kind is np.int32 else 2**32, count).astype(kind)
    factors, summands = rng.integers(0, 2**31, (2, functions))
    moduli = rng.integers(2, 2**31, functions)
    # The ends of what is allowed.
    factors[0], summands[0], moduli[0] = 2**31 - 1, 2**31 - 1, 2**31 - 1
    expected = [
        [(int(a) * int(x) + int(b)) % int(p) % buckets for a, b, p in zip(factors, summands, moduli, strict=True)]
        for x in ids
    ]
    found = hashed(ids, (factors, summands, moduli), buckets)
    np.testing.assert_array_equal(found, np.array(expected, F).reshape(count, functions))


def test_hashes_refuse_what_no_table_has():
    good = (np.array([3]), np.array([1]), np.array([7]))
    for functions, buckets, text in [
        ((np.array([2**31]), *good[1:]), 5, "factor"),
        ((*good[:2], np.array([1])), 5, "modulus"),
        (good, 1, "buckets"),
        (tuple(np.zeros(0, np.int64) for _ in range(3)), 5, "hash functions"),
        ((np.array([3, 4]), *good[1:]), 5, "summands must have 2 elements"),
        ((np.array([3], np.int32), *good[1:]), 5, "factors must have elements of 8 bytes"),
    ]:
        with pytest.raises(ValueError, match=text):
            hashed(np.arange(2), functions, buckets)
    for bad in (-1, 2**32):
        out = np.full((2, 1), 9, F)
        with pytest.raises(IndexError, match=f"id {bad} at position 1"):
            _core.hash_ids(np.array([0, bad]), *good, out, 5)
        assert (out == 9).all()
    with pytest.raises(ValueError, match="a row for each id"):
        _core.hash_ids(np.arange(2), *good, np.zeros((1, 2), F), 5)


@pytest.mark.parametrize("encoding", ["uniform", "normal"])
def test_codes_are_those_of_tensors(encoding):
    """A module on another device makes its numbers with torch."""
    module = training.embedding("dhe", 5000, 8, budget=0.2, hashes=64, encoding=encoding)
    local = torch.tensor([0, 1, 17, 4999])
    hashes = (local[:, None] * module.factors + module.summands).fmod(module.moduli).fmod(1_000_000)
    assert torch.equal(module._hashes(local), hashes.float())


# The sketch


class Slow:
    """The sketch by its definition, an id at a time."""

    def __init__(self, sketch):
        self.sketch = sketch
        self.key, self.score, self.place = (getattr(sketch, name).tolist() for name in ("key", "score", "place"))

    def bucket(self, id):
        return range(b := int(self.sketch._bucket(torch.tensor([id]))) * DEPTH, b + DEPTH)

    def add(self, ids, norms):
        sums = {}
        for id, norm in zip(ids, norms, strict=True):
            sums[id] = F(sums.get(id, F(0)) + norm)
        new = {}
        for id in sorted(sums):
            slots = [slot for slot in self.bucket(id) if self.key[slot] == id]
            if slots:
                self.score[slots[0]] = F(F(self.score[slots[0]]) + sums[id])
            elif sums[id] > 0:
                new.setdefault(self.bucket(id), []).append(id)
        for slots, those in new.items():
            for id in reversed(sorted(those, key=lambda id: -sums[id])[:DEPTH]):
                costs = [
                    -1 if self.key[s] < 0 else F(self.score[s]) * F(STAYS if self.place[s] >= 0 else 1) for s in slots
                ]
                slot = slots[int(np.argmin(costs))]
                self.key[slot], self.place[slot] = id, -1
                self.score[slot] = F(F(self.score[slot]) + sums[id])


def batches(rng, rows):
    for _ in range(6):
        ids = np.minimum(rng.zipf(1.2, rng.integers(0, 120)) - 1, rows - 1)
        norms = rng.choice([0, 0.25, 1, 3], len(ids)).astype(F) * rng.choice([1, 1.1], len(ids)).astype(F)
        yield torch.from_numpy(ids), torch.from_numpy(norms)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 20), st.integers(1, 300), st.integers(0, 2**32))
def test_the_sketch_is_that_of_its_definition_and_of_tensors(hot, rows, seed):
    rng = np.random.default_rng(seed)
    core, tensors = HotSketch(hot, seed), HotSketch(hot, seed)
    tensors._is_in_core = lambda: False
    first = torch.from_numpy(rng.permutation(rows)[:hot])
    for one in (core, tensors):
        one.begin(first)
    slow = Slow(core)
    for ids, norms in batches(rng, rows):
        core.add(ids, norms)
        tensors.add(ids, norms)
        slow.add(ids.tolist(), norms.numpy())
        for name in ("key", "score", "place"):
            assert torch.equal(getattr(core, name), getattr(tensors, name)), name
            assert getattr(core, name).tolist() == getattr(slow, name), name
        every = torch.arange(rows)
        assert torch.equal(core.places(every), tensors.places(every))
        assert torch.equal(core.choose(hot)[0], tensors.choose(hot)[0])
        slow.place = core.place.tolist()


def test_the_sketch_checks_its_arrays(threads):
    keys, scores, places = np.full(8, -1), np.zeros(8, F), np.full(8, -1, np.int32)
    sketch = (keys, scores, places, 3)
    with pytest.raises(IndexError, match="id -1 at position 1"):
        _core.hot_sketch_add(*sketch, np.array([0, -1]), np.ones(2, F))
    assert (keys == -1).all()
    assert not scores.any()
    with pytest.raises(ValueError, match="norms must have 2 elements"):
        _core.hot_sketch_add(*sketch, np.array([0, 1]), np.ones(1, F))
    with pytest.raises(ValueError, match="scores must have 8 elements"):
        _core.hot_sketch_add(keys, scores[:4], places, 3, np.array([0]), np.ones(1, F))
    with pytest.raises(ValueError, match="four slots"):
        _core.hot_sketch_add(keys[:6], scores[:6], places[:6], 3, np.array([0]), np.ones(1, F))
    with pytest.raises(ValueError, match="buckets"):
        _core.hot_sketch_add(keys[:0], scores[:0], places[:0], 3, np.array([0]), np.ones(1, F))
    with pytest.raises(ValueError, match="seed must not be negative"):
        _core.hot_sketch_add(keys, scores, places, -1, np.array([0]), np.ones(1, F))
    with pytest.raises(ValueError, match="out"):
        _core.hot_sketch_places(*sketch, np.arange(8), keys)
    # The largest id, and one that no slot has.
    _core.hot_sketch_add(*sketch, np.array([2**63 - 2]), np.ones(1, F))
    found = np.zeros(2, np.int64)
    _core.hot_sketch_places(*sketch, np.array([2**63 - 2, -5]), found)
    assert (found == -1).all()
    assert (keys == 2**63 - 2).sum() == 1


# Tensor trains


def problem(rng, count, slices, shape, rank):
    d0, d1, d2 = shape
    left, right = rng.standard_normal((count, d0, rank)), rng.standard_normal((count, rank, d2))
    middle, owner = rng.standard_normal((slices, rank * d1 * rank)), rng.integers(0, slices, count)
    slopes = rng.standard_normal((count, d0, d1, d2))
    return [torch.from_numpy(one.astype(F)) for one in (left, middle, right)], torch.from_numpy(owner), slopes.astype(F)


def through(tensors, owner, slopes, columns, sparse, product):
    tensors = [one.clone().requires_grad_() for one in tensors]
    found = product(*tensors, owner, columns, sparse)
    found.backward(torch.from_numpy(slopes).to(found.dtype))
    return [found.detach(), *(one.grad for one in tensors)]


def our_products(left, middle, right, owner, columns, sparse):
    array = ParameterRows(Spec.of(len(middle), middle.shape[1], 1.0, sparse=sparse), *middle.shape)
    # So that the gradient goes to the tensor of the test.
    del array.elements
    array.elements = middle
    return train_products(left, array, right, owner, columns)


def slow_products(left, middle, right, owner, columns, sparse):
    rank = left.shape[2]
    return torch.einsum("nar,nrbs,nsc->nabc", left, middle.view(-1, rank, columns, rank)[owner], right)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 80),
    st.integers(1, 12),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 20)),
    st.integers(1, 40),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_products_and_gradients_are_those_of_their_definition(count, slices, shape, rank, sparse, seed):
    rng = np.random.default_rng(seed)
    tensors, owner, slopes = problem(rng, count, slices, shape, rank)
    found = through(tensors, owner, slopes, shape[1], sparse, our_products)
    assert found[2].is_sparse == sparse
    if sparse:
        assert found[2]._indices()[0].tolist() == owner.unique().tolist()
        found[2] = found[2].to_dense()
    expected = through([one.double() for one in tensors], owner, slopes, shape[1], False, slow_products)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4 * rank)


def test_threads_change_no_bit_of_products(rng, threads):
    tensors, owner, slopes = problem(rng, 700, 90, (2, 2, 4), 33)
    found = []
    for count in (1, 2, 5):
        threads(count)
        found.append(through(tensors, owner, slopes, 2, False, our_products))
    for others in found[1:]:
        assert all(map(torch.equal, found[0], others))


def test_no_rows_have_products_and_gradients(rng):
    tensors, owner, slopes = problem(rng, 0, 3, (1, 2, 3), 2)
    for sparse in (False, True):
        found = through(tensors, owner, slopes, 2, sparse, our_products)
        assert found[0].shape == (0, 1, 2, 3)
        assert not found[2].to_dense().any()


def test_products_refuse_what_does_not_go_together(rng):
    (left, middle, right), owner, slopes = problem(rng, 4, 3, (2, 2, 2), 5)
    arrays = [left.numpy(), middle.view(3, 5, 2, 5).numpy(), right.numpy(), owner.numpy()]
    out = np.full((4, 2, 2, 2), 7, F)
    with pytest.raises(IndexError, match="id 3 at position 2"):
        _core.train_products_rows(*arrays[:3], np.array([0, 1, 3, 0]), out)
    assert (out == 7).all()
    with pytest.raises(ValueError, match="right has a shape"):
        _core.train_products_rows(*arrays[:2], arrays[2][:3], arrays[3], out)
    with pytest.raises(ValueError, match="out has a shape"):
        _core.train_products_rows(*arrays, out[:3])
    with pytest.raises(ValueError, match="three axes"):
        _core.train_products_rows(arrays[0], middle.numpy(), *arrays[2:], out)
    with pytest.raises(ValueError, match="memory"):
        _core.train_products_rows(*arrays, arrays[0].reshape(-1)[:32].reshape(4, 2, 2, 2))
    gradients = [np.full_like(arrays[0], 7), np.full((2, 5, 2, 5), 7, F), np.full_like(arrays[2], 7)]
    with pytest.raises(ValueError, match="1 distinct slices, but room for the gradients of 2"):
        _core.train_products_gradients(*arrays[:3], np.array([1, 1, 1, 1]), slopes, *gradients)
    assert all((one == 7).all() for one in gradients)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 80),
    st.integers(1, 12),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 20)),
    st.integers(1, 20),
    st.sampled_from(["sgd", "adagrad", "rowwise_adagrad", "rowwise_adam"]),
    st.integers(1, 5),
    st.integers(0, 2**32),
)
def test_a_step_of_products_is_one_against_their_gradients(count, slices, shape, rank, optimizer, threads, seed):
    """Bit for bit, whether gradients lie in memory or not, and for any number of threads."""
    rng = np.random.default_rng(seed)
    (left, middle, right), owner, slopes = problem(rng, count, slices, shape, rank)
    arrays, owners = (left.numpy(), middle.view(slices, rank, shape[1], rank).numpy(), right.numpy()), owner.numpy()
    states = rng.random(middle.shape).astype(F), rng.random(slices).astype(F)
    numbers = (optimizer, "nearest", 0.1, 1e-8, 0.9, 0.99, 0.01, seed, 3)

    def table():
        rows, kept = middle.numpy().copy(), [state.copy() for state in states]
        return ("f32", middle.shape[1], rows.view(np.uint8), None, *kept), (rows, *kept)

    found = np.unique(owners)
    gradients = [np.empty_like(arrays[0]), np.empty((len(found), *arrays[1].shape[1:]), F), np.empty_like(arrays[2])]
    wanted_table, wanted = table()
    _core.train_products_gradients(*arrays, owners, slopes, *gradients)
    _core.trained_rows_step(wanted_table, found, gradients[1].reshape(len(found), middle.shape[1]), *numbers)
    ec.set_num_threads(threads)
    stepped_table, stepped = table()
    sides = [np.empty_like(arrays[0]), np.empty_like(arrays[2])]
    _core.train_products_step(stepped_table, owners, arrays[0], arrays[2], slopes, *sides, *numbers)
    for one, other in zip((*stepped, *sides), (*wanted, gradients[0], gradients[2]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_of_products_refuses_what_does_not_go_together(rng):
    (left, middle, right), owner, slopes = problem(rng, 4, 3, (2, 2, 2), 5)
    rows, states = middle.numpy().copy(), np.ones(3, F)
    table = ("f32", 50, rows.view(np.uint8), None, None, states)
    numbers = ("rowwise_adagrad", "nearest", 0.1, 1e-8, 0.9, 0.99, 0.0, 0, 1)
    given, sides = owner.numpy(), [np.full((4, 2, 5), 7, F), np.full((4, 5, 2), 7, F)]

    def refuse(message, error=ValueError, table=table, owners=given, numbers=numbers, **others):
        parts = {"left": left.numpy(), "right": right.numpy(), "slopes": slopes, "a": sides[0], "b": sides[1]} | others
        with pytest.raises(error, match=message):
            _core.train_products_step(table, owners, *parts.values(), *numbers)

    refuse("id 3 at position 2", IndexError, owners=np.array([0, 1, 3, 0]))
    bad = slopes.copy()
    bad[1, 0, 1, 1] = np.nan
    refuse("slopes must be finite, but the one at position 1 has nan in column 3", slopes=bad)
    refuse("right must have 3 axes", right=right.numpy()[:3])
    refuse("right has a shape", right=np.ones((4, 4, 2), F))
    refuse("slopes has a shape", slopes=np.ones((4, 2, 2, 3), F))
    refuse("left_gradient has a shape", a=np.ones((4, 2, 6), F))
    refuse("right_gradient has a shape", b=np.ones((4, 5, 3), F))
    refuse("rank . columns . rank numbers of f32", left=np.ones((4, 2, 6), F))
    refuse("rank . columns . rank", table=("f16", 50, np.zeros((3, 100), np.uint8), None, None, states))
    refuse("row_state must not be null", table=("f32", 50, rows.view(np.uint8), None, None, None))
    refuse("learning_rate must be finite", numbers=(*numbers[:2], -1.0, *numbers[3:]))
    refuse("memory", left=rows.reshape(-1)[:40].reshape(4, 2, 5))
    refuse("memory", a=left.numpy())
    refuse("memory", b=sides[0].reshape(-1)[:40].reshape(4, 5, 2))
    np.testing.assert_array_equal(rows, middle.numpy())
    assert (states == 1).all() and all((one == 7).all() for one in sides)


@pytest.mark.parametrize("sparse", [False, True])
def test_rows_of_a_module_are_those_of_tensors(sparse, monkeypatch):
    """A module on another device makes its products with torch."""
    module = training.embedding("tt", 5000, 8, budget=0.2, fields=(4000, 1000), sparse=sparse)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 5000, 700))
    slopes = torch.randn(700, 8, generator=torch.Generator().manual_seed(0))
    found = []
    for is_ours in (True, False):
        monkeypatch.setattr(tt, "takes", lambda core, is_ours=is_ours: is_ours)
        module.zero_grad()
        rows = module(ids)
        (rows * slopes).sum().backward()
        found.append((rows.detach(), [one.grad.to_dense() for one in module.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
