"""What the library does to real tables: `python -m embedcompress.demo --out demo-report`.

Each table is compressed by every method at every width, compared with its source, looked up beside f32, saved and
opened again. The figures go to a report with a plot. Needs NumPy and matplotlib, and the packages that carry the
tables.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import embedcompress as ec

from . import _demo_report
from ._atomic import write_text
from ._evaluate import neighbours
from ._report import machine, to_json
from ._samples import Sample, glove, minilm

METHODS = ("asym", "greedy", "least_squares", "trellis")
BITS = (8, 4, 2)
KEPT = ("least_squares", 4)
"""The compressed files that stay in the report's folder."""
BAG = 50
BATCH = 4_000
"""Ids of a call: results stay in the cache, so that reading rows is what is measured."""
LOOKUPS = 100_000
WORDS = ("coffee", "tuesday", "london")


def run(
    samples: Sequence[Sample],
    out: Path,
    *,
    methods: Sequence[str] = METHODS,
    bits: Sequence[int] = BITS,
    queries: int = 256,
    lookups: int = LOOKUPS,
    repetitions: int = 31,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Compress, measure, and write report.json, report.md and report.png.

    Args:
        samples: The tables.
        out: The folder to write to; made if it does not exist.
        methods: Names from `ec.methods()` that take `bits`.
        bits: Widths of codes.
        queries: Rows whose neighbours are searched for recall@10.
        lookups: Random ids for each timing, rounded down to whole batches of bags.
        repetitions: Timings, of which the median is taken.
        say: Called with a line now and then.

    Returns:
        What report.json holds.
    """
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    report: dict[str, Any] = {
        "command": "python -m embedcompress.demo",
        "machine": machine(),
        "settings": {
            "queries": queries,
            "lookups": lookups,
            "ids_per_call": BATCH,
            "ids_per_bag": BAG,
            "repetitions": repetitions,
            "threads": thread_counts(),
        },
        "tables": [],
    }
    for sample in samples:
        say(f"{sample.title}: {sample.weight.rows:,} x {sample.weight.dimension}")
        report["tables"].append(_measure(sample, out, methods, bits, queries, lookups, repetitions, say))
    report["seconds"] = time.perf_counter() - started
    write_text(out / "report.json", to_json(report) + "\n")
    write_text(out / "report.md", _demo_report.markdown(report))
    _demo_report.plot(report, out / "report.png")
    return report


def thread_counts() -> list[int]:
    """Return one, and all that this process uses."""
    return sorted({1, ec.get_num_threads()})


def _measure(
    sample: Sample,
    out: Path,
    methods: Sequence[str],
    bits: Sequence[int],
    queries: int,
    lookups: int,
    repetitions: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    tables: dict[str, ec.Table] = {}
    results: list[dict[str, Any]] = []
    for method in methods:
        for width in bits:
            key = f"{method}-{width}"
            start = time.perf_counter()
            table = ec.compress(sample.weight, method, bits=width)
            seconds = time.perf_counter() - start
            quality = ec.evaluate(table, sample.weight, queries=queries)
            path = out / f"{sample.name}-{method}-{width}bit.safetensors"
            file = _save_and_reopen(table, path)
            if (method, width) != KEPT:
                path.unlink()
            tables[key] = table
            made = {"key": key, "method": method, "bits": width, "compress_seconds": seconds}
            results.append({**made, **quality.as_dict(), **file})
            say(f"  {method} {width}-bit: normalized l2 {quality.normalized_l2:.4f}, {seconds:.2f} s")
    say("  lookup times")
    times = lookup_times(sample.weight, tables, lookups, repetitions)
    for result in results:
        result["ns_per_row"] = times[result["key"]]
    return {
        "name": sample.name,
        "title": sample.title,
        "source": sample.source,
        "rows": sample.weight.rows,
        "dimension": sample.weight.dimension,
        "f32_bytes": sample.weight.rows * sample.weight.dimension * 4,
        "baselines": {key: times[key] for key in times if key not in tables},
        "results": results,
        "neighbours": _word_neighbours(
            sample, {key: table for key, table in tables.items() if key.startswith(KEPT[0])}
        ),
    }


def _save_and_reopen(table: ec.Table, path: Path) -> dict[str, Any]:
    start = time.perf_counter()
    table.save(path)
    saved = time.perf_counter()
    reopened = ec.load(path)
    opened = time.perf_counter()
    return {
        "file_bytes": path.stat().st_size,
        "save_seconds": saved - start,
        "open_seconds": opened - saved,
        "reopened_equal": _bits_equal(table, reopened),
    }


def _bits_equal(one: ec.Table, other: ec.Table, block: int = 65_536) -> bool:
    """Whether every row decodes to the same bits."""
    return one.shape == other.shape and all(
        np.array_equal(
            one.decode(start, min(start + block, one.rows)).view(np.uint32),
            other.decode(start, min(start + block, one.rows)).view(np.uint32),
        )
        for start in range(0, one.rows, block)
    )


def lookup_times(
    weight: ec.Table, tables: Mapping[str, ec.Table], lookups: int = LOOKUPS, repetitions: int = 31
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the time of a row in nanoseconds, of random ids, by table, by way and by number of threads.

    Tables are `tables`, "f32" for this library's dense table, "numpy take" for `numpy.take` into a reused array, as all
    others write to, and "numpy index" for `weight[ids]`, which makes a new array. Ways are "lookup" and "bag", sums of
    50 rows. Contenders take turns, so that what else the machine does meets them all; times of one thread are those of
    its processor.
    """
    rows, dimension = weight.shape
    array = weight.decode()
    dense = ec.dense(array)
    batches = max(1, lookups // BATCH)
    ids = np.random.default_rng(0).integers(0, rows, (batches, BATCH))
    offsets = np.arange(0, BATCH, BAG)
    target = np.empty((BATCH, dimension), np.float32)
    pooled = np.empty((len(offsets), dimension), np.float32)

    def numpy_take() -> None:
        for batch in ids:
            np.take(array, batch, axis=0, out=target, mode="clip")

    def numpy_take_bag() -> None:
        for batch in ids:
            np.take(array, batch, axis=0, out=target, mode="clip")
            np.sum(target.reshape(-1, BAG, dimension), axis=1, out=pooled)

    def numpy_index() -> None:
        for batch in ids:
            array[batch]

    def numpy_index_bag() -> None:
        for batch in ids:
            array[batch].reshape(-1, BAG, dimension).sum(axis=1)

    def lookup(table: ec.Table) -> Callable[[], None]:
        def call() -> None:
            for batch in ids:
                table.lookup(batch, out=target)

        return call

    def bag(table: ec.Table) -> Callable[[], None]:
        def call() -> None:
            for batch in ids:
                table.bag(batch, offsets, "sum", out=pooled)

        return call

    calls: dict[tuple[str, str, int], Callable[[], None]] = {
        ("numpy index", "lookup", 1): numpy_index,
        ("numpy index", "bag", 1): numpy_index_bag,
        ("numpy take", "lookup", 1): numpy_take,
        ("numpy take", "bag", 1): numpy_take_bag,
    }
    for threads in thread_counts():
        for key, table in {"f32": dense, **tables}.items():
            calls[key, "lookup", threads] = lookup(table)
            calls[key, "bag", threads] = bag(table)
    medians = _interleaved(calls, repetitions)
    times: dict[str, dict[str, dict[str, float]]] = {}
    for (key, way, threads), seconds in medians.items():
        times.setdefault(key, {}).setdefault(way, {})[str(threads)] = seconds / (batches * BATCH) * 1e9
    return times


def _interleaved(
    calls: Mapping[tuple[str, str, int], Callable[[], None]], repetitions: int
) -> dict[tuple[str, str, int], float]:
    """Return the median seconds of each call; the last part of a key is its number of threads."""
    seconds: dict[tuple[str, str, int], list[float]] = {key: [] for key in calls}
    threads_before = ec.get_num_threads()
    try:
        for repetition in range(repetitions + 1):
            for key, call in calls.items():
                ec.set_num_threads(key[2])
                clock = time.thread_time if key[2] == 1 else time.perf_counter
                start = clock()
                call()
                # The first round warms up.
                if repetition:
                    seconds[key].append(clock() - start)
    finally:
        ec.set_num_threads(threads_before)
    return {key: statistics.median(taken) for key, taken in seconds.items()}


def _word_neighbours(sample: Sample, tables: Mapping[str, ec.Table], count: int = 5) -> dict[str, dict[str, list[str]]]:
    """Return the nearest words of some, by table; "f32" is the source. Empty where rows have no known words."""
    places = {word: row for row, word in enumerate(sample.words)}
    asked = [word for word in WORDS if word in places]
    if not asked:
        return {}
    rows = np.array([places[word] for word in asked])
    found: dict[str, dict[str, list[str]]] = {word: {} for word in asked}
    for key, table in {"f32": sample.weight, **tables}.items():
        for word, ids in zip(asked, neighbours(table, sample.weight, rows, count), strict=True):
            found[word][key] = [sample.words[i] for i in ids]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo on the real tables."""
    parser = argparse.ArgumentParser(
        prog="python -m embedcompress.demo", description="What the library does to real tables."
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo-report"), help="folder for the report (default: demo-report)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON document, and nothing else")
    arguments = parser.parse_args(argv)
    try:
        samples = [glove(), minilm()]
        say = (lambda text: None) if arguments.json else (lambda text: print(text, flush=True))
        report = run(samples, arguments.out, say=say)
    except KeyboardInterrupt:
        return 130
    except (OSError, ImportError) as error:
        print(f"embedcompress.demo: error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(to_json(report))
    else:
        print("\n" + _demo_report.text(report))
        print(f"\nThe report is {arguments.out / 'report.md'}, its plot report.png, its figures report.json.")
        print(f"The tables at 4 bits are the .safetensors files beside it. {report['seconds']:.0f} seconds.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
