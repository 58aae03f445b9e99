"""Arguments of a type that a function does not take: a TypeError, or a ValueError, that names the argument."""

from decimal import Decimal

import numpy as np
import pytest
import torch

import embedcompress as ec
from embedcompress import hessian, nn, training

TABLE = ec.compress(np.eye(4, 8, dtype=np.float32), "asym")
LINEAR = torch.nn.Sequential(torch.nn.Linear(2, 2))


def trainer(**arguments):
    return training.Trainer(training.embedding("hash", 100, 4, budget=0.5), lambda model, batch: None, **arguments)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("table", lambda: ec.rotate(np.eye(4), offset=np.ones(4))),
        ("table", lambda: ec.project(None, np.eye(4))),
        ("table", lambda: ec.remap([1, 2], rows=5, modulo=2)),
        ("tables", lambda: ec.columns(3)),
        ("tables", lambda: ec.combine([TABLE, 3])),
        ("tables", lambda: ec.TableSet(3)),
        ("tables", lambda: ec.save("no-such-file", [TABLE])),
        ("tables", lambda: ec.compress_to_file("no-such-file", [np.eye(4)])),
        ("weights", lambda: ec.compress_to_file("no-such-file", {"a": np.eye(4)}, weights=[1])),
        ("arrays", lambda: ec.Table.from_parts({}, [])),
        ("seed", lambda: ec.shared_array(np.ones(4, np.float32), rows=2, dimension=2, block=1, seed=Decimal("NaN"))),
        ("table", lambda: nn.CompressedEmbedding(np.eye(4))),
        ("padding_idx", lambda: nn.CompressedEmbedding(TABLE, Decimal("NaN"))),
        ("module", lambda: nn.CompressedEmbedding.from_module(LINEAR)),
        ("module", lambda: nn.CompressedEmbeddingBag.from_module(torch.nn.Embedding(4, 4))),
        ("module", lambda: nn.CompressedLinear.from_module(torch.nn.Embedding(4, 4))),
        ("bias", lambda: nn.CompressedLinear(TABLE, [0.0] * 4)),
        ("tables", lambda: nn.CompressedEmbeddingBagCollection(3)),
        ("settings", lambda: nn.FakeQuantizedWeight(4, 2, 2)),
        ("momentum", lambda: nn.FakeQuantizedActivation(8, "a")),
        ("model", lambda: nn.compress_model_(TABLE)),
        ("model", lambda: nn.prepare(TABLE)),
        ("model", lambda: nn.convert(TABLE)),
        ("model", lambda: nn.save_compressed("no-such-file", TABLE)),
        ("path", lambda: nn.save_compressed(LINEAR, "no-such-file")),
        ("model", lambda: training.Trainer(TABLE, lambda model, batch: None)),
        ("evaluations", lambda: trainer(evaluations=Decimal("NaN"))),
        ("patience", lambda: trainer(patience=1.5)),
        ("rules", lambda: training.recommend([100], 4, budget=0.5, rules=3)),
        ("latency", lambda: training.recommend([100], 4, budget=0.5, latency="1")),
        ("model", lambda: hessian.measure(TABLE)),
        ("blocks", lambda: hessian.measure(LINEAR, [LINEAR])),
        ("counts", lambda: hessian.measure(LINEAR, {"a": LINEAR}, counts=[1])),
        ("group", lambda: hessian.allocate({"a": 1.0}, {"a": (8, 8)}, 0.5, group="8")),
        ("groups", lambda: hessian.sizes("bert-base-uncased", groups=1.5)),
        ("points", lambda: hessian.surface(LINEAR, None, [1], LINEAR, points="3")),
        ("share", lambda: hessian.sensitivity(LINEAR, None, [1], share=Decimal("NaN"))),
    ],
)
def test_a_wrong_type_names_its_argument(name, call):
    with pytest.raises(TypeError, match=rf"\b{name} must be "):
        call()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("budget", lambda: training.plan("hash", 100, 4, budget=10**400)),
        ("budget", lambda: ec.compress(np.eye(4, dtype=np.float32), budget=2**63)),
        ("train_memory", lambda: training.recommend([100], 4, budget=0.5, train_memory=10**400)),
        ("groups", lambda: hessian.sizes("bert-base-uncased", groups=10**400)),
        ("tables", lambda: ec.columns([])),
    ],
)
def test_a_number_out_of_range_names_its_argument(name, call):
    with pytest.raises(ValueError, match=rf"\b{name} must "):
        call()
