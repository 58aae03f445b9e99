"""The speed of quantizers beside PyTorch's and FBGEMM's, and the quality of least squares.

Every contender has one thread, and they take turns; times are medians, a ratio is the median of the ratios of
neighbouring calls. Figures go to docs/results/quantizer_speed.json, the tables of docs/four-bit-paper.md are written
anew from that. About two minutes.
"""

from __future__ import annotations

import argparse
import importlib
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _pages import DOCS, RESULTS, described_machine, fill, interleaved, median_ratio, read_json, write_json

import embedcompress as ec
from embedcompress._report import figure, markdown_table

QUALITY_TARGETS = {(4, 8): 0.0412, (4, 64): 0.0805, (4, 768): 0.1046, (2, 64): 0.319, (2, 768): 0.341}
"""The most that least squares may lose on N(0, 1), by bits and dimension."""
TITLES = {"asym": "ASYM", "greedy": "GREEDY", "least_squares": "Least squares", "hist_brute": "HIST-BRUTE"}


def normal(rows: int, dimension: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((rows, dimension), np.float32)


def compared(
    peer: str, theirs: Callable[[], object], ours: dict[str, Callable[[], object]], rows: int, repetitions: int
) -> list[dict[str, Any]]:
    """Return a row's time by each of ours, by the peer, and their ratio."""
    seconds = interleaved({peer: theirs, **ours}, repetitions)
    return [
        {
            "method": method,
            "peer": peer,
            "us_per_row": statistics.median(seconds[method]) / rows * 1e6,
            "peer_us_per_row": statistics.median(seconds[peer]) / rows * 1e6,
            "ratio": median_ratio(seconds[peer], seconds[method]),
        }
        for method in ours
    ]


def searches(dimensions: Sequence[int], elements: int, repetitions: int) -> list[dict[str, Any]]:
    """Compare GREEDY (200, 0.16) and least squares with PyTorch's GREEDY at 4 bits."""
    cells = []
    for dimension in dimensions:
        weight = normal(max(elements // dimension, 16), dimension)
        held = torch.from_numpy(weight)
        found = compared(
            "torch.ops.quantized.embedding_bag_4bit_prepack(optimized_qparams=True)",
            lambda held=held: torch.ops.quantized.embedding_bag_4bit_prepack(held, optimized_qparams=True),  # type: ignore[misc]
            {
                method: lambda method=method, weight=weight: ec.compress(weight, method)  # type: ignore[misc]
                for method in ("greedy", "least_squares")
            },
            len(weight),
            repetitions,
        )
        cells += [{"bits": 4, "dimension": dimension, "rows": len(weight)} | cell for cell in found]
    return cells


def min_max(dimensions: Sequence[int], elements: int, repetitions: int) -> list[dict[str, Any]]:
    """Compare ASYM with FBGEMM's quantizer at 4 and 2 bits; nothing where FBGEMM is not installed."""
    try:
        importlib.import_module("fbgemm_gpu")
    except ImportError:
        return []
    cells = []
    for bits in (4, 2):
        for dimension in dimensions:
            weight = normal(max(elements // dimension, 16), dimension)
            held = torch.from_numpy(weight)
            found = compared(
                "torch.ops.fbgemm.FloatToFusedNBitRowwiseQuantizedSBHalf",
                lambda held=held, bits=bits: torch.ops.fbgemm.FloatToFusedNBitRowwiseQuantizedSBHalf(held, bits),  # type: ignore[misc]
                {"asym": lambda weight=weight, bits=bits: ec.compress(weight, "asym", bits=bits)},  # type: ignore[misc]
                len(weight),
                repetitions,
            )
            cells += [{"bits": bits, "dimension": dimension, "rows": len(weight)} | cell for cell in found]
    return cells


def two_threads(elements: int, repetitions: int) -> list[dict[str, Any]]:
    """Compare two threads with one, at 4 bits, d = 64."""
    weight = normal(max(elements // 64, 16), 64)

    def compress(method: str, threads: int) -> Callable[[], object]:
        def call() -> None:
            ec.set_num_threads(threads)
            ec.compress(weight, method)

        return call

    cells = []
    for method in ("asym", "greedy", "least_squares"):
        seconds = interleaved({str(threads): compress(method, threads) for threads in (1, 2)}, repetitions)
        times = {threads: statistics.median(taken) / len(weight) * 1e6 for threads, taken in seconds.items()}
        ratio = median_ratio(seconds["1"], seconds["2"])
        cells.append({"method": method, "rows": len(weight), "dimension": 64, "us_per_row": times, "ratio": ratio})
    ec.set_num_threads(1)
    return cells


def brute_force(rows: int, repetitions: int) -> dict[str, Any]:
    """Time HIST-BRUTE, 200 bins, 4 bits, d = 64, one thread."""
    weight = normal(rows, 64)
    (seconds,) = interleaved({"hist_brute": lambda: ec.compress(weight, "hist_brute")}, repetitions).values()
    return {"rows": rows, "dimension": 64, "bits": 4, "seconds": statistics.median(seconds)}


def quality(seeds: int, rows: int = 200) -> list[dict[str, Any]]:
    """Return the mean over the rows of N(0, 1) tables of ||x - q(x)|| / ||x|| by least squares, f16 scales, by seed."""
    cells = []
    for (bits, dimension), target in QUALITY_TARGETS.items():
        means = []
        for seed in range(seeds):
            weight = normal(rows, dimension, seed)
            restored = ec.compress(weight, "least_squares", bits=bits).decode()
            losses = np.linalg.norm(weight - restored, axis=1) / np.linalg.norm(weight, axis=1)
            means.append(float(losses.mean(dtype=np.float64)))
        cells.append({"bits": bits, "dimension": dimension, "rows": rows, "target": target, "by_seed": means})
    return cells


def searched_loss(row: np.ndarray[Any, Any], last: int, points: int) -> float:
    """Return the least ||x - q(x)|| / ||x|| of a grid of scales and biases and of the fits from its best places."""
    deviation = float(row.std())
    found = []
    for scale in np.linspace(0.8, 1.2, points, dtype=np.float32) * deviation:
        # On N(0, 1) the best range lies near the middle, of a width near `last` times the deviation at 2 bits.
        biases = np.linspace(-1.9, -1.1, points, dtype=np.float32) * deviation
        codes = np.clip(np.rint((row - biases[:, None]) / scale), 0, last)
        errors = np.square(row - (codes * scale + biases[:, None])).sum(axis=1)
        found.append((float(errors.min()), scale, biases[errors.argmin()]))
    least = math.inf
    for _, scale, bias in sorted(found)[:10]:
        for _ in range(20):
            codes = np.clip(np.rint((row - bias) / scale), 0, last)
            scale, bias = np.polyfit(codes, row, 1)
            least = min(least, float(np.square(row - (codes * scale + bias)).sum()))
    return math.sqrt(least) / float(np.linalg.norm(row))


def beside_search(rows: int, points: int = 80) -> dict[str, Any]:
    """Compare least squares with a search of scales and biases at 2 bits, d = 768."""
    weight = normal(rows, 768)
    restored = ec.compress(weight, "least_squares", bits=2).decode()
    losses = np.linalg.norm(weight - restored, axis=1) / np.linalg.norm(weight, axis=1)
    searched = statistics.mean(searched_loss(row, 3, points) for row in weight)
    return {"bits": 2, "dimension": 768, "rows": rows, "least_squares": float(losses.mean()), "searched": searched}


def measure(quick: bool) -> dict[str, Any]:
    """Return every figure."""
    machine = described_machine("torch")
    threads = ec.get_num_threads(), torch.get_num_threads()
    ec.set_num_threads(1)
    torch.set_num_threads(1)
    dimensions = (64,) if quick else (16, 64, 128, 768)
    try:
        return {
            "command": "python python/benchmarks/quantizer_speed.py",
            "machine": machine,
            "two_threads": two_threads(1_000 if quick else 6_400_000, 1 if quick else 15),
            "searches": searches(dimensions, 1_000 if quick else 640_000, 1 if quick else 15),
            "min_max": min_max(dimensions, 1_000 if quick else 3_200_000, 1 if quick else 41),
            "brute_force": brute_force(16 if quick else 10_000, 1 if quick else 5),
            "quality": quality(2, 20) if quick else quality(50),
            "beside_search": beside_search(2, 10) if quick else beside_search(100),
        }
    finally:
        ec.set_num_threads(threads[0])
        torch.set_num_threads(threads[1])


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Return the page's tables by name."""
    peers = [
        (
            TITLES[cell["method"]],
            str(cell["bits"]),
            str(cell["dimension"]),
            figure(cell["us_per_row"], 3),
            f"`{cell['peer']}`",
            figure(cell["peer_us_per_row"], 3),
            f"{figure(cell['ratio'], 3)}×",
        )
        for cell in [*results["searches"], *results["min_max"]]
    ]
    threads = [
        (
            TITLES[cell["method"]],
            figure(cell["us_per_row"]["1"], 3),
            figure(cell["us_per_row"]["2"], 3),
            f"{cell['ratio']:.2f}×",
        )
        for cell in results["two_threads"]
    ]
    losses = [
        (
            str(cell["bits"]),
            str(cell["dimension"]),
            f"{cell['target']:.4f}",
            f"{statistics.mean(cell['by_seed']):.4f}",
            f"{min(cell['by_seed']):.4f} to {max(cell['by_seed']):.4f}",
            f"{sum(mean <= cell['target'] for mean in cell['by_seed'])} of {len(cell['by_seed'])}",
        )
        for cell in results["quality"]
    ]
    brute, search = results["brute_force"], results["beside_search"]
    return {
        "speed, peers": markdown_table(
            ("method", "bits", "d", "µs per row", "peer", "its µs per row", "peer ÷ ours"), peers
        ),
        "speed, threads": markdown_table(
            ("method", "µs per row, one thread", "µs per row, two threads", "one ÷ two"), threads
        ),
        "speed, brute": f"HIST-BRUTE with 200 bins takes {figure(brute['seconds'], 3)} s for {brute['rows']:,} rows of "
        f"{brute['dimension']}, on one thread.",
        "quality, search": f"On {search['rows']} rows at {search['bits']} bits and d = {search['dimension']}, least "
        f"squares has {search['least_squares']:.5f}, and a search of a grid of scales and biases, with fits from its "
        f"best places, {search['searched']:.5f}.",
        "quality": markdown_table(("bits", "d", "target", "mean", "by seed", "seeds that meet it"), losses),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small tables only, to see that it runs")
    parser.add_argument("--json", type=Path, default=RESULTS / "quantizer_speed.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "four-bit-paper.md", help="the page to write tables into")
    options = parser.parse_args(arguments)
    write_json(options.json, measure(options.quick))
    parts = tables(read_json(options.json))
    if options.page.exists():
        fill(options.page, parts)
    print("\n\n".join(parts.values()))


if __name__ == "__main__":
    main()
