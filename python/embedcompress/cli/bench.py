"""`embedcompress bench`: the benchmarks, each a module of this package with a function `add`."""

from __future__ import annotations

from typing import Any

from . import bench_fit, bench_lookup, bench_report, bench_retrieval, bench_scale, bench_table, bench_train

BENCHMARKS = (bench_lookup, bench_table, bench_retrieval, bench_train, bench_scale, bench_report, bench_fit)


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "bench",
        help="measure methods, and speed beside other libraries",
        description="Measure methods on your data, and speed beside PyTorch, FBGEMM and faiss.",
    )
    benchmarks = parser.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    for benchmark in BENCHMARKS:
        benchmark.add(benchmarks)
