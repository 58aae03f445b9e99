"""Aligned rows: the same rows bit for bit, in memory and in files, with the bytes that they say."""

import numpy as np
import pytest
import random_tables
import reference
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec

alignments = st.sampled_from(reference.ALIGNMENTS)


def same(found, wanted):
    """Bit for bit, also where values are NaN."""
    np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))


def innermost(tree):
    """The store at the end of a chain of routes."""
    while "children" in tree:
        tree = tree["children"]["inner"]
    return tree


def padded_bytes(table, alignment):
    """What a table has with rows of its store padded to an alignment."""
    tree, arrays = table.parts()
    store = innermost(tree)
    rows = arrays[store["tensors"]["rows"]].values
    width = reference.row_bytes(store)
    return table.stored_bytes - rows.nbytes + len(rows) * (-(-width // alignment) * alignment)


@given(random_tables.tables(routes=random_tables.CHAINS), alignments, alignments, st.integers(0, 2**32))
def test_aligned_rows_are_the_same_rows(table, first, alignment, seed):
    rng = np.random.default_rng(seed)
    aligned = table.aligned(first).aligned(alignment)
    assert aligned.shape == table.shape
    assert aligned.stored_bytes == padded_bytes(table, alignment)
    assert innermost(aligned.parts()[0]).get("row_alignment", 1) == alignment
    same(aligned.decode(), table.decode())
    ids = rng.integers(0, table.rows, 70)
    same(aligned.lookup(ids), table.lookup(ids))
    offsets = [0, 5, 5, 40]
    for mode in ("sum", "mean", "max"):
        same(aligned.bag(ids, offsets, mode=mode), table.bag(ids, offsets, mode=mode))
    weights = rng.standard_normal(70).astype(np.float32)
    same(aligned.bag(ids, offsets, per_sample_weights=weights), table.bag(ids, offsets, per_sample_weights=weights))
    start = int(rng.integers(0, table.rows))
    same(aligned.slice(start, table.rows).decode(), table.decode(start))
    same(aligned.slice(start, table.rows).aligned(1).decode(), table.decode(start))


@given(random_tables.tables(max_depth=1, routes=random_tables.CHAINS), alignments)
def test_padding_is_zeros(table, alignment):
    tree, arrays = table.aligned(1).aligned(alignment).parts()
    store = innermost(tree)
    rows = np.ascontiguousarray(arrays[store["tensors"]["rows"]].values)
    stored = rows.view(np.uint8).reshape(len(rows), -1)
    assert stored.shape[1] % alignment == 0
    assert not stored[:, reference.row_bytes(store) :].any()


@pytest.mark.parametrize("method", [method.name for method in ec.methods()])
def test_files_of_every_method(rng, tmp_path, method):
    weight = rng.standard_normal((300, 20), dtype=np.float32)
    other = rng.standard_normal((7, 3), dtype=np.float32)
    tables = {"odd": ec.compress(other, "asym", bits=3), "t": ec.compress(weight, method).aligned(64)}
    ec.save(tmp_path / "saved", tables)
    for mmap in (True, False):
        again = ec.load(tmp_path / "saved", "t", mmap=mmap)
        assert str(again) == str(tables["t"])
        same(again.decode(), tables["t"].decode())
        # Rows start at a cache line in the file, too.
        assert again.row_layouts() == tables["t"].row_layouts()
    report = ec.compress_to_file(tmp_path / "streamed", {"t": weight}, method, row_alignment=64)
    tables["t"].save(tmp_path / "alone", name="t")
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "alone").read_bytes()
    assert report["t"].stored_bytes == tables["t"].stored_bytes


def test_files_without_padding_have_no_such_field(rng):
    table = ec.compress(rng.standard_normal((30, 20), dtype=np.float32))
    assert "row_alignment" not in table.parts()[0]
    assert "row_alignment" not in table.aligned(16).aligned(1).parts()[0]


def test_a_table_that_lies_so_is_not_copied(rng):
    table = ec.compress(rng.standard_normal((30, 20), dtype=np.float32)).aligned(64)
    (rows,), (again,) = (t.parts()[1].values() for t in (table, table.aligned(64)))
    assert rows.values.ctypes.data == again.values.ctypes.data
    assert rows.values.ctypes.data % 64 == 0


@pytest.mark.parametrize("alignment", [0, -1, 3, 128, 1.5, "64", None])
def test_alignments_that_can_t_be(rng, tmp_path, alignment):
    weight = rng.standard_normal((30, 20), dtype=np.float32)
    error = ValueError if isinstance(alignment, int) else TypeError
    with pytest.raises(error, match="row_alignment must"):
        ec.dense(weight).aligned(alignment)
    with pytest.raises(error, match="row_alignment must"):
        ec.compress_to_file(tmp_path / "t", {"t": weight}, row_alignment=alignment)
    assert not list(tmp_path.iterdir())


def test_a_budget_counts_rows_without_padding(rng, tmp_path):
    weight = rng.standard_normal((30, 20), dtype=np.float32)
    with pytest.raises(ValueError, match="give bits where row_alignment is not 1"):
        ec.compress_to_file(tmp_path / "t", {"t": weight}, budget=0.5, row_alignment=16)


@pytest.mark.parametrize("alignment", [0, 3, 128, "16", None, 16.5])
def test_parts_with_alignments_that_can_t_be(rng, alignment):
    tree, arrays = ec.compress(rng.standard_normal((30, 20), dtype=np.float32)).parts()
    with pytest.raises(ec.FormatError, match="row_alignment"):
        ec.Table.from_parts(tree | {"row_alignment": alignment}, arrays)


def test_parts_whose_rows_are_not_padded_as_they_say(rng):
    tree, arrays = ec.compress(rng.standard_normal((30, 20), dtype=np.float32)).aligned(16).parts()
    for alignment in (1, 32):
        with pytest.raises(ec.FormatError, match="U8"):
            ec.Table.from_parts(tree | {"row_alignment": alignment}, arrays)


# Where rows lie


@given(random_tables.tables(max_depth=1, routes=random_tables.CHAINS), st.integers(0, 100))
def test_lines_per_row_are_those_of_the_addresses(table, skipped):
    table = table.slice(min(skipped, table.rows), table.rows)
    tree, arrays = table.parts()
    store = innermost(tree)
    rows = arrays[store["tensors"]["rows"]].values
    (layout,) = table.row_layouts()
    assert (layout.rows, layout.unpadded_row_bytes) == (len(rows), reference.row_bytes(store))
    assert layout.path == ("inner" if "children" in tree else "")
    assert layout.current.stored_bytes == store["bytes"]
    if not len(rows):
        assert layout.current.lines_per_row == 0
        return
    starts = rows.ctypes.data + np.arange(len(rows)) * layout.current.row_bytes
    lines = (starts + layout.unpadded_row_bytes - 1) // 64 - starts // 64 + 1
    assert layout.current.lines_per_row == pytest.approx(lines.mean(), rel=1e-12)
    for choice in layout.choices:
        (found,) = table.aligned(choice.row_alignment).row_layouts()
        assert found.current == choice
    assert layout.best in layout.choices


def test_what_is_said_about_rows(rng):
    table = ec.compress(rng.standard_normal((1600, 64), dtype=np.float32), bits=4)
    text = "rows of 36 bytes lie in 1.5 cache lines on average; with row_alignment=64: 1 cache line, +78 % bytes"
    assert str(table.row_layouts()[0]) == text
    aligned = "rows of 36 bytes and 28 of padding lie in 1 cache line on average"
    assert str(table.aligned(64).row_layouts()[0]) == aligned
    eight = ec.compress(rng.standard_normal((1600, 60), dtype=np.float32), bits=8)
    assert str(eight.row_layouts()[0]) == "rows of 64 bytes lie in 1 cache line on average"
    shifted = ec.dense(np.zeros(16 * 10 + 1, np.float32)[1:].reshape(10, 16))
    if shifted.row_layouts()[0].current.lines_per_row == 2:
        assert str(shifted.row_layouts()[0]).endswith("with row_alignment=64: 1 cache line, the same bytes")


# Warming up


@given(random_tables.tables(routes=random_tables.CHAINS))
def test_every_table_warms_up(table):
    # Seeds are counted among the stored bytes, and lie in no array.
    assert table.warm_up() == sum(array.values.nbytes for array in table.parts()[1].values())


@pytest.mark.parametrize("mmap", [True, False])
def test_warming_up_changes_nothing(rng, tmp_path, mmap):
    table = ec.remap(ec.compress(rng.standard_normal((40_000, 64), dtype=np.float32)), rows=60_000, modulo=40_000)
    table.save(tmp_path / "table")
    again = ec.load(tmp_path / "table", mmap=mmap)
    assert again.warm_up() == table.stored_bytes
    ids = rng.integers(0, 60_000, 1000)
    same(again.lookup(ids), table.lookup(ids))
    assert ec.dense(np.empty((0, 3), np.float32)).warm_up() == 0
