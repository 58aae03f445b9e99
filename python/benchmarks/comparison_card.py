"""Every method on every real table: bytes, error, neighbours kept, and times.

Methods are those of `ec.methods()`, with their defaults; a new one is in the card the day it is in the registry.
Figures go to docs/results/comparison_card.json, the card to docs/comparison-card.md. With `--methods`, these are
measured, again or for the first time, and the others stay. About ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _pages import DOCS, RESULTS, described_machine, machine_text, read_json, write_json
from tqdm import tqdm

import embedcompress as ec
from embedcompress import _samples
from embedcompress._atomic import write_text
from embedcompress._report import figure, markdown_table, percent
from embedcompress._samples import Sample
from embedcompress.demo import lookup_times

HEADER = (
    "method",
    "bytes",
    "of f32",
    "norm. l2",
    "worst row",
    "recall@10",
    "compress, s",
    "lookup, ns/row",
    "pooled, ns/row",
)


def measure(
    samples: Sequence[Sample],
    *,
    budget: float | None = None,
    queries: int = 256,
    lookups: int = 100_000,
    repetitions: int = 15,
    methods: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the card's figures.

    Args:
        samples: The tables.
        methods: Names of those that are measured; all without any.
        budget: A ratio of the f32 size for every method to meet; None leaves methods their defaults.
        queries: Rows whose neighbours are searched for recall@10.
        lookups: Random ids for each timing, which is on one thread.
        repetitions: Timings, of which the median is taken.
    """
    threads = ec.get_num_threads()
    card: dict[str, Any] = {
        "command": "python python/benchmarks/comparison_card.py",
        "machine": described_machine(),
        "settings": {
            "budget": budget,
            "queries": queries,
            "lookups": lookups,
            "repetitions": repetitions,
            "compress_threads": threads,
        },
        "tables": [],
    }
    for sample in samples:
        tables: dict[str, ec.Table] = {}
        results: list[dict[str, Any]] = []
        wanted = [method for method in ec.methods() if not methods or method.name in methods]
        for method in tqdm(wanted, desc=sample.name, leave=False):
            result: dict[str, Any] = {"method": method.name, "title": method.title}
            start = time.perf_counter()
            try:
                table = ec.compress(sample.weight, method.name, budget=budget)
            except (ec.BudgetError, ValueError) as error:
                # Such as a budget that it cannot meet.
                results.append(result | {"refused": str(error)})
                continue
            seconds = time.perf_counter() - start
            quality = ec.evaluate(table, sample.weight, queries=queries)
            results.append(result | {"compress_seconds": seconds} | quality.as_dict())
            tables[method.name] = table
        times = lookup_times(sample.weight, tables, lookups, repetitions)
        for result in results:
            if result["method"] in times:
                result["ns_per_row"] = {way: taken["1"] for way, taken in times[result["method"]].items()}
        card["tables"].append(
            {
                "name": sample.name,
                "title": sample.title,
                "source": sample.source,
                "rows": sample.weight.rows,
                "dimension": sample.weight.dimension,
                "f32_ns_per_row": {way: taken["1"] for way, taken in times["f32"].items()},
                "results": results,
            }
        )
    return card


def merged(before: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    """Return a card with the methods of another one in their places, each with the machine that it was measured on.

    Raises:
        ValueError: they were measured in different ways.
    """
    if before["settings"] != card["settings"]:
        raise ValueError(f"the card was measured with {before['settings']}, not with {card['settings']}")
    order = [method.name for method in ec.methods()]
    found = {table["name"]: table for table in card["tables"]}
    tables = []
    for table in before["tables"]:
        results = {result["method"]: result for result in table["results"]}
        for result in found[table["name"]]["results"]:
            results[result["method"]] = result | {"machine": card["machine"]}
        known = sorted((name for name in results if name in order), key=order.index)
        tables.append({**table, "results": [results[name] for name in known]})
    return {**before, "tables": tables}


def table_markdown(table: dict[str, Any]) -> str:
    """Return a table's card, the smallest error last."""
    f32 = table["f32_ns_per_row"]
    size = 4 * table["rows"] * table["dimension"]
    rows = [["f32", f"{size:,}", "100 %", "0", "0", "1", "-", f"{f32['lookup']:.1f}", f"{f32['bag']:.1f}"]]
    made = [result for result in table["results"] if "refused" not in result]
    for result in sorted(made, key=lambda result: -result["normalized_l2"]):
        recall = result["recall_at_10"]
        rows.append(
            [
                result["title"],
                f"{result['stored_bytes']:,}",
                percent(result["ratio"]),
                figure(result["normalized_l2"]),
                figure(result["worst_row_l2"], 3),
                "-" if recall is None else f"{recall:.3f}",
                figure(result["compress_seconds"], 3),
                *(f"{result['ns_per_row'][way]:.1f}" for way in ("lookup", "bag")),
            ]
        )
    refused = [f"{result['title']}: {result['refused']}." for result in table["results"] if "refused" in result]
    return "\n\n".join([markdown_table(HEADER, rows), *refused])


def page(card: dict[str, Any]) -> str:
    settings = card["settings"]
    budget = settings["budget"]
    parts = [
        "# Comparison card",
        "Every method of `ec.methods()` on every real table, "
        + ("with its defaults" if budget is None else f"within {percent(budget)} of the f32 bytes")
        + f". Made by `{card['command']}` (`make card`); the raw figures are in "
        "[results/comparison_card.json](results/comparison_card.json).",
        "*norm. l2* is ‖X − Q(X)‖ / ‖X‖, *worst row* the largest ‖x − q(x)‖ / ‖x‖ of any row, *recall@10* the share of "
        f"the 10 nearest rows by cosine that {settings['queries']} random rows keep. Methods are ordered by error, the "
        "least last; what has fewer bytes need not be worse.",
        f"Compressing is timed once, on {settings['compress_threads']} threads. Lookups are on one thread: "
        f"{settings['lookups']:,} random ids, in bags of 50 where pooled; medians of {settings['repetitions']} rounds "
        "in which the tables take turns. Methods that lay rows out alike differ by noise.",
        card_machines(card),
    ]
    for table in card["tables"]:
        heading = f"## {table['title']}, {table['rows']:,} × {table['dimension']}"
        parts += [heading, f"From {table['source']}.", table_markdown(table)]
    return "\n\n".join(parts) + "\n"


def card_machines(card: dict[str, Any]) -> str:
    """Return the machine of a card, and those of the methods that were measured another time."""
    later: dict[str, list[str]] = {}
    for table in card["tables"]:
        for result in table["results"]:
            if "machine" in result:
                later.setdefault(machine_text(result["machine"]), []).append(result["title"])
    texts = [machine_text(card["machine"])]
    texts += [f"{text} So: {', '.join(dict.fromkeys(titles))}." for text, titles in later.items()]
    return "\n\n".join(texts)


def samples(quick: bool) -> list[Sample]:
    """Return the real tables, or a small one that takes their place in a quick run."""
    if not quick:
        return [_samples.glove(), _samples.minilm(), _samples.wordllama()]
    weight = np.random.default_rng(0).standard_normal((200, 24), np.float32)
    return [Sample("random", "Random table", ec.dense(weight), "N(0, 1)")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small table only, to see that it runs")
    parser.add_argument("--methods", nargs="+", default=[], help="those to measure; the others stay")
    parser.add_argument("--budget", type=float, help="a ratio of the f32 size that every method is to meet")
    parser.add_argument("--json", type=Path, default=RESULTS / "comparison_card.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "comparison-card.md", help="the card")
    options = parser.parse_args(arguments)
    small: dict[str, int] = {"queries": 8, "lookups": 4_000, "repetitions": 1} if options.quick else {}
    card = measure(samples(options.quick), budget=options.budget, methods=options.methods, **small)
    if options.methods:
        card = merged(read_json(options.json), card)
    write_json(options.json, card)
    write_text(options.page, page(card))
    for table in card["tables"]:
        print(f"{table['title']}\n{table_markdown(table)}\n")


if __name__ == "__main__":
    main()
