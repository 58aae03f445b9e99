"""Compressed embeddings in torch's own operators: the same rows, and models that torch exports to ONNX."""

import copy
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_tables import ROUTE_NAMES, random_product, random_sparse, tables

import embedcompress as ec

torch = pytest.importorskip("torch")
from embedcompress import nn  # noqa: E402

UNSAID = ("rotate", "normalize", "ranges", "assignment", "hash")
WEIGHT = torch.from_numpy(np.random.default_rng(0).standard_normal((30, 16)).astype(np.float32))


@given(
    table=tables(routes=[name for name in ROUTE_NAMES if name not in UNSAID]), shape=st.sampled_from([(), (4,), (2, 3)])
)
def test_rows_of_any_expression(table, shape):
    ids = torch.from_numpy(np.asarray(np.random.default_rng(0).integers(0, table.rows, shape)))
    found = nn.DecomposedEmbedding(table)(ids)
    np.testing.assert_allclose(found.numpy(), table.lookup(ids.numpy()), rtol=1e-4, atol=1e-4)


@given(rows=st.integers(1, 20), dimension=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_rows_of_products(rows, dimension, seed):
    table = random_product(np.random.default_rng(seed), rows, dimension)
    found = nn.DecomposedEmbedding(table)(torch.arange(rows))
    np.testing.assert_allclose(found.numpy(), table.decode(), rtol=1e-5, atol=1e-5)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding.from_pretrained(WEIGHT)
        self.tied = self.words
        self.inner = torch.nn.ModuleList([torch.nn.Embedding.from_pretrained(WEIGHT[:9].clone())])
        self.head = torch.nn.Linear(16, 3)

    def forward(self, ids):
        return self.head(self.words(ids) + self.tied(ids) * self.inner[0](ids % 9))


def test_models(tmp_path):
    model = Model()
    nn.compress_model_(model, minimum_rows=1, bits=4)
    ids = torch.tensor([[3, 1, 29], [0, 8, 9]])
    expected = model(ids)
    found = nn.decompose_(model)
    assert found is model and model.words is model.tied and type(model.inner[0]) is nn.DecomposedEmbedding
    np.testing.assert_array_equal(model(ids).detach(), expected.detach())
    np.testing.assert_array_equal(torch.vmap(model.words)(ids), model.words(ids))
    np.testing.assert_array_equal(torch.jit.trace(model, ids)(ids).detach(), expected.detach())
    np.testing.assert_array_equal(copy.deepcopy(model)(ids).detach(), expected.detach())
    torch.save(model, tmp_path / "m.pt")
    np.testing.assert_array_equal(torch.load(tmp_path / "m.pt", weights_only=False)(ids).detach(), expected.detach())
    for bad in (30, -1):
        with pytest.raises(IndexError):
            model.words(torch.tensor([bad]))
    rows = model.words(ids)
    assert model.half().words(ids).dtype == torch.float16
    np.testing.assert_array_equal(model.words(ids), rows.half())
    np.testing.assert_array_equal(model.float().words(ids), rows)
    assert model.to("meta").words(ids.to("meta")).shape == (2, 3, 16)


def test_an_embedding_alone():
    module = nn.CompressedEmbedding(ec.compress(WEIGHT, bits=3), dtype=torch.bfloat16)
    found = nn.decompose_(module)
    assert type(found) is nn.DecomposedEmbedding and repr(found) == "DecomposedEmbedding(30, 16)"
    assert torch.equal(found(torch.arange(30)), module(torch.arange(30)))


def test_what_is_refused_leaves_the_model_as_it_was():
    rng = np.random.default_rng(0)
    dense = ec.dense(WEIGHT.numpy())
    for module, what in (
        (
            nn.CompressedEmbeddingBag(dense),
            "layer.1 is a .*Bag: only CompressedEmbedding is decomposed",
        ),
        (nn.CompressedLinear(dense), "layer.1 is a CompressedLinear"),
        (type("Scaled", (nn.CompressedEmbedding,), {})(dense), "layer.1 is a Scaled"),
        (
            nn.CompressedEmbedding(random_sparse(rng, 5, 6)),
            "layer.1: table 'weight' can't be written to ONNX: it has a sp",
        ),
        (nn.CompressedEmbedding(ec.remap(dense, rows=50, hash=3)), "layer.1: .*it has a hash"),
    ):
        model = torch.nn.ModuleDict({"layer": torch.nn.ModuleList([nn.CompressedEmbedding(dense), module])})
        with pytest.raises(ValueError, match=what):
            nn.decompose_(model)
        assert type(model["layer"][0]) is nn.CompressedEmbedding
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        nn.decompose_(dense)


def test_torch_exports_the_model_to_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = Model().eval()
    nn.compress_model_(model, "greedy", minimum_rows=1, bits=3)
    assert type(nn.decompose_(model).words) is nn.DecomposedEmbedding
    length = torch.export.Dim("length")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.tensor([[3, 1]]),), tmp_path / "m.onnx", dynamic_shapes=({1: length},), verbose=False
        )
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    ids = torch.randint(0, 30, (1, 7))
    (found,) = session.run(None, {session.get_inputs()[0].name: ids.numpy()})
    np.testing.assert_allclose(found, model(ids).detach(), rtol=1e-5, atol=1e-5)
    # The table lies in it packed.
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 4 * WEIGHT.numel() * 30
