"""Files that are read through: every rule over every array, and digests."""

import hashlib
import json
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

import embedcompress as ec

NAN16 = np.float16(np.nan).view(np.uint16)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.safetensors"


@pytest.fixture
def weight(rng):
    return rng.standard_normal((700, 24)).astype(np.float32)


def header(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), 8 + length


def every_kind(weight, rng):
    """A table of each kind that has arrays which can hold anything."""
    counts = rng.integers(0, 2, 700)
    dense = ec.dense(weight)
    thin = np.where(rng.random((700, 24)) < 0.05, weight, 0).astype(np.float32)
    return {
        "uniform": ec.compress(weight, bits=3, group=8),
        "one range": ec.compress(weight, "table", bits=4),
        "codebook": ec.compress(weight, "kmeans", bits=2),
        "clusters": ec.compress(weight, "kmeans_cls", bits=4),
        "scaled": ec.compress(weight, "eden", bits=4),
        "product": ec.compress(weight, "pq", parts=3, bits=4),
        "csr": ec.sparse(thin, layout="csr"),
        "coo": ec.sparse(thin, layout="coo"),
        "map": ec.remap(dense, map=rng.integers(-1, 700, 900)),
        "blocks": ec.remap(dense, map=rng.integers(-1, 100, 130), block=7, rows=905),
        "partition": ec.partition(
            [ec.dense(weight[counts == 0]), ec.compress(weight[counts == 1], bits=8)], assignment=counts
        ),
        "slice": ec.partition(
            [ec.dense(weight[counts == 0]), ec.compress(weight[counts == 1], bits=8)], assignment=counts
        ).slice(13, 690),
        "sparse slice": ec.sparse(thin, layout="coo").slice(13, 690),
        "map slice": ec.remap(dense, map=rng.integers(-1, 100, 130), block=7, rows=905).slice(20, 800),
        "empty": ec.dense(weight[:0]),
    }


@pytest.mark.parametrize("digests", [False, True])
def test_what_is_written_is_right(path, weight, rng, digests):
    tables = every_kind(weight, rng)
    ec.save(path, tables, digests=digests)
    ec.verify(path)
    assert ec.contents(path).has_digests == digests
    assert not any(key.startswith("embedcompress.") for key in ec.contents(path).metadata)
    for name, table in tables.items():
        for mmap in (False, True):
            loaded = ec.load(path, name, mmap=mmap, verify=True)
            assert np.array_equal(loaded.decode(), table.decode()), name


def parts_with(table, change):
    """The table with its arrays changed in place."""
    tree, arrays = table.parts()
    copies = {name: (dtype, np.array(values)) for name, (dtype, values) in arrays.items()}
    change({name: values for name, (_, values) in copies.items()})
    return ec.Table.from_parts(tree, copies)


def put(name, place, value):
    def change(arrays):
        arrays[name][place] = value

    return change


def faults(weight, rng):
    """Tables with one fault each, the rule that it breaks, and what the message says."""
    tables = every_kind(weight, rng)
    scales = ec.compress(weight, bits=8)
    inf = np.array([0, 0x7C], np.uint8)
    yield "scale", parts_with(scales, put("rows", (5, slice(24, 26)), inf)), "not_finite", "row 5"
    wide = ec.compress(weight, bits=8, scale_dtype="f32")
    bias = np.frombuffer(np.float32(np.nan).tobytes(), np.uint8)
    yield "bias", parts_with(wide, put("rows", (699, slice(28, 32)), bias)), "not_finite", "row 699"
    yield "range", parts_with(tables["one range"], put("parameters", 1, np.inf)), "not_finite", "scale and bias"
    yield "entry", parts_with(tables["codebook"], put("rows", (3, slice(6, 8)), inf)), "not_finite", "row 3"
    yield "clusters", parts_with(tables["clusters"], put("rows", (9, -1), 255)), "bad_cluster", "row 9"
    entries = {"f16": NAN16, "f32": np.nan}[tables["product"].parts()[0]["element"]]
    product = tables["product"].parts()[1]["codebooks"][1]
    assert product.size
    yield (
        "product",
        parts_with(tables["product"], lambda a: a["codebooks"].view(entries.dtype).__setitem__(7, entries)),
        "not_finite",
        "number 7",
    )
    csr, coo = tables["csr"], tables["coo"]
    yield "pointers", parts_with(csr, put("pointers", 5, 10**6)), "bad_row_pointers", "row 4"
    yield "end", parts_with(csr, put("pointers", 700, 0)), "bad_row_pointers", "row 699"
    yield "column", parts_with(csr, put("columns", 11, 24)), "bad_column", "column 24"
    yield "order", parts_with(coo, put("rows", 5, 699)), "unsorted_rows", "non-zero 6"
    yield "row", parts_with(coo, put("rows", -1, 700)), "unsorted_rows", "non-zero"
    yield "map", parts_with(tables["map"], put("map", slice(0, 4), 255)), "bad_map_entry", "entry 0"
    yield "blocks", parts_with(tables["blocks"], put("map", slice(0, 4), 255)), "bad_map_entry", "entry 0"
    yield "rank", parts_with(tables["partition"], put("ranks", (1, 0), 0)), "bad_rank", "row 512"
    yield "assignment", parts_with(tables["partition"], put("ranks", (0, slice(8, 72)), 255)), "bad_rank", "row"


def test_every_rule_over_arrays(path, weight, rng):
    for what, table, rule, text in faults(weight, rng):
        outer = ec.combine([ec.dense(np.zeros((table.rows, table.dimension), np.float32)), table])
        ec.save(path, {"good": ec.dense(weight), "bad": outer})
        assert ec.load(path, "good", verify=True).rows == 700
        for check in (lambda: ec.verify(path), lambda: ec.load(path, "bad", verify=True)):
            with pytest.raises(ec.FormatError) as error:
                check()
            assert (error.value.rule, error.value.path) == (rule, str(path)), what
            assert "'bad.1" in str(error.value) and text in str(error.value), (what, str(error.value))


def test_digests_are_those_of_hashlib(path, weight, rng):
    ec.save(path, every_kind(weight, rng), digests=True)
    fields, start = header(path)
    data = path.read_bytes()[start:]
    digests = json.loads(fields["__metadata__"]["embedcompress.digests"])
    tensors = {name: entry["data_offsets"] for name, entry in fields.items() if name != "__metadata__"}
    assert digests == {
        name: "sha256:" + hashlib.sha256(data[begin:end]).hexdigest() for name, (begin, end) in tensors.items()
    }


def test_files_that_are_compressed_straight_have_digests(path, weight):
    ec.compress_to_file(path, {"a": weight, "b": weight[:5]}, "greedy", bits=4, digests=True)
    ec.verify(path)
    ec.compress_to_file(path, {"a": weight}, "kmeans_cls", bits=4, digests=True)
    ec.verify(path)
    assert ec.contents(path).has_digests


def test_a_changed_byte_is_found(path, weight):
    tables = {"a": ec.compress(weight, bits=4), "b": ec.dense(weight)}
    ec.save(path, tables, digests=True)
    fields, start = header(path)
    raw = bytearray(path.read_bytes())
    raw[start + fields["b.rows"]["data_offsets"][0] + 100] ^= 1
    path.write_bytes(raw)
    ec.load(path, "a", verify=True)
    for check in (lambda: ec.verify(path), lambda: ec.load(path, "b", verify=True)):
        with pytest.raises(ec.FormatError, match=r"'b\.rows' has the digest sha256:") as error:
            check()
        assert error.value.rule == "wrong_digest"


@pytest.mark.parametrize(
    ("digests", "rule"),
    [
        ("[]", "invalid_field"),
        ("{}", "missing_field"),
        ('{"a.rows":5}', "invalid_field"),
        ('{"a.rows":"md5:00"}', "invalid_field"),
        ('{"a.rows":"sha256:00"}', "wrong_digest"),
        ('{"a.rows":"sha256:00","other":"sha256:00"}', "missing_tensor"),
    ],
)
def test_digests_that_are_none(path, digests, rule):
    ec.save(path, {"a": ec.dense(np.ones((2, 3), np.float32))})
    fields, start = header(path)
    data = path.read_bytes()[start:]
    fields["__metadata__"]["embedcompress.digests"] = digests
    text = json.dumps(fields).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    assert ec.load(path).rows == 2
    with pytest.raises(ec.FormatError) as error:
        ec.verify(path)
    assert error.value.rule == rule


def test_the_entry_of_digests_is_the_librarys_own(path):
    with pytest.raises(ValueError, match="digests=True"):
        ec.dense(np.ones((2, 3), np.float32)).save(path, metadata={"embedcompress.digests": "sha256"})


def test_progress_and_ctrl_c(path, weight):
    ec.dense(weight).save(path, digests=True)
    told = []
    ec.verify(path, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (2 * weight.nbytes, 2 * weight.nbytes)
    with pytest.raises(KeyboardInterrupt):
        ec.load(path, verify=True, progress=lambda done, total: False)


def test_ctrl_c_while_a_large_array_is_verified(tmp_path):
    path = tmp_path / "large.safetensors"
    size = 1 << 33
    text = json.dumps(
        {
            "__metadata__": {
                "embedcompress.version": "1",
                "embedcompress.tables": json.dumps(
                    {
                        "w": {
                            "kind": "uniform",
                            "rows": size >> 5,
                            "dimension": 28,
                            "bits": 8,
                            "group": 28,
                            "scale": "f16",
                            "tensors": {"rows": "r"},
                        }
                    }
                ),
                "embedcompress.digests": json.dumps({"r": "sha256:" + "0" * 64}),
            },
            "r": {"dtype": "U8", "shape": [size >> 5, 32], "data_offsets": [0, size]},
        }
    ).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)
    code = """
import embedcompress, signal, sys
signal.alarm(100)
signal.signal(signal.SIGVTALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.3)
embedcompress.verify(sys.argv[1])
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "KeyboardInterrupt" in done.stderr
    assert time.monotonic() - start < 30


def test_the_command_line(path, weight):
    ec.compress(weight, bits=4).save(path, digests=True)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "embedcompress.cli", *map(str, arguments)], capture_output=True, text=True
        )

    done = run("verify", path)
    assert done.returncode == 0 and "every digest" in done.stdout
    assert json.loads(run("verify", "--json", path).stdout)["files"][0]["digests"] is True
    assert run("inspect", "--verify", path).returncode == 0
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    for command in (("verify", path), ("inspect", "--verify", path)):
        done = run(*command)
        assert done.returncode == 1 and "has the digest" in done.stderr and len(done.stderr.splitlines()) == 1
    np.save(path.with_suffix(".npy"), weight)
    assert "only safetensors files can be verified" in run("inspect", "--verify", path.with_suffix(".npy")).stderr
