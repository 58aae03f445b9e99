"""EDEN against its definition in NumPy, and INT8 and INT16."""

import numpy as np
import pytest
import random_tables
import reference
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

WIDTHS = range(1, 9)
# The squared error of the best levels for a normal value: Max 1960, table I, for up to 4 bits, then rounds of Lloyd.
LEAST = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497, 5: 0.002505, 6: 0.00064, 7: 0.000162, 8: 0.000041}
dimensions = st.one_of(st.integers(1, 300), st.just(768))


def relative_error(table, weight):
    return ((table.decode() - weight) ** 2).sum() / (weight**2).sum()


def parts_of(table):
    """Codes, scales, levels and offset (zeros if there is none) of what `eden` makes."""
    tree, arrays = table.parts()
    inner = tree["children"]["inner"]
    packed = arrays[inner["tensors"]["rows"]].values
    width = (inner["dimension"] * inner["bits"] + 7) // 8
    scales = np.ascontiguousarray(packed[:, width:]).view({"f16": "<f2", "f32": "<f4"}[inner["row_scale"]])
    levels = arrays[inner["tensors"]["codebooks"]].values.astype(np.float64)[0]
    offset = arrays[tree["tensors"]["offset"]].values if "tensors" in tree else np.zeros(inner["dimension"])
    return reference.unpack(packed[:, :width], inner["dimension"], inner["bits"]), scales, levels, offset


@given(dimensions, st.sampled_from(WIDTHS), st.sampled_from(["f16", "f32"]), st.integers(0, 2**32))
def test_rows_are_those_of_the_definition(dimension, bits, dtype, seed):
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal((9, dimension)) * np.exp(rng.standard_normal((9, 1)))).astype(np.float32)
    for options in ({"search": 0}, {"center": False}, {"scale": "unbiased"}):
        table = ec.compress(weight, "eden", bits=bits, seed=seed, scale_dtype=dtype, **options)
        size = {"f16": 2, "f32": 4}[dtype]
        centered = options.get("center", True)
        bytes_ = 9 * (-(-dimension * bits // 8) + size) + size * 2**bits + 8 + 4 * dimension * centered
        assert table.stored_bytes == bytes_
        codes, scales, levels, offset = parts_of(table)
        if centered:
            np.testing.assert_allclose(offset, weight.mean(axis=0, dtype=np.float64), atol=1e-5)
        np.testing.assert_array_equal(levels, -levels[::-1])
        assert (np.diff(levels) > 0).all()
        z = (weight - offset.astype(np.float64)) @ reference.rotation(seed, dimension).T
        q = levels[codes]
        product = (z * q).sum(axis=1)
        least = product / (q**2).sum(axis=1)
        unbiased = options.get("scale") == "unbiased"
        wanted = (z**2).sum(axis=1) / product if unbiased else least
        np.testing.assert_allclose(scales[:, 0], wanted, rtol=2e-3 if dtype == "f16" else 1e-4)
        # No worse than the nearest levels of z at the norm of a normal row.
        unit = np.linalg.norm(z, axis=1, keepdims=True) / np.sqrt(dimension)
        plain = levels[np.abs((z / unit)[:, :, None] - levels).argmin(axis=2)]
        held = product**2 / (q**2).sum(axis=1)
        assert (held >= (z * plain).sum(axis=1) ** 2 / (plain**2).sum(axis=1) * (1 - 1e-5)).all()
        # The table means what its parts say.
        reference.assert_rows(table.decode(), reference.rows(table))


@pytest.mark.parametrize("bits", WIDTHS)
def test_errors_are_those_of_the_best_levels(rng, bits):
    weight = rng.standard_normal((300, 1024)).astype(np.float32)
    table = ec.compress(weight, "eden", bits=bits, search=0, scale_dtype="f32")
    assert LEAST[bits] * 0.9 < relative_error(table, weight) < LEAST[bits] * 1.01
    # Levels are each the mean of what is nearest to them.
    levels = parts_of(table)[2]
    positive = levels[len(levels) // 2 :]
    bounds = np.concatenate([[0], (positive[1:] + positive[:-1]) / 2, [6]])
    for low, high, level in zip(bounds, bounds[1:], positive, strict=False):
        t = np.linspace(low, high, 2001)
        density = (1 - t**2 / 1024) ** ((1024 - 3) / 2)
        assert np.isclose(np.trapezoid(t * density, t) / np.trapezoid(density, t), level, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
@pytest.mark.parametrize("dimension", [50, 256])
def test_a_search_lowers_the_error(rng, bits, dimension):
    weight = rng.standard_normal((300, dimension)).astype(np.float32)
    errors = [relative_error(ec.compress(weight, "eden", bits=bits, search=search), weight) for search in (0, 16, 64)]
    assert errors[0] > errors[1] >= errors[2] * 0.999
    if bits >= 4:
        assert errors[1] < 0.95 * errors[0]


def test_unbiased_scales_have_right_products_on_average(rng):
    weight = rng.standard_normal((1, 64)).astype(np.float32)
    products = {
        scale: np.mean(
            [
                ec.compress(weight, "eden", bits=1, seed=seed, scale=scale, center=False).decode() @ weight[0]
                for seed in range(400)
            ]
        )
        for scale in ("mse", "unbiased")
    }
    norm = (weight**2).sum()
    assert abs(products["unbiased"] / norm - 1) < 1e-3
    assert products["mse"] / norm < 0.7


def test_a_common_mean_costs_nothing(rng):
    weight = (rng.standard_normal((500, 40)) + 10 * rng.standard_normal(40)).astype(np.float32)
    tables = [ec.compress(weight, "eden", bits=3, center=center) for center in (True, False)]
    assert relative_error(tables[0], weight) < relative_error(tables[1], weight) / 20


def test_rows_that_are_hard(rng):
    """Zeros, single values, and norms from the smallest to the largest."""
    weight = rng.standard_normal((8, 33)).astype(np.float32)
    weight[0] = 0
    weight[1, 1:] = 0
    weight[2] *= 1e-42
    weight[3] *= 1e-30
    weight[4] *= 1e30
    weight[5] = 3
    for bits in WIDTHS:
        table = ec.compress(weight, "eden", bits=bits, scale_dtype="f32", center=False)
        found = table.decode().astype(np.float64)
        assert not found[0].any()
        errors = ((found - weight.astype(np.float64)) ** 2).sum(axis=1)[[1, 3, 4, 5, 6, 7]]
        assert (errors <= 3 * LEAST[bits] * (weight.astype(np.float64) ** 2).sum(axis=1)[[1, 3, 4, 5, 6, 7]]).all()
        assert np.isfinite(found[2]).all()
    assert ec.compress(np.zeros((0, 5), np.float32), "eden").decode().shape == (0, 5)


def test_values_that_are_too_large(rng):
    weight = rng.standard_normal((20, 64)).astype(np.float32)
    weight[7] *= 1e6
    with pytest.raises(ValueError, match=r"row 7 has values .*beyond the range of f16 scales.*scale_dtype 'f32'"):
        ec.compress(weight, "eden", scale_dtype="f16")
    for options in ({"scale_dtype": "f32"}, {}):
        assert relative_error(ec.compress(weight, "eden", bits=4, **options), weight) < 0.011
    weight[7] = 3e38
    with pytest.raises(ValueError, match=r"row 7 has values from 3e\+38 to 3e\+38, "):
        ec.compress(weight, "eden", scale_dtype="f32", center=False)


def test_budgets(rng):
    weight = rng.standard_normal((100, 50)).astype(np.float32)
    for bits in WIDTHS:
        size = ec.compress(weight, "eden", bits=bits).stored_bytes
        assert ec.compress(weight, "eden", budget=size).parts()[0]["children"]["inner"]["bits"] == bits
        assert ec.compress(weight, "eden", budget=size + 1).stored_bytes <= size + 1
    floor = ec.compress(weight, "eden", bits=1).stored_bytes
    with pytest.raises(ec.BudgetError, match=f"the least it can reach is {floor} bytes"):
        ec.compress(weight, "eden", budget=floor - 1)


@pytest.mark.parametrize("bits", WIDTHS)
def test_files_are_streamed(rng, tmp_path, bits):
    tables = {"a": rng.standard_normal((700, 50)).astype(np.float32), "b": np.zeros((0, 3), np.float32)}
    report = ec.compress_to_file(tmp_path / "streamed", tables, "eden", bits=bits)
    made = {name: ec.compress(weight, "eden", bits=bits) for name, weight in tables.items()}
    ec.save(tmp_path / "saved", made)
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "saved").read_bytes()
    assert report["a"].stored_bytes == made["a"].stored_bytes
    assert str(ec.load(tmp_path / "streamed", "a")) == str(made["a"])


# Scales of rows


@given(dimensions, st.sampled_from(WIDTHS), st.sampled_from(["f16", "f32"]), st.integers(0, 2**32))
def test_scaled_codebooks(dimension, bits, dtype, seed):
    rng = np.random.default_rng(seed)
    table = random_tables.random_codebook(rng, 12, dimension, bits, dtype, "scaled")
    rows = reference.rows(table)
    reference.assert_rows(table.decode(), rows)
    ids, weights = rng.integers(0, 12, 40), rng.standard_normal(40).astype(np.float32)
    for mode, given_weights in (("sum", None), ("sum", weights), ("mean", None), ("max", None)):
        found = table.bag(ids, [0, 7, 7], mode, per_sample_weights=given_weights)
        reference.assert_pooled(found, reference.bag(rows, ids, [0, 7, 7], mode, given_weights), 33, repeated=True)
    np.testing.assert_array_equal(table.lookup([-1, 2], on_invalid="zero"), [np.zeros(dimension), table.decode()[2]])
    assert str(table).startswith(f"Codebook {bits}-bit, {2**bits} {dtype} entries per table, {dtype} scale per row  [")


def test_scales_that_do_not_belong(rng):
    tree, arrays = random_tables.random_codebook(rng, 3, 4, 2, "f16", "scaled").parts()
    with pytest.raises(ec.FormatError, match="field 'row_scale' must be 'f16', as entries"):
        ec.Table.from_parts(tree | {"row_scale": "f32"}, arrays)
    with pytest.raises(ec.FormatError, match="field 'row_scale' must be one of"):
        ec.Table.from_parts(tree | {"row_scale": "bf16"}, arrays)
    tree, arrays = random_tables.random_codebook(rng, 3, 4, 2, "f16", "row").parts()
    with pytest.raises(ec.FormatError, match="unknown field 'row_scale'"):
        ec.Table.from_parts(tree | {"row_scale": "f16"}, arrays)


# INT8 and INT16


@pytest.mark.parametrize(("name", "bits"), [("int8", 8), ("int16", 16)])
def test_integers_of_rows_are_those_of_asym(rng, name, bits):
    weight = rng.standard_normal((30, 21)).astype(np.float32)
    (found,), (wanted,) = (
        [array.values for array in table.parts()[1].values()]
        for table in (ec.compress(weight, name), ec.compress(weight, "asym", bits=bits))
    )
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("name", "bits"), [("int8", 8), ("int16", 16)])
@pytest.mark.parametrize("step", [None, 0.01])
def test_integers_of_the_table(rng, name, bits, step):
    weight = (rng.standard_normal((200, 33)) * 0.5).astype(np.float32)
    options = {} if step is None else {"step": step}
    table = ec.compress(weight, name, scale="table", **options)
    assert table.stored_bytes == weight.size * bits // 8 + 8
    tree, arrays = table.parts()
    half = 2 ** (bits - 1)
    codes = reference.unpack(arrays[tree["tensors"]["rows"]].values, 33, bits) - half
    wanted = np.float32(step or np.abs(weight).max() / np.float32(half - 1))
    scale, bias = arrays[tree["tensors"]["parameters"]].values
    np.testing.assert_allclose([scale, bias], [wanted, -half * wanted], rtol=1e-6)
    # One of the two whole numbers beside, or the last code where there is none.
    places = np.clip(weight.astype(np.float64) / scale, -half, half - 1)
    assert (np.abs(codes - places) < 1).all()
    reference.assert_rows(table.decode(), reference.rows(table))


def test_rounding_is_right_on_average_and_follows_its_seed(rng):
    weight = np.repeat(rng.uniform(-1, 1, (1, 64)), 4000, axis=0).astype(np.float32)
    table = ec.compress(weight, "int8", scale="table", step=0.1)
    np.testing.assert_allclose(table.decode().mean(axis=0), weight[0], atol=0.1 * 4.5 / np.sqrt(4 * 4000))
    found = [ec.compress(weight, "int8", scale="table", seed=seed).decode().tobytes() for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    whole = np.arange(-4, 5, dtype=np.float32)[None]
    np.testing.assert_array_equal(ec.compress(whole, "int16", scale="table", step=1).decode(), whole)


@pytest.mark.parametrize("name", ["int8", "int16"])
def test_options_of_integers(rng, name, tmp_path):
    weight = rng.standard_normal((30, 20)).astype(np.float32)
    for option in ("step", "seed"):
        with pytest.raises(ValueError, match=f"{name}: {option} goes with the scale 'table' only"):
            ec.compress(weight, name, **{option: 1})
    with pytest.raises(ValueError, match="step must be above 0"):
        ec.compress(weight, name, scale="table", step=0)
    with pytest.raises(ValueError, match="beyond the range of f32"):
        ec.compress(weight * 1e38, name, scale="table", step=3e38)
    for scale in ("row", "table"):
        size = ec.compress(weight, name, scale=scale).stored_bytes
        assert ec.compress(weight, name, scale=scale, budget=size).stored_bytes == size
        with pytest.raises(ec.BudgetError, match=f"the least it can reach is {size} bytes"):
            ec.compress(weight, name, scale=scale, budget=size - 1)
        ec.compress_to_file(tmp_path / "streamed", {"weight": weight}, name, scale=scale)
        ec.compress(weight, name, scale=scale).save(tmp_path / "saved")
        assert (tmp_path / "streamed").read_bytes() == (tmp_path / "saved").read_bytes()
    zeros = np.zeros((3, 4), np.float32)
    np.testing.assert_array_equal(ec.compress(zeros, name, scale="table").decode(), zeros)
