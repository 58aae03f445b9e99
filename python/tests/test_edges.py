"""Where Python and the core meet: outputs, masks, wrong types, damaged files, the end of the interpreter."""

import json
import struct

import numpy as np
import pytest
import torch

import embedcompress as ec
from embedcompress import cli, nn

WEIGHT = np.random.default_rng(0).standard_normal((64, 8), dtype=np.float32)
IDS = np.arange(64)

# Outputs


def test_outputs_that_share_memory_with_the_table():
    weight = WEIGHT.copy()
    table = ec.dense(weight)
    whole = np.concatenate([weight, weight])
    tables = [table, table.slice(0, 64), ec.columns([table]), ec.dense(whole[32:96])]
    outputs = [weight, weight, weight, whole[:64]]
    for one, out in zip(tables, outputs, strict=True):
        before = out.copy()
        for call in (
            lambda one=one, out=out: one.lookup(IDS, out=out),
            lambda one=one, out=out: one.bag(IDS, IDS, out=out),
            lambda one=one, out=out: one.decode(out=out),
            lambda one=one, out=out: ec.TableSet([one]).bag(IDS, np.arange(65), out=out),
        ):
            with pytest.raises(ValueError, match="out must not share memory with the table"):
                call()
        np.testing.assert_array_equal(out, before)
    apart = np.empty_like(weight)
    assert table.lookup(IDS, out=apart) is apart
    np.testing.assert_array_equal(apart, weight)


def test_outputs_on_the_memory_of_a_module():
    model = nn.CompressedEmbedding(ec.dense(WEIGHT.copy()))
    out = model.parts.arrays()[0].numpy().view(np.float32).reshape(64, 8)
    with pytest.raises(ValueError, match="out must not share memory with the table"):
        model.table.lookup(IDS, out=out)


def test_outputs_beside_the_table():
    both = np.zeros((128, 8), np.float32)
    both[:64] = WEIGHT
    ec.dense(both[:64]).lookup(IDS, out=both[64:])
    np.testing.assert_array_equal(both[64:], WEIGHT)


# Masks


def test_masks_are_refused():
    masked = np.ma.array(WEIGHT, mask=WEIGHT > 1)
    ids = np.ma.array(IDS, mask=IDS > 3)
    table = ec.dense(WEIGHT)
    calls = {
        "weight": [lambda: ec.dense(masked), lambda: ec.compress(masked), lambda: ec.evaluate(table, masked)],
        "ids": [lambda: table.lookup(ids), lambda: table.bag(ids, [0])],
        "out": [lambda: table.lookup(IDS, out=masked), lambda: table.decode(out=masked)],
        "offsets": [lambda: table.bag(IDS, ids)],
        "per_sample_weights": [
            lambda: table.bag(IDS, [0], per_sample_weights=np.ma.array(np.float32(IDS), mask=IDS > 3))
        ],
    }
    for name, some in calls.items():
        for call in some:
            with pytest.raises(ValueError, match=f"{name} has a mask"):
                call()
    np.testing.assert_array_equal(ec.dense(masked.data).decode(), WEIGHT)


def test_other_kinds_of_arrays_are_taken(tmp_path):
    np.save(tmp_path / "ids.npy", IDS)
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    table = ec.dense(np.asmatrix(WEIGHT))
    np.testing.assert_array_equal(table.lookup(mapped), WEIGHT)
    out = np.memmap(tmp_path / "out", np.float32, "w+", shape=WEIGHT.shape)
    assert table.lookup(mapped, out=out) is out
    np.testing.assert_array_equal(out, WEIGHT)


# Types


@pytest.mark.parametrize("given", [WEIGHT, torch.tensor(WEIGHT), None, "table", [[1.0]]])
def test_modules_of_what_is_no_table(given):
    for make in (
        nn.CompressedEmbedding,
        nn.CompressedEmbeddingBag,
        nn.CompressedLinear,
        lambda table: nn.CompressedEmbeddingBagCollection([table]),
    ):
        with pytest.raises(TypeError, match=f"table must be an embedcompress.Table, not {type(given).__name__}"):
            make(given)


# Files that are damaged


def table_file(tables):
    header = json.dumps({"__metadata__": {"embedcompress.version": "1", "embedcompress.tables": tables}}).encode()
    return struct.pack("<Q", len(header)) + header


def npy(header, data=b""):
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


DAMAGED = {
    "empty": b"",
    "a number for a tree": table_file('{"w":5}'),
    "a number for tensors": table_file('{"w":{"kind":"dense","tensors":5}}'),
    "a list for children": table_file('{"w":{"children":[1]}}'),
    "a number for a tensor": table_file('{"w":{"kind":"dense","tensors":{"weight":5}}}'),
    "no tables": table_file("[]"),
    "deep": table_file('{"w":' + "[" * 100_000),
    "a short header": b"\xff\xff\xff\xff\x00\x00\x00\x00{",
    "no npy": b"\x93NUMPY",
    "no dict": npy("[1, 2"),
    "no literal": npy("{'descr': open('x'), 'fortran_order': False, 'shape': (1, 1)}"),
    "no end": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), "),
    "short": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (300, 300), }", b"1234"),
    "huge": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1" + "0" * 18 + ", 4), }", b"1234"),
    "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }", b"1234"),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }", b"1234"),
    "an unknown type": npy("{'descr': '<q9', 'fortran_order': False, 'shape': (1, 1), }", b"1234"),
    "zeros": b"\0" * 4096,
    "noise": bytes(np.random.default_rng(0).integers(0, 256, 4096, np.uint8)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_commands_say_in_a_line_what_is_wrong_with_a_file(content, tmp_path, capsys):
    np.save(tmp_path / "good.npy", WEIGHT)
    ec.compress(WEIGHT, bits=8).save(tmp_path / "good.st")
    (tmp_path / "spec.toml").write_text("")
    good, table = str(tmp_path / "good.npy"), str(tmp_path / "good.st")
    for name in ("bad", "bad.npy"):
        bad = str(tmp_path / name)
        with open(bad, "wb") as file:
            file.write(content)
        for arguments in (
            ["inspect", bad],
            ["compress", bad, str(tmp_path / "out")],
            ["compress", good, str(tmp_path / "out"), "--method", "hot_cold", "--counts", bad],
            ["evaluate", bad, good],
            ["evaluate", table, bad],
            ["recommend", bad, "--budget", "0.2"],
            ["recommend", good, "--budget", "0.2", "--counts", bad],
            ["bench", "table", bad, "--out", str(tmp_path / "lines"), "--methods", "asym"],
            ["bench", "table", good, "--out", bad, "--methods", "asym", "--budgets", "0.3"],
            ["bench", "train", "--config", bad, "--out", str(tmp_path / "lines2")],
            ["bench", "report", bad, "--out", str(tmp_path / "report")],
            ["bench", "fit", bad, "--out", str(tmp_path / "rules")],
            ["bench", "retrieval", "--corpus", bad, "--queries", good, "--out", str(tmp_path / "lines3")],
        ):
            try:
                code = cli.main(arguments)
            except SystemExit as error:
                raise AssertionError(f"{arguments} is no call: {capsys.readouterr().err}") from error
            said = capsys.readouterr().err.strip().splitlines()
            assert code in (0, 1), arguments
            assert code == 0 or len([line for line in said if line.startswith("embedcompress: error: ")]) == 1, said


# The interpreter's end

AT_EXIT = """
import sys, threading, time
import numpy as np, embedcompress as ec
weight = np.random.default_rng(0).standard_normal((40_000, 64), dtype=np.float32)
table = ec.compress(weight, bits=4)
lent = ec.dense(weight)
def look_up():
    ids = np.arange(30_000)
    while True: table.lookup(ids); lent.bag(ids, ids[:1])
def compress():
    while True: ec.compress(weight, "least_squares", bits=4, progress=lambda done, total: None)
def make():
    while True: ec.dense(weight[:1000]).slice(0, 10).lookup([1])
for work in (look_up, look_up, compress, make):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
sys.exit(3)
"""


def test_the_interpreter_ends_while_threads_work(run_python):
    for _ in range(3):
        answer = run_python(AT_EXIT, check=False, timeout=30)
        assert (answer.returncode, answer.stderr) == (3, "")


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import embedcompress
path = repr(sys.path)
code = f'''
import sys
sys.path[:] = {path}
try:
    import embedcompress
except ImportError as error:
    assert "embedcompress" in str(error) and "subinterpreters" in str(error), error
else:
    raise AssertionError("it was imported")
'''
for isolated in (False, True):
    try:
        one = interpreters.create(isolated=isolated)
    except TypeError:
        one = interpreters.create("isolated" if isolated else "legacy")
    failed = interpreters.run_string(one, code)
    assert failed is None, failed
print("refused")
"""


def test_subinterpreters_are_refused_by_name(run_python):
    assert run_python(SUBINTERPRETER) == "refused\n"
