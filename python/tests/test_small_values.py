"""Scales and codebooks of small values: f16 as long as it holds them well, f32 where it does not."""

import numpy as np
import pytest

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
    options = {} if method == "int8" else {"bits": 8, "scale_dtype": "f16"}
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
