"""`lookup`, `decode` and `slice` against the reference, for every kind of table."""

import numpy as np
import pytest
import random_tables
import reference
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

shapes = st.one_of(
    st.just(()),
    st.lists(st.integers(0, 6), min_size=1, max_size=4).map(tuple),
    st.sampled_from([(0,), (1,), (255,), (256,), (257,), (513,), (3, 0, 2)]),
)


@given(random_tables.tables(), shapes, random_tables.id_types, st.integers(0, 2**32))
def test_lookup_agrees_with_the_reference(table, shape, dtype, seed):
    ids = np.random.default_rng(seed).integers(0, table.rows, shape).astype(dtype)
    wanted = reference.rows(table)
    found = table.lookup(ids)
    assert found.shape == (*shape, table.dimension)
    reference.assert_rows(found, reference.Rows(wanted.values[ids], wanted.magnitude[ids]))
    out = np.full(found.shape, np.nan, np.float32)
    assert table.lookup(ids, out=out) is out
    np.testing.assert_array_equal(out, found)


@given(random_tables.tables(), st.data())
def test_decode_and_slice_agree_with_the_reference(table, data):
    wanted = reference.rows(table)
    decoded = table.decode()
    reference.assert_rows(decoded, wanted)
    start = data.draw(st.integers(0, table.rows))
    stop = data.draw(st.integers(start, table.rows))
    np.testing.assert_array_equal(table.decode(start, stop), decoded[start:stop])
    part = table.slice(start, stop)
    assert part.shape == (stop - start, table.dimension)
    np.testing.assert_array_equal(part.decode(), decoded[start:stop])
    # The parts of a slice mean the same rows, and a slice of a slice counts from its own start.
    reference.assert_rows(part.decode(), reference.rows(part))
    again = part.slice((stop - start) // 2, stop - start)
    np.testing.assert_array_equal(again.decode(), decoded[start + (stop - start) // 2 : stop])


@pytest.mark.parametrize("dimension", reference.DIMENSIONS)
@pytest.mark.parametrize("bits", reference.BITS)
def test_every_width_of_code_at_every_dimension(rng, bits, dimension):
    for group in (None, 8, 32):
        for scale_type in ("f16", "f32"):
            table = random_tables.random_uniform(rng, 21, dimension, bits, group, scale_type)
            reference.assert_rows(table.decode(), reference.rows(table))
            ids = rng.integers(0, 21, 40)
            np.testing.assert_array_equal(table.lookup(ids), table.decode()[ids])


@pytest.mark.parametrize("element", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("dimension", reference.DIMENSIONS)
def test_dense_rows_come_back_exactly(rng, element, dimension):
    table = random_tables.random_dense(rng, 9, dimension, element)
    np.testing.assert_array_equal(table.decode(), reference.rows(table).values.astype(np.float32))
    assert table.stored_bytes == 9 * dimension * (4 if element == "f32" else 2)


def test_every_half_and_brain_float_decodes_exactly():
    """All 65,536 bit patterns, subnormals and infinities included."""
    bits = np.arange(65536, dtype=np.uint16).reshape(-1, 64)
    tree = {"kind": "dense", "rows": 1024, "dimension": 64, "tensors": {"rows": "w"}}
    half = ec.Table.from_parts({**tree, "element": "f16"}, {"w": ("f16", bits.view(np.float16))})
    np.testing.assert_array_equal(half.decode(), bits.view(np.float16).astype(np.float32))
    brain = ec.Table.from_parts({**tree, "element": "bf16"}, {"w": ("bf16", bits)})
    np.testing.assert_array_equal(brain.decode(), reference.from_bfloat16(bits))


def test_every_half_as_a_scale_and_as_a_bias():
    patterns = np.arange(65536, dtype=np.uint16)
    finite = patterns[np.isfinite(patterns.view(np.float16))]
    for code, order in ((1, [0, 1]), (0, [1, 0])):
        scales = np.zeros((len(finite), 2), np.uint16)
        scales[:, order[0]] = finite
        codes = np.full((len(finite), 1), code, np.uint8)
        packed = np.concatenate([codes, scales.view(np.uint8).reshape(-1, 4)], axis=1)
        fields = {"bits": 8, "group": 1, "scale": "f16", "tensors": {"rows": "c"}}
        tree = {"kind": "uniform", "rows": len(finite), "dimension": 1, **fields}
        table = ec.Table.from_parts(tree, {"c": ("u8", packed)})
        np.testing.assert_array_equal(table.decode()[:, 0], finite.view(np.float16).astype(np.float32))


def test_what_goes_in_as_ids(rng):
    table = ec.dense(rng.standard_normal((10, 3)).astype(np.float32))
    rows = table.decode()
    read_only = np.array([1, 2])
    read_only.flags.writeable = False
    for ids in ([1, 2], (1, 2), range(1, 3), read_only, memoryview(np.array([1, 2])), np.array([1, 2], np.int32)):
        np.testing.assert_array_equal(table.lookup(ids), rows[1:3])
    assert table.lookup(3).shape == (3,)
    assert table.lookup(np.int64(3)).shape == (3,)
    assert table.lookup([]).shape == (0, 3)
    assert table.lookup([[]]).shape == (1, 0, 3)
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(table.lookup(torch.tensor([[1, 2]])), rows[None, 1:3])
    np.testing.assert_array_equal(table.lookup(torch.tensor([1, 2], dtype=torch.int32)), rows[1:3])
    out = torch.empty(2, 3)
    table.lookup([1, 2], out=out.numpy())
    np.testing.assert_array_equal(out.numpy(), rows[1:3])


def test_invalid_ids_as_zeros_are_counted(rng):
    table = random_tables.random_uniform(rng, 10, 5)
    found = table.lookup([3, -1, 10, 2**40, 4], on_invalid="zero")
    np.testing.assert_array_equal(found[[0, 4]], table.lookup([3, 4]))
    np.testing.assert_array_equal(found[1:4], np.zeros((3, 5)))
    assert table.invalid_count == 3
    pooled = table.bag([3, -5, 99], [0], on_invalid="zero")
    np.testing.assert_array_equal(pooled, table.lookup([3]))
    assert table.invalid_count == 5
    assert table.slice(0, 5).invalid_count == 0


def test_zero_in_a_map_is_no_invalid_id(rng):
    table = ec.remap(random_tables.random_dense(rng, 3, 4), map=[-1, 2])
    np.testing.assert_array_equal(table.lookup([0]), np.zeros((1, 4)))
    assert table.invalid_count == 0


def test_a_table_without_rows():
    table = ec.dense(np.empty((0, 4), np.float32))
    assert table.shape == (0, 4)
    assert table.ratio == 0
    assert table.lookup([]).shape == (0, 4)
    assert table.decode().shape == (0, 4)
    assert table.slice(0, 0).rows == 0
    assert table.bag([], [0, 0]).shape == (2, 4)
    for method in ("asym", "greedy"):
        assert ec.compress(table, method).decode().shape == (0, 4)
    assert table.parts()[1]["rows"].values.shape == (0, 4)
    with pytest.raises(IndexError, match="no rows"):
        table.lookup([0])


def test_a_table_on_read_only_memory(rng):
    weight = rng.standard_normal((5, 3)).astype(np.float32)
    weight.flags.writeable = False
    np.testing.assert_array_equal(ec.dense(weight).decode(), weight)
    assert ec.compress(weight, bits=8).rows == 5


def test_memory_that_is_not_aligned(rng):
    """Buffers may start at any byte."""
    weight = rng.standard_normal((20, 7)).astype(np.float32)
    raw = np.zeros(weight.nbytes + 1, np.uint8)
    raw[1:] = weight.view(np.uint8).ravel()
    odd = raw[1:].view(np.float32).reshape(20, 7)
    assert not odd.flags.aligned
    np.testing.assert_array_equal(ec.dense(odd).decode(), weight)
    ids = np.zeros(8 * 4 + 1, np.uint8)
    ids[1:] = np.array([3, 1, 4, 1]).view(np.uint8)
    np.testing.assert_array_equal(ec.dense(odd).lookup(ids[1:].view(np.int64)), weight[[3, 1, 4, 1]])


def test_wide_and_tall_tables(rng):
    """More columns than a block of memory, more rows than a block of ids, on several threads."""
    wide = random_tables.random_uniform(rng, 3, 70_001, 3, 8)
    reference.assert_rows(wide.decode(), reference.rows(wide))
    tall = random_tables.random_uniform(rng, 50_000, 3, 5)
    reference.assert_rows(tall.decode(), reference.rows(tall))
