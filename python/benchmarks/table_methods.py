"""Every post-training method at every budget on every real table: bytes, error, neighbours kept, and times.

Figures go to docs/results/table_methods.json after every cell, so that a run that was cut off goes on where it was with
--resume; the page docs/table-methods.md and its plot are made from them. --check also asks `recommend` for some budgets
and compares its first choice with the best that was measured. A call that takes longer than --limit seconds is stopped,
and the cell says so.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import _table_methods_page as page
import numpy as np
from _pages import DOCS, RESULTS, described_machine, read_json, write_json
from comparison_card import samples
from tqdm import tqdm

import embedcompress as ec
from embedcompress._candidates import SAME_FORMAT
from embedcompress._describe import describe
from embedcompress._evaluate import neighbours, recall_of
from embedcompress._recommend import lookup_times
from embedcompress._samples import Sample

BUDGETS = (0.5, 0.25, 0.13, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)
CHECKED = (0.25, 0.13, 0.07, 0.03)
BITS = range(1, 9)
HYBRIDS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("least_squares", {"group": 32}),
    ("svd", {"inner": "f16"}),
    ("svd", {"inner": "least_squares"}),
    ("svd", {"inner": "eden"}),
    ("magsvd", {"inner": "least_squares"}),
    ("magsvd", {"inner": "eden"}),
    ("hot_cold", {"hot": "eden", "cold": "eden"}),
)
QUERIES = 256

Cell = dict[str, Any]


def cells(budgets: Sequence[float]) -> Iterator[Cell]:
    """Return what is measured of a table: methods at their natural settings first, and then at budgets."""
    known = {method.name: {option.name for option in method.options} for method in ec.methods() if is_made(method)}
    calls: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in known]
    calls += [(name, dict(options)) for name, options in HYBRIDS if _exists(options)]
    for name, options in calls:
        if "bits" in known[name] and "parts" not in known[name]:
            for bits in BITS:
                yield {"method": name, "options": {**options, "bits": bits}, "budget": None}
        elif not options:
            yield {"method": name, "options": {}, "budget": None}
    for name, options in calls:
        if "budget" in known[name]:
            for budget in budgets:
                yield {"method": name, "options": dict(options), "budget": budget}


def is_made(method: ec.Method) -> bool:
    return method.kind == "post-training"


def _exists(options: Mapping[str, Any]) -> bool:
    names = {method.name for method in ec.methods()} | {"f16"}
    return all(options[name] in names for name in ("inner", "hot", "cold") if name in options)


def key(cell: Mapping[str, Any]) -> str:
    """Return what tells cells of a table apart."""
    return repr((cell["method"], sorted(cell["options"].items()), cell["budget"]))


class TooLongError(Exception):
    """A call took more than its time."""


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Stop what runs inside after so many seconds."""

    def stop(*_: object) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Bench:
    """Measures cells of one table."""

    def __init__(self, sample: Sample, queries: int, limit: int):
        self.sample = sample
        self.limit = limit
        self.queries = np.random.default_rng(0).permutation(sample.weight.rows)[:queries]
        self.exact = neighbours(sample.weight, sample.weight, self.queries)
        self.known: dict[tuple[str, str, int], Cell] = {}
        """Figures by method, expression and bytes: another call that leads to the same table is not measured again."""

    def measure(self, cell: Cell) -> Cell:
        """Return the cell with its figures, or with the refusal."""
        same = self._same_format(cell)
        if same is not None:
            return cell | same
        options = dict(cell["options"]) | ({} if cell["budget"] is None else {"budget": cell["budget"]})
        start = time.perf_counter()
        try:
            with limited(self.limit):
                table = ec.compress(self.sample.weight, cell["method"], **options)
        except TooLongError:
            return cell | {"stopped": f"> {self.limit} s"}
        except ValueError as error:
            floor = re.search(r"can reach is (\d+) bytes", str(error))
            return cell | {"refused": str(error), "floor": int(floor[1]) if floor else None}
        seconds = time.perf_counter() - start
        identity = (cell["method"], describe(table), table.stored_bytes)
        if identity not in self.known:
            quality = ec.evaluate(table, self.sample.weight, queries=0)
            self.known[identity] = {
                "expression": identity[1],
                "stored_bytes": table.stored_bytes,
                "ratio": table.ratio,
                "normalized_l2": quality.normalized_l2,
                "mean_cosine": quality.mean_cosine,
                "recall_at_10": recall_of(table, self.sample.weight, self.queries, self.exact),
                "compress_seconds": seconds,
                "lookup_ns_per_row": lookup_times([table], None, 0)[0],
            }
        return cell | self.known[identity]

    def take(self, cell: Cell) -> None:
        """Remember a cell of an earlier run."""
        if "expression" in cell:
            figures = {name: value for name, value in cell.items() if name not in ("method", "options", "budget")}
            self.known[cell["method"], cell["expression"], cell["stored_bytes"]] = figures

    def _same_format(self, cell: Cell) -> Cell | None:
        """Return what is known without compressing: a budget of these methods chooses bits, and nothing else."""
        if cell["method"] not in SAME_FORMAT or cell["budget"] is None or cell["options"]:
            return None
        known = sorted((figures for (method, _, _), figures in self.known.items() if method == cell["method"]),
                       key=lambda figures: -figures["stored_bytes"])  # fmt: skip
        room = int(cell["budget"] * self.sample.weight.rows * self.sample.weight.dimension * 4)
        return next((figures for figures in known if figures["stored_bytes"] <= room), None)


def check(sample: Sample, found: Sequence[Cell], budgets: Sequence[float]) -> list[dict[str, Any]]:
    """Return, for each budget, how far `recommend`'s first choice is from the best cell."""
    results = []
    for budget in budgets:
        room = int(budget * sample.weight.rows * sample.weight.dimension * 4)
        fitting = [cell for cell in found if "stored_bytes" in cell and cell["stored_bytes"] <= room]
        best = min(fitting, key=lambda cell: cell["normalized_l2"])
        start = time.perf_counter()
        first, *_ = ec.recommend(sample.weight, budget)
        results.append(
            {
                "budget": budget,
                "method": first.method,
                "options": {name: value for name, value in first.as_dict()["options"].items() if name != "budget"},
                "expression": first.expression,
                "normalized_l2": first.normalized_l2,
                "seconds": time.perf_counter() - start,
                "best": {name: best[name] for name in ("method", "options", "budget", "normalized_l2")},
                "apart": first.normalized_l2 / best["normalized_l2"] - 1,
            }
        )
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small table only, to see that it runs")
    parser.add_argument("--resume", action="store_true", help="keep the cells that the figures have")
    parser.add_argument("--check", action="store_true", help="compare what `recommend` chooses with the best cells")
    parser.add_argument("--limit", type=int, default=120, help="most seconds of a call")
    parser.add_argument("--page-only", action="store_true", help="run nothing: make the page from the figures")
    parser.add_argument("--json", type=Path, default=RESULTS / "table_methods.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "table-methods.md", help="the page")
    options = parser.parse_args(arguments)
    document = read_json(options.json) if options.resume or options.page_only else {}
    if not options.page_only:
        document = run(options, document)
    options.page.write_text(page.text(document, options.page.with_suffix(".png").name), encoding="utf-8")
    page.plot(document, options.page.with_suffix(".png"))


def run(options: argparse.Namespace, document: dict[str, Any]) -> dict[str, Any]:
    """Measure what the document does not have, and write it after every cell."""
    budgets = (0.5, 0.1) if options.quick else BUDGETS
    queries = 8 if options.quick else QUERIES
    document = {
        "command": "python python/benchmarks/table_methods.py --check",
        "machine": document.get("machine", described_machine()),
        "settings": {
            "budgets": budgets,
            "queries": queries,
            "limit_seconds": options.limit,
            "compress_threads": ec.get_num_threads(),
        },
        "tables": document.get("tables", []),
    }
    kept = {table["name"]: table for table in document["tables"]}
    document["tables"] = []
    for sample in samples(options.quick):
        rows, dimension = sample.weight.shape
        table = kept.get(sample.name) or {
            "name": sample.name, "title": sample.title, "source": sample.source, "rows": rows, "dimension": dimension,
            "cells": [],
        }  # fmt: skip
        document["tables"].append(table)
        bench = Bench(sample, queries, options.limit)
        have = {key(cell) for cell in table["cells"]}
        for cell in table["cells"]:
            bench.take(cell)
        for cell in tqdm(list(cells(budgets)), desc=sample.name, leave=False):
            if key(cell) not in have:
                table["cells"].append(bench.measure(cell))
                write_json(options.json, document)
        if options.check:
            table["recommend"] = check(sample, table["cells"], (0.5, 0.1) if options.quick else CHECKED)
            write_json(options.json, document)
            for result in table["recommend"]:
                print(f"{sample.name} {result['budget']}: {result['method']} {result['apart']:+.2%} from the best")
    return document


if __name__ == "__main__":
    main()
