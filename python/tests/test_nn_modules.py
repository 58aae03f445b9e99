"""The modules against torch.nn.Embedding and EmbeddingBag on the decoded weights."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

import embedcompress as ec
from embedcompress import nn

ROWS = 37
BITS = [1, 2, 3, 4, 5, 6, 7, 8, 16]
DIMENSIONS = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 300]
MODES = ["sum", "mean", "max"]
ID_DTYPES = [torch.int32, torch.int64]
L = torch.tensor


@cache
def make(bits: int, dimension: int) -> tuple[ec.Table, torch.Tensor]:
    weight = np.random.default_rng([bits, dimension]).standard_normal((ROWS, dimension), dtype=np.float32)
    table = ec.compress(weight, "asym", bits=bits)
    return table, torch.from_numpy(table.decode())


def integers(shape: tuple[int, ...], dtype: torch.dtype, seed: int, high: int = ROWS) -> torch.Tensor:
    return torch.randint(0, high, shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=150, deadline=None)
@given(
    bits=st.sampled_from(BITS),
    dimension=st.sampled_from(DIMENSIONS),
    shape=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from(ID_DTYPES),
    strided=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_embedding_is_torchs(bits, dimension, shape, dtype, strided, seed):
    table, weight = make(bits, dimension)
    ids = integers(tuple(shape), dtype, seed)
    if strided:
        ids = integers((*shape[::-1], 2), dtype, seed)[..., 1].permute(tuple(reversed(range(len(shape)))))
    rows = nn.CompressedEmbedding(table)(ids)
    assert rows.dtype is torch.float32 and not rows.requires_grad
    assert torch.equal(rows, torch.nn.functional.embedding(ids, weight))


@st.composite
def bags(draw):
    seed, dtype = draw(st.integers(0, 2**32)), draw(st.sampled_from(ID_DTYPES))
    if draw(st.booleans()):
        shape = draw(st.tuples(st.integers(0, 6), st.integers(1, 9)))
        return integers(shape, dtype, seed), None, False
    lengths = draw(st.lists(st.integers(0, 40), max_size=7))
    last = draw(st.booleans())
    offsets = torch.tensor(np.cumsum([0, *lengths]), dtype=draw(st.sampled_from(ID_DTYPES)))
    if not lengths and not last:
        return integers((0,), dtype, seed), offsets[:0], False
    return integers((sum(lengths),), dtype, seed), offsets if last else offsets[:-1], last


@settings(max_examples=300, deadline=None)
@given(
    bits=st.sampled_from(BITS),
    dimension=st.sampled_from(DIMENSIONS),
    bag=bags(),
    mode=st.sampled_from(MODES),
    padding=st.none() | st.integers(-ROWS, ROWS - 1),
    weighted=st.booleans(),
    strided=st.booleans(),
)
def test_bag_is_torchs(bits, dimension, bag, mode, padding, weighted, strided):
    table, weight = make(bits, dimension)
    ids, offsets, last = bag
    weights = torch.linspace(-1, 2, ids.numel()).reshape(ids.shape) if weighted and mode == "sum" else None
    module = nn.CompressedEmbeddingBag(table, mode, padding, last)
    options = {"mode": mode, "padding_idx": padding, "include_last_offset": last}
    reference = torch.nn.EmbeddingBag.from_pretrained(weight, **options)
    expected = reference(ids, offsets, weights)
    given = [x if x is None or not strided else torch.stack([x, x], dim=-1)[..., 0] for x in (ids, offsets, weights)]
    pooled = module(*given)
    assert pooled.dtype is torch.float32 and not pooled.requires_grad
    assert module.padding_idx == reference.padding_idx
    if mode == "max":
        assert torch.equal(pooled, expected)
        return
    # A sum of code * scale + bias is of terms larger than the rows: |bias| + code * scale is at most 3 max |x|.
    largest = weight.abs().amax(dim=1, keepdim=True).expand_as(weight)
    size = torch.nn.EmbeddingBag.from_pretrained(3 * largest, **options)
    bound = size(ids, offsets, None if weights is None else weights.abs()) * 2**-23 * (4 + ids.numel())
    assert pooled.shape == expected.shape
    assert bool(((pooled - expected).abs() <= bound).all())


def small(mode: str = "sum", **options: object) -> tuple[nn.CompressedEmbeddingBag, torch.nn.EmbeddingBag]:
    table, weight = make(4, 8)
    return (
        nn.CompressedEmbeddingBag(table, mode, **options),
        torch.nn.EmbeddingBag.from_pretrained(weight, mode=mode, **options),
    )


def outcome(call, *arguments):
    """The type of the exception, or the shape of the result."""
    try:
        return call(*arguments).shape
    except Exception as error:
        return type(error)


@pytest.mark.parametrize(
    "ids",
    [
        *(L([ROWS]), L([-1]), L([2**40]), L([0.5]), L([True]), L([]), L(1), torch.zeros(0, 3, dtype=torch.int64)),
        *([1], None, np.array([1])),
    ],
    ids=str,
)
def test_embedding_fails_as_torchs(ids):
    table, weight = make(4, 8)
    expected = outcome(torch.nn.Embedding.from_pretrained(weight), ids)
    found = outcome(nn.CompressedEmbedding(table), ids)
    # Torch's IndexError, or what says more of the id.
    assert found == expected or (expected is IndexError and found is ec.InvalidIdError)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "arguments",
    {
        "id too large": (L([ROWS]), L([0])),
        "id negative": (L([-1]), L([0])),
        "float ids": (L([0.5]), L([0])),
        "float ids in rows": (L([[0.5]]),),
        "short ids, long offsets": (L([1], dtype=torch.int16), L([0])),
        "int ids, long offsets": (L([1], dtype=torch.int32), L([0])),
        "long ids, int offsets": (L([1]), L([0], dtype=torch.int32)),
        "float offsets": (L([1]), L([0.0])),
        "offsets begin late": (L([1, 2]), L([1])),
        "offsets run out": (L([1, 2]), L([0, 3])),
        "offsets of two axes": (L([1, 2]), L([[0]])),
        "no offsets": (L([1, 2]),),
        "offsets with rows": (L([[1, 2]]), L([0])),
        "three axes": (torch.zeros(1, 1, 1, dtype=torch.int64),),
        "no axes": (L(1), L([0])),
        "weights": (L([1, 2]), L([0]), torch.ones(2)),
        "weights of another shape": (L([1, 2]), L([0]), torch.ones(1)),
        "weights of another rank": (L([[1, 2]]), None, torch.ones(2)),
        "weights without offsets": (L([1, 2]), None, torch.ones(2)),
        "nothing": (L([], dtype=torch.int64), L([], dtype=torch.int64)),
        "empty bags": (L([], dtype=torch.int64), L([0, 0])),
        "no rows": (torch.zeros(0, 3, dtype=torch.int64),),
    }.items(),
    ids=lambda item: item[0],
)
def test_bag_fails_as_torchs(mode, arguments):
    ours, reference = small(mode)
    assert outcome(ours, *arguments[1]) == outcome(reference, *arguments[1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "arguments",
    [
        (L([1, 2]), L([], dtype=torch.int64)),
        (L([], dtype=torch.int64), L([], dtype=torch.int64)),
        (L([1, 2]), L([0, 3])),
        (L([1, 2]), L([1, 2])),
        (L([], dtype=torch.int64), L([0])),
        (L([[1, 2]]),),
    ],
    ids=str,
)
def test_bag_with_last_offset_fails_as_torchs(mode, arguments):
    ours, reference = small(mode, include_last_offset=True)
    assert outcome(ours, *arguments) == outcome(reference, *arguments)


@pytest.mark.parametrize("mode", MODES)
def test_bag_refuses_what_torch_reads_wrongly(mode):
    ours, _ = small(mode)
    for ids, offsets in [([1, 2, 3], [0, 2, 1]), ([1, 2], [0, -1]), ([1, 2], [])]:
        with pytest.raises(RuntimeError):
            ours(L(ids), L(offsets, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="last offset"):
        small(mode, include_last_offset=True)[0](L([1, 2]), L([0, 1]))
    # torch meets lists with AttributeError.
    with pytest.raises(TypeError, match="list"):
        ours([1], [0])
    assert torch.equal(ours(torch.zeros(3, 0, dtype=torch.int64)), torch.zeros(3, 8))


@pytest.mark.parametrize("padding", [ROWS, -ROWS - 1])
def test_padding_out_of_range_fails_as_torchs(padding):
    table, _ = make(4, 8)
    for ours, theirs in [
        (nn.CompressedEmbedding, torch.nn.Embedding),
        (nn.CompressedEmbeddingBag, torch.nn.EmbeddingBag),
    ]:
        with pytest.raises(AssertionError):
            theirs(ROWS, 8, padding_idx=padding)
        with pytest.raises(AssertionError, match="padding_idx"):
            ours(table, padding_idx=padding)


def test_constructor_and_description():
    table, _ = make(4, 8)
    module = nn.CompressedEmbedding(table, -1)
    assert (module.num_embeddings, module.embedding_dim, module.padding_idx) == (ROWS, 8, ROWS - 1)
    assert module.table.shape == table.shape
    assert module.extra_repr() == "37, 8, padding_idx=36"
    bag = nn.CompressedEmbeddingBag(table, include_last_offset=True)
    assert (bag.mode, bag.include_last_offset, bag.padding_idx) == ("mean", True, None)
    assert bag.extra_repr() == "37, 8, mode='mean', include_last_offset=True"
    with pytest.raises(ValueError, match="mode"):
        nn.CompressedEmbeddingBag(table, "median")
    with pytest.raises(ValueError, match="dtype"):
        nn.CompressedEmbedding(table, dtype=torch.int32)
    assert not list(module.parameters())


def test_weights_that_require_grad_are_refused():
    ours, _ = small("sum")
    weights = torch.ones(2, requires_grad=True)
    with pytest.raises(NotImplementedError, match="inference"):
        ours(L([1, 2]), L([0]), weights)
    with torch.no_grad():
        assert ours(L([1, 2]), L([0]), weights).shape == (1, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_from_weight_and_from_module(dtype):
    weight = torch.randn(8, ROWS, generator=torch.Generator().manual_seed(0)).to(dtype).T
    assert not weight.is_contiguous()
    plain = weight.float().contiguous() if dtype is torch.float64 else weight.contiguous()
    rows = torch.from_numpy(ec.compress(plain, "asym", bits=4).decode()).to(dtype)
    for module in (
        nn.CompressedEmbedding.from_weight(weight, "asym", bits=4, padding_idx=-1),
        nn.CompressedEmbedding.from_module(torch.nn.Embedding.from_pretrained(weight, padding_idx=-1), "asym", bits=4),
    ):
        assert module.padding_idx == ROWS - 1
        assert torch.equal(module(torch.arange(ROWS)), rows)
    dense = torch.nn.EmbeddingBag.from_pretrained(weight, mode="sum", include_last_offset=True, padding_idx=3)
    bag = nn.CompressedEmbeddingBag.from_module(dense, "asym", bits=4)
    assert (bag.mode, bag.include_last_offset, bag.padding_idx, bag.dtype) == ("sum", True, 3, dtype)
    weights = torch.ones(2, dtype=dtype)
    assert bag(L([0, 5]), L([0, 2]), weights).dtype is dtype


def test_max_norm_is_refused():
    for dense in (torch.nn.Embedding(5, 4, max_norm=2.0), torch.nn.EmbeddingBag(5, 4, max_norm=2.0)):
        kind = nn.CompressedEmbedding if isinstance(dense, torch.nn.Embedding) else nn.CompressedEmbeddingBag
        with pytest.raises(NotImplementedError, match="max_norm"):
            kind.from_module(dense)


class Rows(Dataset):
    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.module((torch.arange(2000) + index) % ROWS)


def test_data_loader_workers_look_up_after_the_parent_used_its_threads():
    table, weight = make(4, 64)
    module = nn.CompressedEmbedding(table)
    module(torch.arange(100_000) % ROWS)
    batches = list(DataLoader(Rows(module), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=60))
    found = torch.cat(batches)
    for index in range(8):
        assert torch.equal(found[index], weight[(torch.arange(2000) + index) % ROWS])
