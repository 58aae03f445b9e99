"""Compressing straight into a file: the bytes of compressing in memory, without the memory."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import embedcompress as ec

METHODS = [method.name for method in ec.methods()]


@pytest.mark.parametrize("method", METHODS)
def test_the_file_is_that_of_compress_and_save(rng, tmp_path, method):
    tables = {
        "a": rng.standard_normal((700, 50)).astype(np.float32),
        "a.rows": rng.standard_normal((30, 7)).astype(np.float16),
    }
    report = ec.compress_to_file(tmp_path / "streamed", tables, method, metadata={"x": "y"})
    copies = {name: ec.compress(weight, method) for name, weight in tables.items()}
    ec.save(tmp_path / "saved", copies, metadata={"x": "y"})
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "saved").read_bytes()
    for name, weight in tables.items():
        quality = ec.evaluate(copies[name], weight, queries=0)
        for field in ("normalized_l2", "mean_cosine", "worst_row_l2", "worst_row", "mean_squared_error", "ratio"):
            assert getattr(report[name], field) == pytest.approx(getattr(quality, field), rel=1e-12)
        assert report[name].stored_bytes == copies[name].stored_bytes
        assert report[name].source_bytes == weight.nbytes
        assert (report[name].rows, report[name].dimension) == weight.shape


def test_runs_make_no_difference(rng, tmp_path):
    # A run is 32 MiB of f32.
    weight = rng.standard_normal((40_000, 260), dtype=np.float32)
    ec.save(tmp_path / "weight", {"w": ec.dense(weight)})
    for method in ("least_squares", "table"):
        report = ec.compress_to_file(tmp_path / "streamed", {"w": ec.load(tmp_path / "weight")}, method)["w"]
        table = ec.compress(weight, method)
        ec.save(tmp_path / "saved", {"w": table})
        assert (tmp_path / "streamed").read_bytes() == (tmp_path / "saved").read_bytes()
        quality = ec.evaluate(table, weight, queries=0)
        assert report.normalized_l2 == pytest.approx(quality.normalized_l2, rel=1e-9)
        assert report.worst_row == quality.worst_row
    weight[39_000, 3] = np.nan
    for method in ("greedy", "table"):
        with pytest.raises(ValueError, match="row 39000 has nan in column 3"):
            ec.compress_to_file(tmp_path / "bad", {"w": weight}, method)
    assert not (tmp_path / "bad").exists()


def test_tables_without_rows(tmp_path):
    report = ec.compress_to_file(tmp_path / "out", {"w": np.zeros((0, 5), np.float32)})
    assert report["w"].stored_bytes == 0
    assert ec.load(tmp_path / "out").shape == (0, 5)


def test_the_share_that_keeps_min_max(rng, tmp_path):
    weight = rng.standard_normal((100, 64)).astype(np.float32)
    weight[:25] = 1
    share = ec.compress_to_file(tmp_path / "out", {"w": weight}, bits=2)["w"].fallback_share
    assert share == 0.25
    assert ec.compress_to_file(tmp_path / "out", {"w": weight}, "asym")["w"].fallback_share is None
    assert ec.compress_to_file(tmp_path / "out", {"w": weight}, "sym", fallback=False)["w"].fallback_share is None
    assert ec.compress_to_file(tmp_path / "out", {"w": abs(weight)}, "sym")["w"].fallback_share == 1


def test_a_budget_in_bytes_is_shared_among_tables(rng, tmp_path):
    tables = {"a": rng.standard_normal((300, 40)), "b": rng.standard_normal((100, 40))}
    tables = {name: weight.astype(np.float32) for name, weight in tables.items()}
    report = ec.compress_to_file(tmp_path / "out", tables, budget=12_000)
    assert report["a"].stored_bytes == 300 * (25 + 4)
    assert report["b"].stored_bytes == 100 * (25 + 4)
    with pytest.raises(ec.BudgetError):
        ec.compress_to_file(tmp_path / "none", tables, budget=100)
    assert os.listdir(tmp_path) == ["out"]


def test_what_is_refused(rng, tmp_path):
    weight = rng.standard_normal((10, 4)).astype(np.float32)
    for call, message in (
        (lambda: ec.compress_to_file(tmp_path / "out", {}), "no table to save"),
        (lambda: ec.compress_to_file(tmp_path / "out", {"w": weight}, "no"), "no method 'no'"),
        (lambda: ec.compress_to_file(tmp_path / "out", {"w": weight}, weights={"v": weight}), "weights .* 'v'"),
        (lambda: ec.compress_to_file(tmp_path / "out", {"w": weight}, metadata={"embedcompress.x": ""}), "own"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(OSError):
        ec.compress_to_file(tmp_path / "no folder" / "out", {"w": weight})
    assert os.listdir(tmp_path) == []


def test_progress_counts_every_row(rng, tmp_path):
    seen = []
    weight = rng.standard_normal((5000, 16)).astype(np.float32)
    ec.compress_to_file(tmp_path / "out", {"w": weight}, progress=lambda *pair: seen.append(pair))
    assert seen[-1] == (5000, 5000)
    assert seen == sorted(seen)
    with pytest.raises(KeyboardInterrupt):
        ec.compress_to_file(tmp_path / "none", {"w": weight}, progress=lambda *_: False)
    assert os.listdir(tmp_path) == ["out"]


PROGRAM = """
import resource, sys
import embedcompress as ec
table = ec.load(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("start", flush=True)
ec.compress_to_file(sys.argv[2], {"w": table}, "greedy" if len(sys.argv) > 3 else "asym")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture
def large(rng, tmp_path):
    """A file of 300 MB of f32."""
    tile = rng.standard_normal((7_500, 100), dtype=np.float32)
    ec.save(tmp_path / "large", {"w": ec.dense(np.tile(tile, (100, 1)))})
    return tmp_path / "large"


def test_memory_does_not_grow_with_the_table(large, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, large, tmp_path / "out"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) < 110_000  # KiB: two runs of the source and what goes with them
    assert ec.load(tmp_path / "out").rows == 750_000


def test_killing_it_leaves_no_output(large, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, large, tmp_path / "out", "slow"], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
