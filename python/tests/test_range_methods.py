"""The ranges of TABLE, SYM, GSS, ACIQ, HIST-APPRX, HIST-BRUTE and least squares, against slow references."""

import numpy as np
import pytest
import range_reference
import reference

import embedcompress as ec
from embedcompress import _samples

SCALES = ["f16", "f32"]


@pytest.fixture
def rows(rng):
    """Rows of several shapes: normal, heavy-tailed, lopsided, far from zero, with an outlier, and short in values."""
    normal = rng.standard_normal((12, 60))
    shapes = [
        normal,
        normal**3,
        np.exp(normal),
        normal + 20,
        np.where(np.arange(60) == 7, 12 * normal, normal),
        rng.laplace(size=(12, 60)),
        rng.integers(-3, 4, (4, 60)) * 0.25,
    ]
    return np.concatenate(shapes).astype(np.float32)


def stored(table, scale_type):
    """Codes, and a scale and a bias for each row."""
    (array,) = table.parts()[1].values()
    tree = table.parts()[0]
    codes, scale, bias = reference.uniform_fields(
        array.values, table.dimension, tree["bits"], table.dimension, scale_type
    )
    return codes, scale[:, 0], bias[:, 0]


def relative_differences(rows, ours, wanted):
    """Squared errors of ours over those wanted, less one; where the reference has none, ours must have none."""
    errors = np.array(
        [reference.squared_error(row, *found) for row, found in zip(rows, zip(*ours, strict=True), strict=True)]
    )
    least = np.array([range_reference.error(row, found) for row, found in zip(rows, wanted, strict=True)])
    noise = 1e-12 * np.square(rows, dtype=np.float64).sum(axis=1)
    return (errors + noise) / (least + noise) - 1


def assert_codes(rows, ours, bits):
    """Codes are those nearest to the values."""
    for row, codes, scale, bias in zip(rows, *ours, strict=True):
        wanted = range_reference.coded(row, np.float32(scale), np.float32(bias), bits)[0]
        np.testing.assert_array_equal(codes, wanted)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_table_is_one_range(rows, bits):
    (tree, arrays) = ec.compress(rows, "table", bits=bits).parts()
    codes, scale, bias = range_reference.table(rows, bits)
    np.testing.assert_array_equal(arrays[tree["tensors"]["parameters"]].values.ravel(), [scale, bias])
    np.testing.assert_array_equal(reference.unpack(arrays[tree["tensors"]["rows"]].values, 60, bits), codes)


@pytest.mark.parametrize("scale_type", SCALES)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_sym_is_the_largest_magnitude(rows, bits, scale_type):
    ours = stored(ec.compress(rows, "sym", bits=bits, scale_dtype=scale_type, fallback=False), scale_type)
    for row, codes, scale, bias in zip(rows, *ours, strict=True):
        wanted = range_reference.sym(row, bits, scale_type)
        np.testing.assert_array_equal(codes, wanted[0])
        assert (scale, bias) == wanted[1:]


@pytest.mark.parametrize("scale_type", SCALES)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_gss_is_golden_section_search(rows, bits, scale_type):
    ours = stored(ec.compress(rows, "gss", bits=bits, scale_dtype=scale_type, fallback=False), scale_type)
    assert_codes(rows, ours, bits)
    # The interval that is left is a thousandth of the first. Errors that are equal but for rounding may lead elsewhere.
    wanted = [range_reference.gss(row, bits, scale_type) for row in rows]
    differences = relative_differences(rows, ours, wanted)
    assert (np.abs(differences) < 1e-3).mean() >= 0.9
    assert np.abs(differences).mean() < 0.01
    np.testing.assert_allclose(ours[1] * (2**bits - 1), -2 * ours[2], rtol=2e-3)


@pytest.mark.parametrize("scale_type", SCALES)
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
def test_aciq_is_the_formula(rows, bits, scale_type):
    ours = stored(ec.compress(rows, "aciq", bits=bits, scale_dtype=scale_type, fallback=False), scale_type)
    assert_codes(rows, ours, bits)
    wanted = np.array([range_reference.aciq(row, bits, scale_type)[1:] for row in rows])
    found = np.stack(ours[1:], axis=1)
    # The estimate's constant has four places; a scale is a difference of what f16 rounds.
    tolerance = {"f32": 1e-4, "f16": 1e-3}[scale_type]
    np.testing.assert_allclose(found[:, 0], wanted[:, 0], rtol=6 * tolerance)
    np.testing.assert_allclose(found[:, 1], wanted[:, 1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("distribution", ["gaussian", "laplace"])
def test_aciq_s_clips_are_the_best(distribution):
    found = [range_reference.best_clip(distribution, bits) for bits in range(1, 9)]
    np.testing.assert_allclose(range_reference.CLIPS[distribution], found, atol=0.0101)


def test_aciq_clips_some_rows_and_leaves_others(rows):
    clipped = ec.compress(rows, "aciq", fallback=False).decode()
    plain = ec.compress(rows, "asym").decode()
    same = (clipped == plain).all(axis=1)
    assert 0 < same.sum() < len(rows)


@pytest.mark.parametrize("scale_type", SCALES)
@pytest.mark.parametrize("bits", [2, 4])
def test_hist_apprx_is_norm_minimisation(rows, bits, scale_type):
    rows = rows[::4].copy()
    options = {"bits": bits, "scale_dtype": scale_type, "fallback": False}
    ours = stored(ec.compress(rows, "hist_apprx", **options), scale_type)
    assert_codes(rows, ours, bits)
    # A value at a bin's edge may be counted to its neighbour.
    wanted = [range_reference.hist_apprx(row, bits, scale_type) for row in rows]
    differences = relative_differences(rows, ours, wanted)
    assert (np.abs(differences) < 1e-3).mean() >= 0.85
    assert abs(differences.mean()) < 0.05


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("bins", [2, 7, 16])
def test_hist_brute_is_appendix_a(rows, bits, bins):
    rows = rows[::4].copy()
    ours = stored(ec.compress(rows, "hist_brute", bits=bits, scale_dtype="f32", fallback=False, b=bins), "f32")
    assert_codes(rows, ours, bits)
    found_equal = 0
    for row, scale, bias in zip(rows, *ours[1:], strict=True):
        # The range in bins, and what the histogram says of it and of the best.
        width = np.ptp(row.astype(np.float64)) / bins
        first, selected = (bias - row.min()) / width, scale * (2**bits - 1) / width
        assert abs(first - round(first)) < 1e-3
        assert abs(selected - round(selected)) < 1e-3
        counts = range_reference.histogram(row, bins)
        first, last = round(first), round(first) + round(selected) - 1
        chosen = range_reference.histogram_error(counts, first, last, bits)
        ranges = [(start, end) for start in range(bins) for end in range(start, bins)]
        least = min(range_reference.histogram_error(counts, *one, bits) for one in ranges)
        found_equal += chosen <= least * (1 + 1e-4)
    assert found_equal >= 0.9 * len(rows)


def test_hist_brute_s_default_is_200_bins(rng):
    row = rng.standard_normal((1, 40)).astype(np.float32)
    counts = range_reference.histogram(row[0], 200)
    (_, scale, bias) = stored(ec.compress(row, "hist_brute", scale_dtype="f32", fallback=False), "f32")
    width = np.ptp(row.astype(np.float64)) / 200
    first, selected = round((bias[0] - row.min()) / width), round(scale[0] * 15 / width)
    chosen = range_reference.histogram_error(counts, first, first + selected - 1, 4)
    for start in range(0, 200, 9):
        for end in range(start, 200, 9):
            assert chosen <= range_reference.histogram_error(counts, start, end, 4) * (1 + 1e-4)


@pytest.mark.parametrize("scale_type", SCALES)
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_least_squares_alternates_codes_and_fits(rows, bits, scale_type):
    rows = rows[::4]
    # Each alone: rows of a batch stop together.
    tables = [ec.compress(row[None], "least_squares", bits=bits, scale_dtype=scale_type) for row in rows]
    ours = [np.concatenate(parts) for parts in zip(*(stored(table, scale_type) for table in tables), strict=True)]
    assert_codes(rows, ours, bits)
    wanted = [range_reference.least_squares(row, bits, scale_type) for row in rows]
    # Where two errors are equal but for rounding, either way is the method's.
    differences = relative_differences(rows, ours, wanted)
    assert (np.abs(differences) < 1e-3).mean() >= 0.75
    assert abs(differences.mean()) < 0.02


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("name", ["sym", "gss", "aciq", "hist_apprx", "hist_brute"])
def test_fallback_is_the_better_of_a_method_and_min_max(rows, name, bits):
    options = {"bits": bits, "scale_dtype": "f32"}

    def errors(method, **more):
        restored = reference.rows(ec.compress(rows, method, **options, **more)).values
        return ((restored - rows.astype(np.float64)) ** 2).sum(axis=1)

    plain, alone, both = errors("asym"), errors(name, fallback=False), errors(name)
    np.testing.assert_allclose(both, np.minimum(plain, alone), rtol=1e-4)
    if name != "hist_brute":
        assert (alone > plain * 1.001).any()
    np.testing.assert_array_equal(both, errors(name, fallback=True))


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("sample", [_samples.glove, _samples.minilm, _samples.wordllama], ids=lambda s: s.__name__)
def test_least_squares_is_the_best_uniform_method_on_real_tables(sample, bits):
    weight = np.ascontiguousarray(sample().weight.lookup(np.arange(0, 20_000, 20)))
    losses = {
        method: ec.evaluate(ec.compress(weight, method, bits=bits), weight, queries=0).normalized_l2
        for method in ("sym", "gss", "asym", "aciq", "hist_apprx", "hist_brute", "greedy", "least_squares")
    }
    assert min(losses, key=losses.__getitem__) == "least_squares", losses
