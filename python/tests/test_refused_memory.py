"""Memory that is refused, or not there: a MemoryError by name, and never the end of the process."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import random_tables

import embedcompress as ec
from embedcompress import _core, training

METHODS = [method.name for method in ec.methods()]
OPTIONS = {
    "kmeans_cls": {"clusters": 70, "rounds": 2},
    "dedup": {"tolerance": 2.0, "similarity": 0.5},
    "hist_brute": {"b": 20},
    "opq": {"turns": 1, "rounds": 2, "bits": 4},
    "pq": {"rounds": 2, "bits": 4},
    "magpq": {"rounds": 2, "bits": 4},
    "rq": {"rounds": 2, "bits": 4, "parts": 2},
}
# What a test of one call may take; an allocation that is refused later is then one of every few.
SECONDS = 0.7


@pytest.fixture(autouse=True)
def _nothing_is_refused_after():
    yield
    _core.refuse_allocation(-1)


def assert_refusals_are_errors(call, expected):
    """Call with each of its allocations refused in turn: the call raises, or does as well without."""
    end, refused, count = time.monotonic() + SECONDS, 0, 0
    while True:
        _core.refuse_allocation(count)
        try:
            found = call()
        except MemoryError as error:
            assert "cannot allocate" in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(found, expected)
        if _core.refuse_allocation(-1) >= 0:
            break
        count += 1 if time.monotonic() < end else 1 + count // 2
    # What comes after a refusal is as ever.
    np.testing.assert_array_equal(call(), expected)
    return refused


@pytest.mark.parametrize("method", METHODS)
def test_each_allocation_of_a_method_is_refused(method, rng):
    weight = rng.standard_normal((300, 24)).astype(np.float32)

    def call():
        return ec.compress(weight, method, **OPTIONS.get(method, {})).decode()

    assert assert_refusals_are_errors(call, call()) > 0


def in_new_thread(call):
    """Return what a call returns on a thread that has no scratch yet of earlier calls."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def stored(rng):
    """A table of each kind of store, and of each route over some of them."""
    leaves = [
        random_tables.random_dense(rng, 600, 40, "f16"),
        random_tables.random_uniform(rng, 600, 40),
        random_tables.random_codebook(rng, 600, 40, scope="cluster"),
        random_tables.random_product(rng, 600, 40),
        random_tables.random_sparse(rng, 600, 40),
        random_tables.random_shared_array(rng, 600, 40),
        random_tables.random_tensor_train(rng, 600, 40),
        random_tables.random_hash_network(rng, 600, 40),
    ]
    sums = [ec.combine(leaves[:3]), ec.combine(leaves[1:4], operation="product")]
    halves = [ec.partition(leaves[2:4], assignment=np.arange(1200) % 2), ec.columns(leaves[4:6])]
    matrix = rng.standard_normal((40, 70)).astype(np.float32)
    routes = [ec.remap(leaves[1], rows=900, modulo=600), ec.project(leaves[1], matrix), ec.rotate(leaves[1], seed=3)]
    return leaves + sums + halves + routes


def test_each_allocation_of_a_lookup_is_refused(rng):
    for table in stored(rng):
        ids = rng.integers(0, table.rows, 3000)
        offsets = np.arange(0, 3000, 7)
        for call in (
            lambda table=table, ids=ids: table.lookup(ids),
            lambda table=table, ids=ids, offsets=offsets: table.bag(ids, offsets, mode="mean"),
            lambda table=table, ids=ids, offsets=offsets: table.bag(ids, offsets, mode="max"),
            lambda table=table: table.decode(),
        ):
            assert_refusals_are_errors(lambda call=call: in_new_thread(call), call())


def test_each_allocation_of_other_calls_is_refused(rng, tmp_path):
    weight = rng.standard_normal((300, 24)).astype(np.float32)
    table = ec.compress(weight, "greedy")
    path = tmp_path / "table.safetensors"
    table.save(path)

    def evaluated():
        quality = ec.evaluate(table, weight, queries=20)
        return [quality.normalized_l2, quality.recall_at_10]

    def saved():
        table.save(path)
        return ec.load(path, mmap=False).decode()

    def compressed_to_file():
        ec.compress_to_file(path, {"weight": weight})
        return ec.load(path).decode()

    calls = [
        evaluated,
        saved,
        compressed_to_file,
        lambda: ec.load(path).decode(),
        lambda: table.aligned(64).decode(),
        lambda: ec.remap(table, map=np.arange(299, -1, -1)).decode(),
        lambda: ec.recommend(weight, budget=0.2)[0].stored_bytes,
    ]
    for call in calls:
        assert_refusals_are_errors(call, call())


LIMITED = """
import os, resource, sys
import numpy as np
import embedcompress as ec
from test_refused_memory import METHODS, OPTIONS, stored

def room(call, size):
    child = os.fork()
    if child == 0:
        pages = int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size,) * 2)
        try:
            call()
        except MemoryError:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1), (call, size, code)
    return code

rng = np.random.default_rng(5)
weight = rng.standard_normal((6000, 64)).astype(np.float32)
for method in METHODS:
    options = OPTIONS.get(method, {})
    refused = [room(lambda: ec.compress(weight, method, **options), size << 20) for size in (0, 4, 6, 9)]
    assert refused[0], method
ec.set_num_threads(64)
tables = stored(np.random.default_rng(1))
for size in (0, 8, 40, 200, 1000):
    for table in tables:
        room(lambda: table.decode(), size << 20)
print("done")
"""


@pytest.mark.skipif("not __import__('sys').platform.startswith('linux')")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_limit_on_addresses(run_python):
    """Every method, and lookups on 64 threads, in children whose address space is limited at several levels."""
    assert run_python(LIMITED, timeout=120) == "done\n"


def test_sizes_of_options_are_not_taken_at_their_word(rng):
    weight = rng.standard_normal((50, 16)).astype(np.float32)
    table = ec.compress(weight, "dedup", block_rows=2**31 - 1)
    np.testing.assert_array_equal(table.decode(), weight)


def test_a_tensor_train_states_its_scratch():
    """Slices whose products no thread has scratch for are refused when the table is made."""
    rank = 1 << 22
    cores = [np.ones(shape, np.float16) for shape in [(1, 1, rank), (1, rank, 1, 1), (1, 1, 1)]]
    with pytest.raises(ec.FormatError, match="bytes of scratch on each thread, and the most is 67108864"):
        ec.tensor_train(cores)
    rank = 1 << 18
    cores = [np.ones(shape, np.float16) for shape in [(1, 1, rank), (1, rank, 1, 1), (1, 1, 1)]]
    assert ec.tensor_train(cores).lookup([0])[0, 0] == rank


def test_scratch_adds_up_over_a_tree():
    """Each level of wide rows takes some: deep trees of them are refused, of narrow ones not."""

    def nested(columns, levels):
        table = ec.dense(np.ones((1, columns), np.float16))
        for _ in range(levels):
            table = ec.rotate(table, seed=1)
        return table

    assert nested(64, 20).lookup([0]).shape == (1, 64)
    with pytest.raises(ec.FormatError, match=r"a lookup would need .* bytes of scratch"):
        nested(1 << 20, 20)


SMALL_STACKS = """
import threading
import numpy as np
import embedcompress as ec
from test_refused_memory import METHODS, OPTIONS, stored

rng = np.random.default_rng(5)
weight = rng.standard_normal((700, 64)).astype(np.float32)
tables = stored(rng)
failures = []

def work():
    try:
        for method in METHODS:
            ec.compress(weight, method, **OPTIONS.get(method, {}))
        for table in tables:
            table.bag(np.arange(500), np.arange(0, 500, 9), mode="sum")
            ec.evaluate(table, table.decode(), queries=5)
        ec.recommend(weight, budget=0.2)
    except BaseException as error:
        failures.append(error)

threading.stack_size(256 << 10)
thread = threading.Thread(target=work)
thread.start()
thread.join()
assert not failures, failures
print("done")
"""


def test_a_small_stack_is_enough(run_python):
    """256 KiB, half of what macOS gives a thread: no frame holds more than a few kilobytes."""
    assert run_python(SMALL_STACKS, timeout=120) == "done\n"


FORKING = """
import os
import numpy as np
import embedcompress as ec

ec.set_num_threads(4)
weight = np.random.default_rng(0).standard_normal((40_000, 64), dtype=np.float32)
expected = ec.compress(weight, "greedy").decode()
parent, children = os.getpid(), []

def fork(done, total):
    if os.getpid() == parent and len(children) < 3 and done > total * (1 + len(children)) // 5:
        child = os.fork()
        if child:
            children.append(child)

found = ec.compress(weight, "greedy", progress=fork).decode()
same = np.array_equal(found, expected) and np.array_equal(ec.compress(weight, "greedy").decode(), expected)
if os.getpid() != parent:
    os._exit(0 if same else 1)
assert same and children
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("done")
"""


@pytest.mark.skipif("not hasattr(__import__('os'), 'fork')")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_inside_a_progress_callback(run_python):
    """Both processes go on with the call, and end it with the same table."""
    assert run_python(FORKING, timeout=60) == "done\n"


def test_recommend_bounds_the_columns():
    with pytest.raises(ValueError, match="embedding_dim must be at most 1048576, not 1000000000000"):
        training.recommend([1000], 10**12, budget=0.1)
    with pytest.raises(ValueError, match="num_embeddings must be at most"):
        training.recommend([2**49], 16, budget=0.1)
