"""Codes that are given: `uniform` and `codebook` against their formulas, and the bytes of what is only described."""

import json

import numpy as np
import pytest
import random_tables
from hypothesis import given
from hypothesis import strategies as st
from store_reference import assert_agrees

import embedcompress as ec
from embedcompress import _core
from embedcompress._expressions import described, plan_bytes

FLOATS = {"f16": np.float16, "f32": np.float32}
widths = st.sampled_from([1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 64, 100])
integer_types = st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64])


def codes_of(rng, rows, dimension, bits, dtype):
    info = np.iinfo(dtype)
    return rng.integers(0, min(2**bits, info.max + 1), (rows, dimension)).astype(dtype)


@given(
    st.integers(0, 70), widths, st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 16]), integer_types,
    st.sampled_from(["f16", "f32"]), st.sampled_from(["table", "row", "column", "group"]), st.integers(0, 2**32),
)  # fmt: skip
def test_uniform_rows_are_those_of_the_formula(rows, dimension, bits, dtype, scale_dtype, scope, seed):
    rng = np.random.default_rng(seed)
    codes = codes_of(rng, rows, dimension, bits, dtype)
    group = 8 if scope == "group" and dimension > 8 else dimension
    groups = -(-dimension // group)
    shape = {"table": (), "row": (rows,), "column": (rows, 1), "group": (rows, groups)}[scope]
    scales, biases = (rng.standard_normal(shape).astype(FLOATS[scale_dtype]) for _ in range(2))
    table = ec.uniform(codes, scales, biases, bits=bits, group=None if group == dimension else group)

    def spread(numbers):
        numbers = numbers.astype(np.float32)
        if scope == "table":
            return numbers
        return np.repeat(numbers.reshape(rows, groups), group, axis=1)[:, :dimension]

    wanted = spread(scales).astype(np.float64) * codes + spread(biases)
    np.testing.assert_allclose(table.decode(), wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max(initial=1))
    number = 4 if scope == "table" or scale_dtype == "f32" else 2
    own = 8 if scope == "table" else 2 * number * groups * rows
    assert table.stored_bytes == rows * -(-dimension * bits // 8) + own
    assert_agrees(table, rng)


@given(st.integers(0, 30), widths, st.sampled_from([1, 2, 3, 4, 5, 8, 16]), st.integers(0, 2**32))
def test_packed_codes_give_the_same_rows(rows, dimension, bits, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**bits, (rows, dimension))
    row_bits = (codes[:, :, None] >> np.arange(bits) & 1).reshape(rows, dimension * bits).astype(np.uint8)
    packed = np.packbits(row_bits, axis=1, bitorder="little")
    scales, biases = rng.standard_normal((2, rows), dtype=np.float32)
    table = ec.uniform(packed, scales, biases, bits=bits, dimension=dimension)
    same = ec.uniform(codes, scales, biases, bits=bits)
    assert table.shape == same.shape and table.stored_bytes == same.stored_bytes
    np.testing.assert_array_equal(table.decode(), same.decode())


@given(
    st.integers(0, 70), widths, st.integers(1, 8), integer_types, st.sampled_from(["f16", "f32"]),
    st.sampled_from(["table", "row", "cluster", "scaled"]), st.sampled_from([1, 2, 256, 257, 70_000]),
    st.integers(0, 2**32),
)  # fmt: skip
def test_codebook_rows_are_those_of_the_formula(rows, dimension, bits, dtype, entry, scope, count, seed):
    rng = np.random.default_rng(seed)
    if bits > 4:
        count = min(count, 300)
    codes = codes_of(rng, rows, dimension, bits, dtype)
    places = codes.astype(np.int64)
    owners = {"row": rows, "cluster": count}.get(scope, 1)
    books = rng.standard_normal((owners, 2**bits)).astype(FLOATS[entry])
    clusters = rng.integers(0, count, rows) if scope == "cluster" else None
    scales = rng.standard_normal(rows).astype(FLOATS[entry]) if scope == "scaled" else None
    shown = books[0] if owners == 1 and scope in ("table", "scaled") else books
    table = ec.codebook(codes, shown, bits=bits, clusters=clusters, scales=scales)
    if scope == "cluster":
        wanted = books[clusters[:, None], places]
    else:
        wanted = books[np.arange(rows)[:, None] if scope == "row" else 0, places]
    wanted = wanted.astype(np.float32)
    if scope == "scaled":
        wanted = wanted * scales.astype(np.float32)[:, None]
    np.testing.assert_allclose(table.decode(), wanted, rtol=1e-6)
    assert table.parts()[0]["entries"] == entry
    assert_agrees(table, rng)


def test_codes_of_a_compressed_table_make_it_again(rng, tmp_path):
    weight = rng.standard_normal((50, 24), dtype=np.float32)
    found = ec.compress(weight, "asym", bits=8, group=8)
    rows = found.parts()[1]["rows"].values
    both = np.ascontiguousarray(rows[:, 24:]).view(np.float16).reshape(50, 3, 2)
    again = ec.uniform(rows[:, :24], both[..., 0], both[..., 1], bits=8, group=8)
    again.save(tmp_path / "again")
    found.save(tmp_path / "found")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "found").read_bytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ec.uniform([[0, 4]], 1.0, 0.0, bits=2), "codes of 2 bits are from 0 to 3, but row 0 has another"),
        (lambda: ec.uniform([[0, 3], [0, -1]], 1.0, 0.0, bits=2), "row 1 has another"),
        (lambda: ec.uniform(np.uint64([[2**64 - 1]]), 1.0, 0.0, bits=16), "codes of 16 bits are from 0 to 65535"),
        (lambda: ec.uniform([[0]], 1.0, 0.0, bits=9), "bits must be 1 to 8, or 16, not 9"),
        (lambda: ec.uniform([[0]], 1.0, 0.0, bits="4"), "bits must be an integer, not a string"),
        (lambda: ec.uniform([[0]], 1.0, 0.0, bits=True), "bits must be an integer, not true"),
        (lambda: ec.uniform([0], 1.0, 0.0, bits=2), r"codes must be integers of shape \(rows, columns\)"),
        (lambda: ec.uniform([[0.5]], 1.0, 0.0, bits=2), "codes must be integers"),
        (lambda: ec.uniform([[0]], [1.0, 2.0], [0.0, 1.0], bits=2), "scales must be one number, 1 for rows"),
        (lambda: ec.uniform([[0]], [1.0], 0.0, bits=2), "biases must have the shape of scales"),
        (lambda: ec.uniform([[0]], np.inf, 0.0, bits=2), "scale and the bias must be finite"),
        (lambda: ec.uniform([[0]], [np.nan], [0.0], bits=2), "row 0 has the scale nan"),
        (lambda: ec.uniform([[0]], [1e6], [0.0], bits=2, scale_dtype="f16"), "f16 does not hold; f32 scales"),
        (lambda: ec.uniform([[0]], [1.0], [0.0], bits=2, scale_dtype="f8"), "scale must be one of 'f16', 'f32'"),
        (lambda: ec.uniform([[0]], 1.0, 0.0, bits=2, scale_dtype="f16"), "one scale and bias for the table are f32"),
        (lambda: ec.uniform(np.zeros((1, 16), int), [1.0], [0.0], bits=2, group=3), "group must be a multiple of 8"),
        (
            lambda: ec.uniform([[True]], 1.0, 0.0, bits=2),
            "codes must be integers or floats in native byte order, not bool",
        ),
        (lambda: ec.uniform(np.uint8([[1, 2]]), 1.0, 0.0, bits=4, dimension=2), "must be u8 of 1 bytes a row, not u8"),
        (lambda: ec.uniform([[1]], 1.0, 0.0, bits=4, dimension=2), "must be u8 of 1 bytes a row, not i64"),
        (lambda: ec.uniform(np.uint8([[16]]), 1.0, 0.0, bits=4, dimension=1), "row 0 has another"),
        (lambda: ec.uniform(np.uint8([[16]]), 1.0, 0.0, bits=4, dimension=0), "dimension must be an integer from 1 to"),
        (lambda: ec.codebook([[0, 4]], np.ones(4), bits=2), "codes of 2 bits are from 0 to 3"),
        (lambda: ec.codebook([[0]], np.ones(3), bits=2), r"codebooks must have the shape \[4\] for tables"),
        (lambda: ec.codebook([[0]], np.ones((2, 4)), bits=2), r"codebooks must have the shape \[1, 4\] for rows"),
        (lambda: ec.codebook([[0]], np.ones(4, int), bits=2), "codebooks must be f32 or f16, not i64"),
        (lambda: ec.codebook([[0]], np.float32([0, 1, 2, np.nan]), bits=2), "codebooks must be finite"),
        (lambda: ec.codebook([[0]], np.ones((3, 4)), bits=2, clusters=[3]), "row 0 is of cluster 3"),
        (lambda: ec.codebook([[0]], np.ones((3, 4)), bits=2, clusters=[-1]), "it must be from 0 to 2"),
        (lambda: ec.codebook([[0]], np.ones((3, 4)), bits=2, clusters=[0, 1]), "clusters must be 1"),
        (lambda: ec.codebook([[0]], np.ones((1, 4)), bits=2, scales=[1.0]), "scales of rows go with the scope 'table'"),
        (lambda: ec.codebook([[0]], np.ones(4), bits=2, scales=[1.0, 2.0]), "scales must be 1"),
        (lambda: ec.codebook([[0]], np.float16([0, 1, 2, 3]), bits=2, scales=[1e6]), "too large for f16"),
        (lambda: ec.codebook([[0]], np.ones(512), bits=9), "bits must be 1 to 8, not 9"),
    ],
)
def test_what_is_refused_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_calls_of_the_core_check_what_they_get(rng):
    table = ec.dense(rng.standard_normal((3, 2), dtype=np.float32))
    good = {"map": np.zeros(2, np.int64)}
    assert _core.compose("remap", "{}", good, (table,)).shape == (2, 2)
    for arguments in (
        (None, "{}", good, (table,)), ("remap", None, good, (table,)), ("remap", {}, good, (table,)),
        ("remap", "{}", [good], (table,)), ("remap", "{}", good, [table]), ("remap", "{}", good, (None,)),
        ("remap", "{}", {1: good["map"]}, (table,)), ("remap", "{}", {"map": object()}, (table,)),
        ("remap", "{}", good), ("remap", "{}", good, (table,), 5),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            _core.compose(*arguments)
    for array in (np.zeros((2, 4), np.int64)[:, ::2], np.zeros(2, ">i8"), np.zeros(2, bool), np.zeros(2, "U1")):
        with pytest.raises(ValueError):
            _core.compose("remap", "{}", {"map": array}, (table,))
    with pytest.raises(ValueError, match="more than 8 axes"):
        _core.compose("remap", "{}", {"map": np.zeros((1,) * 9, np.int64)}, (table,))
    with pytest.raises(ValueError, match="null character"):
        _core.compose("re\0map", "{}", good, (table,))
    for tree in (None, b"{}", 1):
        with pytest.raises(TypeError):
            _core.plan_bytes(tree)
    assert _core.dtypes()["bf16"] == "u2"


def test_arrays_of_any_layout_are_taken(rng):
    table = ec.dense(rng.standard_normal((9, 2), dtype=np.float32))
    entries = np.arange(18) % 9
    for same in (entries, entries.astype(">i4"), np.repeat(entries, 2)[::2], entries.tolist(), entries.astype("u1")):
        np.testing.assert_array_equal(ec.remap(table, map=same).decode(), table.decode()[entries])


# Bytes of what is described


@given(table=random_tables.expressions())
def test_planned_bytes_are_those_of_the_table(table):
    for one in (table, table.slice(table.rows // 3, table.rows)):
        assert _core.plan_bytes(json.dumps(one.parts()[0])) == one.stored_bytes


def test_what_is_described_in_short(rng):
    rows = 1000
    inner = ec.compress(rng.standard_normal((300, 24), dtype=np.float32), bits=3)
    codes = described("uniform", 300, 24, bits=3, scale="f16")
    assert plan_bytes(codes) == inner.stored_bytes
    for entries, zeros in ((np.arange(rows) % 300, 0), (np.arange(rows) % 301 - 1, 1)):
        table = ec.remap(inner, map=entries)
        assert plan_bytes(described("remap", rows, 24, codes, function="map", zeros=zeros)) == table.stored_bytes
    table = ec.project(ec.rotate(inner, 5, offset=np.ones(24)), np.ones((24, 7)), np.ones(7))
    turned = described("rotate", 300, 24, codes, arrays=["offset"])
    assert plan_bytes(described("project", 300, 7, turned, element="f32", arrays=["bias"])) == table.stored_bytes
    other = ec.compress(rng.standard_normal((300, 24), dtype=np.float32), bits=3)
    table = ec.partition([inner, other], np.arange(600) % 2)
    assert plan_bytes(described("partition", 600, 24, codes, codes, by="assignment")) == table.stored_bytes
    with pytest.raises(ec.FormatError, match="lacks the field 'bits'"):
        plan_bytes(described("uniform", 3, 4, scale="f16"))
