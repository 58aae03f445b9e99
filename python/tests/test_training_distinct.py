"""Rows that are made once for each distinct id of a batch: beside torch's way, which makes one for each id."""

import numpy as np
import pytest
import torch

from embedcompress import training
from embedcompress.training._distinct import Distinct
from embedcompress.training._steps import touched

torch.set_num_threads(1)

ROWS, DIMENSION = 300, 8


def ids_of(count, seed=0):
    """Ids of which some come many times, in no order."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(0, ROWS, count) // random.integers(1, 100, count))


@pytest.fixture
def as_they_are(monkeypatch):
    """Have ids left as they are, as on other devices."""

    def change(is_so):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: is_so)

    return change


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 31, 1000])
def test_gradients_are_those_of_an_embedding(count, sparse, as_they_are):
    ids = ids_of(count)
    slopes = torch.randn(count, DIMENSION, generator=torch.Generator().manual_seed(1))
    weight = torch.nn.Parameter(torch.randn(ROWS, DIMENSION, generator=torch.Generator().manual_seed(2)))
    found = []
    for is_so in (False, True):
        as_they_are(is_so)
        weight.grad = None
        batch = Distinct(ids)
        rows = batch.spread(batch.take(weight, sparse) * 3)
        (rows * slopes).sum().backward()
        assert weight.grad.is_sparse == sparse
        found.append((rows.detach(), weight.grad.to_dense()))
        shares = batch.shares(weight) * torch.ones(len(batch.ids), 1)
        assert float(shares.sum()) == pytest.approx(float(count > 0))
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0][0], weight.detach()[ids] * 3)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("ids", [[], [4], [ROWS - 1], [ROWS - 1, 4, 4, ROWS - 1, 0]])
def test_a_padded_row_has_no_gradient(ids, sparse, as_they_are):
    ids = torch.tensor(ids, dtype=torch.int64)
    weight = torch.nn.Parameter(torch.randn(ROWS, DIMENSION, generator=torch.Generator().manual_seed(2)))
    found = []
    for is_so in (False, True):
        as_they_are(is_so)
        weight.grad = None
        batch = Distinct(ids)
        rows = batch.spread(batch.take(weight, sparse, is_padded=True))
        assert torch.equal(rows, weight[ids])
        (rows * 2).sum().backward()
        found.append(weight.grad.to_dense())
        assert not found[-1][-1].any()
    assert torch.equal(*found)
    assert found[0][4].tolist() == [2.0 * ids.tolist().count(4)] * DIMENSION


def test_ids_are_distinct_and_rise():
    batch = Distinct(torch.tensor([7, 2, 7, 7, 0]))
    assert batch.ids.tolist() == [0, 2, 7]
    assert batch.shares(torch.zeros(1)).flatten().tolist() == pytest.approx([0.2, 0.2, 0.6])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("name", "budget", "options"),
    [
        ("alpt", 0.5, {}),
        ("tt", 0.5, {}),
        ("cce", 0.5, {}),
        ("dpq", 0.5, {}),
        ("dpq", 0.5, {"parts": 1, "bits": 4}),
        ("dpq", 0.5, {"kind": "sx"}),
        ("mgqe", 0.5, {}),
        ("mgqe", 0.5, {"kind": "sx"}),
    ],
)
def test_methods_train_as_without(name, budget, options, sparse, as_they_are):
    ids = ids_of(500)
    module = training.embedding(
        name,
        ROWS,
        DIMENSION,
        budget=budget,
        counts=np.arange(ROWS),
        fields=(20, ROWS - 20),
        sparse=sparse,
        **options,
    ).train()
    slopes = torch.randn(500, DIMENSION, generator=torch.Generator().manual_seed(1))
    found = []
    for is_so in (False, True):
        as_they_are(is_so)
        module.zero_grad()
        rows = module(ids)
        loss = (rows * slopes).sum() + module.regularization()
        loss.backward()
        gradients = {key: value.grad.to_dense() for key, value in module.named_parameters() if value.grad is not None}
        found.append((rows.detach(), loss.detach(), gradients))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_centroids_are_pulled_by_each_id_of_the_batch():
    """Beside the mean over ids, repeated ones too, in double precision."""
    module = training.embedding("dpq", ROWS, DIMENSION, budget=0.5, parts=4, bits=5).train()
    ids = ids_of(400)
    module(ids)
    loss = module.regularization()
    loss.backward()
    query = module.query.detach().double()[ids].view(-1, 4, 2)
    books = module.centroids.detach().double().requires_grad_()
    codes = (query[:, :, None] - books[None]).square().sum(3).argmin(2)
    chosen = torch.stack([books[part][codes[:, part]] for part in range(4)], 1)
    wanted = (chosen - query).square().mean()
    wanted.backward()
    torch.testing.assert_close(loss.detach().double(), wanted.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(module.centroids.grad.double(), books.grad, rtol=1e-4, atol=1e-9)


def test_a_gradient_of_rising_rows_is_not_added_up_again():
    module = training.embedding("alpt", ROWS, DIMENSION, budget=0.5, sparse=True).train()
    ids = ids_of(200)
    module(ids).sum().backward()
    before = module.weight.grad._values().data_ptr()
    assert touched(module.weight).tolist() == ids.unique().tolist()
    assert module.weight.grad.is_coalesced()
    assert module.weight.grad._values().data_ptr() == before


def test_gradients_of_two_calls_are_added_up():
    module = training.embedding("alpt", ROWS, DIMENSION, budget=0.5, sparse=True).train()
    first, second = torch.tensor([5, 3]), torch.tensor([3, 9, 9])
    (module(first).sum() + module(second).sum()).backward()
    assert touched(module.weight).tolist() == [3, 5, 9]
    assert module.weight.grad.values()[:, 0].tolist() == [2, 1, 2]
