"""CompressedEmbeddingBagCollection against torch.nn.EmbeddingBag on the decoded weights of each feature."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import nn

MODES = ["sum", "mean", "max"]
L = torch.tensor


def make(seed: int = 0) -> list[ec.Table]:
    rng = np.random.default_rng(seed)
    four = ec.compress(rng.standard_normal((90, 16), dtype=np.float32), "asym", bits=4)
    books = ec.compress(rng.standard_normal((40, 7), dtype=np.float32), "kmeans", bits=2)
    return [four, books, ec.remap(four, rows=200, modulo=90)]


TABLES = make()


def call(seed: int, features: list[int], batch: int, longest: int, dtype: torch.dtype):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest + 1, (len(features), batch))
    ids = [rng.integers(0, TABLES[i].rows, n) for i, n in zip(features, lengths.sum(axis=1), strict=True)]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return torch.tensor(np.concatenate(ids)).to(dtype), torch.tensor(offsets).to(dtype)


def torchs(features, ids, offsets, mode, weights=None):
    batch = (len(offsets) - 1) // len(features)
    results = []
    for feature, index in enumerate(features):
        bag = torch.nn.EmbeddingBag.from_pretrained(
            torch.from_numpy(TABLES[index].decode()), mode=mode, include_last_offset=True
        )
        bounds = offsets[feature * batch : (feature + 1) * batch + 1]
        some = slice(int(bounds[0]), int(bounds[-1]))
        results.append(bag(ids[some], bounds - bounds[0], None if weights is None else weights[some]))
    return torch.cat(results, dim=1)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=5),
    st.integers(1, 9),
    st.integers(0, 30),
    st.sampled_from(MODES),
    st.booleans(),
    st.sampled_from([torch.int32, torch.int64]),
    st.integers(0, 2**32),
)
def test_collection_is_torchs(features, batch, longest, mode, weighted, dtype, seed):
    ids, offsets = call(seed, features, batch, longest, dtype)
    weights = torch.linspace(-1, 2, len(ids)) if weighted and mode == "sum" else None
    module = nn.CompressedEmbeddingBagCollection(TABLES, mode, features)
    found = module(ids, offsets, weights)
    assert found.dtype is torch.float32 and not found.requires_grad
    torch.testing.assert_close(found, torchs(features, ids, offsets, mode, weights), rtol=1e-5, atol=2e-5)
    wanted = module.tables.bag(ids, offsets, mode, weights)
    np.testing.assert_array_equal(found.numpy(), wanted)


def operator_arguments():
    parts = [nn.CompressedEmbedding(table).parts for table in TABLES]
    arrays = [array for part in parts for array in part.arrays()]
    texts = "\x1e".join(part.text for part in parts)
    for features, batch, mode, weighted in [
        ([0, 1, 2], 3, "sum", True),
        ([2, 2], 2, "mean", False),
        ([1], 0, "max", 0),
    ]:
        ids, offsets = call(3, features, batch, 4, torch.int64)
        weights = torch.rand(len(ids)) if weighted else None
        yield arrays, texts, features, ids, offsets, mode, weights
        yield arrays, texts, features, ids.int(), offsets.int(), mode, None


@pytest.mark.parametrize("arguments", list(operator_arguments()))
def test_opcheck(arguments):
    torch.library.opcheck(torch.ops.embedcompress.bags.default, arguments)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bags = nn.CompressedEmbeddingBagCollection(TABLES, features=[0, 2, 1])
        self.linear = torch.nn.Linear(39, 5)

    def forward(self, ids, offsets):
        return self.linear(self.bags(ids, offsets)).relu()


def test_compile_and_export():
    torch.manual_seed(0)
    model = Model().eval()
    ids, offsets = call(0, [0, 2, 1], 4, 5, torch.int64)
    wanted = model(ids, offsets)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(ids, offsets), wanted)
    more = call(1, [0, 2, 1], 9, 5, torch.int64)
    torch.testing.assert_close(compiled(*more), model(*more))
    program = torch.export.export(
        model, (ids, offsets), dynamic_shapes={"ids": {0: torch.export.Dim.AUTO}, "offsets": None}
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    again = torch.export.load(buffer).module()
    torch.testing.assert_close(again(ids, offsets), wanted)
    traced = torch.jit.trace(model, (ids, offsets))
    torch.testing.assert_close(traced(ids, offsets), wanted)


def test_state():
    ids, offsets = call(0, [0, 1, 2], 6, 5, torch.int64)
    module = nn.CompressedEmbeddingBagCollection(make(0))
    other = nn.CompressedEmbeddingBagCollection(make(1))
    wanted = module(ids, offsets)
    assert not torch.equal(other(ids, offsets), wanted)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(ids, offsets), wanted)
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(copied(ids, offsets), wanted)
    with pytest.raises(RuntimeError, match="the table is"):
        other.load_state_dict(nn.CompressedEmbeddingBagCollection(make(0)[::-1]).state_dict())
    with pytest.raises(RuntimeError, match="no data"):
        copy.deepcopy(module).to("meta").tables  # noqa: B018


def test_shared_parts():
    single = nn.CompressedEmbedding(TABLES[0])
    module = nn.CompressedEmbeddingBagCollection([single.parts, TABLES[1]])
    single.load_state_dict(nn.CompressedEmbedding(make(5)[0]).state_dict())
    assert torch.equal(module(L([3, 2]), L([0, 1, 2]))[:, :16], single(L([3])))


def test_dtypes():
    ids, offsets = call(0, [0, 1, 2], 6, 5, torch.int64)
    module = nn.CompressedEmbeddingBagCollection(TABLES)
    wanted = module(ids, offsets)
    weights = torch.rand(len(ids), dtype=torch.bfloat16)
    weighted = module(ids, offsets, weights.float())
    module = module.to(torch.bfloat16)
    assert torch.equal(module(ids, offsets), wanted.bfloat16())
    assert torch.equal(module(ids, offsets, weights), weighted.bfloat16())
    assert "dtype=torch.bfloat16" in repr(module)
    assert nn.CompressedEmbeddingBagCollection(TABLES, dtype=torch.float16)(ids, offsets).dtype is torch.float16


def test_arguments_that_cannot_be():
    module = nn.CompressedEmbeddingBagCollection(TABLES[:2])
    ids, offsets = L([1, 2]), L([0, 1, 2])
    weights = torch.ones(2)
    for error, message, arguments in (
        (TypeError, "must be a tensor", ([1, 2], offsets)),
        (ValueError, "ids must have one axis", (ids.reshape(1, 2), offsets)),
        (ValueError, "do not go with 2 features", (ids, offsets[:2])),
        (ValueError, "do not go with 2 features", (ids, offsets[:0])),
        (ValueError, "offsets must have one axis", (ids, offsets.reshape(1, 3))),
        (ValueError, "shape of input", (ids, offsets, weights[:1])),
        (RuntimeError, "real numbers, not torch.bool", (ids, offsets, weights > 0)),
        (RuntimeError, "integers, not torch.float32", (ids.float(), offsets)),
        (RuntimeError, "id 40 at position 1, of feature 1", (L([1, 40]), offsets)),
        (RuntimeError, "last offset must be the number of ids", (ids, L([0, 1, 1]))),
        (NotImplementedError, "require grad", (ids, offsets, weights.clone().requires_grad_())),
    ):
        with pytest.raises(error, match=message):
            module(*arguments)
    with pytest.raises(NotImplementedError, match="mode='sum' only"):
        nn.CompressedEmbeddingBagCollection(TABLES[:2], "mean")(ids, offsets, weights)
    with pytest.raises(ValueError, match="mode must be one of"):
        nn.CompressedEmbeddingBagCollection(TABLES, "median")
    with pytest.raises(ValueError, match="feature 0 has the table 3"):
        nn.CompressedEmbeddingBagCollection(TABLES, features=[3])
    with pytest.raises(ValueError, match="at least one feature"):
        nn.CompressedEmbeddingBagCollection([])
