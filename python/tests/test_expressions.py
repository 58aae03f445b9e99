"""Expressions of every store and route, nested at random: all that a table answers follows from its rows."""

import json
import os
import time
from pathlib import Path

import numpy as np
import random_tables
import reference
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec


@given(table=random_tables.expressions())
def test_rows_are_those_of_the_reference(table):
    reference.assert_rows(table.decode(), reference.rows(table), slack=8)


@given(table=random_tables.expressions(), data=st.data())
def test_lookups_and_slices_are_the_rows(table, data):
    rows = table.decode()
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    ids = rng.integers(0, table.rows, 600)
    np.testing.assert_array_equal(table.lookup(ids), rows[ids])
    np.testing.assert_array_equal(table.lookup(ids[:1]), rows[ids[:1]])
    wrong = np.where(rng.random(600) < 0.3, rng.choice([-1, table.rows, 2**62], 600), ids)
    expected = np.where(((wrong < 0) | (wrong >= table.rows))[:, None], np.float32(0), rows[ids])
    np.testing.assert_array_equal(table.lookup(wrong, on_invalid="zero"), expected)
    start, stop = sorted(rng.integers(0, table.rows + 1, 2).tolist())
    part = table.slice(start, stop)
    np.testing.assert_array_equal(part.decode(), rows[start:stop])
    # Of a slice of a slice: offsets add up.
    middle = (stop - start) // 2
    np.testing.assert_array_equal(part.slice(middle, stop - start).decode(), rows[start + middle : stop])
    if stop > start:
        reference.assert_rows(part.decode(), reference.rows(part), slack=8)


@given(table=random_tables.expressions(), data=st.data(), mode=st.sampled_from(["sum", "mean", "max"]))
def test_bags_are_pooled_rows(table, data, mode):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    ids = rng.integers(0, table.rows, 900)
    # Short bags, empty ones, and one of several blocks.
    offsets = np.concatenate([[0, 0], np.sort(rng.integers(0, 300, 30)), [300]])
    weights = rng.standard_normal(len(ids)).astype(np.float32) if mode == "sum" and rng.integers(2) else None
    padding = int(ids[0]) if rng.integers(2) else None
    found = table.bag(ids, offsets, mode, per_sample_weights=weights, padding_idx=padding)
    wanted = reference.bag(reference.rows(table), ids, offsets, mode, weights, padding_idx=padding)
    wanted.magnitude *= 8
    reference.assert_pooled(found, wanted, 600, repeated=True)


@given(table=random_tables.expressions())
def test_results_do_not_depend_on_threads(table):
    ids = np.random.default_rng(0).integers(0, table.rows, 5000)
    answers = []
    for threads in (1, 3):
        ec.set_num_threads(threads)
        answers.append((table.lookup(ids), table.bag(ids, np.arange(0, 5000, 7))))
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, other)


@given(table=random_tables.expressions())
def test_files_hold_what_was_saved(tmp_path_factory, table):
    folder: Path = tmp_path_factory.mktemp("files")
    start = table.rows // 3
    for one in (table, table.slice(start, table.rows)):
        one.save(folder / "table.safetensors")
        again = ec.load(folder / "table.safetensors")
        assert str(again) == str(one)
        np.testing.assert_array_equal(again.decode(), one.decode())
        again.save(folder / "again.safetensors")
        assert (folder / "again.safetensors").read_bytes() == (folder / "table.safetensors").read_bytes()


@given(table=random_tables.expressions())
def test_bytes_of_the_nodes_add_up(table):
    def total(node):
        return node["bytes"] + sum(total(child) for child in node.get("children", {}).values())

    tree, arrays = table.parts()
    assert total(tree) == table.stored_bytes
    # Constants of hashes lie in the tree, everything else in arrays.
    held = sum(array.values.nbytes for array in arrays.values())
    assert held <= table.stored_bytes <= held + 64 * json.dumps(tree).count('"kind"')
    shown = sum(int(line.rsplit("  ", 1)[1].split()[0].replace(",", "")) for line in str(table).splitlines()[:-1])
    assert shown == table.stored_bytes


@given(table=random_tables.expressions(), alignment=st.sampled_from([2, 16, 64]))
def test_alignment_changes_no_row(table, alignment):
    np.testing.assert_array_equal(table.aligned(alignment).decode(), table.decode())


def test_opening_takes_the_same_time_for_any_size(tmp_path):
    """More than 2 GiB of an expression, in a file whose arrays are a hole."""
    rows, arrays = 60_000_000, {}

    def array(name, dtype, shape, size):
        start = max((end for _, _, (_, end) in arrays.values()), default=0)
        arrays[name] = (dtype, shape, (start, start + size))
        return name

    codes = {"kind": "uniform", "rows": rows, "dimension": 64, "bits": 4, "group": 64, "scale": "f16"}
    codes["tensors"] = {"rows": array("codes", "U8", [rows, 36], rows * 36)}
    shared = {"kind": "dense", "rows": 1000, "dimension": 16, "element": "f32"}
    shared["tensors"] = {"rows": array("shared", "F32", [1000, 16], 64_000)}
    route = {"kind": "remap", "rows": rows, "dimension": 16, "function": "map", "offset": 0, "block_rows": 1}
    route |= {"bits": 10, "shift": 0, "children": {"inner": shared}}
    route["tensors"] = {"map": array("map", "U8", [rows * 10 // 8], rows * 10 // 8)}
    tree = {"kind": "columns", "rows": rows, "dimension": 80, "children": {"0": codes, "1": route}}
    header: dict[str, object] = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        for name, (dtype, shape, offsets) in arrays.items()
    }
    tables = json.dumps({"weight": tree})
    header["__metadata__"] = {"embedcompress.version": "1", "embedcompress.tables": tables}
    text = json.dumps(header).encode()
    path = tmp_path / "large.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    size = sum(end - start for _, _, (start, end) in arrays.values())
    os.truncate(path, 8 + len(text) + size)
    assert size > 2 << 30
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        table = ec.load(path)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.01
    assert table.stored_bytes == size == path.stat().st_size - 8 - len(text)
    assert not table.lookup([0, rows - 1]).any()
