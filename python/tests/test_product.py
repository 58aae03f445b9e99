"""The store `product` beside NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import embedcompress as ec

Books = list[np.ndarray[Any, Any]]


def widths(dimension: int, parts: int, mode: str) -> list[int]:
    if mode == "sum":
        return [dimension] * parts
    return [len(columns) for columns in np.array_split(np.arange(dimension), parts)]


def random_product(
    seed: int, rows: int, dimension: int, parts: int, bits: int, mode: str, element: str
) -> tuple[np.ndarray[Any, Any], Books]:
    rng = np.random.default_rng(seed)
    books = [
        rng.standard_normal((1 << bits, width)).astype(np.float16 if element == "f16" else np.float32)
        for width in widths(dimension, parts, mode)
    ]
    return rng.integers(0, 1 << bits, (rows, parts)), books


def decoded(codes: np.ndarray[Any, Any], books: Books, mode: str) -> np.ndarray[Any, Any]:
    entries = [book.astype(np.float32)[codes[:, part]] for part, book in enumerate(books)]
    if mode == "concatenate":
        return np.concatenate(entries, axis=1)
    total = entries[0].copy()
    for entry in entries[1:]:
        total += entry
    return total


shapes = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 150),
    st.integers(1, 40),
    st.integers(1, 16),
    st.sampled_from(["concatenate", "sum"]),
    st.sampled_from(["f16", "f32"]),
).filter(lambda shape: shape[5] == "sum" or shape[3] <= shape[2])


@settings(max_examples=150, deadline=None)
@given(shapes)
def test_rows_are_those_of_numpy(shape: Any) -> None:
    seed, rows, dimension, parts, bits, mode, element = shape
    if mode == "sum":
        parts, bits = min(parts, 9), min(bits, 9)
    codes, books = random_product(seed, rows, dimension, parts, bits, mode, element)
    table = ec.product(codes, books, bits=bits, mode=mode)
    expected = decoded(codes, books, mode)
    assert table.shape == expected.shape
    assert table.stored_bytes == rows * -(-parts * bits // 8) + sum(book.nbytes for book in books)
    assert np.array_equal(table.decode(), expected)
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, rows, 300)
    assert np.array_equal(table.lookup(ids), expected[ids])
    start, stop = sorted(rng.integers(0, rows + 1, 2))
    assert np.array_equal(table.slice(start, stop).decode(), expected[start:stop])
    assert np.array_equal(table.aligned(16).lookup(ids), expected[ids])

    offsets = np.sort(rng.integers(0, len(ids) + 1, 20))
    offsets[0] = 0
    weights = rng.standard_normal(len(ids)).astype(np.float32)
    pairs = list(zip(offsets, [*offsets[1:], len(ids)], strict=True))
    for given_weights in (None, weights):
        scale = np.ones(len(ids), np.float32) if given_weights is None else given_weights
        sums = np.stack([(expected[ids[a:b]] * scale[a:b, None]).sum(axis=0, dtype=np.float64) for a, b in pairs])
        bags = table.bag(ids, offsets, per_sample_weights=given_weights)
        assert np.allclose(bags, sums, rtol=1e-4, atol=2e-4 * parts)


@pytest.mark.parametrize("mode", ["concatenate", "sum"])
@pytest.mark.parametrize("element", ["f16", "f32"])
@pytest.mark.parametrize(("dimension", "parts"), [(7, 3), (24, 6), (50, 25), (70, 4), (33, 2), (48, 3)])
def test_ids_without_a_row_are_zeros(mode: str, element: str, dimension: int, parts: int) -> None:
    codes, books = random_product(1, 9, dimension, parts, 5, mode, element)
    expected = np.concatenate([np.zeros((1, dimension), np.float32), decoded(codes, books, mode)])
    table = ec.product(codes, books, bits=5, mode=mode)
    ids = np.array([3, -1, 0, 99, 8, -1, -1, 2])
    rows = expected[np.where((ids < 0) | (ids > 8), 0, ids + 1)]
    assert np.array_equal(table.lookup(ids, on_invalid="zero"), rows)
    offsets = [0, 2, 5, 7, 8]
    sums = np.stack([rows[a:b].sum(axis=0) for a, b in zip(offsets, [*offsets[1:], 8], strict=True)])
    assert np.allclose(table.bag(ids, offsets, on_invalid="zero"), sums, rtol=1e-5, atol=1e-5)
    pruned = ec.remap(table, map=[-1, 4, -1])
    assert np.array_equal(pruned.decode(), expected[[0, 5, 0]])
    assert np.allclose(pruned.bag([0, 1, 2, 0], [0, 3]), expected[[5, 0]], atol=1e-6)


@pytest.mark.parametrize("mode", ["concatenate", "sum"])
def test_files_and_parts_round_trip(tmp_path: Path, mode: str) -> None:
    codes, books = random_product(2, 21, 19, 4, 11, mode, "f16")
    table = ec.product(codes, books, bits=11, mode=mode)
    for alignment in (1, 16):
        aligned = table.aligned(alignment)
        aligned.save(tmp_path / "t.safetensors")
        for mmap in (True, False):
            loaded = ec.load(tmp_path / "t.safetensors", mmap=mmap)
            assert np.array_equal(loaded.decode(), decoded(codes, books, mode))
            assert loaded.stored_bytes == aligned.stored_bytes
            loaded.save(tmp_path / "again.safetensors")
            assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "t.safetensors").read_bytes()
            assert str(loaded) == str(aligned)
    kind = "sum of 4" if mode == "sum" else "4"
    assert f"Product {kind} x 11-bit, 2,048 f16 entries per part" in str(table)


def test_long_bags_of_a_large_table_agree() -> None:
    codes, books = random_product(3, 100_000, 24, 12, 8, "concatenate", "f32")
    table = ec.product(codes, books, bits=8)
    expected = decoded(codes, books, "concatenate")
    ids = np.random.default_rng(0).integers(0, len(codes), 5000)
    assert np.array_equal(table.lookup(ids), expected[ids])
    offsets = np.arange(0, 5000, 50)
    sums = expected[ids].reshape(100, 50, 24).sum(axis=1)
    assert np.allclose(table.bag(ids, offsets), sums, atol=1e-4)
    assert np.allclose(table.bag(ids, offsets, mode="mean"), sums / 50, atol=1e-5)
    assert np.array_equal(table.bag(ids, offsets, mode="max"), expected[ids].reshape(100, 50, 24).max(axis=1))


def test_bits_are_packed_low_first() -> None:
    def packed(codes: list[list[int]], bits: int) -> Any:
        books = [np.zeros((1 << bits, 1), np.float16)] * len(codes[0])
        return ec.product(codes, books, bits=bits).parts()[1]["rows"].values.tolist()

    assert packed([[1, 2, 7]], 3) == [[0b11010001, 0b1]]
    assert packed([[0x123, 0xABC]], 12) == [[0x23, 0xC1, 0xAB]]
    assert packed([[0x1234]], 16) == [[0x34, 0x12]]


@pytest.mark.parametrize(
    ("codes", "shapes", "options", "message"),
    [
        ([[0, 4]], [(4, 1), (4, 1)], {"bits": 2}, "codes of 2 bits are from 0 to 3"),
        ([[0, -1]], [(4, 1), (4, 1)], {"bits": 2}, "codes of 2 bits are from 0 to 3"),
        ([[0, 1]], [(4, 1)], {"bits": 2}, "2 parts need as many codebooks, not 1"),
        ([[0, 1]], [(4, 1), (4, 2)], {"bits": 2}, r"part 0 must have the shape \(4, 2\)"),
        ([[0, 1]], [(4, 2), (5, 1)], {"bits": 2}, r"part 1 must have the shape \(4, 1\)"),
        ([[0, 1]], [(4, 2), (4, 1)], {"bits": 2, "mode": "sum"}, r"part 1 must have the shape \(4, 2\)"),
        ([[0, 1]], [(4, 1), (4, 1)], {"bits": 17}, "bits must be 1 to 16, not 17"),
        ([[0, 1]], [(4, 1), (4, 1)], {"bits": 2, "mode": "mean"}, "mode must be"),
        ([0, 1], [(4, 1), (4, 1)], {"bits": 2}, "codes must be integers of shape"),
    ],
)
def test_wrong_arguments_are_named(codes: Any, shapes: Any, options: Any, message: str) -> None:
    books = [np.zeros(shape, np.float32) for shape in shapes]
    with pytest.raises(ValueError, match=message):
        ec.product(np.array(codes), books, **options)


def test_parts_that_are_no_product_are_refused() -> None:
    codes, books = random_product(4, 3, 4, 2, 8, "concatenate", "f32")
    tree, arrays = ec.product(codes, books, bits=8).parts()
    for field, value, message in [
        ("parts", 5, "parts"),
        ("parts", 0, "parts"),
        ("bits", 17, "bits"),
        ("bits", 9, "rows"),
        ("mode", "product", "mode"),
        ("element", "bf16", "element"),
        ("row_alignment", 3, "row_alignment"),
    ]:
        with pytest.raises(ec.FormatError, match=message):
            ec.Table.from_parts({**tree, field: value}, arrays)
    books_array = arrays["codebooks"]
    with pytest.raises(ec.FormatError, match="codebooks"):
        ec.Table.from_parts(tree, {**arrays, "codebooks": ("f32", books_array.values[:-1])})
