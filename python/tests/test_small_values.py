"""Scales and codebooks of small and of large values: f16 as long as it holds them well, f32 where it does not."""

import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import embedcompress as ec


def loss(table, weight):
    wide = weight.astype(np.float64)
    return float(np.linalg.norm(table.decode() - wide) / np.linalg.norm(wide))


RANGES = ["asym", "sym", "gss", "greedy", "aciq", "hist_apprx", "hist_brute", "least_squares"]


@pytest.mark.parametrize("size", [1e-3, 1e-4, 1e-5, 2e-6, 1e-7, 1e-12])
@pytest.mark.parametrize("method", RANGES)
def test_small_values_take_the_scales_that_they_need(method, size, rng):
    weight = (rng.uniform(-1, 1, (300, 64)) * size).astype(np.float32)
    for bits in (4, 8):
        wide = ec.compress(weight, method, bits=bits, scale_dtype="f32")
        table = ec.compress(weight, method, bits=bits)
        assert loss(table, weight) <= 1.11 * loss(wide, weight)
        assert table.stored_bytes in (wide.stored_bytes, wide.stored_bytes - 4 * 300)


@pytest.mark.parametrize("size", [1e-3, 1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize(
    ("method", "option"), [("kmeans", "entry_dtype"), ("kmeans_cls", "entry_dtype"), ("eden", "scale_dtype")]
)
def test_small_values_take_the_entries_that_they_need(method, option, size, rng):
    weight = (rng.standard_normal((300, 64)) * size).astype(np.float32)
    for bits in (2, 4, 8):
        wide = ec.compress(weight, method, bits=bits, **{option: "f32"})
        table = ec.compress(weight, method, bits=bits)
        assert loss(table, weight) <= max(1.15 * loss(wide, weight), 2**-10)
        if size == 1e-3 and method != "kmeans_cls":
            narrow = ec.compress(weight, method, bits=bits, **{option: "f16"})
            assert table.stored_bytes == narrow.stored_bytes


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e-7, 1e-6, 1e-4, 1, 1e6, 1e20])
@pytest.mark.parametrize("method", ["pq", "rq", "opq", "magpq"])
def test_codebooks_of_vectors_take_the_entries_that_they_need(method, size, rng):
    weight = (rng.standard_normal((400, 8)) * size).astype(np.float32)
    wide, narrow = (
        ec.compress(weight, method, parts=2, bits=5, entry_dtype=one) if size < 1e5 or one == "f32" else None
        for one in ("f32", "f16")
    )
    table = ec.compress(weight, method, parts=2, bits=5)
    assert loss(table, weight) <= 1.02 * loss(wide, weight)
    expected = narrow if size in (1e-4, 1) else wide
    assert table.stored_bytes == expected.stored_bytes
    budget = ec.compress(weight, method, budget=int(0.2 * weight.nbytes))
    assert budget.stored_bytes <= 0.2 * weight.nbytes


@pytest.mark.parametrize("method", [*RANGES, "int8"])
def test_f16_scales_of_small_values_cover_the_row(method, rng):
    weight = (rng.uniform(-1, 1, (300, 64)) * 2e-6).astype(np.float32)
    options = {"scale_dtype": "f16"} | ({} if method == "int8" else {"bits": 8})
    assert loss(ec.compress(weight, method, **options), weight) < 0.1
    for share in (0.2, 0.05, 0.015, 0.0005):
        smaller = weight * np.float32(share)
        assert loss(ec.compress(smaller, method, **options), smaller) <= 1


def test_a_larger_budget_is_never_worse_for_small_values(rng):
    weight = (rng.uniform(-1, 1, (500, 64)) * 1e-5).astype(np.float32)
    tables = [ec.compress(weight, budget=budget) for budget in (0.1, 0.15, 0.2, 0.25, 0.28, 0.3)]
    losses = [loss(table, weight) for table in tables]
    assert losses == sorted(losses, reverse=True)
    for table, budget in zip(tables, (0.1, 0.15, 0.2, 0.25, 0.28, 0.3), strict=True):
        assert table.stored_bytes <= budget * weight.nbytes


def test_ordinary_tables_keep_f16_scales(rng):
    for size in (1e-3, 1.0, 10.0):
        weight = (rng.uniform(-1, 1, (300, 64)) * size).astype(np.float32)
        for bits in (1, 4, 8):
            table = ec.compress(weight, "asym", bits=bits)
            assert table.stored_bytes == 300 * (8 * bits + 4)
            same = ec.compress(weight, "asym", bits=bits, scale_dtype="f16")
            np.testing.assert_array_equal(table.decode(), same.decode())


def test_inner_methods_keep_within_a_budget_of_small_values(rng):
    weight = (rng.standard_normal((400, 32)) * 1e-7).astype(np.float32)
    for method in ("svd", "magsvd", "hot_cold"):
        options = {} if method == "hot_cold" else {"inner": "least_squares"}
        table = ec.compress(weight, method, budget=0.3, **options)
        assert table.stored_bytes <= 0.3 * weight.nbytes
        assert loss(table, weight) < 1


# At every power of two

RISING = {
    "asym": [{"bits": bits} for bits in (1, 2, 4, 6, 7, 8, 16)],
    "asym of groups": [{"bits": bits, "group": 8} for bits in (2, 4, 8)],
    "sym": [{"bits": bits} for bits in (2, 4, 6, 7, 8)],
    "gss": [{"bits": bits} for bits in (2, 4, 6, 7, 8)],
    "aciq": [{"bits": bits} for bits in (2, 4, 6, 7, 8)],
    "hist_apprx": [{"bits": bits} for bits in (2, 4, 6, 8)],
    "hist_brute": [{"bits": bits, "b": 20} for bits in (2, 3, 4)],
    "greedy": [{"bits": bits} for bits in (2, 4, 6, 7, 8)],
    "least_squares": [{"bits": bits} for bits in (2, 4, 6, 7, 8)],
    "int8 and int16": [],
    "table": [{"bits": bits} for bits in (2, 4, 8)],
    "kmeans": [{"bits": bits} for bits in (1, 2, 4)],
    "kmeans_cls": [{"bits": bits} for bits in (1, 2, 4)],
    "eden": [{"bits": bits} for bits in (1, 2, 4, 6)],
    "trellis": [{"bits": bits, "effort": "fast"} for bits in (1, 2, 3)],
    "multipoint": [{"points": points, "threshold": 0.0} for points in (1, 2, 3)],
    "pq": [{"bits": bits, "parts": 8} for bits in (1, 3, 5)],
    "rq": [{"parts": parts, "bits": 3} for parts in (1, 2, 4)],
    "opq": [{"bits": bits, "parts": 8} for bits in (1, 3, 5)],
    "svd": [{"rank": 32, "inner": "least_squares", "bits": bits} for bits in (2, 4, 8)],
    "magsvd": [{"rank": 32, "groups": 1, "inner": "asym", "bits": bits} for bits in (2, 4, 8)],
    "hot_cold": [{"cold_bits": bits} for bits in (2, 4, 8)],
    "hot_cold of codebooks": [{"cold": "kmeans", "cold_bits": bits} for bits in (1, 2, 4)],
    "prune": [{"density": density} for density in (0.2, 0.5, 1.0)],
}
BUDGETS = ["asym", "greedy", "least_squares", "multipoint", "kmeans", "eden", "prune"]
WEIGHT = np.random.default_rng(5).uniform(-1, 1, (48, 32)) * np.linspace(0.5, 1, num=48)[:, None]
KINDS = {"both signs": WEIGHT, "positive": np.abs(WEIGHT)}


def does_not_rise(found, exponent):
    """Whether losses fall, but for a 50th of them, 2^-12, and a tenth of the smallest f32 scale over the values."""
    return (found[1:] <= found[:-1] * 1.02 + 2**-12 + 0.1 * 2.0 ** (-126 - exponent)).all()


def losses(method, exponent, kind):
    """The losses with more and more bits, or what else says how much is stored."""
    weight = np.ldexp(KINDS[kind], exponent).astype(np.float32)
    if method == "int8 and int16":
        tables = [ec.compress(weight, name) for name in ("int8", "int16")]
    else:
        tables = [ec.compress(weight, method.split(" ")[0], **options) for options in RISING[method]]
    return np.array([loss(table, weight) for table in tables])


ORDINARY = {}


@pytest.mark.parametrize("method", RISING)
@settings(max_examples=25, deadline=None)
@given(exponent=st.integers(-140, 100), kind=st.sampled_from(sorted(KINDS)))
@example(exponent=-140, kind="both signs")
@example(exponent=-126, kind="both signs")
@example(exponent=-120, kind="positive")
@example(exponent=-25, kind="both signs")
@example(exponent=-24, kind="positive")
@example(exponent=-22, kind="both signs")
@example(exponent=-20, kind="both signs")
@example(exponent=-18, kind="both signs")
@example(exponent=-17, kind="positive")
@example(exponent=-15, kind="both signs")
@example(exponent=16, kind="both signs")
@example(exponent=17, kind="positive")
@example(exponent=100, kind="both signs")
def test_the_error_does_not_rise_with_bits_at_any_power_of_two(method, exponent, kind):
    if (method, kind) not in ORDINARY:
        ORDINARY[method, kind] = losses(method, 0, kind)
    found, ordinary = losses(method, exponent, kind), ORDINARY[method, kind]
    assert does_not_rise(found, exponent), found
    # The smallest f32 scale is 2^-126: smaller values are worth no more than zeros.
    floor = 2**-6 if method == "prune" else 2**-10
    # The factor of an SVD has smaller values once its columns are mixed than those that f16 is tried with.
    # Rows that trellis codes leave to least squares have fewer bits where their scales are f32.
    worth = 1.3 if "svd" in method or method == "trellis" else 1.15
    most = np.maximum(ordinary * worth, floor) if exponent >= -100 else np.maximum(1, ordinary) * (1 + 1e-6)
    assert (found <= most).all(), (found, ordinary)


@pytest.mark.parametrize("method", BUDGETS)
@settings(max_examples=15, deadline=None)
@given(exponent=st.integers(-140, 100), kind=st.sampled_from(sorted(KINDS)))
@example(exponent=-126, kind="both signs")
@example(exponent=-22, kind="both signs")
@example(exponent=-19, kind="positive")
@example(exponent=-17, kind="both signs")
@example(exponent=17, kind="positive")
def test_the_error_does_not_rise_with_the_budget_at_any_power_of_two(method, exponent, kind):
    weight = np.ldexp(KINDS[kind], exponent).astype(np.float32)
    least = ec.compress(weight, method, bits=1).stored_bytes if method != "prune" else 600
    found = []
    for budget in (least + 200, 0.2, 0.25, 0.31, 0.36, 0.5):
        budget = budget if budget > 1 else max(int(budget * weight.nbytes), least + 200)
        table = ec.compress(weight, method, budget=budget)
        assert table.stored_bytes <= budget
        found.append(loss(table, weight))
    assert does_not_rise(np.array(found), exponent), found


@pytest.mark.parametrize("method", ["asym", "int8"])
@given(exponent=st.floats(-27, -13), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_f16_scales_are_the_best_near_the_range(method, exponent, seed):
    """No row that the f16 scale below or above that of its range would serve better, with the codes that go with it."""
    weight = (np.random.default_rng(seed).uniform(-1, 1, (20, 33)) * 2**exponent).astype(np.float32)
    table = ec.compress(weight, method, scale_dtype="f16", **({} if method == "int8" else {"bits": 8}))
    tree, arrays = table.parts()
    stored = arrays[tree["tensors"]["rows"]].values[:, -4:].copy().view(np.float16).astype(np.float64)
    wide = weight.astype(np.float64)
    errors = ((table.decode() - wide) ** 2).sum(axis=1)
    for row, (scale, bias) in enumerate(stored):
        below = np.floor((wide[row].max() - bias) / 255 * 2**24) * 2**-24
        for other in (below, below + 2**-24):
            if other > 0 and scale < 255 * 2**-25:
                decoded = np.clip(np.rint((wide[row] - bias) / other), 0, 255) * other + bias
                assert errors[row] <= ((decoded - wide[row]) ** 2).sum() * (1 + 1e-4)


@pytest.mark.parametrize("group", ["rows", "columns", "blocks", "tensor"])
@pytest.mark.parametrize("ranges", ["min_max", "least_squares"])
@pytest.mark.parametrize("scale_dtype", ["f16", "f32"])
def test_groups_of_a_matrix_lose_no_more_with_more_bits(group, ranges, scale_dtype, rng):
    normal = rng.uniform(-1, 1, (48, 32))
    options = {"block": 8} if group == "blocks" else {} if group == "tensor" else {"groups": 8}
    for exponent in (-140, -126, -120, -30, -25, -24, -23, -22, -21, -20, -18, -16, -14, 0, 10):
        weight = np.ldexp(normal, exponent).astype(np.float32)
        tables = [
            ec.group_quantize(weight, bits, group=group, ranges=ranges, scale_dtype=scale_dtype, **options)
            for bits in (2, 4, 6, 8)
        ]
        found = np.array([loss(table, weight) for table in tables])
        assert does_not_rise(found, exponent), (exponent, found)
        assert (found <= 1 + 1e-6).all(), (exponent, found)


def test_f16_scales_of_levels_have_levels_of_their_own(rng):
    weight = rng.standard_normal((200, 32)).astype(np.float32)
    ordinary = loss(ec.compress(weight, "eden", bits=4, scale_dtype="f16"), weight)
    mosts = {-24: 1.0, -23: 0.6, -22: 0.25, -21: 0.18, -20: 1.8 * ordinary, -18: 1.1 * ordinary}
    for exponent, most in mosts.items():
        small = np.ldexp(weight, exponent)
        assert loss(ec.compress(small, "eden", bits=4, scale_dtype="f16", center=False), small) <= most


# Ordinary tables

ORDINARY_TABLES = {
    "asym": 0x57377DD0,
    "sym": 0x6E730E93,
    "gss": 0xC0695963,
    "greedy": 0x2BB10954,
    "aciq": 0x0410D9CB,
    "hist_apprx": 0xC290A953,
    "least_squares": 0x7C721336,
    "int8": 0xB55F45B2,
    "prune": 0xA628B04F,
}


@pytest.mark.parametrize("method", ORDINARY_TABLES)
def test_ordinary_tables_are_what_they_were(method):
    """The bytes of tables that f16 scales hold well, as they were before small ones were looked after."""
    numbers = np.arange(300 * 48, dtype=np.uint64) * 2654435761 % 2**32
    found = 0
    for size in (2.0**-6, 1.0, 100.0):
        weight = ((numbers.astype(np.float64) / 2**31 - 1) * size).astype(np.float32).reshape(300, 48)
        for options in [{}] if method in ("int8", "prune") else [{"bits": bits} for bits in (2, 4, 8)]:
            for array in ec.compress(weight, method, **options).parts()[1].values():
                found = zlib.crc32(np.ascontiguousarray(array.values).tobytes(), found)
    assert found == ORDINARY_TABLES[method]


# Options and reports


def test_int8_has_the_scales_that_are_asked_for(rng):
    weight = rng.standard_normal((300, 64)).astype(np.float32)
    for scale, size in (("f16", 1.0), ("f32", 1.0), ("auto", 1.0), ("auto", 1e-6), ("auto", 1e5)):
        table = ec.compress(weight * np.float32(size), "int8", scale_dtype=scale)
        expected = {"f16": 68, "f32": 72}.get(scale, 68 if size == 1 else 72)
        assert table.stored_bytes == 300 * expected
        assert loss(table, weight * np.float32(size)) < 0.01
    assert ec.compress(weight, "int16").stored_bytes == 300 * 136
    assert ec.compress(weight, "int16", scale_dtype="f16").stored_bytes == 300 * 132
    small = weight * np.float32(1e-6)
    assert ec.compress(small, "int8", budget=300 * 68).stored_bytes == 300 * 68
    assert ec.compress(small, "int8", budget=300 * 72).stored_bytes == 300 * 72
    with pytest.raises(ValueError, match="int8: scale_dtype goes with the scale 'row' only, not f16 with 'table'"):
        ec.compress(weight, "int8", scale="table", scale_dtype="f16")


def test_what_scales_cost_is_reported(rng, tmp_path):
    weight = rng.uniform(-1, 1, (300, 64)).astype(np.float32)

    def report(method, size, **options):
        return ec.compress_to_file(tmp_path / "t", {"w": weight * np.float32(size)}, method, **options)["w"]

    for method in ("asym", "least_squares", "int8"):
        options = {} if method == "int8" else {"bits": 8}
        found = report(method, 1.0, **options)
        assert (found.coarse_scale_share, found.f32_reason) == (0, None)
        found = report(method, 1e-5, **options)
        assert found.coarse_scale_share == 0
        assert "sample" in found.f32_reason
        assert found.f32_reason.endswith("with f32")
        found = report(method, 1e-5, scale_dtype="f16", **options)
        assert (found.coarse_scale_share, found.f32_reason) == (1, None)
        assert report(method, 1e6, **options).f32_reason == "values of a sample are beyond f16"
    for method in ("kmeans", "kmeans_cls", "eden", "pq", "rq", "opq", "magpq", "prune", "multipoint", "hot_cold"):
        assert report(method, 1.0).f32_reason is None, method
        assert report(method, 3e-8).f32_reason is not None, method
        assert report(method, 3e-8).coarse_scale_share is None, method
    for method in ("svd", "magsvd"):
        assert report(method, 1.0, inner="least_squares", bits=4, rank=8).f32_reason is None
        assert report(method, 1e-8, inner="least_squares", bits=4, rank=8).f32_reason is not None
