"""`group_quantize` against a slow reference, and the bytes that its formula states."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import nn
from embedcompress._group_quantize import group_bytes
from embedcompress._groups import KINDS, Groups

sizes = st.sampled_from([1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65])


def group_of(kind, row, column, shape, groups, block):
    """The group of an element, by the words of the documentation."""
    rows, columns = shape
    if kind == "rows":
        return row // math.ceil(rows / groups)
    if kind == "columns":
        return column // math.ceil(columns / groups)
    if kind == "blocks":
        return row, column // (block or columns)
    return 0


def reference(weight, bits, kind, groups, block, scale_dtype):
    """Quantize element by element."""
    stored = np.float32 if kind == "tensor" or scale_dtype == "f32" else np.float16
    members = {}
    for row, column in np.ndindex(weight.shape):
        members.setdefault(group_of(kind, row, column, weight.shape, groups, block), []).append((row, column))
    result = np.empty_like(weight)
    for places in members.values():
        values = [weight[place] for place in places]
        scale = np.float32(stored((max(values) - min(values)) / np.float32(2**bits - 1)))
        bias = np.float32(stored(min(values)))
        for place in places:
            code = 0 if scale == 0 else min(max(np.rint((weight[place] - bias) / scale), 0), 2**bits - 1)
            result[place] = scale * np.float32(code) + bias
    return result


def stated_bytes(shape, bits, kind, block, scale_dtype):
    """The formulas as they are documented."""
    n, d = shape
    codes, s = n * math.ceil(d * bits / 8), 2 if scale_dtype == "f16" else 4
    return (
        codes
        + {
            "tensor": 8,
            "rows": 2 * s * n,
            "columns": 8 + 2 * s * d,
            "blocks": 2 * s * n * math.ceil(d / (block or d)),
        }[kind]
    )


@given(
    shape=st.tuples(sizes, sizes),
    bits=st.integers(1, 8),
    kind=st.sampled_from(KINDS),
    groups=st.integers(1, 80),
    block=st.sampled_from([None, 8, 16, 24, 128]),
    scale_dtype=st.sampled_from(["f16", "f32"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_are_those_of_the_reference_and_bytes_those_of_the_formula(
    shape, bits, kind, groups, block, scale_dtype, seed
):
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal(shape, dtype=np.float32) * np.float32(10 ** generator.uniform(-2, 2))
    table = ec.group_quantize(weight, bits, group=kind, groups=groups, block=block, scale_dtype=scale_dtype)
    expected = reference(weight, bits, kind, groups, block, scale_dtype)
    # The core may add in one rounding instead of two.
    np.testing.assert_allclose(table.decode(), expected, rtol=1e-6, atol=2e-7 * np.abs(weight).max())
    layout = Groups.of(kind, *shape, groups, block)
    assert table.stored_bytes == stated_bytes(shape, bits, kind, block, scale_dtype)
    assert table.stored_bytes == group_bytes(layout, bits, scale_dtype)
    quantization = nn.Quantization(bits, kind, groups, block, scale_dtype=scale_dtype)
    assert table.stored_bytes == quantization.stored_bytes(*shape)
    ids = generator.integers(0, shape[0], 20)
    np.testing.assert_array_equal(table.lookup(ids), table.decode()[ids])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_least_squares_has_no_larger_error_in_any_group(kind, bits, rng):
    weight = rng.standard_normal((24, 40), dtype=np.float32) ** 3
    layout = Groups.of(kind, 24, 40, 5, 16)
    errors = []
    for ranges in ("min_max", "least_squares"):
        table = ec.group_quantize(weight, bits, group=kind, groups=5, block=16, ranges=ranges)
        squares = (table.decode() - weight) ** 2
        errors.append(layout.join([part.sum(axis=1) for part in layout.matrices(squares)]))
    assert (errors[1] <= errors[0] * (1 + 1e-5)).all()
    assert errors[1].sum() < 0.99 * errors[0].sum()


def test_the_paper_has_128_groups_of_6():
    assert Groups.of("rows", 768, 768, 128, None) == Groups("rows", 768, 768, 6)
    assert Groups.of("rows", 768, 768, 128, None).count == 128
    assert Groups.of("columns", 768, 3072, 128, None).size == 24


def test_one_outlier_spoils_its_group_only(rng):
    weight = rng.uniform(-1, 1, (12, 24)).astype(np.float32)
    weight[3, 5] = 100
    near = {
        "tensor": np.zeros((12, 24), bool),
        "rows": np.arange(12)[:, None] // 2 != 1,
        "columns": np.arange(24)[None, :] // 4 != 1,
        "blocks": (np.arange(12)[:, None] != 3) | (np.arange(24)[None, :] // 8 != 0),
    }
    for kind, kept in near.items():
        table = ec.group_quantize(weight, 8, group=kind, groups=6, block=8)
        small = np.abs(table.decode() - weight) < 0.006
        kept = np.broadcast_to(kept, small.shape)
        assert small[kept].all(), kind
        assert small[~kept].mean() < 0.5, kind


def test_constant_groups_and_half_precision(rng):
    weight = np.full((5, 16), 0.25, np.float32)
    for kind in KINDS:
        np.testing.assert_array_equal(ec.group_quantize(weight, 3, group=kind, groups=2, block=8).decode(), weight)
    half = rng.standard_normal((5, 16)).astype(np.float16)
    expected = ec.group_quantize(half.astype(np.float32), 4).decode()
    np.testing.assert_array_equal(ec.group_quantize(half, 4).decode(), expected)
    np.testing.assert_array_equal(ec.group_quantize(torch.from_numpy(half), 4).decode(), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 9}, "bits must be an integer from 1 to 8, not 9"),
        ({"bits": True}, "bits"),
        ({"group": "heads"}, "group must be one of tensor, rows, columns, blocks, not 'heads'"),
        ({"groups": 0}, "groups must be an integer of at least 1"),
        ({"block": 12}, "block must be a multiple of 8, not 12"),
        ({"ranges": "moving_average"}, "ranges must be one of min_max, least_squares"),
        ({"scale_dtype": "bf16"}, "scale_dtype"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ec.group_quantize(np.zeros((4, 8), np.float32), **options)


def test_values_that_do_not_fit_are_refused():
    weight = np.zeros((4, 8), np.float32)
    weight[2, 3] = np.nan
    with pytest.raises(ValueError, match="row 2 has a value that is not finite"):
        ec.group_quantize(weight)
    weight[2, 3] = 1e6
    with pytest.raises(ValueError, match="scale_dtype='f32'"):
        ec.group_quantize(weight, group="rows")
    assert ec.group_quantize(weight, group="rows", scale_dtype="f32").decode()[2, 3] == pytest.approx(1e6)
