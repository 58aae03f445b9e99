"""Sources that somebody writes to while they are compressed: an error, or rows of some state; never a fault."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest

import embedcompress as ec

METHODS = [method.name for method in ec.methods()]

# A thread writes what no row may hold, and what changes every count, while the methods read.
SCRIPT = """
import sys, threading, time
import numpy as np
import embedcompress as ec

path, seconds, methods = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
offset = int(open(path, "rb").read(8)[::-1].hex(), 16) + 8
shared = np.memmap(path, np.float32, "r+", offset=offset, shape=(3000, 24))
lent = np.array(shared)
rows = np.array(shared)
strange = np.float32([np.nan, np.inf, -np.inf, 0, 3e38, -3e38, 5e5, 1e30, 1e-30, -7])
done = False

def write(target):
    random = np.random.default_rng(1)
    while not done:
        target[random.integers(len(target)) :: random.integers(1, 300)] = random.choice(strange)
        target[:] = rows

for target in (shared, lent):
    done = False
    thread = threading.Thread(target=write, args=(target,))
    thread.start()
    for method in methods:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            table = ec.load(path) if target is shared else target
            # Small enough settings that the readings follow each other fast.
            options = {"pq": {"rounds": 2}, "rq": {"parts": 2, "bits": 4}, "opq": {"turns": 1, "bits": 4}}
            options |= {"int8": {"scale": "table"}, "int16": {"scale": "table"}}
            try:
                ec.evaluate(ec.compress(table, method, **options.get(method, {})), table, queries=0)
            except ValueError:
                pass
    done = True
    thread.join()
"""


@pytest.mark.parametrize("methods", [METHODS[start : start + 6] for start in range(0, len(METHODS), 6)], ids=" ".join)
def test_a_source_may_be_written_to_while_it_is_read(methods, rng, tmp_path):
    weight = rng.standard_normal((3000, 24)).astype(np.float32)
    header = json.dumps({"w": {"dtype": "F32", "shape": [3000, 24], "data_offsets": [0, weight.nbytes]}}).encode()
    header += b" " * (-len(header) % 8)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + weight.tobytes())
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), "0.15", *methods], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("method", METHODS)
def test_a_result_has_nothing_of_what_is_written_later(method, rng):
    weight = rng.standard_normal((200, 16)).astype(np.float32)
    table = ec.compress(weight, method)
    before = table.decode()
    weight[:] = np.nan
    np.testing.assert_array_equal(table.decode(), before)


def test_what_was_counted_is_a_bound(rng):
    """A source that changes between the readings of prune: the number of values that stay is no longer right."""
    weight = rng.standard_normal((2_000_000, 16), dtype=np.float32)
    weight[1::2] *= np.float32(1e-3)
    before = weight[1::2].copy()

    def change(done, total):
        if done > total // 2:
            weight[1::2] = 5
        return True

    # When progress is told, and so whether the change comes between two readings, depends on the machine.
    for _ in range(5):
        weight[1::2] = before
        try:
            ec.compress(weight, "prune", progress=change)
        except ValueError as error:
            assert "changed while it was read" in str(error)
            break
    else:
        pytest.fail("no change came between two readings")
