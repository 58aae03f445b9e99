"""What the modules hand straight to the core, beside what goes through the operators."""

import resource
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import embedcompress as ec
from embedcompress import _core, nn
from embedcompress.nn import _collection, _lookups, _operators

ROWS = 40
L = torch.tensor
TABLE = ec.compress(np.random.default_rng(0).standard_normal((ROWS, 12), dtype=np.float32), "asym", bits=4)
IDS, OFFSETS = L([3, 1, 4, 1, 5, 39]), L([0, 2, 2])


def module_and_operator(offsets=None, mode=None, weights=None, last=False, padding=None):
    """A module and the operator that it is a form of, as functions of ids."""
    if mode is None:
        rows = nn.CompressedEmbedding(TABLE)
        return rows, lambda ids: _operators.lookup_operator(rows.parts.arrays(), rows.parts.text, ids)
    bags = nn.CompressedEmbeddingBag(TABLE, mode, padding, last)
    parts = bags.parts
    return (
        lambda ids: bags(ids, offsets, weights),
        lambda ids: _operators.bag_operator(parts.arrays(), parts.text, ids, offsets, mode, weights, last, padding),
    )


LOOKUPS = {
    "one": L([17]),
    "scalar": L(3),
    "int32": IDS.int(),
    "empty": IDS[:0],
    "no columns": IDS[:0].reshape(3, 0),
    "strided": IDS[::2],
    "strided, one": IDS[::6],
    "transposed": IDS.reshape(2, 3).T,
    "expanded": L(7).expand(3, 2),
    "one of each": torch.as_strided(IDS, (1, 2, 1), (7, 1, 5), 2),
}


@pytest.mark.parametrize("ids", LOOKUPS.values(), ids=LOOKUPS)
def test_rows_are_the_operators(ids):
    module, operator = module_and_operator()
    expected = torch.from_numpy(TABLE.lookup(ids.numpy().copy()))
    assert torch.equal(module(ids), operator(ids))
    assert torch.equal(module(ids), expected)


BAGS = {
    "offsets": (IDS, OFFSETS, "sum"),
    "of two dtypes": (IDS.int(), OFFSETS, "mean"),
    "converted": (IDS.short(), OFFSETS, "max"),
    "strided": (IDS[::2], L([0, 9, 1, 9])[::2], "sum", torch.rand(6)[1::2]),
    "weights": (IDS.reshape(2, 3), None, "sum", torch.rand(3, 2).T),
    "negative weights": (IDS, OFFSETS, "sum", torch.rand(6, dtype=torch.complex64).conj().imag),
    "parameters": (IDS, OFFSETS, "sum", torch.nn.Parameter(torch.rand(6), requires_grad=False)),
    "last": (IDS, L([0, 2, 6]), "mean", None, True),
    "padding": (IDS.reshape(3, 2), None, "max", None, False, 1),
    "none": (IDS[:0], OFFSETS[:0], "sum"),
}


@pytest.mark.parametrize(("ids", "arguments"), [(ids, rest) for ids, *rest in BAGS.values()], ids=BAGS)
def test_bags_are_the_operators(ids, arguments):
    module, operator = module_and_operator(*arguments)
    assert torch.equal(module(ids), operator(ids))


REFUSED = {
    "id": (L([1, ROWS]), None, None),
    "negative id": (L([-1]), None, None),
    "floats": (L([1.0]), None, None),
    "sums of an id": (L([1, ROWS]), L([0]), "sum"),
    "sums of an id of another dtype": (L([1, ROWS]), L([0], dtype=torch.int32), "sum"),
    "float offsets": (IDS, OFFSETS.float(), "sum"),
    "offsets": (IDS, L([1]), "sum"),
    "no offsets": (IDS, None, "sum"),
    "offsets of a matrix": (IDS.reshape(2, 3), OFFSETS, "sum"),
    "offsets with two axes": (IDS, OFFSETS[None], "sum"),
    "three axes": (IDS.reshape(1, 2, 3), None, "sum"),
    "shape of weights": (IDS, OFFSETS, "sum", torch.rand(5)),
    "bool weights": (IDS, OFFSETS, "sum", torch.rand(6) > 0.5),
    "weights of a mean": (IDS, OFFSETS, "mean", torch.rand(6)),
    "weights of a bad id": (L([ROWS]), L([0]), "mean", torch.rand(1)),
    "last offset": (IDS, OFFSETS, "mean", None, True),
}


@pytest.mark.parametrize(("ids", "arguments"), [(ids, rest) for ids, *rest in REFUSED.values()], ids=REFUSED)
def test_errors_are_the_operators(ids, arguments):
    module, operator = module_and_operator(*arguments)
    with pytest.raises(Exception) as expected:
        operator(ids)
    with pytest.raises(expected.type) as error:
        module(ids)
    assert str(error.value) == str(expected.value)
    assert error.value.__context__ is None or error.value.__suppress_context__


def test_collections_are_the_operators():
    bags = nn.CompressedEmbeddingBagCollection([TABLE, TABLE])
    texts = _operators.SEPARATOR.join([part.text for part in bags.parts])
    arrays = [array for part in bags.parts for array in part.arrays()]
    for ids, offsets, weights in [
        (IDS, L([0, 1, 1, 4, 6]), None),
        (IDS.short(), L([0, 1, 1, 4, 6]), torch.rand(6)),
        (IDS + 1, L([0, 1, 6]), None),
        (IDS, L([0, 6]), None),
        (IDS[None], L([0, 1, 6]), None),
    ]:
        arguments = ids, offsets, "sum", weights
        try:
            expected = _operators.bags_operator(arrays, texts, [0, 1], *arguments)
        except (RuntimeError, ValueError) as error:
            with pytest.raises(type(error)) as raised:
                bags(ids, offsets, weights)
            assert str(raised.value) == str(error)
        else:
            assert torch.equal(bags(ids, offsets, weights), expected)


class Subclass(torch.Tensor):
    pass


class Mode(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        return function(*arguments, **(options or {}))


def fake(module, ids):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        return module(mode.from_tensor(ids))


def dispatched(module, ids):
    with Mode():
        return module(ids)


THROUGH_THE_OPERATOR = {
    "subclass": lambda module, ids: module(ids.as_subclass(Subclass)),
    "parameter": lambda module, ids: module(torch.nn.Parameter(ids, requires_grad=False)),
    "fake": fake,
    "meta": lambda module, ids: module(ids.to("meta")),
    "mode": dispatched,
    "trace": lambda module, ids: torch.jit.trace(module, ids, check_trace=False),
    "export": lambda module, ids: torch.export.export(torch.nn.Sequential(module), (ids,)),
    "compile": lambda module, ids: torch.compile(module, backend="eager", fullgraph=True)(ids),
}


@pytest.mark.parametrize("call", THROUGH_THE_OPERATOR.values(), ids=THROUGH_THE_OPERATOR)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_what_goes_through_the_operator(call, monkeypatch):
    def never(*arguments):
        raise AssertionError("these tensors went straight to the core")

    bags = nn.CompressedEmbeddingBagCollection([TABLE])
    modules = (
        (nn.CompressedEmbedding(TABLE), IDS),
        (nn.CompressedEmbeddingBag(TABLE), IDS.reshape(2, 3)),
        (WithOffsets(bags), IDS),
    )
    for name in ("lookup", "bag"):
        monkeypatch.setattr(_lookups, name, never)
    monkeypatch.setattr(_collection, "bags", never)
    for module, ids in modules:
        call(module, ids)
        with pytest.raises(AssertionError, match="straight"):
            module(ids)


class WithOffsets(torch.nn.Module):
    def __init__(self, bags):
        super().__init__()
        self.bags = bags

    def forward(self, ids):
        return self.bags(ids, L([0, 2, 6]))


def test_results_are_tensors_like_others():
    module = nn.CompressedEmbedding(TABLE)
    rows = module(IDS)
    assert type(rows) is torch.Tensor
    assert rows.is_contiguous() and not rows.requires_grad and not rows.is_inference()
    kept = rows.clone()
    rows += 1
    assert torch.equal(module(IDS), kept)
    assert torch.equal(rows.share_memory_(), kept + 1)
    with torch.inference_mode():
        assert module(IDS).is_inference()


def test_memory_goes_with_the_result():
    module = nn.CompressedEmbedding(TABLE)
    ids = torch.zeros(200_000, dtype=torch.int64)
    # From 4 MiB on, memory is asked for in another way.
    large = ids.numel() * 12 * 4
    assert large > 2**22
    expected = module(ids[:1]).expand(ids.numel(), -1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda _: torch.equal(module(ids), expected), range(40)))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 10 * large


def test_arguments_are_released():
    module, bags = nn.CompressedEmbedding(TABLE), nn.CompressedEmbeddingBag(TABLE, "sum")
    strided, weights = torch.zeros(8, dtype=torch.int64)[::2], torch.ones(4)
    bad = strided + ROWS
    counts = [sys.getrefcount(tensor) for tensor in (strided, weights, bad, OFFSETS)]
    for _ in range(10):
        module(strided)
        bags(strided, OFFSETS, weights)
        with pytest.raises(RuntimeError):
            bags(bad, OFFSETS, weights)
        with pytest.raises(RuntimeError):
            bags(strided, OFFSETS.float(), weights)
    assert [sys.getrefcount(tensor) for tensor in (strided, weights, bad, OFFSETS)] == counts


@pytest.mark.parametrize(
    "ids", [IDS.to_sparse(), torch._efficientzerotensor((2,), dtype=torch.int64)], ids=["sparse", "no memory"]
)
def test_tensors_without_plain_memory_are_refused(ids):
    with pytest.raises(RuntimeError, match="ids must be a strided tensor on the CPU"):
        nn.CompressedEmbedding(TABLE)(ids)


def test_what_is_no_tensor_is_refused():
    bags = nn.CompressedEmbeddingBag(TABLE, "sum")
    with pytest.raises(TypeError, match="offsets must be a tensor"):
        bags(IDS, [0, 2])
    with pytest.raises(TypeError, match="per_sample_weights must be a tensor"):
        bags(IDS, OFFSETS, np.ones(6, np.float32))
    with pytest.raises(RuntimeError, match="offsets must be a strided tensor on the CPU"):
        bags(IDS, OFFSETS.to("meta"))


def test_functions_of_the_core():
    with pytest.raises(TypeError, match="table must be a Table"):
        _core.lookup_tensor(None, IDS)
    with pytest.raises(TypeError, match="ids must be a tensor"):
        _core.lookup_tensor(TABLE, np.array([1]))
    with pytest.raises(TypeError, match="a tuple of at least one table"):
        _core.bags_tensor((), IDS, OFFSETS)
    with pytest.raises(TypeError, match="must be a type"):
        _core.set_tensor_type(IDS)
    # One that does not offer the exchange leaves the type that does.
    assert not _core.set_tensor_type(np.ndarray if not hasattr(np.ndarray, "__dlpack_c_exchange_api__") else int)
    assert torch.equal(_core.lookup_tensor(TABLE, IDS), nn.CompressedEmbedding(TABLE)(IDS))


def test_has_values():
    first, second = object(), object()
    held = {"a": first, "b": second}
    assert _core.has_values(held, (first, second))
    assert not _core.has_values(held, (second, first))
    assert not _core.has_values(held, (first,))
    assert not _core.has_values(held, (first, second, first))
    assert _core.has_values({}, ())
    with pytest.raises(TypeError):
        _core.has_values([first], (first,))


def test_a_torch_without_the_exchange():
    lookup, bag, bags = map(_operators._on_arrays, (ec.Table.lookup, ec.Table.bag, _core.bags))
    strided = IDS[::2]
    assert torch.equal(lookup(TABLE, strided), _core.lookup_tensor(TABLE, strided))
    arguments = strided, L([0, 1]), "sum", torch.rand(3, requires_grad=True), False, None
    assert torch.equal(bag(TABLE, *arguments), _core.bag_tensor(TABLE, *arguments))
    pair = TABLE, TABLE
    assert torch.equal(
        bags(pair, IDS, L([0, 2, 6]), "sum", None), _core.bags_tensor(pair, IDS, L([0, 2, 6]), "sum", None)
    )
