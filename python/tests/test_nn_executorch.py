"""Embeddings as ExecuTorch's operators take them: the same codes and rows, there and back.

ExecuTorch is not installed here. `row` is what its kernels do (kernels/quantized/cpu/op_embedding.cpp and
embeddingxb.h), and its operators are written with torch's `dequantize_per_channel_group`.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

torch = pytest.importorskip("torch")
from torch.ao.quantization.fx import _decomposed  # noqa: E402, F401

from embedcompress import nn  # noqa: E402

PAGE = Path(__file__).resolve().parents[2] / "docs" / "files.md"


def code(row, column, bits):
    """Return one code of a row of bytes."""
    if bits == 8:
        return int(row[column])
    if bits == 4:
        byte = int(row[column // 2])
        return (byte % 16 if column % 2 else byte // 16) - 8
    return int(row[column // 4]) // 4 ** (column % 4) % 4 - 2


def row(held, index, bits):
    """Return what the operator gives for an id, in f32."""
    dimension = held.weight.shape[1] * (8 // bits if bits < 8 else 1)
    scales = held.weight_scales.float().numpy()
    zeros = np.zeros_like(scales) if held.weight_zero_points is None else held.weight_zero_points.float().numpy()
    group = dimension // scales.shape[1]
    result = np.empty(dimension, np.float32)
    for column in range(dimension):
        found = np.float32(code(held.weight[index], column, bits))
        result[column] = (found - zeros[index, column // group]) * scales[index, column // group]
    return result


def peer(held, bits):
    """Return all rows by the operator that ExecuTorch's are written with."""
    codes = [[code(line, column, bits) for column in range(len(line) * 8 // bits)] for line in held.weight]
    weight = torch.tensor(codes, dtype=torch.int8)
    return torch.ops.quantized_decomposed.dequantize_per_channel_group(
        weight,
        held.weight_scales,
        held.weight_zero_points,
        held.weight_quant_min,
        held.weight_quant_max,
        torch.int8,
        weight.shape[1] // held.weight_scales.shape[1],
        held.weight_scales.dtype,
    )


def with_zeros(bits, rows, groups, group, zeros, dtype, seed):
    """Return a table whose biases are whole numbers of scales, and its signed codes, scales and zeros."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, 1 << bits, (rows, groups * group))
    scales = random.standard_normal((rows, groups)).astype(dtype)
    zero = random.integers(-5, 5, (rows, groups)) if zeros else np.zeros((rows, groups), int)
    half = 1 << (bits - 1)
    biases = scales.astype(np.float32) * -(zero + half).astype(np.float32)
    # A product of an f16 and a zero may need more bits than f16 has.
    is_narrow = dtype is np.float16 and np.array_equal(biases.astype(np.float16), biases)
    table = ec.uniform(
        codes,
        scales.astype(np.float32),
        biases,
        bits=bits,
        group=group if groups > 1 else None,
        scale_dtype="f16" if is_narrow else "f32",
    )
    return table, codes - half, scales, zero


@given(
    bits=st.sampled_from([2, 4, 8]),
    rows=st.integers(1, 6),
    groups=st.integers(1, 3),
    group=st.sampled_from([8, 16, 32]),
    zeros=st.booleans(),
    dtype=st.sampled_from([np.float16, np.float32]),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_are_those_of_the_operators(bits, rows, groups, group, zeros, dtype, seed):
    table, codes, scales, zero = with_zeros(bits, rows, groups, group, zeros, dtype, seed)
    given_dtype = torch.from_numpy(scales).dtype
    for held in (nn.to_executorch(table, given_dtype), nn.to_executorch(table)):
        assert (held.bits, held.operator) == (bits, f"embedding_{'byte' if bits == 8 else f'{bits}bit'}")
        assert (held.weight_quant_min, held.weight_quant_max) == {2: (-2, 1), 4: (-8, 7), 8: (-128, 127)}[bits]
        assert held.weight.dtype is (torch.int8 if bits == 8 else torch.uint8) and held.weight.is_contiguous()
        assert [
            [code(line, column, bits) for column in range(groups * group)] for line in held.weight
        ] == codes.tolist()
        assert held.weight_scales.shape == (rows, groups)
        np.testing.assert_array_equal(held.weight_scales.float(), scales.astype(np.float32))
        if zero.any():
            assert held.weight_zero_points.dtype is held.weight_scales.dtype
            np.testing.assert_array_equal(held.weight_zero_points.float(), zero)
        else:
            assert held.weight_zero_points is None
        expected = np.stack([row(held, index, bits) for index in range(rows)])
        if dtype is np.float16:
            np.testing.assert_array_equal(table.decode(), expected)
        else:
            # A product and a sum are rounded in the place of a difference and a product.
            np.testing.assert_allclose(table.decode(), expected, rtol=0, atol=2.0**-15 * np.abs(scales).max())
        if held.weight_scales.dtype is torch.float32:
            np.testing.assert_array_equal(peer(held, bits), expected)
        back = nn.from_executorch(*held[:3], bits=held.bits)
        np.testing.assert_array_equal(back.decode(), table.decode())
        again = nn.to_executorch(back, held.weight_scales.dtype)
        assert all(one is two is None or torch.equal(one, two) for one, two in zip(held[:3], again[:3], strict=True))
        assert held.weight_scales.dtype is torch.float32 or back.stored_bytes == table.stored_bytes


def test_bytes_without_a_sign():
    random = np.random.default_rng(0)
    weight = torch.from_numpy(random.integers(0, 256, (5, 24)).astype(np.uint8))
    scales = torch.from_numpy(random.standard_normal(5).astype(np.float16))
    for zeros in (None, torch.tensor([0.0, 128.0, 3.0, 255.0, 7.0], dtype=torch.float16)):
        table = nn.from_executorch(weight, scales, zeros, bits=8)
        held = nn.ExecuTorchEmbedding(weight, scales[:, None], None if zeros is None else zeros[:, None], 0, 255)
        np.testing.assert_array_equal(table.decode(), np.stack([row(held, index, 8) for index in range(5)]))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("mapping", ["SYMMETRIC", "ASYMMETRIC"])
def test_what_torchao_quantized(bits, mapping):
    """ExecuTorch makes its operators' weights of torchao's tensors."""
    pytest.importorskip("torchao.quantization")
    from test_nn_torchao import quantized

    weight = quantized(bits, 16, torch.float16, mapping).weight
    held = nn.to_executorch(nn.from_torchao(weight), torch.float16)
    codes = [[code(line, column, bits) for column in range(64)] for line in held.weight]
    assert codes == weight.qdata.tolist()
    assert torch.equal(held.weight_scales, weight.scale)
    zeros = torch.zeros_like(weight.scale) if held.weight_zero_points is None else held.weight_zero_points
    assert torch.equal(zeros, weight.zero_point.half())
    assert mapping == "ASYMMETRIC" or held.weight_zero_points is None


def test_tables_of_this_library_and_of_gguf(tmp_path):
    weight = np.random.default_rng(0).standard_normal((9, 64)).astype(np.float32)
    table = ec.compress(weight, "int8", scale="table")
    held = nn.to_executorch(table)
    np.testing.assert_allclose(np.stack([row(held, index, 8) for index in range(9)]), table.decode(), atol=1e-5)
    gguf = pytest.importorskip("gguf")
    from test_taken_over import gguf_file

    for kind, bits in (("Q4_0", 4), ("Q8_0", 8)):
        data = gguf.quants.quantize(weight, gguf.GGMLQuantizationType[kind])
        held = nn.to_executorch(ec.load(gguf_file(tmp_path / "m.gguf", {"w": (kind, data)})), torch.float16)
        rows = np.stack([row(held, index, bits) for index in range(9)])
        np.testing.assert_array_equal(rows, gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind]))


def test_a_table_around_zero_as_the_page_makes_it(tmp_path):
    weight = np.random.default_rng(0).standard_normal((9, 64)).astype(np.float32)
    weight[3, 32:] = 0
    (block,) = re.findall(r"^```python\n(blocks = .*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    found = {"np": np, "ec": ec, "weight": weight}
    exec(block, found)
    table, scales = found["table"], found["scales"]
    assert np.abs(table.decode() - weight).max() <= 0.51 * scales.max()
    held = nn.to_executorch(table, torch.float16)
    np.testing.assert_array_equal(np.stack([row(held, index, 4) for index in range(9)]), table.decode())
    pytest.importorskip("gguf")
    ec.export(tmp_path / "m.gguf", table, "gguf", type="Q4_0")
    np.testing.assert_array_equal(ec.load(tmp_path / "m.gguf").decode(), table.decode())


def test_what_does_not_fit_is_refused():
    weight = np.random.default_rng(0).standard_normal((5, 66)).astype(np.float32)
    odd = ec.uniform(np.zeros((5, 7), np.uint8), np.ones(5), np.full(5, -8.0), bits=4)
    far = ec.uniform(np.zeros((5, 8), np.uint8), np.ones(5), np.full(5, -4001.0), bits=4)
    fine = ec.uniform(np.zeros((5, 8), np.uint8), np.full(5, 0.1), np.zeros(5), bits=4, scale_dtype="f32")
    for table, dtype, what in (
        (ec.compress(weight, bits=4), torch.float32, "a bias that is no whole number of scales: ExecuTorch has zeros"),
        (ec.compress(weight, bits=3), torch.float32, "ExecuTorch has codes of 2, 4 or 8 bits in groups of one width"),
        (ec.compress(weight, bits=4, group=16), torch.float32, "in groups of one width: the table is <Table 5 x 66"),
        (ec.compress(weight, "kmeans", bits=4), torch.float32, "in groups of one width"),
        (odd, torch.float32, "embedding_4bit has a multiple of 2 columns: the table has 7"),
        (far, torch.float16, "float16 does not hold all zeros"),
        (fine, torch.float16, "float16 does not hold all scales"),
        (fine, torch.bfloat16, r"dtype must be torch\.float32 or torch\.float16, not torch\.bfloat16"),
    ):
        with pytest.raises(ValueError, match=what):
            nn.to_executorch(table, dtype)
    with pytest.raises(TypeError, match=r"an embedcompress\.Table"):
        nn.to_executorch(weight)
    packed, scales = torch.zeros(5, 8, dtype=torch.uint8), torch.ones(5, 2)
    for arguments, bits, error, what in (
        ((packed.numpy(), scales), 4, TypeError, r"weight must be a torch\.Tensor"),
        ((packed, None), 4, TypeError, r"scales must be a torch\.Tensor"),
        ((packed, scales, 0), 4, TypeError, r"zero_points must be a torch\.Tensor"),
        ((packed, scales), 3, ValueError, "bits must be 2, 4 or 8, not 3"),
        ((packed.view(torch.int8), scales), 4, ValueError, "two axes of uint8, not"),
        ((packed.float(), scales), 8, ValueError, "two axes of int8 or uint8, not"),
        ((packed[0], scales), 4, ValueError, r"two axes of uint8, not \(8,\)"),
        ((packed, scales[:4]), 4, ValueError, r"scales of \(4, 2\) are not of rows, or of their groups, of 5 x 16"),
        ((packed, torch.ones(5, 3)), 4, ValueError, r"scales of \(5, 3\) are not"),
        ((packed, torch.tensor(1.0)), 4, ValueError, r"scales of \(\) are not"),
        ((packed, scales, torch.ones(5)), 4, ValueError, r"zero_points are \(5,\), and scales \(5, 2\)"),
        ((packed, torch.ones(5, 4)), 4, ValueError, "multiple of 8"),
        ((packed, scales * torch.inf), 4, ValueError, "the scale inf and the bias -inf"),
    ):
        with pytest.raises(error, match=what):
            nn.from_executorch(*arguments, bits=bits)
