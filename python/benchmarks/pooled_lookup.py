"""Pooled lookups beside PyTorch's own, in one process, in turn, on one thread.

The table is 10,000 x 64; a call pools 4,096 bags of 50 uniformly drawn rows. Times are medians of interleaved calls, in
nanoseconds per row read; a ratio is the median of the ratios of neighbouring calls, above 1 where ours is faster.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import embedcompress as ec

ROWS, DIMENSION, BAGS, BAG_LENGTH = 10_000, 64, 4_096, 50
PEERS = {8: "byte", 4: "4bit", 2: "2bit"}


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], repetitions: int) -> dict[str, float]:
    """Median nanoseconds per row of both, and the median of their ratios."""
    times: tuple[list[float], list[float]] = ([], [])
    for repetition in range(-5, repetitions):
        for call, into in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            call()
            if repetition >= 0:
                into.append((time.perf_counter() - start) / (BAGS * BAG_LENGTH) * 1e9)
    return {
        "ours_ns_per_row": statistics.median(times[0]),
        "torch_ns_per_row": statistics.median(times[1]),
        "ratio": statistics.median(theirs / ours for ours, theirs in zip(*times, strict=True)),
    }


def measure(repetitions: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((ROWS, DIMENSION), dtype=np.float32)
    ids = rng.integers(0, ROWS, BAGS * BAG_LENGTH)
    offsets = np.arange(0, len(ids), BAG_LENGTH)
    torch_weight, torch_ids, torch_offsets = map(torch.from_numpy, (weight, ids, offsets))
    cells: list[dict[str, object]] = []
    for bits, name in PEERS.items():
        table = ec.compress(weight, "asym", bits=bits)
        packed = getattr(torch.ops.quantized, f"embedding_bag_{name}_prepack")(torch_weight)
        bag = getattr(torch.ops.quantized, f"embedding_bag_{name}_rowwise_offsets")
        cells.append(
            {"bits": bits, "peer": f"torch.ops.quantized.embedding_bag_{name}_rowwise_offsets"}
            | interleaved(
                lambda table=table: table.bag(ids, offsets),  # type: ignore[misc]
                lambda bag=bag, packed=packed: bag(packed, torch_ids, torch_offsets),  # type: ignore[misc]
                repetitions,
            )
        )
    dense = ec.dense(weight)
    cells.append(
        {"bits": 32, "peer": "torch.nn.functional.embedding_bag"}
        | interleaved(
            lambda: dense.bag(ids, offsets),
            lambda: torch.nn.functional.embedding_bag(torch_ids, torch_weight, torch_offsets, mode="sum"),
            repetitions,
        )
    )
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--repetitions", type=int, default=60)
    arguments = parser.parse_args()
    ec.set_num_threads(1)
    torch.set_num_threads(1)
    cells = measure(arguments.repetitions)
    print(f"{'bits':>4} {'ours ns/row':>12} {'torch ns/row':>13} {'ratio':>6}")
    for cell in cells:
        print("{bits:>4} {ours_ns_per_row:>12.2f} {torch_ns_per_row:>13.2f} {ratio:>6.2f}".format_map(cell))
    if arguments.out:
        machine = {"isa": ec.isa(), "processor": platform.machine(), "torch": torch.__version__, "threads": 1}
        table = {"rows": ROWS, "dimension": DIMENSION, "bags": BAGS, "bag_length": BAG_LENGTH}
        arguments.out.write_text(json.dumps({"machine": machine, "table": table, "cells": cells}, indent=1) + "\n")


if __name__ == "__main__":
    main()
