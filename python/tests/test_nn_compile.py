"""The operators: opcheck, torch.compile, torch.export, tracing."""

import io

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import embedcompress as ec
from embedcompress import nn

ROWS = 40
IDS = torch.tensor([[3, 1, 4], [1, 5, 39]])
OFFSETS = torch.tensor([0, 2, 2])


def table(bits: int = 4, seed: int = 0) -> ec.Table:
    weight = np.random.default_rng(seed).standard_normal((20, 12), dtype=np.float32)
    return ec.remap(ec.compress(weight, "asym", bits=bits), rows=ROWS, modulo=20)


class Model(torch.nn.Module):
    """Both modules and something around them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.CompressedEmbedding(table())
        self.bags = nn.CompressedEmbeddingBag(table(3), "sum", padding_idx=1)
        self.linear = torch.nn.Linear(12, 5)

    def forward(self, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return self.linear(self.rows(ids) * 2).sum(dim=1) + self.linear(self.bags(ids, None, weights).relu())


def operator_arguments():
    parts = nn.CompressedEmbedding(table()).parts
    arrays, text = parts.arrays(), parts.text
    for ids in (IDS, IDS.int(), IDS.T, IDS[:0], IDS[0, 0]):
        yield torch.ops.embedcompress.lookup.default, (arrays, text, ids)
    flat = IDS.flatten()
    for arguments in [
        (flat, OFFSETS, "mean", None, False, None),
        (flat, OFFSETS.int(), "max", None, False, 3),
        (flat, torch.tensor([0, 2, 6]), "sum", torch.rand(6), True, None),
        (IDS, None, "sum", torch.rand(2, 3), False, 1),
        (IDS, None, "max", None, True, None),
        (flat[:0], OFFSETS[:0], "sum", None, False, None),
    ]:
        yield torch.ops.embedcompress.bag.default, (arrays, text, *arguments)


@pytest.mark.parametrize(("operator", "arguments"), list(operator_arguments()))
def test_opcheck(operator, arguments):
    torch.library.opcheck(operator, arguments)


def test_operators_raise_as_the_modules():
    rows, bags = nn.CompressedEmbedding(table()), nn.CompressedEmbeddingBag(table(), "sum")
    arrays, text, lookup, bag = (
        rows.parts.arrays(),
        rows.parts.text,
        *(getattr(torch.ops.embedcompress, name).default for name in ("lookup", "bag")),
    )
    with pytest.raises(IndexError):
        lookup(arrays, text, torch.tensor([ROWS]))
    with pytest.raises(RuntimeError):
        bag(arrays, text, torch.tensor([ROWS]), torch.tensor([0]), "sum", None, False, None)
    with pytest.raises(ValueError):
        bag(arrays, text, torch.tensor([0]), None, "sum", None, False, None)
    with pytest.raises(ec.FormatError):
        lookup(arrays, "{}", IDS)
    with pytest.raises(ec.FormatError):
        lookup([], text, IDS)
    # What is on no CPU has no kernel; meta tensors have shapes only.
    meta = torch.empty(2, 3, dtype=torch.int64, device="meta")
    assert rows(meta).shape == (2, 3, 12) and bags(meta).shape == (2, 12)
    with pytest.raises(ValueError):
        bags(meta[0])


def test_compile():
    torch._dynamo.reset()
    model = Model()
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for count in (2, 3, 7):
            ids = torch.arange(count * 3).reshape(count, 3)
            weights = torch.rand(count, 3)
            torch.testing.assert_close(compiled(ids, weights), model(ids, weights))
        model.rows.load_state_dict(nn.CompressedEmbedding(table(8, seed=1)).state_dict())
        model.half()
        weights = weights.half()
        torch.testing.assert_close(compiled(ids, weights), model(ids, weights), atol=1e-2, rtol=1e-2)
    with pytest.raises(IndexError):
        compiled(torch.full((7, 3), ROWS), weights)


def test_export():
    model = Model().eval()
    arguments = (IDS, torch.rand(2, 3))
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, arguments, dynamic_shapes=({0: batch}, {0: batch}))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file)
    assert {"rows.parts.inner__rows", "bags.parts.expression"} <= loaded.state_dict.keys()
    with torch.no_grad():
        for count in (1, 5):
            ids, weights = torch.arange(count * 3).reshape(count, 3), torch.rand(count, 3)
            torch.testing.assert_close(loaded.module()(ids, weights), model(ids, weights))
    with pytest.raises(IndexError):
        loaded.module()(torch.full((2, 3), -1), torch.rand(2, 3))


def test_bags_with_offsets_compile():
    torch._dynamo.reset()
    bags = nn.CompressedEmbeddingBag(table(), "mean", include_last_offset=True)
    compiled = torch.compile(bags, fullgraph=True, backend="aot_eager")
    for offsets in ([0, 2, 6], [0, 0, 6], [0, 1, 2, 6]):
        assert torch.equal(compiled(IDS.flatten(), torch.tensor(offsets)), bags(IDS.flatten(), torch.tensor(offsets)))
    weighted = torch.compile(nn.CompressedEmbeddingBag(table(), "sum"), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match="inference"):
        weighted(IDS, None, torch.ones(2, 3, requires_grad=True))


@pytest.mark.parametrize("trace", ["symbolic", "make_fx", "jit"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_traces_hold_the_operator_and_not_its_result(trace):
    module = nn.CompressedEmbedding(table())
    if trace == "symbolic":
        traced = torch.fx.symbolic_trace(module)
    elif trace == "make_fx":
        traced = make_fx(module)(IDS)
    else:
        traced = torch.jit.trace(module, (IDS,))
    other = torch.tensor([[7, 8, 9], [0, 0, 0]])
    assert torch.equal(traced(other), module(other))


def test_results_alias_nothing():
    module = nn.CompressedEmbedding(ec.dense(np.ones((4, 3), np.float32)))
    rows = module(torch.arange(4))
    rows.zero_()
    assert torch.equal(module(torch.arange(4)), torch.ones(4, 3))


def test_vmap_goes_over_ids():
    module = nn.CompressedEmbedding(table())
    expected = module(IDS)
    assert torch.equal(torch.vmap(module)(IDS), expected)
    assert torch.equal(torch.vmap(module, in_dims=1, out_dims=1)(IDS), expected)
    assert torch.equal(torch.vmap(torch.vmap(module))(IDS), expected)
    with pytest.raises(ec.InvalidIdError, match="id 41"):
        torch.vmap(module)(IDS + 38)
    with pytest.raises(RuntimeError, match=r"input must be integers, not torch\.float32"):
        torch.vmap(module)(IDS.float())
    arrays, text = module.parts.arrays(), module.parts.text
    two = [torch.stack([array, array]) for array in arrays]
    with pytest.raises(NotImplementedError, match="over ids, and not over the arrays"):
        torch.vmap(lambda one: torch.ops.embedcompress.lookup(one, text, IDS))(two)
