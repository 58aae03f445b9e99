"""Files: what is written, what can be opened, and what every kind of bad file gets."""

import json
import os
import resource
import struct
import subprocess
import time

import numpy as np
import pytest
import random_tables
import reference

import embedcompress as ec


def write(path, header, data=b"", length=None):
    """A safetensors file with any header and any bytes after it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def read(path):
    """The header and the data of a file."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.safetensors"


@pytest.fixture
def weight(rng):
    return rng.standard_normal((40, 20)).astype(np.float32)


def nested(weight, rng):
    return ec.remap(ec.remap(ec.compress(weight, bits=3, group=8), map=rng.integers(-1, 40, 90)), rows=500, modulo=90)


# Round trips


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "uniform", "nested", "empty"])
def test_a_table_comes_back(path, weight, rng, kind, mmap):
    if kind == "uniform":
        table = ec.compress(weight, "greedy", bits=5, scale_dtype="f32")
    elif kind == "nested":
        table = nested(weight, rng)
    elif kind == "empty":
        table = ec.dense(np.empty((0, 3), np.float32))
    else:
        table = random_tables.random_dense(rng, 30, 9, kind)
    table.save(path)
    opened = ec.load(path, mmap=mmap)
    assert str(opened) == str(table)
    assert opened.parts()[0].keys() == table.parts()[0].keys()
    assert opened.stored_bytes == table.stored_bytes
    np.testing.assert_array_equal(opened.decode(), table.decode())
    ids = rng.integers(0, max(table.rows, 1), 100 if table.rows else 0)
    np.testing.assert_array_equal(opened.lookup(ids), table.lookup(ids))
    offsets = np.arange(0, len(ids), 10)
    np.testing.assert_array_equal(opened.bag(ids, offsets), table.bag(ids, offsets))
    if table.rows:
        np.testing.assert_array_equal(opened.slice(3, 20).decode(), table.decode(3, 20))


def test_paths_of_every_kind(path, weight, tmp_path, monkeypatch):
    table = ec.dense(weight)
    for place in (path, str(path), os.fsencode(path)):
        table.save(place)
        assert ec.load(place).rows == 40
        assert ec.contents(place).tables == ("weight",)
    monkeypatch.chdir(tmp_path)
    table.save("näme with späce.safetensors")
    assert ec.load("näme with späce.safetensors").rows == 40
    for bad in (None, 3, 1.5):
        with pytest.raises(TypeError):
            ec.load(bad)
        with pytest.raises(TypeError):
            table.save(bad)
    for bad in ("a\0b", b"a\0b"):
        with pytest.raises(ValueError, match="null"):
            ec.load(bad)
        with pytest.raises(ValueError, match="null"):
            table.save(bad)


def test_several_tables_and_metadata(path, weight, rng):
    tables = {"user": ec.compress(weight), "item.id": nested(weight, rng), "größe": ec.dense(weight)}
    ec.save(path, tables, metadata={"note": 'quotes " and \n lines', "π": "3.14"})
    listed = ec.contents(path)
    assert listed.is_table_file
    assert listed.tables == tuple(tables)
    assert listed.metadata == {"note": 'quotes " and \n lines', "π": "3.14"}
    for name, table in tables.items():
        np.testing.assert_array_equal(ec.load(path, name).decode(), table.decode())
    with pytest.raises(ec.FormatError, match=r"several tables, name one.*'user', 'item.id', 'größe'"):
        ec.load(path)
    with pytest.raises(ec.FormatError, match=r"no table 'other'.*'user'"):
        ec.load(path, "other")


def test_what_can_not_be_saved(path, weight):
    table = ec.dense(weight)
    with pytest.raises(ValueError, match="no table to save"):
        ec.save(path, {})
    with pytest.raises(ValueError, match="embedcompress"):
        table.save(path, metadata={"embedcompress.version": "2"})
    with pytest.raises((TypeError, ValueError)):
        table.save(path, metadata={"a": 3})
    with pytest.raises(TypeError):
        table.save(path, name=3)
    with pytest.raises(ValueError, match="null character"):
        table.save(path, name="a\0b")
    assert not list(path.parent.iterdir())


def test_names_that_are_prefixes_of_each_other(path, weight):
    table = ec.dense(weight)
    ec.save(path, {"a": ec.remap(table, map=[1]), "a.inner": table})
    assert np.array_equal(ec.load(path, "a").decode(), weight[[1]])
    assert np.array_equal(ec.load(path, "a.inner").decode(), weight)


def test_other_readers_see_the_tensors(path, weight, rng):
    safetensors = pytest.importorskip("safetensors.numpy")
    table = nested(weight, rng)
    ec.save(path, {"emb": table, "plain": ec.dense(weight.astype(np.float16))})
    seen = safetensors.load_file(path)
    parts = {f"emb.{name}": array.values for name, array in table.parts()[1].items()}
    assert seen.keys() == {*parts, "plain.rows"}
    for name, values in parts.items():
        np.testing.assert_array_equal(seen[name], values)
    np.testing.assert_array_equal(seen["plain.rows"], weight.astype(np.float16))


def golden_table():
    tree = {
        "kind": "remap",
        "rows": 3,
        "dimension": 3,
        "function": "map",
        "bits": 2,
        "block_rows": 1,
        "offset": 0,
        "shift": 0,
        "tensors": {"map": "m"},
        "children": {
            "inner": {
                "kind": "uniform",
                "rows": 2,
                "dimension": 3,
                "bits": 4,
                "group": 3,
                "scale": "f16",
                "tensors": {"rows": "c"},
            }
        },
    }
    # Row 0: codes 1, 2, 3, scale 0.5, bias -1. Row 1: codes 15, 0, 7, scale 2, bias 0.25.
    codes = np.array([[0x21, 0x03, 0x00, 0x38, 0x00, 0xBC], [0x0F, 0x07, 0x00, 0x40, 0x00, 0x34]], np.uint8)
    return ec.Table.from_parts(tree, {"m": ("u8", np.array([0b00_10_01], np.uint8)), "c": ("u8", codes)})


GOLDEN_VALUES = [[30.25, 0.25, 14.25], [0, 0, 0], [-0.5, 0, 0.5]]
GOLDEN_HEADER = (
    '{"__metadata__":{"embedcompress.version":"1","embedcompress.tables":"{\\"weight\\":{\\"kind\\":\\"remap\\",\\"rows\\":3,'
    '\\"dimension\\":3,\\"bytes\\":1,\\"function\\":\\"map\\",\\"bits\\":2,\\"block_rows\\":1,'
    '\\"offset\\":0,\\"shift\\":0,\\"tensors\\":{\\"map\\":\\"weight.map\\"},\\"children\\":'
    '{\\"inner\\":{\\"kind\\":\\"uniform\\",\\"rows\\":2,\\"dimension\\":3,\\"bytes\\":12,\\"bits\\":4,\\"group\\":3,'
    '\\"scale\\":\\"f16\\",\\"tensors\\":{\\"rows\\":\\"weight.inner.rows\\"}}}}}","note":"golden"},'
    '"weight.inner.rows":{"dtype":"U8","shape":[2,6],"data_offsets":[0,12]},'
    '"weight.map":{"dtype":"U8","shape":[1],"data_offsets":[12,13]}}'
)
GOLDEN_DATA = bytes.fromhex("2103003800bc 0f0700400034 09")


def test_the_bytes_of_a_file_are_as_they_have_always_been(path):
    """The format must not drift: files of today have to open tomorrow."""
    golden_table().save(path, metadata={"note": "golden"})
    raw = path.read_bytes()
    text = GOLDEN_HEADER.encode()
    padded = text + b" " * (-(8 + len(text)) % 64)
    assert raw == struct.pack("<Q", len(padded)) + padded + GOLDEN_DATA


def test_a_file_as_it_has_always_been_opens(path):
    write(path, GOLDEN_HEADER.encode(), GOLDEN_DATA)
    for mmap in (True, False):
        np.testing.assert_array_equal(ec.load(path, mmap=mmap).decode(), np.float32(GOLDEN_VALUES))


def test_the_same_table_gives_the_same_bytes(path, weight, rng, tmp_path):
    table = nested(weight, rng)
    table.save(path)
    ec.load(path).save(tmp_path / "again")
    assert path.read_bytes() == (tmp_path / "again").read_bytes()


# Checkpoints of others


def checkpoint(path, weight):
    half, brain = weight.astype(np.float16), reference.bfloat16(weight)
    arrays = {
        "model.f32": ("F32", weight),
        "model.f16": ("F16", half),
        "model.bf16": ("BF16", brain),
        "model.bias": ("F32", weight[0]),
        "model.ids": ("I64", np.arange(6).reshape(2, 3)),
    }
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, values) in arrays.items():
        header[name] = tensor(dtype, list(values.shape), len(data), len(data) + values.nbytes)
        data += values.tobytes()
    return write(path, header, data)


@pytest.mark.parametrize("mmap", [True, False])
def test_a_tensor_of_a_checkpoint(path, weight, mmap):
    checkpoint(path, weight)
    for name, wanted in (
        ("f32", weight),
        ("f16", weight.astype(np.float16).astype(np.float32)),
        ("bf16", reference.from_bfloat16(reference.bfloat16(weight))),
    ):
        source = ec.load(path, f"model.{name}", mmap=mmap)
        np.testing.assert_array_equal(source.decode(), wanted)
        np.testing.assert_array_equal(ec.compress(source).decode(), ec.compress(wanted).decode())


def test_what_a_checkpoint_holds(path, weight):
    listed = ec.contents(checkpoint(path, weight))
    assert not listed.is_table_file
    assert listed.tables == ("model.f32", "model.f16", "model.bf16")
    assert [(t.name, t.dtype, t.shape) for t in listed.tensors][3:] == [
        ("model.bias", "F32", (20,)),
        ("model.ids", "I64", (2, 3)),
    ]
    assert listed.metadata == {"format": "pt"}
    with pytest.raises(ec.FormatError, match=r"several tables, name one.*model\.f32 \(40 x 20, F32\), model\.f16"):
        ec.load(path)
    with pytest.raises(ec.FormatError, match=r"model.bias \(20, F32\) must have two axes"):
        ec.load(path, "model.bias")
    with pytest.raises(ec.FormatError, match=r"model.ids \(2 x 3, I64\) is of a type that no table has"):
        ec.load(path, "model.ids")
    with pytest.raises(ec.FormatError, match="no table 'nothing'"):
        ec.load(path, "nothing")


def test_a_checkpoint_with_one_matrix_needs_no_name(path, weight):
    write(path, {"emb": tensor("F32", [40, 20], 0, 3200)}, weight.tobytes())
    np.testing.assert_array_equal(ec.load(path).decode(), weight)
    write(path, {"ids": tensor("I64", [1], 0, 8)}, bytes(8))
    with pytest.raises(ec.FormatError, match="without a tensor of two axes"):
        ec.load(path)


def sparse_checkpoint(path):
    """A hole of 2 GiB, and a small matrix behind it."""
    big = 2 << 30
    header = {"big": tensor("F32", [big // 256, 64], 0, big), "small": tensor("F32", [4, 2], big, big + 32)}
    write(path, header)
    start = path.stat().st_size
    with open(path, "r+b") as file:
        file.truncate(start + big + 32)
        file.seek(start + big)
        file.write(np.arange(8, dtype=np.float32).tobytes())
    return path


def test_opening_takes_time_independent_of_size(path):
    sparse_checkpoint(path)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        table = ec.load(path, "big")
        ec.contents(path)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05
    assert table.rows == 8 << 20
    np.testing.assert_array_equal(table.lookup([0, table.rows - 1]), np.zeros((2, 64)))


def test_only_the_tensor_that_is_asked_for_is_read(path, run_python):
    """The small tensor opens and compresses, mapped or read, and the process never holds the large one."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs /proc")
    sparse_checkpoint(path)
    program = """
import sys
import numpy as np
import embedcompress as ec
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
before = peak()
for mmap in (True, False):
    source = ec.load(sys.argv[1], "small", mmap=mmap)
    assert source.decode().tolist() == np.arange(8).reshape(4, 2).tolist()
    assert ec.compress(source, bits=8).rows == 4
print(peak() - before)
"""
    assert int(run_python(program, path)) < 20_000  # KiB


# Bad files


def overlapping():
    return {"a": tensor("U8", [8], 0, 8), "b": tensor("U8", [8], 4, 12)}


@pytest.mark.parametrize(
    ("header", "data", "length", "message"),
    [
        ({"a": tensor("U8", [8], 0, 8)}, bytes(7), None, "'a' ends at byte 8 of a data section of 7 bytes"),
        ({"a": tensor("U8", [8], 0, 8)}, bytes(9), None, "after the last tensor, belong to no tensor"),
        (overlapping(), bytes(12), None, "before tensor 'a' ends"),
        (
            {"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 8, 12)},
            bytes(12),
            None,
            "before tensor 'b', belong to no",
        ),
        ({"a": tensor("F32", [3], 0, 8)}, bytes(8), None, "has 8 bytes: its shape and type need 12"),
        ({"a": tensor("F32", [2**40, 2**40], 0, 8)}, bytes(8), None, "byte count is above"),
        ({"a": tensor("F32", [2**63], 0, 8)}, bytes(8), None, "axis 0"),
        ({"a": tensor("F32", [-2], 0, 8)}, bytes(8), None, "non-negative integer"),
        ({"a": tensor("F32", [2.0], 0, 8)}, bytes(8), None, "non-negative integer"),
        ({"a": tensor("F32", [2], 8, 0)}, bytes(8), None, "after its end"),
        ({"a": tensor("F32", [2], -8, 0)}, bytes(8), None, "non-negative integers"),
        ({"a": tensor("F33", [2], 0, 8)}, bytes(8), None, "unknown type 'F33'"),
        ({"a": tensor("F4", [2], 0, 8)}, bytes(8), None, "not whole bytes"),
        ({"a": {"dtype": "F32", "shape": [2]}}, bytes(8), None, "lacks the field 'data_offsets'"),
        ({"a": {**tensor("F32", [2], 0, 8), "x": 1}}, bytes(8), None, "unknown field 'x'"),
        ({"a": 3}, b"", None, "must be described by an object"),
        ({"__metadata__": {"a": 3}}, b"", None, "must be a string"),
        ({"__metadata__": []}, b"", None, "must be an object of strings"),
        (
            b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}',
            b"x",
            None,
            "repeats the key 'a'",
        ),
        (b'{"__metadata__":{"k":"1","k":"2"}}', b"", None, "repeats the key 'k'"),
        (b"{}", b"", 100_000_001, "the limit is 100000000"),
        (b"{}", b"", 2**64 - 1, "the limit is 100000000"),
        (b"{}", b"", 2**63, "the limit is 100000000"),
        (b"{}", b"", 3, "which a file of 10 bytes cannot hold"),
        (b"{}", b"", 0, "the header is empty"),
        (b" {}", b"", None, "must start with"),
        (b"[]", b"", None, "must start with"),
        (b"{}x", b"", None, "other than spaces after its JSON"),
        (b"{", b"", None, "malformed"),
        (b'{"\xff":1}', b"", None, "not UTF-8"),
        (b'{"a":' + b"[" * 100_000, b"", None, "described by an object, not an array"),
        (b'{"a":{"dtype":' + b"[" * 100_000, b"", None, "'dtype' must be a string, not an array"),
        (b'{"a":NaN}', b"", None, "malformed"),
    ],
)
def test_headers_that_break_a_rule(path, header, data, length, message):
    write(path, header, data, length)
    for call in (ec.load, ec.contents):
        with pytest.raises(ec.FormatError, match=message):
            call(path)


@pytest.mark.parametrize("size", [0, 1, 7])
def test_files_without_a_header(path, size):
    path.write_bytes(bytes(size))
    with pytest.raises(ec.FormatError, match=f"the file has {size} bytes"):
        ec.load(path)


def test_a_file_cut_anywhere(path, weight, rng):
    nested(weight, rng).save(path)
    raw = path.read_bytes()
    for size in {*range(0, 24), *rng.integers(0, len(raw), 60).tolist(), len(raw) - 1}:
        path.write_bytes(raw[:size])
        with pytest.raises(ec.FormatError):
            ec.load(path)
    path.write_bytes(raw + b"x")
    with pytest.raises(ec.FormatError, match="belong to no tensor"):
        ec.load(path)


def test_a_file_with_any_byte_changed(path, weight, rng):
    """Opens as a table or raises; never anything else."""
    nested(weight, rng).save(path)
    raw = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", raw[:8])
    for place in rng.integers(0, 8 + length + 360, 1500).tolist():
        broken = bytearray(raw)
        broken[place % len(raw)] ^= 1 << rng.integers(0, 8)
        path.write_bytes(broken)
        try:
            table = ec.load(path)
            table.bag(rng.integers(0, table.rows, (2, 3)))
            str(table)
            table.parts()
        except (ec.FormatError, MemoryError, IndexError):
            pass


def rewrite(path, change):
    """Put another tree into a table file."""
    header, data = read(path)
    trees = json.loads(header["__metadata__"]["embedcompress.tables"])
    change(trees["weight"], header)
    header["__metadata__"]["embedcompress.tables"] = json.dumps(trees)
    write(path, header, data)


def test_files_of_another_version(path, weight):
    ec.compress(weight).save(path)
    header, data = read(path)
    for version in ("2", "0", "", "1.0", "9" * 5000):
        header["__metadata__"]["embedcompress.version"] = version
        write(path, header, data)
        with pytest.raises(ec.FormatError, match=r"format version .*this build reads version '1'") as caught:
            ec.load(path)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("depth", [33, 1000, 40_000])
def test_a_tree_that_nests_too_deep(path, weight, depth):
    ec.dense(weight).save(path)
    header, data = read(path)
    inner = json.dumps(json.loads(header["__metadata__"]["embedcompress.tables"])["weight"])
    route = '{"kind":"remap","rows":40,"dimension":20,"function":"modulo","modulus":40,"offset":0,"children":{"inner":'
    header["__metadata__"]["embedcompress.tables"] = (
        '{"weight":' + route * (depth - 1) + inner + "}}" * (depth - 1) + "}"
    )
    write(path, header, data)
    with pytest.raises(ec.FormatError, match="nested deeper than"):
        ec.load(path)


def test_a_tree_as_deep_as_allowed(path, weight):
    table = ec.dense(weight)
    for _ in range(31):
        table = ec.remap(table, rows=40, modulo=40)
    table.save(path)
    np.testing.assert_array_equal(ec.load(path).decode(), weight)
    with pytest.raises(ec.FormatError, match="nested deeper than 32"):
        ec.remap(table, rows=40, modulo=40)


def test_trees_that_break_a_rule(path, weight, rng):
    table = nested(weight, rng)

    def set_(**fields):
        return lambda tree, header: tree.update(fields)

    for change, message in (
        (set_(kind="magic"), "unknown kind 'magic'"),
        (set_(modulus=91), "modulus must be from 1"),
        (set_(modulus=0), "an integer from 1"),
        (set_(rows=-5), "an integer from 0"),
        (set_(offset=2**63 - 1), "offset"),
        (set_(dimension=21), "that of the inner table, 20"),
        (set_(colour=1), "unknown field 'colour'"),
        (set_(children={}), "lacks the field 'children.inner'"),
        (lambda tree, header: tree["children"]["inner"].update(rows=91), "tensor 'weight.inner.map' must be"),
        (lambda tree, header: tree["children"]["inner"].update(bits=9), "tensor 'weight.inner.map' must be"),
        (lambda tree, header: tree["children"]["inner"].update(tensors={"map": "x"}), "no tensor 'x'"),
        (lambda tree, header: tree["children"]["inner"].update(tensors={"map": 3}), "the name of an array"),
    ):
        table.save(path)
        rewrite(path, change)
        with pytest.raises(ec.FormatError, match=message):
            ec.load(path)
    table.save(path)
    header, data = read(path)
    for text, message in (("[]", "a JSON object of tables"), ("{", "malformed"), ('{"weight":3}', "a JSON object")):
        header["__metadata__"]["embedcompress.tables"] = text
        write(path, header, data)
        with pytest.raises(ec.FormatError, match=message):
            ec.load(path, "weight")
    del header["__metadata__"]["embedcompress.tables"]
    write(path, header, data)
    with pytest.raises(ec.FormatError, match=r"lacks the field 'embedcompress\.tables'"):
        ec.load(path)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("entry", [41, 63])
def test_bad_entries_of_a_map_are_found_where_they_are_used(path, weight, entry, mmap):
    ec.remap(ec.dense(weight), map=np.arange(40)).save(path)
    header, data = read(path)
    begin = header["weight.map"]["data_offsets"][0]
    # Entries have 6 bits, for 40 rows; 40 itself stands for zeros.
    entries = int.from_bytes(data[begin : begin + 30], "little") & ~(63 << 6 * 17) | entry << 6 * 17
    write(path, header, data[:begin] + entries.to_bytes(30, "little") + data[begin + 30 :])
    table = ec.load(path, mmap=mmap)
    np.testing.assert_array_equal(table.lookup([16, 18]), weight[[16, 18]])
    for call in (lambda: table.lookup([17]), lambda: table.bag([1, 17], [0]), table.decode, lambda: ec.compress(table)):
        with pytest.raises(ec.FormatError, match=f"entry 17 of a map is {entry}"):
            call()
    np.testing.assert_array_equal(table.lookup([17, 16], on_invalid="zero"), np.float32([weight[16] * 0, weight[16]]))
    np.testing.assert_array_equal(table.bag([17, 16], [0], on_invalid="zero"), weight[16:17])
    assert table.invalid_count == 2


# The file system


def test_files_that_can_not_be_opened(tmp_path):
    missing = tmp_path / "missing.safetensors"
    for call in (ec.load, ec.contents):
        with pytest.raises(FileNotFoundError) as caught:
            call(missing)
        assert caught.value.filename == str(missing)
        with pytest.raises(IsADirectoryError):
            call(tmp_path)
        with pytest.raises(NotADirectoryError):
            (tmp_path / "file").write_bytes(b"")
            call(tmp_path / "file" / "x")
        with pytest.raises(OSError, match="not a regular file"):
            call("/dev/null")
        with pytest.raises(OSError):
            call("")
        with pytest.raises(OSError):
            call("x" * 5000)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        ec.load(tmp_path / "pipe")


def test_places_where_nothing_can_be_saved(tmp_path, weight):
    table = ec.dense(weight)
    with pytest.raises(FileNotFoundError) as caught:
        table.save(tmp_path / "no" / "folder")
    assert caught.value.filename == str(tmp_path / "no" / "folder")
    with pytest.raises(IsADirectoryError):
        table.save(tmp_path)
    with pytest.raises(OSError):
        table.save("")
    for device in ("/dev/null", "/dev/full"):
        with pytest.raises(OSError, match="not a regular file"):
            table.save(device)
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(PermissionError):
            table.save(tmp_path / "locked" / "x")
    assert not [name for name in os.listdir(tmp_path) if name != "locked"]


def test_a_file_is_replaced_under_a_table_that_stands_on_it(path, weight):
    """Saving over the file that a table is mapped from works, and the old rows stay for those who hold them."""
    ec.dense(weight).save(path)
    opened = ec.load(path)
    ec.dense(-weight).save(path)
    np.testing.assert_array_equal(opened.decode(), weight)
    np.testing.assert_array_equal(ec.load(path).decode(), -weight)
    opened.save(path)
    np.testing.assert_array_equal(ec.load(path).decode(), weight)
    assert os.listdir(path.parent) == [path.name]


def test_a_mapping_outlives_its_file(path, weight):
    ec.compress(weight, bits=8).save(path)
    opened = ec.load(path)
    wanted = opened.decode()
    path.unlink()
    np.testing.assert_array_equal(opened.decode(), wanted)


def test_files_are_closed(path, weight):
    ec.compress(weight).save(path)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(50):
        ec.load(path).lookup([1])
        ec.load(path, mmap=False).lookup([1])
        ec.contents(path)
        with pytest.raises(ec.FormatError):
            ec.load(path, "nothing")
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_disk_that_is_full(path, weight, run_python):
    """The limit on a file's size stands in for it: what was there before stays, and nothing beside it."""
    ec.dense(weight).save(path)
    program = """
import resource, signal, sys
import numpy as np
import embedcompress as ec
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
table = ec.dense(np.zeros((100_000, 64), np.float32))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
try:
    table.save(sys.argv[1])
except OSError as error:
    print(type(error).__name__, error.errno, error.filename)
"""
    import errno

    assert run_python(program, path).split() == ["OSError", str(errno.EFBIG), str(path)]
    assert os.listdir(path.parent) == [path.name]
    np.testing.assert_array_equal(ec.load(path).decode(), weight)


def test_a_file_system_that_is_full(tmp_path, weight):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a tmpfs can't be mounted here")
    try:
        path = folder / "table"
        ec.dense(weight).save(path)
        with pytest.raises(OSError, match="No space left") as caught:
            ec.dense(np.zeros((100_000, 64), np.float32)).save(path)
        assert caught.value.filename == str(path)
        assert os.listdir(folder) == ["table"]
        np.testing.assert_array_equal(ec.load(path, mmap=False).decode(), weight)
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def test_an_open_file_limit(path, weight, tmp_path):
    table = ec.dense(weight)
    table.save(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, hard))
    try:
        with pytest.raises(OSError, match=r"[Tt]oo many open files"):
            ec.load(path)
        with pytest.raises(OSError, match=r"[Tt]oo many open files"):
            table.save(tmp_path / "other")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(taken[0])
    assert ec.load(path).rows == 40
