"""Tables that are mapped from files which change: errors, no signals; and writing to modules that stand on them."""

import os

import numpy as np
import pytest
import torch

import embedcompress as ec
from embedcompress import nn

WEIGHT = np.random.default_rng(0).standard_normal((20_000, 64), dtype=np.float32)


@pytest.fixture
def path(tmp_path):
    ec.compress(WEIGHT, bits=8).save(tmp_path / "served.st")
    return tmp_path / "served.st"


def cut(path, size=4096):
    os.truncate(path, size)


def lost(path):
    return pytest.raises(OSError, match=f"cannot read the mapped file '{path}'")


CALLS = {
    "lookup": lambda table: table.lookup([15_000]),
    "lookup of many": lambda table: table.lookup(np.arange(20_000)),
    "lookup of a slice": lambda table: table.slice(15_000, 15_001).lookup([0]),
    "lookup of what is built on it": lambda table: ec.columns([table, table]).lookup([15_000]),
    "on_invalid": lambda table: table.lookup([15_000], on_invalid="zero"),
    "bag": lambda table: table.bag([1, 15_000], [0]),
    "table set": lambda table: ec.TableSet([table]).bag(np.array([15_000]), np.array([0, 1])),
    "decode": lambda table: table.decode(),
    "warm_up": lambda table: table.warm_up(),
    "aligned": lambda table: table.aligned(64),
    "compress": lambda table: ec.compress(table, bits=4),
    "weights": lambda table: ec.compress(WEIGHT, "kmeans_cls", bits=4, weights=table),
    "evaluate": lambda table: ec.evaluate(table, WEIGHT),
    "source": lambda table: ec.evaluate(ec.dense(WEIGHT), table, queries=4),
    "groups": lambda table: ec.group_quantize(table, 8, groups=4),
    "recommend": lambda table: ec.recommend(table, budget=0.2),
    "module": lambda table: nn.CompressedEmbedding(table)(torch.tensor([15_000])),
    "assembled": lambda table: ec.Table.from_parts(*table.parts()).lookup([15_000]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_file_that_becomes_shorter(call, path):
    table, other = ec.load(path), ec.dense(WEIGHT)
    cut(path)
    for _ in range(2):
        with lost(path):
            call(table)
    np.testing.assert_array_equal(other.lookup([15_000]), WEIGHT[[15_000]])


def test_a_file_that_is_lost_is_not_saved(path, tmp_path):
    table = ec.load(path)
    copy = tmp_path / "copy.st"
    copy.write_bytes(b"mine")
    cut(path)
    calls = (
        lambda: table.save(copy),
        lambda: ec.save(copy, {"a": table}),
        lambda: ec.compress_to_file(copy, {"a": table}),
    )
    for call in calls:
        with lost(path):
            call()
    assert copy.read_bytes() == b"mine" and sorted(os.listdir(tmp_path)) == ["copy.st", "served.st"]


def test_a_table_that_is_read_into_memory(path):
    table = ec.load(path, mmap=False)
    before = table.decode()
    cut(path)
    np.testing.assert_array_equal(table.decode(), before)


def test_a_file_that_is_replaced(path, tmp_path):
    """By a rename: the table stays on the old file. By a copy into it: it changes, as the file does."""
    table = ec.load(path)
    before = table.decode()
    ec.compress(WEIGHT[:10], bits=8).save(path)
    np.testing.assert_array_equal(table.decode(), before)
    again = ec.load(path)
    again.lookup([9])
    ec.dense(WEIGHT[:1]).save(tmp_path / "other.st")
    with open(path, "r+b") as file:
        file.truncate(0)
        file.write((tmp_path / "other.st").read_bytes())


def test_a_new_table_of_the_same_file(path):
    """What is lost is the mapping, not the file."""
    content = path.read_bytes()
    table = ec.load(path)
    cut(path)
    with lost(path):
        table.decode()
    path.write_bytes(content)
    with lost(path):
        table.lookup([1])
    assert ec.load(path).lookup([1]).shape == (1, 64)


THREADS = """
import faulthandler, os, sys, threading
import numpy as np, embedcompress as ec
before, path, after = sys.argv[1:]
if before == "1": faulthandler.enable()
table = ec.load(path)
if after == "1": faulthandler.enable()
errors, started = [], threading.Barrier(5)
def work(seed):
    ids = np.random.default_rng(seed).integers(0, 20_000, 4000)
    started.wait()
    try:
        while True: table.lookup(ids)
    except OSError as error:
        errors.append(str(error))
threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
for thread in threads: thread.start()
started.wait()
os.truncate(path, 4096)
for thread in threads: thread.join()
assert len(errors) == 4 and all(path in error for error in errors), errors
print("alive")
"""


@pytest.mark.parametrize(("before", "after"), [("0", "0"), ("1", "0"), ("0", "1")])
def test_four_threads_look_up_while_the_file_is_cut(before, after, path, run_python):
    """Python's own handler of such signals may be there before, or come later."""
    assert run_python(THREADS, before, path, after) == "alive\n"


ELSEWHERE = """
import faulthandler, mmap, os, sys
import embedcompress as ec
path, order = sys.argv[1:]
if order == "before": faulthandler.enable()
table = ec.load(path)
if order == "after": faulthandler.enable()
if order == "both":
    faulthandler.enable()
    ec.load(path)  # its handler is the first again
file = open(path, "rb")
mine = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
os.truncate(path, 4096)
print(mine[100_000])
"""


@pytest.mark.parametrize("order", ["never", "before", "after", "both"])
def test_faults_of_others_are_theirs(order, path, run_python):
    """They end the process, and a handler that was there before is told."""
    answer = run_python(ELSEWHERE, path, order, check=False, timeout=20)
    assert answer.returncode == -7
    assert ("Fatal Python error: Bus error" in answer.stderr) == (order != "never")


def test_reading_a_lost_array_outside_of_calls_is_no_silent_zero(path, run_python):
    program = """
import os, sys, embedcompress as ec
arrays = ec.load(sys.argv[1]).parts()[1]
os.truncate(sys.argv[1], 4096)
print(max(array.values.reshape(-1)[-1] for array in arrays.values()))
"""
    assert run_python(program, path, check=False, timeout=20).returncode == -7


# Writing to what is mapped


def test_a_module_whose_buffers_are_written_to(path):
    content = path.read_bytes()
    model = nn.CompressedEmbedding(ec.load(path))
    before = model(torch.tensor([0, 19_999]))
    with torch.no_grad():
        for buffer in model.buffers():
            buffer.copy_(buffer.clone())
    torch.testing.assert_close(model(torch.tensor([0, 19_999])), before, rtol=0, atol=0)
    with torch.no_grad():
        model.parts.arrays()[0].zero_()
    assert not torch.equal(model(torch.tensor([0, 19_999])), before)
    assert path.read_bytes() == content
    np.testing.assert_array_equal(ec.load(path).lookup([0, 19_999]), before)


def test_a_module_on_arrays_that_are_for_reading_only(tmp_path):
    np.save(tmp_path / "weight.npy", WEIGHT)
    mapped = np.load(tmp_path / "weight.npy", mmap_mode="r")
    for weight in (mapped, np.frombuffer(WEIGHT.tobytes(), np.float32).reshape(WEIGHT.shape)):
        table = ec.dense(weight)
        for model in (nn.CompressedEmbedding(table), nn.CompressedEmbedding(ec.columns([table]))):
            with torch.no_grad():
                for buffer in model.buffers():
                    buffer.copy_(buffer.clone())
                model.parts.arrays()[0].zero_()
            assert model(torch.tensor([3])).abs().sum() == 0
        np.testing.assert_array_equal(table.lookup([3]), WEIGHT[[3]])


def test_a_module_on_an_array_that_may_be_written_to_shares_it():
    weight = WEIGHT.copy()
    model = nn.CompressedEmbedding(ec.dense(weight))
    with torch.no_grad():
        model.parts.arrays()[0].zero_()
    assert not weight.any()


DATA_PARALLEL = """
import os, sys, torch, torch.distributed as dist, embedcompress as ec
from embedcompress import nn
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=0, world_size=1)
model = torch.nn.Sequential(nn.CompressedEmbedding(ec.load(sys.argv[1])), torch.nn.Linear(64, 3))
parallel = torch.nn.parallel.DistributedDataParallel(model)
dist._broadcast_coalesced(dist.distributed_c10d._get_default_group(), list(model.buffers()), 1 << 20, 0)
for _ in range(2): parallel(torch.tensor([1, 2])).sum().backward()
dist.destroy_process_group()
# Threads of gloo may still run when the interpreter ends, and then end it by abort().
os._exit(0)
"""


def test_data_parallel_training(path, tmp_path, run_python):
    """It sends the buffers of the first process to all of them before each step."""
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    run_python(DATA_PARALLEL, path, tmp_path / "meet", timeout=120)
