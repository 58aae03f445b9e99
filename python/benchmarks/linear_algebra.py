"""Eigenvectors of symmetric matrices beside numpy.linalg.eigh, which is LAPACK's divide and conquer on OpenBLAS.

Gram matrices of normal rows, f64, at the widths of embedding tables. Every pair of threads and size is a process of its
own, as OpenBLAS takes its threads from the environment; in it the two take turns. Times are medians; a ratio is the
median of the ratios of neighbouring turns, our time by NumPy's: below 1, ours is quicker. Figures go to
docs/results/linear_algebra.json, and from there to docs/linear-algebra.md. Some minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _pages import DOCS, RESULTS, described_machine, interleaved, machine_text, median_ratio, read_json, write_json

import embedcompress as ec
from embedcompress import _core
from embedcompress._atomic import write_text
from embedcompress._report import figure, markdown_table

SIZES = (64, 300, 768, 2048, 4096)
THREADS = (1, 2)
TURNS = {64: 101, 300: 31, 768: 11, 2048: 3, 4096: 1}
"""Turns of a size, of which one more warms up; those of a size that is not here are 5."""


def measured(size: int, threads: int) -> dict[str, Any]:
    """Time both in turns, in this process."""
    ec.set_num_threads(threads)
    rows = np.random.default_rng(0).standard_normal((2 * size, size))
    gram = rows.T @ rows
    values, vectors = np.empty(size), np.empty((size, size))
    calls = {
        "ours": lambda: _core.symmetric_eigenvectors(gram, values, vectors, None),
        "numpy": lambda: np.linalg.eigh(gram),
    }
    seconds = interleaved(calls, TURNS.get(size, 5))
    return {
        "size": size,
        "threads": threads,
        "milliseconds": statistics.median(seconds["ours"]) * 1e3,
        "numpy_milliseconds": statistics.median(seconds["numpy"]) * 1e3,
        "ratio": median_ratio(seconds["ours"], seconds["numpy"]),
        "residual": float(np.abs(gram @ vectors - vectors * values).max() / values[-1]),
        "orthogonality": float(np.abs(vectors.T @ vectors - np.eye(size)).max()),
    }


def in_process(size: int, threads: int) -> dict[str, Any]:
    """Time both in a process whose BLAS has so many threads."""
    # These would choose other kernels than OpenBLAS takes for this processor.
    environment = {name: text for name, text in os.environ.items() if name not in CHOICES}
    environment["OPENBLAS_NUM_THREADS"] = str(threads)
    command = [sys.executable, __file__, "--measure", str(size), str(threads)]
    found: dict[str, Any] = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    return found


CHOICES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as Markdown."""
    header = ["size", "threads", "embedcompress, ms", "NumPy, ms", "ratio", "residual", "orthogonality"]
    return markdown_table(
        header,
        (
            [
                str(cell["size"]),
                str(cell["threads"]),
                figure(cell["milliseconds"], 3),
                figure(cell["numpy_milliseconds"], 3),
                f"{cell['ratio']:.2f}×",
                f"{cell['residual']:.0e}",
                f"{cell['orthogonality']:.0e}",
            ]
            for cell in cells
        ),
    )


def page(document: Mapping[str, Any]) -> str:
    """Return the page."""
    parts = [
        "# Eigenvectors beside LAPACK",
        "All eigenvalues and eigenvectors of a Gram matrix in f64, on which SVD, MagSVD, TT and OPQ stand, in turns "
        "with `numpy.linalg.eigh` on as many threads. A ratio is our time by NumPy's: below 1, ours is quicker. The "
        "residual is the largest of |A V - V diag(w)| by the largest eigenvalue, orthogonality the largest of "
        "|VᵀV - 1|. Made by `python python/benchmarks/linear_algebra.py`; the raw figures are in "
        "[results/linear_algebra.json](results/linear_algebra.json).",
        machine_text(document["machine"]),
        table(document["cells"]),
    ]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--page-only", action="store_true", help="run nothing: make the page from the figures")
    parser.add_argument(
        "--measure", type=int, nargs=2, help="a size and threads: print their figures, and nothing else"
    )
    parser.add_argument("--json", type=Path, default=RESULTS / "linear_algebra.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "linear-algebra.md", help="the page")
    options = parser.parse_args(arguments)
    if options.measure:
        print(json.dumps(measured(*options.measure)))
        return
    if not options.page_only:
        machine = described_machine()
        cells = [in_process(size, threads) for size in options.sizes for threads in THREADS]
        write_json(options.json, {"machine": machine, "cells": cells})
    write_text(options.page, page(read_json(options.json)))


if __name__ == "__main__":
    main()
