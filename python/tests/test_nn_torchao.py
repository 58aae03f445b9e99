"""Embeddings that torchao has quantized: their codes here, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

torch = pytest.importorskip("torch")
torchao = pytest.importorskip("torchao.quantization")
from embedcompress import nn  # noqa: E402


def quantized(bits, group, dtype=torch.float32, mapping="SYMMETRIC", rows=7, dimension=64, seed=0):
    """Return an embedding as torchao quantizes it."""
    from torchao.quantization.granularity import PerAxis, PerGroup

    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Embedding(rows, dimension, dtype=dtype))
    config = torchao.IntxWeightOnlyConfig(
        weight_dtype=getattr(torch, f"int{bits}"),
        granularity=PerAxis(0) if group is None else PerGroup(group),
        mapping_type=getattr(torchao.MappingType, mapping),
    )
    torchao.quantize_(model, config, lambda module, _: isinstance(module, torch.nn.Embedding))
    return model[0]


@given(
    bits=st.integers(1, 8),
    group=st.sampled_from([None, 8, 16, 32]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    mapping=st.sampled_from(["SYMMETRIC", "ASYMMETRIC"]),
    rows=st.integers(1, 9),
    groups=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_codes_are_taken_over_and_given_back(bits, group, dtype, mapping, rows, groups, seed):
    dimension = 5 * groups if group is None else group * groups
    module = quantized(bits, group, dtype, mapping, rows, dimension, seed)
    weight = module.weight
    table = nn.from_torchao(weight)
    node = table.parts()[0]
    assert (table.shape, node["kind"], node["bits"]) == ((rows, dimension), "uniform", bits)
    columns = weight.block_size[1]
    zeros, scales = (part.float().repeat_interleave(columns, 1) for part in (weight.zero_point, weight.scale))
    expected = (weight.qdata.float() - zeros) * scales
    if dtype is torch.float32:
        # A product and a sum are rounded in the place of a difference and a product.
        np.testing.assert_allclose(table.decode(), expected, rtol=0, atol=2.0**-15 * float(scales.abs().max()))
    else:
        np.testing.assert_array_equal(table.decode(), expected)
    back = nn.to_torchao(table, dtype)
    assert torch.equal(back.qdata, weight.qdata)
    assert torch.equal(back.scale, weight.scale) and torch.equal(back.zero_point, weight.zero_point)
    assert (back.target_dtype, tuple(back.block_size)) == (weight.target_dtype, tuple(weight.block_size))
    module.weight = torch.nn.Parameter(back, requires_grad=False)
    ids = torch.arange(rows)
    assert torch.equal(module(ids), quantized(bits, group, dtype, mapping, rows, dimension, seed)(ids))


def test_a_zero_in_the_middle_goes_to_torchao():
    scales = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float16)
    codes = np.random.default_rng(1).integers(0, 16, (5, 64))
    table = ec.uniform(codes, scales, scales * np.float16(-8), bits=4, group=32)
    module = torch.nn.Embedding.from_pretrained(nn.to_torchao(table))
    np.testing.assert_array_equal(module(torch.arange(5)), table.decode())


def test_what_does_not_fit_is_refused():
    weight = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    for table, options, what in (
        (ec.compress(weight, bits=4), {}, "a bias that is no whole number of scales"),
        (
            ec.compress(weight, "kmeans", bits=4),
            {},
            "in groups of one width: the table is <Table 5 x",
        ),
        (ec.compress(weight, bits=4, group=40), {}, "in groups of one width"),
        (
            ec.uniform(np.zeros((5, 8), np.uint8), np.ones(5), np.full(5, -17.0), bits=4),
            {},
            "a zero that is none of its codes",
        ),
        (nn.from_torchao(quantized(4, 32).weight), {"dtype": torch.bfloat16}, "bfloat16 does not hold all scales"),
    ):
        with pytest.raises(ValueError, match=what):
            nn.to_torchao(table, **options)
    with pytest.raises(TypeError, match=r"an embedcompress\.Table"):
        nn.to_torchao(weight)
    with pytest.raises(TypeError, match="must be torchao's IntxUnpackedToInt8Tensor, not Tensor"):
        nn.from_torchao(torch.zeros(3, 4))
    odd = quantized(4, 32).weight
    odd.block_size = (7, 32)
    with pytest.raises(ValueError, match="scales of 7 rows together"):
        nn.from_torchao(odd)
