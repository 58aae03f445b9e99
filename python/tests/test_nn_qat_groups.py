"""`group_quantize` against a slow reference, and the bytes that its formula states."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import nn
from embedcompress._group_quantize import group_bytes, group_ranges, group_table
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


def rounded_scale(scale, stored, bits):
    """The nearest number, or the next larger one where the end of the range would be more than a step away."""
    nearest = np.asarray(scale).astype(stored).astype(np.float32)
    if stored == np.float32:
        return nearest
    short = (scale < 2.0**-14) & ((scale - nearest) * np.float32(2**bits - 1) > nearest)
    return np.where(short, nearest + np.float32(2.0**-24), nearest)


def reference(weight, bits, kind, groups, block, scale_dtype):
    """Quantize element by element."""
    stored = np.float32 if kind == "tensor" or scale_dtype == "f32" else np.float16
    members = {}
    for row, column in np.ndindex(weight.shape):
        members.setdefault(group_of(kind, row, column, weight.shape, groups, block), []).append((row, column))
    result = np.empty_like(weight)
    for places in members.values():
        values = [weight[place] for place in places]
        scale = rounded_scale((max(values) - min(values)) / np.float32(2**bits - 1), stored, bits)
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


def in_numpy(weight, layout, ranges, bits, scale_dtype):
    """The rows of codes and the scales and biases beside them, as docs/format.md has them, made by NumPy."""
    scale, bias = ranges
    steps = layout.spread(np.where(scale > 0, scale, np.float32(np.inf)))
    codes = np.clip(np.rint((weight - layout.spread(bias)) / steps), 0, 2**bits - 1).astype(np.uint8)
    ones = (codes[:, :, None] >> np.arange(bits, dtype=np.uint8) & 1).reshape(len(codes), -1)
    rows = np.packbits(ones, axis=1, bitorder="little")
    stored = np.float16 if scale_dtype == "f16" else np.float32
    if layout.kind == "tensor":
        return {"rows": rows, "parameters": np.float32([scale.item(), bias.item()])}
    if layout.kind == "columns":
        return {
            "0.0.rows": rows,
            "0.0.parameters": np.float32([1, 0]),
            "0.1.inner.rows": layout.spread(scale).astype(stored),
            "1.inner.rows": layout.spread(bias).astype(stored),
        }
    if layout.kind == "rows":
        scale, bias = layout.spread(scale), layout.spread(bias)
    numbers = np.stack([scale, bias], axis=-1).reshape(len(codes), -1).astype(stored)
    return {"rows": np.concatenate([rows, numbers.view(np.uint8)], axis=1)}


def min_max_in_numpy(weight, layout, bits, scale_dtype):
    low, high = layout.reduced(weight, np.amin), layout.reduced(weight, np.amax)
    stored = np.float32 if layout.kind == "tensor" or scale_dtype == "f32" else np.float16
    scale = rounded_scale((high - low) / np.float32(2**bits - 1), stored, bits)
    return scale, low.astype(stored).astype(np.float32)


def least_squares_in_numpy(weight, layout, bits, scale_dtype):
    """Each group as a row of `compress(..., "least_squares")`."""
    kept = "f32" if layout.kind == "tensor" else scale_dtype
    scales, biases = [], []
    for part in layout.matrices(weight):
        table = ec.compress(np.ascontiguousarray(part), "least_squares", bits=bits, scale_dtype=kept)
        size, stored = (8, np.float32) if kept == "f32" else (4, np.float16)
        both = np.ascontiguousarray(table.parts()[1]["rows"].values[:, -size:]).view(stored).astype(np.float32)
        scales.append(both[:, 0])
        biases.append(both[:, 1])
    return layout.join(scales), layout.join(biases)


def assert_as_near(weight, layout, bits, found, expected):
    """Check that a group's error is that of other ranges.

    A search that adds the elements of a group in another order may end at other ranges, which are as good.
    """
    errors = []
    for scale, bias in (found, expected):
        steps = layout.spread(np.where(scale > 0, scale, np.float32(np.inf)))
        codes = np.clip(np.rint((weight - layout.spread(bias)) / steps), 0, 2**bits - 1)
        values = codes * layout.spread(scale) + layout.spread(bias)
        squares = (values.astype(np.float64) - weight) ** 2
        errors.append(layout.join([part.sum(axis=1) for part in layout.matrices(squares)]))
    # A step of f16 for every element, at the ends of the range, is the least that ranges can be off by.
    largest = layout.reduced(np.abs(weight), np.amax)
    counts = layout.join([np.full(len(part), part.shape[1]) for part in layout.matrices(weight)])
    slack = counts * np.maximum(largest * 2.0**-10, 2.0**-24) ** 2
    assert (errors[0] <= 1.05 * errors[1] + slack).all()


@given(
    shape=st.tuples(sizes, sizes),
    bits=st.integers(1, 8),
    kind=st.sampled_from(KINDS),
    groups=st.integers(1, 80),
    block=st.sampled_from([None, 8, 16, 24, 128]),
    ranges=st.sampled_from(["min_max", "least_squares", "given"]),
    scale_dtype=st.sampled_from(["f16", "f32"]),
    size=st.sampled_from([1, 1e-5, 1e-6]),
    seed=st.integers(0, 2**32 - 1),
)
def test_bytes_are_those_of_numpy(shape, bits, kind, groups, block, ranges, scale_dtype, size, seed):
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal(shape, dtype=np.float32) * np.float32(size)
    layout = Groups.of(kind, *shape, groups, block)
    options = {"group": kind, "groups": groups, "block": block, "scale_dtype": scale_dtype}
    if ranges == "given":
        scale, bias = (generator.standard_normal(layout.shape).astype(np.float16).astype(np.float32) for _ in "12")
        expected = np.maximum(scale, 0), bias
        table = group_table(weight, layout, expected, bits, scale_dtype)
    else:
        slow = min_max_in_numpy if ranges == "min_max" else least_squares_in_numpy
        expected = slow(weight, layout, bits, scale_dtype)
        table = ec.group_quantize(weight, bits, ranges=ranges, **options)
        found = group_ranges(weight, layout, bits, ranges, scale_dtype)
        if ranges == "min_max":
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
        else:
            assert_as_near(weight, layout, bits, found, expected)
        expected = found
    arrays = table.parts()[1]
    wanted = in_numpy(weight, layout, expected, bits, scale_dtype)
    assert arrays.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(arrays[name].values, values)


@given(
    bits=st.integers(1, 8),
    kind=st.sampled_from(KINDS),
    scale_dtype=st.sampled_from(["f16", "f32"]),
    exponent=st.integers(-20, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_training_has_the_ranges_of_the_table(bits, kind, scale_dtype, exponent, seed):
    weight = np.random.default_rng(seed).standard_normal((9, 16), dtype=np.float32) * np.float32(2.0**exponent)
    settings = nn.Quantization(bits, group=kind, groups=3, block=8, scale_dtype=scale_dtype)
    trained = nn.FakeQuantizedWeight(settings, *weight.shape).ranges(torch.from_numpy(weight))
    stored = group_ranges(weight, settings.layout(*weight.shape), bits, "min_max", scale_dtype)
    for one, other in zip(trained, stored, strict=True):
        np.testing.assert_array_equal(one.numpy(), other)


def test_a_matrix_without_rows_is_a_table_without_rows():
    for kind in KINDS:
        for ranges in ("min_max", "least_squares"):
            assert ec.group_quantize(np.zeros((0, 9), np.float32), group=kind, ranges=ranges).shape == (0, 9)


def test_ranges_are_as_many_as_groups_and_finite(rng):
    weight = rng.standard_normal((6, 16)).astype(np.float32)
    layout = Groups.of("columns", 6, 16, 4, None)
    with pytest.raises(ValueError, match="a scale and a bias for each of 4 groups"):
        group_table(weight, layout, (np.ones(3, np.float32), np.ones(4, np.float32)), 4, "f16")
    with pytest.raises(ValueError, match="scale_dtype='f32' holds larger ones"):
        group_table(weight, layout, (np.full(4, 1e6, np.float32), np.ones(4, np.float32)), 4, "f16")


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
