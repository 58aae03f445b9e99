"""What a step of a table with an optimizer of its own takes beside FBGEMM's SplitTableBatchedEmbeddingBagsCodegen.

26 x 2,048 ids of a table of 5,000,000 rows of 16 columns, drawn by a power law (Zipf 1.05) and spread over the rows,
on the CPU: forward of the rows of all ids, and backward, which moves them by row-wise Adagrad. Ours in f32, int16,
int8, and int8 whose most used rows, a tenth, are f16; FBGEMM in f32 and f16, with a bag for each id. Contenders take
turns; a ratio is the median of the ratios of neighbouring turns. Figures go to docs/results/fused_steps.json. Some
minutes, and 4 GB of memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _pages import RESULTS, described_machine, median_ratio, write_json

import embedcompress as ec
from embedcompress import training

ROWS, DIMENSION, COUNT = 5_000_000, 16, 26 * 2048
THREADS = (1, 2)
RATE = 0.05

Step = Callable[[torch.Tensor, torch.Tensor], None]


def uses() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return how often each row is used, as a share of the most, (rows,)."""
    found = np.empty(ROWS)
    found[_places(np.arange(ROWS))] = 1 / np.arange(1, ROWS + 1) ** 1.05
    return found


def _places(ranks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return rows by rank: what is used often lies anywhere, as the factor has no divisor in common with the rows."""
    places: np.ndarray[Any, Any] = ranks.astype(np.int64) * 2_654_435_761 % ROWS
    return places


def batch(turn: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids, (n,), and the slopes of their rows, (n, d)."""
    random = np.random.default_rng(turn)
    sums = np.cumsum(1 / np.arange(1, ROWS + 1) ** 1.05)
    ranks = np.searchsorted(sums, random.random(COUNT) * sums[-1])
    ids = _places(ranks)
    slopes = random.standard_normal((COUNT, DIMENSION)).astype(np.float32)
    return torch.from_numpy(ids), torch.from_numpy(slopes)


def ours(method: str, **options: Any) -> tuple[Step, int]:
    """Return a step, and the bytes of the table and its state."""
    module = training.embedding(method, ROWS, DIMENSION, budget=1.0, optimizer=training.RowwiseAdagrad(RATE), **options)

    def step(ids: torch.Tensor, slopes: torch.Tensor) -> None:
        module(ids).backward(slopes)

    return step, module.training_bytes


def fbgemm(precision: str) -> tuple[Step, int]:
    """Return the same of FBGEMM, with rows of "fp32" or "fp16"."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType, SparseType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    module = SplitTableBatchedEmbeddingBagsCodegen(
        [(ROWS, DIMENSION, EmbeddingLocation.HOST, ComputeDevice.CPU)],
        weights_precision=SparseType(precision),
        optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
        learning_rate=RATE,
        eps=1e-8,
        pooling_mode=PoolingMode.SUM,
        stochastic_rounding=precision != "fp32",
    )
    module.init_embedding_weights_uniform(-(ROWS**-0.5), ROWS**-0.5)
    # A bag for each id: on a CPU it has no rows that are not pooled.
    offsets = torch.arange(COUNT + 1)

    def step(ids: torch.Tensor, slopes: torch.Tensor) -> None:
        module(ids, offsets).backward(slopes)

    tensors = {one.data_ptr(): one.nbytes for one in (*module.parameters(), *module.buffers()) if one.numel() >= ROWS}
    return step, sum(tensors.values())


CONTENDERS: dict[str, Callable[[], tuple[Step, int]]] = {
    "full": lambda: ours("full"),
    "int16": lambda: ours("int16"),
    "int8": lambda: ours("int8", high_precision=0),
    "int8 and f16": lambda: ours("int8", counts=uses()),
    "fbgemm f32": lambda: fbgemm("fp32"),
    "fbgemm f16": lambda: fbgemm("fp16"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=41, help="steps of each contender")
    parser.add_argument("--out", type=Path, default=RESULTS / "fused_steps.json")
    options = parser.parse_args(arguments)
    machine = described_machine("torch", "fbgemm-gpu-cpu")
    made = {name: make() for name, make in CONTENDERS.items()}
    cells = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        ec.set_num_threads(threads)
        seconds: dict[str, list[float]] = {name: [] for name in made}
        for turn in range(options.turns + 1):
            ids, slopes = batch(turn)
            for name, (step, _) in made.items():
                start = time.perf_counter()
                step(ids, slopes)
                # The first turn warms up.
                if turn:
                    seconds[name].append(time.perf_counter() - start)
        for name, (_, size) in made.items():
            cell = {
                "contender": name,
                "threads": threads,
                "milliseconds": round(1000 * statistics.median(seconds[name]), 3),
                "least_milliseconds": round(1000 * min(seconds[name]), 3),
                "times_as_fast_as_fbgemm_f32": round(median_ratio(seconds["fbgemm f32"], seconds[name]), 3),
                "bytes": size,
            }
            print(cell)
            cells.append(cell)
    write_json(options.out, {"machine": machine, "turns": options.turns, "cells": cells})


if __name__ == "__main__":
    main()
