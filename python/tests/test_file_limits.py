"""What a file may decide: sizes, names, memory and the time of a lookup have bounds."""

import contextlib
import json
import os
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

import embedcompress as ec

MOST_ROWS = 1 << 48


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header, ensure_ascii=False).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def table_file(path, tree, tensors, data=b""):
    metadata = {"embedcompress.version": "1", "embedcompress.tables": json.dumps({"w": tree})}
    return write(path, {"__metadata__": metadata, **tensors}, data)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.safetensors"


@pytest.fixture
def five():
    return ec.dense(np.ones((5, 4), np.float32))


# Names are bytes


def test_names_that_look_alike_are_two(path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    tables = {composed: ec.dense(np.zeros((1, 2), np.float32)), decomposed: ec.dense(np.ones((3, 2), np.float32))}
    ec.save(path, tables)
    assert ec.contents(path).tables == (composed, decomposed)
    assert (ec.load(path, composed).rows, ec.load(path, decomposed).rows) == (1, 3)
    with pytest.raises(ec.FormatError) as error:
        ec.load(path, "cafE\u0301")
    assert error.value.rule == "no_such_table"


@pytest.mark.parametrize("place", ["tensor", "field", "dtype", "kind", "choice", "table"])
def test_long_runs_of_combining_marks_cost_linear_time(path, place):
    long = "a" + "\u0301\u0316" * 150_000
    tensor = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    leaf = {"kind": "dense", "rows": 0, "dimension": 1, "element": "f32", "tensors": {"rows": "t"}}
    rows = {"t": {"dtype": "F32", "shape": [0, 1], "data_offsets": [0, 0]}}
    if place == "tensor":
        write(path, {long: tensor, long + "b": tensor})
    elif place == "field":
        write(path, {"t": {**tensor, long: 0}})
    elif place == "dtype":
        write(path, {"t": {**tensor, "dtype": "U8" + long}})
    elif place == "kind":
        table_file(path, {**leaf, "kind": "dense" + long}, rows)
    elif place == "choice":
        table_file(path, {**leaf, "element": "f32" + long}, rows)
    else:
        table_file(path, {**leaf, "tensors": {"rows": long}, long: 1}, rows)
    start = time.monotonic()
    with contextlib.suppress(ec.FormatError):
        ec.load(path)
    assert time.monotonic() - start < 2


# Rows


def makers(five):
    """Ways to ask for a table of so many rows."""
    return {
        "modulo": lambda rows: ec.remap(five, rows=rows, modulo=5),
        "hash": lambda rows: ec.remap(five, rows=rows, hash=0),
        "quotient": lambda rows: ec.remap(five, rows=rows, divisor=1 << 62),
        "shared_array": lambda rows: ec.shared_array(np.ones(4, np.float32), rows=rows, dimension=4, block=2),
        "sparse": lambda rows: ec.sparse(
            data=np.ones(1, np.float32),
            indices=np.zeros(1, np.int64),
            row_indices=np.zeros(1, np.int64),
            rows=rows,
            dimension=2,
            layout="coo",
        ),
    }


@pytest.mark.parametrize("rows", [MOST_ROWS + 1, 1 << 62, (1 << 63) - 1])
def test_too_many_rows(five, rows):
    for name, make in makers(five).items():
        with pytest.raises(ValueError, match=r"2\^48|281474976710656"):
            make(rows)
        assert make(MOST_ROWS).rows == MOST_ROWS, name
    with pytest.raises(ValueError, match=r"2\^48|281474976710656"):
        ec.remap(five, rows=rows, map=[0], block=(1 << 63) - 1)
    most = makers(five)["modulo"](MOST_ROWS)
    with pytest.raises(ValueError, match=r"2\^48"):
        ec.partition([most, five])


def test_too_many_rows_in_a_file(path):
    inner = {"kind": "dense", "rows": 1, "dimension": 1, "element": "f32", "tensors": {"rows": "t"}}
    remap = {"kind": "remap", "rows": 1, "dimension": 1, "function": "modulo", "modulus": 1, "offset": 0}
    tensors = {"t": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}
    for change, field in (
        ({"rows": MOST_ROWS + 1}, "rows"),
        ({"offset": MOST_ROWS}, "function"),
        ({"rows": 2**63 - 1}, "rows"),
    ):
        table_file(path, {**remap, **change, "children": {"inner": inner}}, tensors, b"\0" * 4)
        with pytest.raises(ec.FormatError, match=field) as error:
            ec.load(path)
        assert error.value.rule == "invalid_field"


def test_too_many_numbers():
    wide = ec.dense(np.ones((1, 1 << 20), np.float32))
    with pytest.raises(ValueError, match=r"2\^56 numbers"):
        ec.remap(wide, rows=(1 << 36) + 1, modulo=1)
    most = ec.remap(wide, rows=1 << 36, modulo=1)
    with pytest.raises(ValueError, match=r"2\^56 numbers"):
        ec.project(
            ec.remap(ec.dense(np.ones((1, 1), np.float32)), rows=1 << 40, modulo=1), np.ones((1, 1 << 20), np.float32)
        )
    assert str(most) and most.lookup([(1 << 36) - 1]).shape == (1, 1 << 20)


def test_blocks_of_the_largest_map_do_not_wrap(five):
    table = ec.remap(five, rows=5, map=[0], block=(1 << 63) - 1)
    assert np.array_equal(table.decode(), five.decode())


@pytest.mark.parametrize("what", ["evaluate", "errors only", "compress", "sample"])
def test_ctrl_c_over_very_many_rows(what):
    code = """
import numpy as np, embedcompress as ec, signal, threading, time, os, sys
big = ec.remap(ec.dense(np.ones((5, 4), np.float32)), rows=1 << 40, modulo=5)
signal.alarm(60)
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
try:
    {
        "evaluate": lambda: ec.evaluate(big, big),
        "errors only": lambda: ec.evaluate(big, big, queries=0),
        "compress": lambda: ec.compress(big, "table"),
        "sample": lambda: ec.compress(big, "pq", parts=2, bits=4),
    }[sys.argv[1]]()
except KeyboardInterrupt:
    print("heard after", time.monotonic() - start)
except (MemoryError, ValueError) as error:
    print("refused", error)
"""
    done = subprocess.run([sys.executable, "-c", code, what], capture_output=True, text=True)
    assert done.returncode == 0 and ("heard" in done.stdout or "refused" in done.stdout), done.stderr
    if "heard" in done.stdout:
        assert float(done.stdout.split()[-1]) < 3


# Sums over nodes


def test_sums_over_nodes_are_checked(path):
    count = 1 << 40
    leaf = {"kind": "dense", "rows": count, "dimension": 1, "element": "f32", "tensors": {"rows": "t"}}

    def partition(rows, nodes):
        return {"kind": "partition", "by": "ranges", "rows": rows, "dimension": 1, "children": dict(nodes)}

    def tree(groups):
        inner = partition(count * 256, ((str(i), leaf) for i in range(256)))
        outer = {
            str(i): {
                "kind": "remap",
                "function": "modulo",
                "modulus": 1,
                "offset": 0,
                "rows": 1,
                "dimension": 1,
                "children": {"inner": inner},
            }
            for i in range(groups)
        }
        return partition(groups, outer.items())

    def make(groups):
        text = json.dumps(
            {
                "__metadata__": {"embedcompress.version": "1", "embedcompress.tables": json.dumps({"w": tree(groups)})},
                "t": {"dtype": "F32", "shape": [count, 1], "data_offsets": [0, 4 * count]},
            }
        ).encode()
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            try:
                file.truncate(8 + len(text) + 4 * count)
            except OSError:
                pytest.skip("this file system has no files of 4 TiB")
        return ec.load(path)

    for groups in (4, 126):
        table = make(groups)
        # All are on the same array.
        assert table.stored_bytes == 4 * count
        assert "% of f32" in str(table)


# Memory


def grown(code, *arguments):
    """What a program printed, and the MB by which the code's peak of memory grew."""
    program = f"""
import sys, resource, embedcompress as ec
open("/proc/self/clear_refs", "w").write("5")
def peak(name): return int([l for l in open("/proc/self/status") if l.startswith(name)][0].split()[1])
before = peak("VmRSS")
try:
{code}
except ec.FormatError as error: print(error.rule)
print((peak("VmHWM") - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    return lines[:-1], float(lines[-1])


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
LOAD = "    ec.load(sys.argv[1])"


@needs_linux
@pytest.mark.parametrize("kind", ["zeros", "groups", "rotate", "hash_network"])
def test_many_nodes_on_one_array(path, kind):
    count, wide = 300, 1 << 20
    tensors = {}
    if kind == "zeros":
        leaf = {"kind": "dense", "rows": 0, "dimension": wide, "element": "f32", "tensors": {"rows": "t"}}
        tensors["t"] = {"dtype": "F32", "shape": [0, wide], "data_offsets": [0, 0]}
    elif kind == "groups":
        leaf = {
            "kind": "uniform",
            "rows": 0,
            "dimension": wide,
            "bits": 1,
            "group": 8,
            "scale": "f16",
            "tensors": {"rows": "t"},
        }
        tensors["t"] = {"dtype": "U8", "shape": [0, wide // 8 * 5], "data_offsets": [0, 0]}
    elif kind == "rotate":
        inner = {"kind": "dense", "rows": 0, "dimension": wide, "element": "f32", "tensors": {"rows": "t"}}
        leaf = {"kind": "rotate", "rows": 0, "dimension": wide, "seed": 1, "children": {"inner": inner}}
        tensors["t"] = {"dtype": "F32", "shape": [0, wide], "data_offsets": [0, 0]}
    else:
        leaf = {
            "kind": "hash_network",
            "rows": 0,
            "dimension": wide,
            "hashes": 1,
            "buckets": 2,
            "encoding": "uniform",
            "element": "f16",
            "layers": 1,
            "offset": 0,
            "tensors": {"factors": "c", "summands": "c", "moduli": "m", "weights0": "w", "biases0": "b"},
        }
        tensors = {
            "c": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
            "m": {"dtype": "I64", "shape": [1], "data_offsets": [8, 16]},
            "w": {"dtype": "F16", "shape": [1, wide], "data_offsets": [16, 16 + 2 * wide]},
            "b": {"dtype": "F32", "shape": [wide], "data_offsets": [16 + 2 * wide, 16 + 6 * wide]},
        }
    nodes = {str(i): leaf for i in range(count)}
    tree = {"kind": "combine", "rows": 0, "dimension": wide, "operation": "sum", "children": nodes}
    data = struct.pack("<qq", 1, 7) + bytes(6 * wide) if kind == "hash_network" else b""
    table_file(path, tree, tensors, data)
    printed, megabytes = grown(LOAD, path)
    assert megabytes < 420
    assert printed == (["invalid_parts"] if kind == "rotate" else printed)


@needs_linux
def test_thirty_rotations_keep_within_100_megabytes(path):
    wide = 261_000
    tree = {"kind": "dense", "rows": 0, "dimension": wide, "element": "f32", "tensors": {"rows": "t"}}
    for seed in range(32):
        tree = {"kind": "rotate", "rows": 0, "dimension": wide, "seed": seed, "children": {"inner": tree}}
    table_file(path, tree, {"t": {"dtype": "F32", "shape": [0, wide], "data_offsets": [0, 0]}})
    printed, megabytes = grown(LOAD, path)
    assert printed == ["invalid_parts"]
    assert megabytes < 100


@needs_linux
def test_nodes_share_what_is_read_of_an_array(path):
    leaf = {"kind": "dense", "rows": 1 << 20, "dimension": 8, "element": "f32", "tensors": {"rows": "t"}}
    tree = {
        "kind": "combine",
        "rows": 1 << 20,
        "dimension": 8,
        "operation": "sum",
        "children": {str(i): leaf for i in range(20)},
    }
    table_file(path, tree, {"t": {"dtype": "F32", "shape": [1 << 20, 8], "data_offsets": [0, 1 << 25]}}, bytes(1 << 25))
    _, megabytes = grown("    ec.load(sys.argv[1], mmap=False)", path)
    assert megabytes < 80


def test_a_file_has_32768_nodes_at_most(path, five):
    tensors = {"t": {"dtype": "F32", "shape": [5, 4], "data_offsets": [0, 80]}}
    leaf = {"kind": "dense", "rows": 5, "dimension": 4, "element": "f32", "tensors": {"rows": "t"}}
    tree = {"kind": "combine", "rows": 5, "dimension": 4, "operation": "sum", "children": {}}
    tree["children"] = {str(i): leaf for i in range(32_767)}
    table_file(path, tree, tensors, bytes(80))
    assert ec.load(path).lookup([4]).shape == (1, 4)
    tree["children"]["32767"] = leaf
    table_file(path, tree, tensors, bytes(80))
    for read in (ec.load, ec.contents):
        with pytest.raises(ec.FormatError, match="more than 32768 nodes"):
            read(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="at most 32768 pieces"):
        ec.save(path, {str(i): five for i in range(32_769)})
    assert path.read_bytes() == before


def test_plain_tensors_of_impossible_sizes(path):
    write(path, b'{"a":{"dtype":"F32","shape":[0,4295228296],"data_offsets":[0,0]}}')
    with pytest.raises(ec.FormatError, match="1048576 columns"):
        ec.load(path, "a")


@needs_linux
def test_trees_that_can_be_none_are_refused_before_they_are_read_whole(path):
    leaf = {"kind": "dense", "rows": 2**62, "dimension": 16, "element": "f32", "tensors": {"rows": "t"}}
    tree = {
        "kind": "combine",
        "rows": 9,
        "dimension": 16,
        "operation": "sum",
        "children": {str(i): leaf for i in range(100_000)},
    }
    table_file(path, tree, {})
    size = os.path.getsize(path) / (1 << 20)
    printed, megabytes = grown(LOAD, path)
    assert printed == ["invalid_field"]
    assert megabytes < 3 * size + 8, (megabytes, size)


@needs_linux
@pytest.mark.parametrize("kind", ["tensors", "axes", "metadata", "escapes", "entries", "numbers", "members"])
def test_headers_cost_what_they_are(path, kind):
    if kind == "tensors":
        header = (
            "{" + ",".join(f'"{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(150_000)) + "}"
        )
    elif kind == "axes":
        header = '{"a":{"dtype":"U8","shape":[' + "0," * 4_000_000 + '0],"data_offsets":[0,0]}}'
    elif kind == "metadata":
        header = '{"__metadata__":{"a":"' + "b" * 8_000_000 + '"}}'
    elif kind == "escapes":
        header = '{"__metadata__":{"a":"' + r"b\"\u00e9" * 1_000_000 + '"}}'
    elif kind == "entries":
        header = '{"__metadata__":{' + ",".join(f'"{i}":""' for i in range(1_000_000)) + "}}"
    elif kind == "numbers":
        header = '{"__metadata__":{"a":[' + "0," * 4_000_000 + "0]}}"
    else:
        header = '{"a":{"dtype":{' + ",".join(f'"{i}":0' for i in range(800_000)) + "}}}"
    write(path, header.encode())
    size = os.path.getsize(path) / (1 << 20)
    _, megabytes = grown("    ec.load(sys.argv[1], 'x')", path)
    # The pages of the file that were read are counted, too.
    assert megabytes < 3 * size + 8, (megabytes, size)


def test_too_many_axes(path):
    tensor = {"dtype": "U8", "shape": [1] * 64, "data_offsets": [0, 1]}
    assert ec.contents(write(path, {"a": tensor}, b"0")).tensors[0].shape == (1,) * 64
    with pytest.raises(ec.FormatError, match="more than 64 axes") as error:
        ec.contents(write(path, {"a": {**tensor, "shape": [1] * 65}}, b"0"))
    assert error.value.rule == "too_many_axes"


def test_tensors_in_any_order_are_found_by_name(path, rng):
    order = rng.permutation(300)
    tensors = {f"t{i}": {"dtype": "U8", "shape": [1], "data_offsets": [int(i), int(i) + 1]} for i in order}
    write(path, tensors, bytes(range(256)) + bytes(44))
    listed = ec.contents(path).tensors
    assert [t.name for t in listed] == [f"t{i}" for i in range(300)]
    text = json.dumps(tensors)[:-1] + ',"t7":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    with pytest.raises(ec.FormatError, match="repeats the key 't7'") as error:
        ec.contents(write(path, text.encode(), bytes(300)))
    assert error.value.rule == "duplicate_key"


# The time of a lookup


def sparse(layout, index, count):
    fields = {
        "kind": "sparse",
        "dimension": 16,
        "layout": layout,
        "element": "f16",
        "index": "u32",
        "nonzeros": count,
        "first": 0,
    }
    rows = len(index) - 1 if layout == "csr" else 1000
    tensors = {"pointers" if layout == "csr" else "rows": "i", "columns": "c", "values": "v"}
    arrays = {
        "i": ("u32", index),
        "c": ("u8", np.zeros(count, np.uint8)),
        "v": ("f16", np.full(count, 0.25, np.float16)),
    }
    return ec.Table.from_parts({**fields, "rows": rows, "tensors": tensors}, arrays)


def test_pointers_that_rise_and_fall():
    count, rows = 2_000_000, 1000
    pointers = np.zeros(rows + 1, np.uint32)
    pointers[1::2] = count
    pointers[-1] = count
    table = sparse("csr", pointers, count)
    start = time.monotonic()
    for call in (
        lambda: table.lookup(np.repeat(np.arange(0, rows, 2), 4)),
        lambda: table.bag(np.arange(0, rows, 2), [0]),
    ):
        with pytest.raises(ec.FormatError, match="row 0 has more than the 65536 non-zeros") as error:
            call()
        assert error.value.rule == "long_row"
    assert not table.lookup(np.repeat(np.arange(0, rows, 2), 4), on_invalid="zero").any()
    assert time.monotonic() - start < 2


def test_one_row_has_all_coordinates():
    count = 2_000_000
    table = sparse("coo", np.full(count, 7, np.uint32), count)
    start = time.monotonic()
    with pytest.raises(ec.FormatError, match="row 7 has more than the 65536 non-zeros"):
        table.lookup([1, 7])
    assert not table.lookup(np.full(2000, 7), on_invalid="zero").any()
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("layout", ["csr", "coo"])
def test_the_longest_row(layout):
    longest = 65_536
    index = np.array([0, longest, longest], np.uint32) if layout == "csr" else np.zeros(longest, np.uint32)
    assert sparse(layout, index, longest).lookup([0, 1])[:, 0].tolist() == [longest / 4, 0]
    arguments = (
        {"indptr": np.array([0, longest + 1])}
        if layout == "csr"
        else {"row_indices": np.zeros(longest + 1, int), "rows": 1}
    )
    with pytest.raises(ec.FormatError, match="row 0 has more than"):
        ec.sparse(
            data=np.ones(longest + 1, np.float32),
            indices=np.zeros(longest + 1, int),
            dimension=16,
            layout=layout,
            **arguments,
        )
