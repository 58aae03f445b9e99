"""Threads, forks, signals, progress, and whose memory is whose."""

import array
import gc
import os
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import random_tables

import embedcompress as ec


@pytest.fixture
def weight(rng):
    return rng.standard_normal((4000, 24)).astype(np.float32)


# The GIL


def slow_calls(tmp_path):
    """Calls that take some tens of milliseconds on one thread."""
    rng = np.random.default_rng(1)
    table = random_tables.random_uniform(rng, 20_000, 64, 4)
    ids = rng.integers(0, 20_000, 400_000)
    out = np.empty((len(ids), 64), np.float32)
    pooled = np.empty((10, 64), np.float32)
    source = ec.dense(table.decode())
    big = ec.dense(np.zeros((600_000, 64), np.float32))
    long_offsets = np.arange(10) * 40_000
    tall = ec.remap(table, rows=3_000_000, modulo=20_000)
    decoded = np.empty((400_000, 64), np.float32)
    path = tmp_path / "table"
    big.save(path)

    def many_bags():
        for _ in range(4):
            table.bag(ids, long_offsets, out=pooled)

    tables, offsets, features = ec.TableSet([table] * 2), np.arange(21) * 20_000, np.empty((10, 128), np.float32)

    def many_features():
        for _ in range(4):
            tables.bag(ids, offsets, out=features)

    return {
        "lookup": lambda: table.lookup(ids, out=out),
        "bag": many_bags,
        "bag of several": many_features,
        "decode": lambda: tall.decode(0, 400_000, out=decoded),
        "compress": lambda: ec.compress(source, "greedy"),
        "evaluate": lambda: ec.evaluate(tall.slice(0, 200_000), tall.slice(0, 200_000), queries=0),
        "save": lambda: big.save(path),
        "load": lambda: ec.load(path, mmap=False),
    }


def test_other_threads_run_during_every_long_call(tmp_path):
    ec.set_num_threads(1)
    for name, call in slow_calls(tmp_path).items():
        call()
        for _ in range(5):
            window = []

            def work(call=call, window=window):
                window.append(time.perf_counter())
                call()
                window.append(time.perf_counter())

            ticks = []
            thread = threading.Thread(target=work)
            thread.start()
            while thread.is_alive():
                ticks.append(time.perf_counter())
                time.sleep(0.0005)
            thread.join()
            start, end = window
            margin = (end - start) / 10
            inside = sum(start + margin < tick < end - margin for tick in ticks)
            if inside >= 3:
                break
        else:
            pytest.fail(f"{name} kept other threads from running for {end - start:.3f} s")


def test_two_long_calls_overlap_in_time(weight):
    ec.set_num_threads(1)
    rows, taken = 4000, 0.0
    while taken < 0.2:
        rows *= 4
        source = ec.remap(ec.dense(weight), rows=rows, modulo=4000)
        start = time.perf_counter()
        ec.compress(source, "greedy")
        taken = time.perf_counter() - start
    seen = {0: [], 1: []}
    barrier = threading.Barrier(2)

    def work(which):
        barrier.wait()
        ec.compress(source, "greedy", progress=lambda done, total: seen[which].append(time.perf_counter()))

    threads = [threading.Thread(target=work, args=(which,)) for which in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    starts, ends = [times[0] for times in seen.values()], [times[-1] for times in seen.values()]
    assert max(starts) < min(ends)
    # Not one after the other in turns of the GIL: each reported while the other was at work.
    assert all(sum(max(starts) <= t <= min(ends) for t in times) >= 2 for times in seen.values())


# Threads


def test_many_threads_on_one_table(weight):
    table = ec.remap(ec.compress(weight, bits=4, group=8), map=np.arange(4000)[::-1].copy())
    rows = table.decode()
    problems = []

    def work(seed):
        rng = np.random.default_rng(seed)
        try:
            for _ in range(25):
                ids = rng.integers(0, 4000, int(rng.integers(0, 30_000)))
                np.testing.assert_array_equal(table.lookup(ids), rows[ids])
                bags = ids[: len(ids) // 7 * 7].reshape(-1, 7)
                np.testing.assert_array_equal(table.bag(bags, mode="max"), rows[bags].max(axis=1, initial=-np.inf))
                with pytest.raises(IndexError):
                    table.lookup([4000])
        except BaseException as error:
            problems.append(error)

    ec.set_num_threads(4)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_results_do_not_depend_on_the_number_of_threads(weight, rng):
    ids = rng.integers(0, 4000, 100_000)
    offsets = np.sort(rng.integers(0, 100_000, 3000))
    offsets[0] = 0
    weights = rng.standard_normal(100_000).astype(np.float32)
    tables = [ec.compress(weight), ec.compress(weight, bits=3, group=8), ec.dense(weight)]
    tables.append(ec.remap(tables[1], map=rng.integers(-1, 4000, 4000)))

    def everything():
        results = []
        for method in ec.methods():
            made = ec.compress(weight, method.name)
            results += [made.decode(), *(a.values for a in made.parts()[1].values())]
            quality, recall = ec._core.evaluate(made, ec.dense(weight), None, queries=100)
            results.append(np.array([*quality, recall]))
        for table in tables:
            results += [table.lookup(ids), table.decode(), table.bag(ids, offsets, per_sample_weights=weights)]
            results += [table.bag(ids, offsets, mode) for mode in ("sum", "mean", "max")]
            results.append(table.bag(ids, [0], "sum"))
        return [result.tobytes() for result in results]

    ec.set_num_threads(1)
    wanted = everything()
    for threads in (2, 4, 7):
        ec.set_num_threads(threads)
        assert everything() == wanted


@pytest.mark.parametrize("bits", [2, 4, 8, 32])
def test_ids_that_change_during_a_call_lead_nowhere(rng, bits):
    """Whatever another thread writes there, rows are those of some ids, or zeros; nothing outside is read."""
    table = (
        random_tables.random_dense(rng, 300, 50, "f32")
        if bits == 32
        else random_tables.random_uniform(rng, 300, 50, bits)
    )
    ids, offsets = rng.integers(0, 300, 40_000), np.arange(0, 40_000, 20)
    good, stop = ids.copy(), threading.Event()

    def spoil():
        while not stop.is_set():
            ids[::7] = rng.choice([-1, -(2**63), 2**63 - 1, 300, 10**12])
            ids[:] = good

    spoiler = threading.Thread(target=spoil)
    spoiler.start()
    try:
        for _ in range(60):
            for call in (lambda: table.bag(ids, offsets), lambda: table.lookup(ids)):
                try:
                    assert np.isfinite(call()).all()
                except IndexError as error:
                    assert "id" in str(error)
    finally:
        stop.set()
        spoiler.join()
    np.testing.assert_array_equal(table.bag(ids, offsets), table.bag(good, offsets))


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="reads threads in /proc")
def test_workers_may_run_everywhere_again(run_python):
    """Workers are kept off the caller's processor only while they wake."""
    program = """
import glob, time
import numpy as np, embedcompress as ec
ec.set_num_threads(4)
table = ec.compress(np.ones((1000, 64), np.float32), "asym", bits=4)
ids, offsets = np.zeros(200_000, np.int64), np.arange(0, 200_000, 50)

def allowed():
    return [line for path in glob.glob("/proc/self/task/*/status") for line in open(path) if "Cpus_allowed:" in line]

before = allowed()[0]
for pause in (0, 0.01, 0.01, 0):
    time.sleep(pause)
    table.bag(ids, offsets)
    for _ in range(500):
        if set(allowed()) == {before}: break
        time.sleep(0.01)
    found = allowed()
    assert set(found) == {before} and len(found) >= 4, found
print("done")
"""
    assert run_python(program) == "done\n"


def test_the_thread_count_starts_from_the_environment(run_python):
    program = "import embedcompress as ec; print(ec.get_num_threads())"
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for value, wanted in (("3", 3), ("0", available), ("many", available), ("100000", 256), (None, available)):
        assert int(run_python(program, OMP_NUM_THREADS=value)) == wanted
    for threads in (1, 5, 256):
        ec.set_num_threads(threads)
        assert ec.get_num_threads() == threads


# Forks


FORKED = """
import os, sys, threading
import numpy as np
import embedcompress as ec
ec.set_num_threads(4)
rng = np.random.default_rng(0)
weight = rng.standard_normal((20_000, 32)).astype(np.float32)
table = ec.compress(weight)
ids = rng.integers(0, 20_000, 100_000)
offsets = np.arange(0, 100_000, 50)
wanted = table.lookup(ids), table.bag(ids, offsets), table.parts()[1]["rows"].values
def check():
    for _ in range(2):
        assert (table.lookup(ids) == wanted[0]).all()
        assert (table.bag(ids, offsets) == wanted[1]).all()
    assert (ec.compress(weight, "asym").decode() == asym).all()
asym = ec.compress(weight, "asym").decode()
check()
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_a_process_that_has_used_every_thread(run_python):
    """Children of children too, and while other threads of the parent are inside calls."""
    program = """
stop = threading.Event()
def busy():
    while not stop.is_set():
        table.lookup(ids[:20_000])
others = [threading.Thread(target=busy) for _ in range(2)]
for thread in others: thread.start()
for attempt in range(6):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            check()
            grandchild = os.fork()
            if grandchild == 0:
                check()
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
for thread in others: thread.join()
check()
print("done")
"""
    assert run_python(FORKED + program, timeout=60).endswith("done\n")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_multiprocessing_pool(run_python, tmp_path, method):
    """Tables travel to workers: by inheritance, and by pickle."""
    if method == "fork":
        program = """
import multiprocessing
def work(seed):
    chosen = np.random.default_rng(seed).integers(0, 20_000, 50_000)
    return bool((table.lookup(chosen) == table.decode()[chosen]).all())
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, range(6)) == [True] * 6
print("done")
"""
        assert run_python(FORKED + program).endswith("done\n")
    else:
        program = """
import multiprocessing, pathlib
import numpy as np, embedcompress as ec
if __name__ == "__main__":
    table = ec.compress(np.random.default_rng(0).standard_normal((100, 8), dtype=np.float32))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(ec.Table.lookup, (table, [3, 4])), table.lookup([3, 4]))
    print("done")
"""
        assert run_python(program).endswith("done\n")


def test_a_torch_data_loader_with_workers(run_python):
    pytest.importorskip("torch")
    program = """
import torch
torch.ones(500, 500) @ torch.ones(500, 500)
class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        return torch.from_numpy(table.lookup(ids[index * 10_000:(index + 1) * 10_000]))
loader = torch.utils.data.DataLoader(Rows(), num_workers=2, batch_size=2, multiprocessing_context="fork")
found = torch.cat([batch.reshape(-1, 32) for batch in loader])
np.testing.assert_array_equal(found.numpy(), wanted[0][: len(found)])
print("done")
"""
    assert run_python(FORKED + program, timeout=90).endswith("done\n")


# Signals


@pytest.mark.parametrize("method", [method.name for method in ec.methods()])
def test_ctrl_c_stops_a_long_compress(run_python, method):
    """Within half a second of processor time, of both threads: what other processes take doesn't count."""
    program = """
import os, signal, sys, threading, time
import numpy as np, embedcompress as ec
ec.set_num_threads(2)
weight = np.random.default_rng(0).standard_normal((1000, 64)).astype(np.float32)
table = ec.remap(ec.dense(weight), rows=int(sys.argv[2]), modulo=1000)
sent = []
def interrupt():
    sent.append(time.process_time())
    os.kill(os.getpid(), signal.SIGINT)
threading.Timer(0.1, interrupt).start()
try:
    ec.compress(table, sys.argv[1])
except KeyboardInterrupt:
    print(time.process_time() - sent[0])
# And the library goes on working.
assert ec.compress(weight, sys.argv[1]).rows == 1000
"""
    # Multipoint holds what is left of every row.
    rows = 2_000_000 if method == "multipoint" else 100_000_000
    assert float(run_python(program, method, rows)) < 0.5


def test_ctrl_c_during_a_save_leaves_the_old_file(run_python, tmp_path):
    path = tmp_path / "table"
    ec.dense(np.ones((3, 2), np.float32)).save(path)
    program = """
import os, signal, sys, threading, time
import numpy as np, embedcompress as ec
table = ec.dense(np.zeros((3_000_000, 64), np.float32))
seen = []
def progress(done, total):
    seen.append(done)
    if done < total and len(seen) == 2:
        os.kill(os.getpid(), signal.SIGINT)
try:
    table.save(sys.argv[1], progress=progress)
except KeyboardInterrupt:
    print("stopped", max(seen) < table.stored_bytes)
"""
    assert run_python(program, path) == "stopped True\n"
    assert os.listdir(tmp_path) == ["table"]
    assert ec.load(path).rows == 3


def test_ctrl_c_stops_warming_up(run_python, tmp_path):
    ec.dense(np.zeros((500_000, 64), np.float32)).save(tmp_path / "table")
    program = """
import os, signal, sys
import embedcompress as ec
table = ec.load(sys.argv[1])
seen = []
def progress(done, total):
    seen.append(done)
    os.kill(os.getpid(), signal.SIGINT)
ec.set_num_threads(1)
try:
    table.warm_up(progress=progress)
except KeyboardInterrupt:
    print("stopped", len(seen) == 1 and seen[0] < table.stored_bytes)
"""
    assert run_python(program, tmp_path / "table") == "stopped True\n"


def test_a_signal_handler_that_does_not_raise_does_not_stop(run_python):
    program = """
import os, signal, threading, time
import numpy as np, embedcompress as ec
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
weight = np.random.default_rng(0).standard_normal((1000, 64)).astype(np.float32)
source = ec.remap(ec.dense(weight), rows=1_000_000, modulo=1000)
threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
assert ec.compress(source).rows == 1_000_000
time.sleep(0.1)
print(len(seen))
"""
    assert run_python(program) == "1\n"


# Progress


def long_calls(tmp_path, weight):
    source = ec.remap(ec.dense(weight), rows=40_000, modulo=4000)
    table = ec.compress(source, "asym")
    big = ec.dense(np.zeros((700_000, 64), np.float32))
    return {
        "compress": lambda progress: ec.compress(source, "greedy", progress=progress),
        "evaluate": lambda progress: ec.evaluate(table, source, queries=0, progress=progress),
        "aligned": lambda progress: ec.dense(np.zeros((200_000, 65), np.float32)).aligned(64, progress=progress),
        "warm up": lambda progress: big.warm_up(progress=progress),
        "save": lambda progress: big.save(tmp_path / "table", progress=progress),
        "save several": lambda progress: ec.save(tmp_path / "several", {"a": big, "b": table}, progress=progress),
    }


@pytest.mark.parametrize("name", ["compress", "evaluate", "aligned", "warm up", "save", "save several"])
def test_progress(tmp_path, weight, name):
    call = long_calls(tmp_path, weight)[name]
    seen = []
    call(lambda done, total: seen.append((done, total)))
    assert seen
    done, totals = zip(*seen, strict=True)
    assert len(set(totals)) == 1
    assert list(done) == sorted(done)
    assert done[-1] == totals[0]
    assert done[0] >= 0

    class Stop(Exception):
        pass

    def fail(done, total):
        raise Stop(done)

    def answer(value):
        return lambda done, total: value

    with pytest.raises(Stop):
        call(fail)
    with pytest.raises(KeyboardInterrupt, match="progress function"):
        call(answer(False))
    for value in (None, True, 0, "no"):
        call(answer(value))
    with pytest.raises(TypeError):
        call(lambda: None)


def test_a_stopped_save_leaves_nothing(tmp_path, weight):
    big = ec.dense(np.zeros((700_000, 64), np.float32))
    with pytest.raises(KeyboardInterrupt):
        big.save(tmp_path / "table", progress=lambda done, total: False)
    assert not list(tmp_path.iterdir())


def test_progress_may_use_the_library(weight):
    table = ec.compress(weight)
    wanted = table.lookup(np.arange(4000))
    seen = []

    def progress(done, total):
        seen.append(bool((table.lookup(np.arange(4000)) == wanted).all()))
        ec.compress(weight[:100])

    ec.set_num_threads(4)
    ec.compress(ec.remap(ec.dense(weight), rows=40_000, modulo=4000), progress=progress)
    assert seen and all(seen)


def test_progress_of_nothing():
    seen = []
    ec.compress(np.empty((0, 3), np.float32), progress=lambda done, total: seen.append((done, total)))
    assert all(pair == (0, 0) for pair in seen)


# Memory


def test_buffers_are_given_back(weight):
    """An array that is still held can't be resized."""
    table = ec.compress(weight)
    ids, offsets = array.array("q", [1, 2, 3]), array.array("i", [0, 1])
    weights, out = array.array("f", [1, 1, 1]), bytearray(2 * 24 * 4)

    def resize():
        for held in (ids, offsets, weights):
            held.append(held[0])
            held.pop()
        out.append(0)
        out.pop()

    output = memoryview(out).cast("f", (2, 24))
    table.lookup(ids)
    table.bag(ids, offsets, per_sample_weights=weights, out=output)
    for arguments in (
        {"ids": ids, "offsets": array.array("q", [0, 9])},
        {"ids": ids, "offsets": offsets, "per_sample_weights": weights, "mode": "max"},
        {"ids": ids, "offsets": [0.5]},
        {"ids": ids, "offsets": offsets, "per_sample_weights": weights, "out": b"x"},
        {"ids": array.array("q", [2**40]), "offsets": [0, 0], "out": output},
        {"ids": ids, "offsets": None, "out": output},
    ):
        with pytest.raises((ValueError, IndexError)):
            table.bag(**arguments)
    with pytest.raises(ValueError):
        table.lookup(ids, out=output)
    output.release()
    resize()


def test_references_are_given_back(weight):
    table = ec.compress(weight)
    ids, out = np.arange(10), np.empty((10, 24), np.float32)
    bad = np.array([5000])
    tables, offsets, both = ec.TableSet([table, table]), np.arange(0, 11, 5), np.empty((1, 48), np.float32)

    def progress(done, total):
        return None

    things = [ids, out, bad, weight, table, progress, ec.Table, tables, offsets, both]

    def counts():
        gc.collect()
        return [sys.getrefcount(thing) for thing in things]

    def everything():
        table.lookup(ids, out=out)
        table.bag(ids, ids, out=out)
        tables.bag(ids, offsets, out=both)
        table.decode(0, 10, out=out)
        for call in (
            lambda: table.lookup(bad),
            lambda: table.bag(bad, [0]),
            lambda: tables.bag(ids, offsets[:2]),
            lambda: tables.bag(ids, offsets + 1),
            lambda: tables.bag(ids + 4000, offsets, out=both),
            lambda: tables.bag(ids, offsets, out=out),
            lambda: table.lookup(ids, out=out[:5]),
            lambda: table.bag(ids, out),
            lambda: ec.compress(weight, "nothing", progress=progress),
            lambda: table.slice(5, 3),
            lambda: ec.Table.from_parts({}, {"a": ("f32", weight)}),
            lambda: ec.Table.from_parts({}, {"a": ("u8", weight)}),
        ):
            with pytest.raises((ValueError, IndexError)):
                call()
        ec.compress(weight, progress=progress)
        ec.evaluate(table, weight, queries=0, progress=progress)
        ec.dense(weight).slice(1, 2)
        table.parts()
        str(table), repr(table)

    everything()
    before = counts()
    for _ in range(5):
        everything()
    assert counts() == before


def test_a_dense_table_keeps_its_array_alive():
    memory = bytearray(np.arange(12, dtype=np.float32).tobytes())
    weight = memoryview(memory).cast("f", (4, 3))
    table = ec.dense(weight)
    del weight
    with pytest.raises(BufferError):
        memory.append(0)
    part = table.slice(2, 4)
    route = ec.remap(part, rows=2, modulo=2)
    parts = route.parts()
    del table, part
    with pytest.raises(BufferError):
        memory.append(0)
    assert route.decode()[0].tolist() == [6, 7, 8]
    del route
    with pytest.raises(BufferError):
        memory.append(0)
    (values,) = [a.values for a in parts[1].values()]
    assert values.tolist() == [[6, 7, 8], [9, 10, 11]]
    del parts, values
    gc.collect()
    memory.append(0)


def test_an_array_dies_with_its_last_table(rng):
    weight = rng.standard_normal((5, 3)).astype(np.float32)
    alive = weakref.ref(weight)
    table = ec.dense(weight)
    del weight
    part = table.slice(0, 2)
    del table
    assert alive() is not None
    del part
    gc.collect()
    assert alive() is None


def test_the_last_table_may_go_on_any_thread(weight):
    tables = [ec.dense(weight.copy()) for _ in range(50)]

    def work():
        while tables:
            try:
                tables.pop().slice(0, 5)
            except IndexError:
                return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not tables


def test_memory_does_not_grow(run_python, tmp_path):
    program = """
import sys
import numpy as np, embedcompress as ec
weight = np.random.default_rng(0).standard_normal((50, 24)).astype(np.float32)
def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
def everything(count):
    for _ in range(count):
        table = ec.compress(weight, bins=5)
        ec.TableSet([table, table]).bag([1, 2], [0, 1, 2])
        table.lookup([1, 2]); table.bag([1, 2], [0]); str(table); table.parts(); table.slice(1, 9)
        route = ec.remap(table, map=[1, 2])
        route.save(sys.argv[1]) if _ % 20 == 0 else None
        ec.load(sys.argv[1]).decode(); ec.load(sys.argv[1], mmap=False); ec.contents(sys.argv[1])
        for call in (lambda: table.lookup([99]), lambda: ec.compress(weight, "no"), lambda: ec.load("no such file"),
                     lambda: ec.load(sys.argv[1], "no")):
            try:
                call()
            except (ValueError, IndexError, OSError):
                pass
        ec.Table.from_parts(*table.parts())
everything(200)
before = rss()
everything(1500)
print(rss() - before)
"""
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs /proc")
    assert int(run_python(program, tmp_path / "table")) < 3_000_000
