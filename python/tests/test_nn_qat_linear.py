"""`CompressedLinear` and `CompressedMultiheadAttention`."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import nn
from embedcompress.nn import _compressed_linear, _linear
from embedcompress.nn._linear import multiply

sizes = st.sampled_from([1, 2, 7, 8, 17, 33, 65])


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return torch.nn.Linear(40, 70)


def dense_of(compressed):
    return torch.from_numpy(compressed.table.decode())


@given(
    rows=sizes,
    columns=sizes,
    batch=st.sampled_from([0, 1, 2, 4, 5, 16, 17, 40]),
    block=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_it_multiplies_as_the_decoded_matrix_does(rows, columns, batch, block, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    compressed = nn.CompressedLinear(ec.group_quantize(weight, 3, groups=4), torch.randn(rows, generator=generator))
    input = torch.randn(batch, columns, generator=generator)
    before = _linear.BLOCK_BYTES
    _linear.BLOCK_BYTES = block * columns * 4
    try:
        result = compressed(input)
        part = multiply(compressed.parts, input, compressed.bias[rows // 3 :], rows // 3, rows)
    finally:
        _linear.BLOCK_BYTES = before
    expected = torch.nn.functional.linear(input, dense_of(compressed), compressed.bias)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(part, result[:, rows // 3 :], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("group_quantize", {"group": "tensor"}),
        ("group_quantize", {"group": "columns"}),
        ("least_squares", {"bits": 4, "group": 8}),
        ("pq", {"bits": 4}),
        ("table", {"bits": 8}),
    ],
)
def test_any_expression_does(layer, method, options, monkeypatch):
    monkeypatch.setattr(_linear, "BLOCK_BYTES", 1000)
    compressed = nn.CompressedLinear.from_module(layer, method, **options)
    for shape in ((3, 5, 40), (3, 6, 40)):
        input = torch.randn(shape)
        expected = torch.nn.functional.linear(input, dense_of(compressed), layer.bias)
        torch.testing.assert_close(compressed(input), expected)
    assert compressed.bias is not layer.bias


@pytest.mark.parametrize("features", [16, 33, 70])
def test_the_largest_results_are_found_without_all_of_them(layer, features, monkeypatch):
    monkeypatch.setattr(_compressed_linear, "TOPK_FEATURES", features)
    compressed = nn.CompressedLinear.from_module(layer, bits=8)
    for input in (torch.randn(40), torch.randn(3, 40), torch.randn(2, 3, 40)):
        for k in (0, 1, 17, 70):
            wanted = compressed(input).topk(k)
            values, found = compressed.topk(input, k)
            torch.testing.assert_close(values, wanted.values)
            assert torch.equal(found, wanted.indices)
    for k in (-1, 71):
        with pytest.raises(ValueError, match="k must be from 0 to 70"):
            compressed.topk(torch.randn(40), k)


def test_gradients_of_the_input_of_any_order(layer, monkeypatch):
    monkeypatch.setattr(_linear, "BLOCK_BYTES", 1000)
    compressed = nn.CompressedLinear.from_module(layer)
    weight = dense_of(compressed)
    input = torch.randn(6, 40, requires_grad=True)
    vector = torch.randn(6, 70)
    (found,) = torch.autograd.grad((compressed(input) ** 3 * vector).sum(), input, create_graph=True)
    (expected,) = torch.autograd.grad(
        (torch.nn.functional.linear(input, weight, layer.bias) ** 3 * vector).sum(), input, create_graph=True
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    seconds = [torch.autograd.grad(gradient.square().sum(), input)[0] for gradient in (found, expected)]
    torch.testing.assert_close(*seconds, rtol=1e-3, atol=1e-3)


def test_gradients_of_the_bias(layer):
    compressed = nn.CompressedLinear(ec.group_quantize(layer.weight.detach(), 4), layer.bias)
    assert compressed.bias is layer.bias
    vector = torch.randn(2, 3, 70)
    (compressed(torch.randn(2, 3, 40)) * vector).sum().backward()
    torch.testing.assert_close(layer.bias.grad, vector.sum((0, 1)))


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="another BLAS may add in another order")
def test_blocks_give_the_bits_of_one_product(monkeypatch):
    """Or activations that are rounded afterwards would fall to other codes here and there."""
    torch.manual_seed(0)
    layer, input = torch.nn.Linear(96, 800), torch.randn(50, 96)
    compressed = nn.CompressedLinear(ec.group_quantize(layer.weight.detach(), 4), layer.bias)
    expected = torch.nn.functional.linear(input, dense_of(compressed), layer.bias)
    monkeypatch.setattr(_linear, "BLOCK_BYTES", 96 * 4 * 100)
    assert torch.equal(compressed(input), expected)


def test_the_dense_matrix_never_exists(monkeypatch):
    monkeypatch.setattr(_linear, "BLOCK_BYTES", 1 << 16)
    table = ec.group_quantize(np.zeros((4096, 256), np.float32), 4)
    compressed, input = nn.CompressedLinear(table), torch.zeros(20, 256)
    compressed(input)
    tracemalloc.start()
    with torch.no_grad():
        compressed(input)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (1 << 16) + 50_000 < 4096 * 256 * 4 / 30


def test_dtypes_state_and_graphs(layer, tmp_path):
    compressed = nn.CompressedLinear.from_module(layer, "group_quantize")
    input = torch.randn(3, 40)
    expected = compressed(input)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        result = compressed(input.to(dtype))
        assert result.dtype is dtype
        torch.testing.assert_close(result.float(), expected, rtol=0.05, atol=0.05)
    other = nn.CompressedLinear(ec.group_quantize(np.zeros((70, 40), np.float32), 4), torch.zeros(70))
    torch.save(compressed.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert torch.equal(other(input), expected)
    compiled = torch.compile(compressed, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(input), expected)
    exported = torch.export.export(compressed, (input,))
    torch.testing.assert_close(exported.module()(input), expected)


def test_what_does_not_fit_is_refused(layer):
    compressed = nn.CompressedLinear.from_module(layer)
    with pytest.raises(RuntimeError, match=r"last axis must be 40, but its shape is \(3, 41\)"):
        compressed(torch.zeros(3, 41))
    with pytest.raises(RuntimeError, match="of floats"):
        compressed(torch.zeros(3, 40, dtype=torch.int64))
    with pytest.raises(ValueError, match="bias must have the shape"):
        nn.CompressedLinear(compressed.table, torch.zeros(3))


def attention_pair(**options):
    """An attention with the rounding of its packed form, and that form."""
    torch.manual_seed(1)
    model = torch.nn.ModuleList([torch.nn.MultiheadAttention(16, 4, **options)])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    nn.prepare(model, nn.Quantization(8, "blocks"), activations=None)
    rounded = model.eval()[0]
    packed = torch.nn.ModuleList([rounded])
    nn.convert(packed)
    return rounded, packed[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_first": True},
        {"bias": False},
        {"add_bias_kv": True, "add_zero_attn": True},
        {"kdim": 10, "vdim": 12, "batch_first": True},
    ],
    ids=str,
)
def test_attention_is_that_of_torch(options):
    rounded, packed = attention_pair(**options)
    assert isinstance(packed, nn.CompressedMultiheadAttention)
    length, keys, samples = 5, 7, 3
    k, v = options.get("kdim", 16), options.get("vdim", 16)
    batched = (torch.randn(length, samples, 16), torch.randn(keys, samples, k), torch.randn(keys, samples, v))
    single = tuple(tensor[:, 0] for tensor in batched)
    if options.get("batch_first"):
        batched = tuple(tensor.transpose(0, 1) for tensor in batched)
    padding = torch.zeros(samples, keys, dtype=torch.bool)
    padding[1, 4:] = True
    masks = [None, torch.ones(length, keys).triu(1).bool(), torch.randn(samples * 4, length, keys)]
    for inputs, (mask, pad), need, average in itertools.product(
        (batched, single), itertools.product(masks, (None, padding)), (True, False), (True, False)
    ):
        if inputs is single:
            pad = None if pad is None else pad[1]
            mask = mask[:4] if mask is not None and mask.dim() == 3 else mask
        if pad is not None and mask is not None and mask.dtype is not torch.bool:
            pad = torch.zeros(pad.shape).masked_fill(pad, -torch.inf)
        arguments = {
            "key_padding_mask": pad,
            "need_weights": need,
            "attn_mask": mask,
            "average_attn_weights": average,
        }
        with torch.no_grad():
            expected, found = rounded(*inputs, **arguments), packed(*inputs, **arguments)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-5)
        assert (found[1] is None) == (expected[1] is None)
        if need:
            torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-5)


def test_self_attention_projects_once():
    rounded, packed = attention_pair(batch_first=True)
    input = torch.randn(2, 5, 16)
    with torch.no_grad():
        torch.testing.assert_close(
            packed(input, input, input)[0], rounded(input, input, input)[0], rtol=1e-4, atol=1e-5
        )
    with pytest.raises(RuntimeError, match="is_causal"):
        packed(input, input, input, is_causal=True)
