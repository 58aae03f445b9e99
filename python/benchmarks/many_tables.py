"""26 tables of 64 columns at 4 bits in one call, beside FBGEMM's table-batched embeddings doing the same.

Both hold the same codes, pool the same ids in batches of 2,048 with one id a bag or 20, and write a new f32 array of
(2048, 26 * 64). Tables have 100,000 rows each, or the sizes of the Criteo Kaggle data, the larger ones cut to
2,000,000. Ids are drawn uniformly, or by a Zipf law, and are checked by both, TBE's as by default. Each number of
threads has a process of its own, whose environment lets TBE use as many; of release 1.8.0 no more than one was seen at
work. Calls take turns; times are medians, a ratio is the median of the ratios of neighbouring calls, above 1 where ours
is faster. About two minutes.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _pages import described_machine, median_ratio, write_json

import embedcompress as ec

DIMENSION, BITS, BATCH = 64, 4, 2_048
CRITEO = [
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
]
ROWS = {"100,000 rows": [100_000] * 26, "Criteo": [min(rows, 2_000_000) for rows in CRITEO]}
LENGTHS = (1, 20)
DRAWS = ("uniform", "zipf")


def make(sizes: Sequence[int]) -> tuple[ec.TableSet, torch.nn.Module]:
    """Return our tables and FBGEMM's, with the same codes."""
    from fbgemm_gpu.split_embedding_configs import SparseType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode
    from fbgemm_gpu.split_table_batched_embeddings_ops_inference import IntNBitTableBatchedEmbeddingBagsCodegen

    logging.disable(logging.INFO)
    peer = IntNBitTableBatchedEmbeddingBagsCodegen(
        [(f"t{i}", rows, DIMENSION, SparseType.INT4, EmbeddingLocation.HOST) for i, rows in enumerate(sizes)],
        device="cpu",
        pooling_mode=PoolingMode.SUM,
        output_dtype=SparseType.FP32,
    )
    peer.initialize_weights()
    rng = np.random.default_rng(0)
    tables = []
    for held, _ in peer.split_embedding_weights(split_scale_shifts=False):
        tables.append(ec.compress(rng.standard_normal((len(held), DIMENSION), np.float32), "asym", bits=BITS))
        held.copy_(torch.from_numpy(ec.to_fused_rows(tables[-1], layout="tbe")))
    return ec.TableSet(tables), peer


def draw(rng: np.random.Generator, rows: int, count: int, law: str) -> np.ndarray[Any, Any]:
    if law == "uniform":
        return rng.integers(0, rows, count, np.int32)
    # A popular id can be any row.
    return (rng.zipf(1.2, count) % rows * 7919 % rows).astype(np.int32)


def in_turn(calls: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Return the seconds of each call. Before each, the other's threads fall asleep, and its own are woken."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            time.sleep(0.01)
            call()
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def compare(tables: ec.TableSet, peer: torch.nn.Module, length: int, law: str, repetitions: int) -> dict[str, Any]:
    """Check that both agree, and time them."""
    offsets = np.arange(0, len(tables) * BATCH * length + 1, length, np.int32)
    rng = np.random.default_rng(1)
    ids = np.concatenate([draw(rng, table.rows, BATCH * length, law) for table in tables.tables])
    arguments = torch.from_numpy(ids), torch.from_numpy(offsets)
    np.testing.assert_allclose(tables.bag(ids, offsets), peer(*arguments).numpy(), rtol=1e-5, atol=1e-4)
    seconds = in_turn({"ours": lambda: tables.bag(ids, offsets), "tbe": lambda: peer(*arguments)}, repetitions)
    ours, theirs = statistics.median(seconds["ours"]), statistics.median(seconds["tbe"])
    return {
        "ours_us": ours * 1e6,
        "tbe_us": theirs * 1e6,
        "ours_ns_per_row": ours / len(ids) * 1e9,
        "tbe_ns_per_row": theirs / len(ids) * 1e9,
        "ratio": median_ratio(seconds["tbe"], seconds["ours"]),
    }


def measure(names: Sequence[str], lengths: Sequence[int], threads: int, repetitions: int) -> list[dict[str, Any]]:
    ec.set_num_threads(threads)
    torch.set_num_threads(threads)
    cells = []
    for name in names:
        tables, peer = make(ROWS[name])
        for length in lengths:
            for law in DRAWS:
                cell = {"tables": name, "bag_length": length, "ids": law, "threads": threads}
                cells.append(cell | compare(tables, peer, length, law, repetitions))
    return cells


def in_a_process(arguments: argparse.Namespace, threads: int) -> list[dict[str, Any]]:
    """Measure with this many threads for both; FBGEMM and OpenMP read theirs from the environment once."""
    count = str(threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": count,
        "FBGEMM_TBE_MAX_NUM_THREADS": count,
        "FBGEMM_TBE_MIN_TABLES_PER_THREAD": "1",
    }
    command = [sys.executable, __file__, "--child", count, "--repetitions", str(arguments.repetitions)]
    command += ["--tables", *arguments.tables, "--lengths", *map(str, arguments.lengths)]
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(answer.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--repetitions", type=int, default=60)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tables", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.tables, arguments.lengths, arguments.child, arguments.repetitions)))
        return
    cells = [cell for threads in arguments.threads for cell in in_a_process(arguments, threads)]
    print(f"{'tables':>12} {'bag':>4} {'ids':>8} {'threads':>7} {'ours us':>9} {'TBE us':>9} {'ratio':>6}")
    for cell in cells:
        print("{tables:>12} {bag_length:>4} {ids:>8} {threads:>7}".format_map(cell), end=" ")
        print("{ours_us:>9.0f} {tbe_us:>9.0f} {ratio:>6.2f}".format_map(cell))
    if arguments.out:
        shape = {"batch": BATCH, "dimension": DIMENSION, "bits": BITS, "rows": ROWS}
        machine = described_machine("torch", "fbgemm-gpu-cpu")
        write_json(arguments.out, {"machine": machine, "shape": shape, "cells": cells})


if __name__ == "__main__":
    main()
