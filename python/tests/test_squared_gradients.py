"""Squared gradients of the rows of a table, against autograd of one sample after the other."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

import embedcompress as ec
from embedcompress import nn as ecnn
from embedcompress import training


class Model(torch.nn.Module):
    def __init__(self, table):
        super().__init__()
        self.table = table
        self.head = torch.nn.Sequential(torch.nn.Linear(3 * 4, 6), torch.nn.Dropout(0.5), torch.nn.Linear(6, 1))

    def forward(self, ids):
        return self.head(self.table(ids).flatten(1)).squeeze(1)


def summed(model, batch):
    ids, labels = batch
    return torch.nn.functional.binary_cross_entropy_with_logits(model(ids), labels, reduction="sum")


def batches(rng, sizes, rows):
    """Batches whose samples use a row once."""
    for size in sizes:
        ids = np.stack([rng.permutation(rows)[:3] for _ in range(size)])
        yield torch.from_numpy(ids), torch.from_numpy(rng.integers(0, 2, size).astype(np.float32))


@given(st.integers(0, 2**32), st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(3, 12))
def test_squares_are_those_of_single_samples(seed, sizes, rows):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = Model(torch.nn.Embedding(rows, 4)).train()
    data = list(batches(rng, sizes, rows))
    found = training.squared_gradients(model, model.table, data, summed)
    assert model.training
    assert model.head[1].training
    assert all(parameter.grad is None for parameter in model.parameters())
    model.eval()
    wanted = np.zeros((rows, 4))
    for ids, labels in data:
        for index in range(len(ids)):
            model.zero_grad()
            summed(model, (ids[index : index + 1], labels[index : index + 1])).backward()
            wanted += model.table.weight.grad.double().numpy() ** 2
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-9)
    assert found.dtype == np.float32


def test_tables_of_other_kinds(rng):
    weight = rng.standard_normal((20, 4)).astype(np.float32)
    plain = torch.nn.Embedding(20, 4, _weight=torch.from_numpy(weight))
    frozen = ecnn.CompressedEmbedding(ec.dense(weight))
    model = Model(plain)
    data = list(batches(rng, [5, 3], 20))
    wanted = training.squared_gradients(model, plain, data, summed)
    model.table = frozen
    np.testing.assert_array_equal(training.squared_gradients(model, frozen, data, summed), wanted)
    learned = training.embedding("full", 20, 4, budget=1.0, optimizer=training.Adagrad(0.1))
    model.table = learned
    found = training.squared_gradients(model, learned, data, summed)
    model.table = torch.nn.Embedding(20, 4, _weight=torch.from_numpy(learned.freeze().decode()))
    np.testing.assert_array_equal(training.squared_gradients(model, model.table, data, summed), found)


def test_they_are_weights(rng):
    model = Model(torch.nn.Embedding(20, 4))
    squares = training.squared_gradients(model, model.table, batches(rng, [30], 20), summed)
    weight = model.table.weight.detach()
    costs = [
        (squares * (ec.compress(weight, bits=1, weights=weights).decode() - weight.numpy()) ** 2).sum()
        for weights in (squares, None)
    ]
    assert costs[0] < 0.9 * costs[1]


def test_uses_are_counted_once_with_checkpoints_of_activations(rng):
    def of(model, batch):
        ids, labels = batch
        found = checkpoint(model, ids, use_reentrant=False)
        return torch.nn.functional.binary_cross_entropy_with_logits(found, labels, reduction="sum")

    model, data = Model(torch.nn.Embedding(20, 4)), list(batches(rng, [5, 3], 20))
    wanted = training.squared_gradients(model, model.table, data, summed)
    np.testing.assert_allclose(training.squared_gradients(model, model.table, data, of), wanted, rtol=1e-5)


def test_what_is_refused(rng):
    model = Model(torch.nn.Embedding(20, 4))
    data = list(batches(rng, [5], 20))

    def call(**changed):
        given = {"model": model, "table": model.table, "batches": data, "loss": summed} | changed
        return training.squared_gradients(**given)

    for changed, error, message in (
        ({"model": 3}, TypeError, "model must be"),
        ({"table": 3}, TypeError, "table must be"),
        ({"batches": 3}, TypeError, "batches must be"),
        ({"loss": 3}, TypeError, "loss must be a function"),
        ({"table": torch.nn.Embedding(20, 4)}, ValueError, "table must be a module of the model"),
        ({"table": model.head}, ValueError, "num_embeddings and embedding_dim, as Sequential has not"),
        ({"loss": lambda model, batch: 3.0}, ValueError, "scalar tensor"),
        ({"loss": lambda model, batch: model(batch[0])}, ValueError, "scalar tensor"),
        ({"loss": lambda model, batch: torch.zeros(())}, ValueError, "loss of batch 0 does not depend on the rows"),
        ({"loss": lambda model, batch: model(batch[0]).sum() * 1e30}, ValueError, "not finite, or too large for f32"),
    ):
        with pytest.raises(error, match=message):
            call(**changed)
    with pytest.raises(ValueError, match="loss of batch 0 does not depend on the rows"):
        call(loss=lambda model, batch: model.head(torch.ones(2, 12)).sum())
    with pytest.raises(ValueError, match="ids as a positional argument, not by keyword"):
        call(loss=lambda model, batch: model.table(input=batch[0]).sum())
    limited = torch.nn.Embedding(20, 4, max_norm=0.01)
    before = limited.weight.detach().clone()
    with pytest.raises(ValueError, match="module 'table' has max_norm"):
        call(model=Model(limited), table=limited)
    torch.testing.assert_close(limited.weight.detach(), before, rtol=0, atol=0)
    pooled = torch.nn.EmbeddingBag(20, 4)
    bags = torch.nn.Sequential(pooled)
    with pytest.raises(ValueError, match="not pooled ones"):
        call(model=bags, table=pooled, loss=lambda model, batch: model(batch[0]).sum())
