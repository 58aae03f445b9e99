"""Product and residual codes beside faiss's: error, time to compress, time to decode.

pq, opq and rq at the parts and bits of faiss's ProductQuantizer, OPQMatrix and ResidualQuantizer, so that both have the
same bytes of codes, on the sample tables; compression with two threads on both sides, decoding with one. What faiss
decodes are codes that were gathered by row before; the fetching of them counts apart. Figures go to
docs/results/product_codes.json and docs/product-codes.md. Some minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from _pages import DOCS, RESULTS, described_machine, interleaved, machine_text, median_ratio, read_json, write_json

import embedcompress as ec
from embedcompress import _samples
from embedcompress._atomic import write_text
from embedcompress._report import figure, markdown_table

Values = np.ndarray[Any, Any]

THREADS = 2
CELLS = (
    ("glove", "pq", 25),
    ("glove", "pq", 10),
    ("wordllama", "pq", 64),
    ("wordllama", "pq", 32),
    ("minilm", "pq", 96),
    ("minilm", "pq", 48),
    ("glove", "opq", 10),
    ("wordllama", "opq", 32),
    ("glove", "rq", 4),
    ("glove", "rq", 8),
    ("wordllama", "rq", 8),
)
"""Table, method and parts; codes have 8 bits."""
DECODING = ("lookup_ns", "faiss_ns", "decode_ratio", "faiss_fetch_ns", "bag_ns")
BATCH = 2048
"""Rows of a call that decodes: some MiB, as of a batch of a model."""


def normalized_l2(found: Values, weight: Values) -> float:
    return float(np.linalg.norm(found - weight) / np.linalg.norm(weight))


class Faiss:
    """What faiss makes of a table."""

    def __init__(self, method: str, weight: Values, parts: int):
        dimension = weight.shape[1]
        self.rotation: Any = None
        start = time.perf_counter()
        rows = weight
        if method == "opq":
            self.rotation = faiss.OPQMatrix(dimension, parts)
            self.rotation.train(weight)
            rows = self.rotation.apply(weight)
        if method == "rq":
            self.index: Any = faiss.IndexResidualQuantizer(dimension, parts, 8)
        else:
            self.index = faiss.IndexPQ(dimension, parts, 8)
        self.index.train(rows)
        self.train_seconds = time.perf_counter() - start
        start = time.perf_counter()
        self.codes: Values = self.index.sa_encode(rows)
        self.encode_seconds = time.perf_counter() - start

    def decode(self) -> Values:
        found: Values = self.index.sa_decode(self.codes)
        return self.rotation.reverse_transform(found) if self.rotation else found


def compared(table: str, method: str, parts: int, repetitions: int) -> dict[str, Any]:
    """Return a cell's figures."""
    weight = getattr(_samples, table)().weight.decode()
    faiss.omp_set_num_threads(THREADS)
    ec.set_num_threads(THREADS)
    peer = Faiss(method, weight, parts)
    start = time.perf_counter()
    ours = ec.compress(weight, method, parts=parts, bits=8)
    seconds = time.perf_counter() - start
    tree = ours.parts()[0]
    codes = tree["children"]["inner"] if method == "opq" else tree
    cell = {
        "table": table,
        "rows": len(weight),
        "dimension": weight.shape[1],
        "method": method,
        "parts": parts,
        "code_bytes": parts,
        "stored_bytes": ours.stored_bytes,
        "normalized_l2": normalized_l2(ours.decode(), weight),
        "faiss_normalized_l2": normalized_l2(peer.decode(), weight),
        "seconds": seconds,
        "faiss_seconds": peer.train_seconds + peer.encode_seconds,
        "faiss_encode_seconds": peer.encode_seconds,
    }
    assert codes["parts"] == parts
    if method != "opq":
        cell |= decoding(ours, peer, repetitions)
    return cell


def decoding(ours: ec.Table, peer: Faiss, repetitions: int) -> dict[str, float]:
    """Return the nanoseconds of a row at one thread."""
    faiss.omp_set_num_threads(1)
    ec.set_num_threads(1)
    random = np.random.default_rng(0)
    ids = random.integers(0, ours.rows, (64, BATCH))
    gathered = peer.codes[ids]
    out = np.empty((BATCH, ours.dimension), np.float32)
    offsets = np.arange(0, BATCH, 32)
    turns = {name: 0 for name in ("lookup", "bag", "faiss", "faiss_fetch")}

    def next_of(name: str) -> int:
        turns[name] = (turns[name] + 1) % len(ids)
        return turns[name]

    calls: dict[str, Callable[[], object]] = {
        "lookup": lambda: ours.lookup(ids[next_of("lookup")], out=out),
        "faiss": lambda: peer.index.sa_decode(gathered[next_of("faiss")], out),
        "faiss_fetch": lambda: peer.codes[ids[next_of("faiss_fetch")]],
        "bag": lambda: ours.bag(ids[next_of("bag")], offsets),
    }
    seconds = interleaved(calls, repetitions)
    return {f"{name}_ns": statistics.median(times) / BATCH * 1e9 for name, times in seconds.items()} | {
        "decode_ratio": median_ratio(seconds["faiss"], seconds["lookup"])
    }


def tables(cells: Sequence[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    compression = markdown_table(
        ["table", "codes", "normalised l2", "faiss", "s", "faiss s", "stored bytes"],
        (
            [
                f"{cell['table']} {cell['rows']:,} x {cell['dimension']}",
                f"{cell['method']} {cell['parts']} x 8",
                figure(cell["normalized_l2"]),
                figure(cell["faiss_normalized_l2"]),
                figure(cell["seconds"], 3),
                figure(cell["faiss_seconds"], 3),
                f"{cell['stored_bytes']:,}",
            ]
            for cell in cells
        ),
        left=2,
    )
    decoding = markdown_table(
        ["table", "codes", "lookup, ns a row", "faiss", "faiss / lookup", "fetching faiss's codes", "bags of 32"],
        (
            [
                cell["table"],
                f"{cell['method']} {cell['parts']} x 8",
                *(figure(cell[key], 3) for key in DECODING),
            ]
            for cell in cells
            if "lookup_ns" in cell
        ),
        left=2,
    )
    return f"{compression}\n\n{decoding}"


def page(document: dict[str, Any]) -> str:
    """Return the page."""
    return f"""# Product and residual codes beside faiss

Made by `python python/benchmarks/product_codes.py`; the raw figures are in
[results/product_codes.json](results/product_codes.json). Both sides have the same bytes of codes, compress with
{document["threads"]} threads and decode {BATCH:,} random rows with one. faiss decodes codes that are together: to
decode random rows they have to be fetched first, which counts apart.

{tables(document["cells"])}

{machine_text(document["machine"])}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS / "product_codes.json")
    parser.add_argument("--page", type=Path, default=DOCS / "product-codes.md", help="the page that quotes them")
    parser.add_argument("--only", nargs="*", default=[], help="such as glove, opq or glove-pq-25; the others stay")
    parser.add_argument("--repetitions", type=int, default=51)
    options = parser.parse_args(arguments)
    before = read_json(options.output).get("cells", [])
    known = {(cell["table"], cell["method"], cell["parts"]): cell for cell in before}
    for table, method, parts in CELLS:
        names = {table, method, f"{table}-{method}-{parts}"}
        if not options.only or names & set(options.only):
            known[table, method, parts] = compared(table, method, parts, options.repetitions)
    cells = [known[cell] for cell in CELLS if cell in known]
    document = {"machine": described_machine("faiss-cpu"), "threads": THREADS, "cells": cells}
    write_json(options.output, document)
    write_text(options.page, page(document))
    print(tables(cells))


if __name__ == "__main__":
    main()
