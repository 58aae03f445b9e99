"""The trainer reads batches as they come, and gives each parameter an optimizer that takes its gradients."""

import weakref

import pytest
import torch
from test_training_methods import COUNTS, METHODS, OPTIONS
from test_training_trainer import DIMENSION, ROWS, Model, batches, loss, score

from embedcompress import training

EACH = 6
"""Batches of an epoch."""


def stream(epoch):
    yield from batches(epoch, EACH)


def fitted(found=stream, method="hash", **options):
    model = Model(method)
    trainer = training.Trainer(model, loss, **{"evaluate": score, "epochs": 2, "evaluations": 3} | options)
    return model, trainer.fit(found, lambda epoch: batches(500 + epoch))


def test_batches_are_not_kept():
    made, most = [], 0

    def found(epoch):
        nonlocal most
        for number in range(20):
            (batch,) = batches(100 * epoch + number, 1)
            made.append(weakref.ref(batch[0]))
            most = max(most, sum(one() is not None for one in made))
            yield batch
            del batch

    fitted(found)
    assert len(made) == 40
    # The one before is let go of once this one has been made.
    assert most <= 2


def test_an_epoch_is_as_long_as_it_says():
    class Sized:
        def __init__(self, epoch):
            self.epoch = epoch

        def __len__(self):
            return EACH

        def __iter__(self):
            return stream(self.epoch)

    _, whole = fitted(batches)
    assert [one.step for one in whole] == [2, 4, 6, 8, 10, 12]
    for found, options in ((Sized, {}), (Sized, {"steps_per_epoch": 4}), (stream, {"steps_per_epoch": EACH})):
        _, history = fitted(found, **options)
        assert [(one.step, one.score) for one in history] == [(one.step, one.score) for one in whole]


def test_there_may_be_more_evaluations_than_batches():
    _, history = fitted(batches, epochs=1, evaluations=10**18)
    assert [one.step for one in history] == [1, 2, 3, 4, 5, 6]


def test_a_length_that_is_not_known_is_counted():
    told = []
    _, history = fitted(epochs=3, progress=lambda step, total: told.append(total))
    assert [one.step for one in history] == [6, 8, 10, 12, 14, 16, 18]
    assert told == [0] * 6 + [18] * 12
    told.clear()
    fitted(batches, epochs=3, progress=lambda step, total: told.append(total))
    assert told == [18] * 18


def test_epochs_of_other_lengths_end_with_an_evaluation():
    _, history = fitted(lambda epoch: stream(epoch) if epoch else batches(0, 4), evaluations=2)
    assert [one.step for one in history] == [2, 4, 6, 8, 10]
    _, history = fitted(steps_per_epoch=4, evaluations=2)
    assert [one.step for one in history] == [2, 4, 6, 8, 10, 12]


def test_schedules_are_told_where_the_number_is_known(monkeypatch):
    told = []
    monkeypatch.setattr(METHODS["dedup"], "schedule", lambda self, steps: told.append((self.stage, steps)))
    fitted(batches, "dedup")
    assert told == [("train", 12), ("tune", 12)]
    told.clear()
    # The first stage counts.
    fitted(stream, "dedup")
    assert told == [("tune", 12)]


def test_an_epoch_without_batches_is_an_error():
    once = stream(0)
    with pytest.raises(ValueError, match="epoch 1 has no batch: batches must begin anew each time"):
        fitted(lambda epoch: once)


@pytest.mark.parametrize("method", list(METHODS))
def test_sparse_parameters_are_those_with_sparse_gradients(method):
    """As a method says it, in each of its stages: what the default optimizers go by."""
    seen = []

    def watched(model, batch):
        if model.embedding.stage not in (one[0] for one in seen):
            for name, parameter in model.named_parameters():
                parameter.register_hook(
                    lambda slopes, at=(model.embedding.stage, name): seen.append((*at, slopes.is_sparse))
                )
        return loss(model, batch)

    model = Model(method, sparse=True)
    wanted = {}

    def note(step, total):
        names = {id(parameter) for parameter in model.embedding.sparse_parameters()}
        wanted[model.embedding.stage] = {name: id(one) in names for name, one in model.named_parameters()}

    training.Trainer(model, watched, progress=note).fit(batches, batches)
    assert {stage for stage, *_ in seen} == set(model.embedding.stages)
    for stage, name, is_sparse in seen:
        assert wanted[stage][name] == is_sparse, (stage, name)


def test_thresholds_of_single_ids_are_sparse():
    for granularity, is_sparse in (("row", True), ("element", True), ("dimension", False), ("global", False)):
        module = training.embedding("pep", ROWS, DIMENSION, budget=0.5, sparse=True, granularity=granularity)
        module(torch.arange(5)).sum().backward()
        assert module.threshold.grad.is_sparse == is_sparse
        assert any(one is module.threshold for one in module.sparse_parameters()) == is_sparse


def test_dense_gradients_have_no_sparse_parameters():
    for name in METHODS:
        options = OPTIONS.get(name, {})
        budget = 1.0 if name == "full" else 0.6
        module = training.embedding(name, ROWS, DIMENSION, budget=budget, counts=COUNTS[:ROWS], **options)
        assert module.sparse_parameters() == []


def test_tables_and_head_have_their_own_optimizers():
    model = Model("hash")
    before = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    given = {}

    def of(name, rate):
        def make(parameters):
            given[name] = parameters
            return torch.optim.SGD(parameters, lr=rate)

        return make

    training.Trainer(model, loss, optimizer=of("table", 0.0), head_optimizer=of("head", 0.1)).fit(batches)
    assert [id(one) for one in given["table"]] == [id(one) for one in model.embedding.parameters()]
    assert [id(one) for one in given["head"]] == [id(one) for one in model.last.parameters()]
    assert torch.equal(model.embedding.weight.elements, before["embedding.weight.elements"])
    assert not torch.equal(model.last.weight, before["last.weight"])


def test_a_table_without_parameters_trains_by_itself():
    model, own = Model("full"), training.SGD(0.1)

    def table():
        spec = model.embedding.spec
        return training.embedding("full", spec.rows, spec.dimension, budget=1.0, fields=spec.sizes, optimizer=own)

    model.embedding = table()
    before = model.embedding.weight.values().clone()
    asked = []
    trainer = training.Trainer(model, loss, optimizer=asked.append)
    trainer.fit(batches)
    assert not asked
    assert not torch.equal(before, model.embedding.weight.values())
    alone = table()
    training.Trainer(alone, lambda model, batch: model(batch[0]).square().mean()).fit(batches)
