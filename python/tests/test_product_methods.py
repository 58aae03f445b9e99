"""pq and rq beside naive NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import embedcompress as ec

Values = np.ndarray[Any, Any]


def normal(rows: int, dimension: int, seed: int = 0) -> Values:
    return np.random.default_rng(seed).standard_normal((rows, dimension), dtype=np.float32)


def clustered(rows: int, dimension: int, seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    centers = 5 * rng.standard_normal((20, dimension))
    rows_of = centers[rng.integers(0, 20, rows)] + rng.standard_normal((rows, dimension))
    return (rows_of * rng.uniform(0.2, 2, (rows, 1))).astype(np.float32)


def error(table: ec.Table, weight: Values) -> float:
    return float(np.linalg.norm(table.decode() - weight) / np.linalg.norm(weight))


def unpacked(table: ec.Table) -> tuple[Values, list[Values]]:
    """Return the codes and codebooks of a product table."""
    tree, arrays = table.parts()
    parts, bits, dimension = tree["parts"], tree["bits"], tree["dimension"]
    ones = np.unpackbits(arrays["rows"].values, axis=1, bitorder="little", count=parts * bits)
    codes = (ones.reshape(-1, parts, bits).astype(np.int64) << np.arange(bits)).sum(axis=2)
    flat = arrays["codebooks"].values.astype(np.float32)
    if tree["mode"] == "sum":
        return codes, list(flat.reshape(parts, 1 << bits, dimension))
    widths = [len(columns) for columns in np.array_split(np.arange(dimension), parts)]
    ends = np.cumsum([width << bits for width in widths])
    return codes, [
        book.reshape(1 << bits, width) for book, width in zip(np.split(flat, ends[:-1]), widths, strict=True)
    ]


def lloyd(rows: Values, count: int, rounds: int, seed: int) -> float:
    """Return the squared error of plain k-means from random rows."""
    centers = rows[np.random.default_rng(seed).choice(len(rows), count, replace=False)].astype(np.float64)
    for _ in range(rounds):
        distances = ((rows[:, None] - centers) ** 2).sum(axis=2)
        nearest = distances.argmin(axis=1)
        for index in range(count):
            if (nearest == index).any():
                centers[index] = rows[nearest == index].mean(axis=0)
    return float(((rows[:, None] - centers) ** 2).sum(axis=2).min(axis=1).sum())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(0, 400),
    dimension=st.integers(1, 70),
    parts=st.integers(1, 70),
    bits=st.integers(1, 16),
    entries=st.sampled_from(["f16", "f32"]),
)
def test_codes_are_the_nearest_entries(
    seed: int, rows: int, dimension: int, parts: int, bits: int, entries: str
) -> None:
    parts = min(parts, dimension)
    weight = clustered(rows, dimension, seed)
    table = ec.compress(weight, "pq", parts=parts, bits=bits, entry_dtype=entries, rounds=3, seed=seed)
    size = (2 if entries == "f16" else 4) * dimension << bits
    assert table.stored_bytes == rows * -(-parts * bits // 8) + size
    codes, books = unpacked(table)
    if rows == 0:
        return
    for part, columns in enumerate(np.array_split(np.arange(dimension), parts)):
        entries_used = np.unique(books[part], axis=0).astype(np.float64)
        best = np.stack([((entries_used - row) ** 2).sum(axis=1).min() for row in weight[:, columns]])
        found = ((books[part][codes[:, part]].astype(np.float64) - weight[:, columns]) ** 2).sum(axis=1)
        assert np.all(found <= best + 1e-4 * (1 + (weight[:, columns] ** 2).sum(axis=1)))


def test_k_means_is_no_worse_than_plain_lloyd() -> None:
    for weight in (normal(3000, 12), clustered(3000, 12)):
        table = ec.compress(weight, "pq", parts=3, bits=5, entry_dtype="f32")
        squared = float(((table.decode() - weight) ** 2).sum())
        naive = sum(
            min(lloyd(weight[:, columns], 32, 25, seed) for seed in range(2))
            for columns in np.array_split(np.arange(12), 3)
        )
        assert squared < 1.02 * naive


@pytest.mark.parametrize("method", ["pq", "rq"])
def test_few_distinct_rows_are_kept_exactly(method: str) -> None:
    rows = np.random.default_rng(0).integers(-8, 8, (16, 10)).astype(np.float32)
    weight = rows[np.random.default_rng(1).integers(0, 16, 500)]
    weight[:16] = rows
    for bits in (4, 8):
        table = ec.compress(weight, method, parts=2, bits=bits, entry_dtype="f32")
        assert error(table, weight) < 1e-5
    few = ec.compress(rows[:3], method, parts=1, bits=4, entry_dtype="f32")
    assert np.allclose(few.decode(), rows[:3], atol=1e-5)
    assert ec.compress(rows[:0], method, parts=2).shape == (0, 10)


@pytest.mark.parametrize("method", ["pq", "rq"])
def test_large_offsets_do_no_harm(method: str) -> None:
    weight = normal(2000, 8)
    plain = ec.compress(weight, method, parts=2, bits=6, entry_dtype="f32")
    moved = ec.compress(weight + np.float32(1000), method, parts=2, bits=6, entry_dtype="f32")
    away = np.linalg.norm(moved.decode() - (weight + np.float32(1000))) / np.linalg.norm(weight)
    assert away < 1.02 * error(plain, weight)


@pytest.mark.parametrize("method", ["pq", "rq"])
def test_results_depend_on_the_seed_and_not_on_threads(method: str) -> None:
    weight = clustered(5000, 10)
    before = ec.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 5):
            ec.set_num_threads(threads)
            table = ec.compress(weight, method, parts=3, bits=6, seed=7, rounds=6)
            found.append([array.values.tobytes() for array in table.parts()[1].values()])
        assert found[0] == found[1] == found[2]
    finally:
        ec.set_num_threads(before)
    other = ec.compress(weight, method, parts=3, bits=6, seed=8, rounds=6)
    assert not np.array_equal(other.decode(), table.decode())


@pytest.mark.parametrize("method", ["pq", "rq"])
def test_files_are_those_of_memory(tmp_path: Path, method: str) -> None:
    weight = clustered(3000, 24)
    options: dict[str, Any] = {"parts": 5, "bits": 5, "rounds": 4}
    ec.compress(weight, method, **options).save(tmp_path / "a.safetensors")
    ec.compress_to_file(tmp_path / "b.safetensors", {"weight": weight}, method, **options)
    assert np.array_equal(ec.load(tmp_path / "a.safetensors").decode(), ec.load(tmp_path / "b.safetensors").decode())
    assert (tmp_path / "a.safetensors").stat().st_size == (tmp_path / "b.safetensors").stat().st_size


@pytest.mark.parametrize("method", ["pq", "rq"])
def test_rows_of_more_weight_have_smaller_errors(method: str) -> None:
    weight = np.concatenate([normal(2000, 8), 3 + normal(2000, 8, 1)])
    counts = np.repeat([100.0, 1.0], 2000).astype(np.float32)
    plain = ec.compress(weight, method, parts=2, bits=5)
    weighted = ec.compress(weight, method, parts=2, bits=5, weights=counts)

    def squared(table: ec.Table) -> Values:
        return ((table.decode() - weight) ** 2).sum(axis=1) * counts

    assert squared(weighted).sum() < 0.95 * squared(plain).sum()
    nothing = ec.compress(weight, method, parts=2, bits=5, weights=np.zeros(4000, np.float32))
    assert np.isfinite(nothing.decode()).all()
    with pytest.raises(ValueError, match="takes weights of whole rows: 4000 x 1"):
        ec.compress(weight, method, parts=2, weights=np.ones((4000, 8), np.float32))


@pytest.mark.parametrize("method", ["pq", "rq"])
@pytest.mark.parametrize(("rows", "dimension"), [(5000, 16), (700, 30), (20_000, 5)])
def test_budgets_are_met_or_refused_with_the_floor(method: str, rows: int, dimension: int) -> None:
    weight = normal(rows, dimension)
    last = np.inf
    for ratio in (0.03, 0.1, 0.3):
        budget = int(ratio * weight.nbytes)
        try:
            table = ec.compress(weight, method, budget=budget, rounds=4)
        except ec.BudgetError as refusal:
            floor = int(str(refusal).rsplit("is ", 1)[1].split(" ")[0])
            assert floor > budget
            assert ec.compress(weight, method, budget=floor, rounds=1).stored_bytes == floor
            with pytest.raises(ec.BudgetError):
                ec.compress(weight, method, budget=floor - 1, rounds=1)
            continue
        assert table.stored_bytes <= budget
        assert error(table, weight) < last
        last = error(table, weight)
    assert ec.compress(weight, method, budget=0.2, bits=5, rounds=1).parts()[0]["bits"] == 5


def greedy_sums(weight: Values, codes: Values, books: list[Values]) -> float:
    """Return the error of codes that are chosen level by level under the same codebooks."""
    left = weight.astype(np.float64)
    for book in books:
        nearest = ((left[:, None] - book) ** 2).sum(axis=2).argmin(axis=1)
        left = left - book[nearest]
    return float((left**2).sum())


def test_a_beam_finds_better_sums_than_one_level_at_a_time() -> None:
    weight = normal(1500, 12)
    table = ec.compress(weight, "rq", parts=4, bits=4, entry_dtype="f32")
    codes, books = unpacked(table)
    found = float(((table.decode() - weight) ** 2).sum())
    greedy = greedy_sums(weight, codes, books)
    assert found < 0.97 * greedy
    alone = ec.compress(weight, "rq", parts=4, bits=4, entry_dtype="f32", beam=1, refits=0)
    codes, books = unpacked(alone)
    assert np.isclose(((alone.decode() - weight) ** 2).sum(), greedy_sums(weight, codes, books), rtol=1e-4)
    assert found < 0.95 * ((alone.decode() - weight) ** 2).sum()


def test_a_full_beam_is_exhaustive() -> None:
    weight = normal(200, 6)
    table = ec.compress(weight, "rq", parts=3, bits=3, entry_dtype="f32", beam=64)
    _, (first, second, third) = unpacked(table)
    sums = (first[:, None, None] + second[None, :, None] + third[None, None]).reshape(-1, 6)
    best = ((weight[:, None] - sums) ** 2).sum(axis=2).min(axis=1)
    assert np.allclose(((table.decode() - weight) ** 2).sum(axis=1), best, rtol=1e-4, atol=1e-5)


def test_refits_lower_the_error() -> None:
    weight = clustered(4000, 16)
    found = [error(ec.compress(weight, "rq", parts=4, bits=5, refits=refits), weight) for refits in (0, 1, 4)]
    assert found[0] > found[1] > found[2]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("pq", {"parts": 9}, "pq: parts must be at most 8, not 9"),
        ("pq", {"parts": 0}, "parts must be an integer from 1"),
        ("pq", {"bits": 17}, "bits must be an integer from 1 to 16"),
        ("pq", {"parts": 2, "budget": 0.9}, "either parts or a budget"),
        ("rq", {"parts": 2, "budget": 0.9}, "either parts or a budget"),
        ("rq", {"beam": 0}, "beam must be"),
        ("pq", {"beam": 2}, "pq has no option 'beam'"),
        ("pq", {"entry_dtype": "bf16"}, "entry_dtype must be"),
    ],
)
def test_wrong_options_are_named(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ec.compress(normal(100, 8), method, **options)


@pytest.mark.parametrize("method", ["pq", "rq"])
def test_values_that_cannot_be_kept_are_errors(method: str) -> None:
    weight = normal(300, 8)
    weight[123, 5] = np.nan
    with pytest.raises(ValueError, match="row 123 has nan in column 5"):
        ec.compress(weight, method, parts=2, bits=4)
    weight[123, 5] = 1e6
    with pytest.raises(ValueError, match="entry_dtype 'f32'"):
        ec.compress(weight, method, parts=2, bits=8, entry_dtype="f16")
    assert error(ec.compress(weight, method, parts=2, bits=8), weight) < 1e-3


def test_progress_can_stop_training() -> None:
    calls = []

    def stop(done: int, total: int) -> bool:
        calls.append((done, total))
        return len(calls) < 2

    for method in ("pq", "rq"):
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            ec.compress(normal(20_000, 16), method, parts=4, progress=stop)
        assert len(calls) == 2
        assert {total for _, total in calls} == {40_000}
    seen: list[int] = []
    ec.compress(normal(3000, 8), "pq", parts=2, bits=4, progress=lambda done, total: seen.append(done) or True)
    assert seen == sorted(seen)
    assert seen[-1] == 6000
