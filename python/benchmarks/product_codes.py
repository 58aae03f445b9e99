"""Product and residual codes beside faiss's, and trellis codes: error, time to compress, time to decode.

pq, opq and rq at the parts and bits of faiss's ProductQuantizer, OPQMatrix and ResidualQuantizer, so that both have the
same bytes of codes, on the sample tables; compression with two threads on both sides, decoding with one. What faiss
decodes are codes that were gathered by row before; the fetching of them counts apart. Trellis codes, behind a partial
rotation, are made in the bytes of each. Figures go to docs/results/product_codes.json and docs/product-codes.md; what
is there is not measured again. Some minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _pages import (
    DOCS,
    RESULTS,
    described_machine,
    interleaved,
    machines_text,
    median_ratio,
    read_cells,
    write_cells,
)

import embedcompress as ec
from embedcompress import _samples
from embedcompress._atomic import write_text
from embedcompress._report import figure, markdown_table

Values = np.ndarray[Any, Any]
Cell = dict[str, Any]

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
        import faiss

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


def compared(table: str, method: str, parts: int, repetitions: int) -> Cell:
    """Return a cell's figures."""
    import faiss

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
        "part": "codes",
        "table": table,
        "rows": len(weight),
        "dimension": weight.shape[1],
        "method": method,
        "parts": parts,
        "code_bytes": parts,
        "stored_bytes": ours.stored_bytes,
        "faiss_stored_bytes": faiss_bytes(method, len(weight), weight.shape[1], parts),
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


def faiss_bytes(method: str, rows: int, dimension: int, parts: int) -> int:
    """Return the bytes of faiss's codes, and of its centroids and rotation in f32."""
    centroids = 256 * dimension * (parts if method == "rq" else 1)
    return rows * parts + 4 * (centroids + (dimension * dimension if method == "opq" else 0))


def trellis(table: str, budget: int) -> Cell:
    """Return what trellis codes make of a table within the bytes of others; times are those of a processor."""
    weight = getattr(_samples, table)().weight
    ec.set_num_threads(THREADS)
    start = time.process_time()
    made = ec.compress(weight, "trellis", rotation="partial", budget=budget)
    seconds = time.process_time() - start
    return {
        "part": "trellis",
        "table": table,
        "method": "trellis",
        "budget": budget,
        "stored_bytes": made.stored_bytes,
        "normalized_l2": normalized_l2(made.decode(), weight.decode()),
        "cpu_seconds": seconds,
        **pooling_times(made),
    }


def pooling_times(made: ec.Table) -> dict[str, float]:
    """Return the processor's nanoseconds of a row, looked up and pooled, on one thread."""
    ec.set_num_threads(1)
    ids = np.random.default_rng(0).integers(0, made.rows, (8, BATCH))
    out = np.empty((BATCH, made.dimension), np.float32)
    offsets = np.arange(0, BATCH, 32)
    calls: dict[str, Callable[[Values], object]] = {
        "lookup_cpu_ns": lambda batch: made.lookup(batch, out=out),
        "bag_cpu_ns": lambda batch: made.bag(batch, offsets),
    }
    found = {}
    for name, call in calls.items():
        taken = []
        for batch in (*ids, *ids):
            start = time.thread_time()
            call(batch)
            taken.append(time.thread_time() - start)
        found[name] = statistics.median(taken[len(ids) :]) / BATCH * 1e9
    return found


def decoding(ours: ec.Table, peer: Faiss, repetitions: int) -> dict[str, float]:
    """Return the nanoseconds of a row at one thread."""
    import faiss

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


def tables(cells: Sequence[Cell]) -> str:
    """Return the figures of product and residual codes as Markdown."""
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


def met(codes: Sequence[Cell], trellises: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Return product and residual codes, each with the trellis codes of its bytes."""
    made = {(cell["table"], cell["budget"]): cell for cell in trellises}
    pairs = [(cell, made.get((cell["table"], cell["stored_bytes"]))) for cell in codes]
    return [(cell, found) for cell, found in pairs if found is not None]


def trellis_text(codes: Sequence[Cell], trellises: Sequence[Cell]) -> str:
    """Return in a sentence where trellis codes have the least error."""
    pairs = met(codes, trellises)
    lost = [
        f"{cell['method']} {cell['parts']} x 8 on {cell['table']}"
        for cell, found in pairs
        if found["normalized_l2"] > min(cell["normalized_l2"], cell["faiss_normalized_l2"])
    ]
    text = f"Trellis codes have the least error in {len(pairs) - len(lost)} of {len(pairs)} rows"
    return f"{text}; not beside {', '.join(lost)}." if lost else f"{text}."


def trellis_table(codes: Sequence[Cell], trellises: Sequence[Cell]) -> str:
    """Return trellis codes beside the others, as Markdown: the least errors of a row are bold."""
    rows = []
    for cell, found in met(codes, trellises):
        errors = [cell["normalized_l2"], cell["faiss_normalized_l2"], found["normalized_l2"]]
        rows.append(
            [
                cell["table"],
                f"{cell['method']} {cell['parts']} x 8",
                f"{cell['stored_bytes']:,}",
                f"{found['stored_bytes']:,}",
                *(f"**{figure(one)}**" if one == min(errors) else figure(one) for one in errors),
                *(figure(found[name], 3) for name in ("cpu_seconds", "lookup_cpu_ns", "bag_cpu_ns")),
            ]
        )
    header = ["table", "codes", "bytes", "of trellis codes", "normalised l2", "faiss", "trellis codes"]
    header += ["trellis, CPU s", "lookup, ns a row", "bags of 32"]
    return markdown_table(header, rows, left=2)


def page(cells: Sequence[Cell]) -> str:
    """Return the page."""
    codes, trellises = ([cell for cell in cells if cell["part"] == part] for part in ("codes", "trellis"))
    return f"""# Product and residual codes beside faiss

Made by `python python/benchmarks/product_codes.py`; the raw figures are in
[results/product_codes.json](results/product_codes.json). Both sides have the same bytes of codes, compress with
{THREADS} threads and decode {BATCH:,} random rows with one. faiss decodes codes that are together: to
decode random rows they have to be fetched first, which counts apart.

{tables(codes)}

## Beside trellis codes

[Trellis codes](trellis-codes.md) with `rotation="partial"`, in no more bytes than these codes take here; faiss keeps
its centroids in f32, and takes some more. Times are those of a processor: trellis codes take longer to make than
product codes, and longer to look up, as rows have to be turned back.

{trellis_table(codes, trellises)}

{trellis_text(codes, trellises)}

{machines_text(cells, "method")}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS / "product_codes.json")
    parser.add_argument("--page", type=Path, default=DOCS / "product-codes.md", help="the page that quotes them")
    parser.add_argument("--only", nargs="*", default=[], help="such as glove, opq or glove-pq-25: again; others stay")
    parser.add_argument("--repetitions", type=int, default=51)
    options = parser.parse_args(arguments)
    before = read_cells(options.output)
    known = {(cell["table"], cell["method"], cell["parts"]): cell for cell in before if cell["part"] == "codes"}
    made = {(cell["table"], cell["budget"]): cell for cell in before if cell["part"] == "trellis"}
    machine = {"machine": described_machine("faiss-cpu")}

    def keep() -> list[Cell]:
        codes = [known[cell] for cell in CELLS if cell in known]
        sizes = dict.fromkeys((cell["table"], cell["stored_bytes"]) for cell in codes)
        cells = codes + [made[size] for size in sizes if size in made]
        write_cells(options.output, cells, threads=THREADS)
        return cells

    for table, method, parts in CELLS:
        names = {table, method, f"{table}-{method}-{parts}"}
        is_missing = (table, method, parts) not in known
        if names & set(options.only) if options.only else is_missing:
            known[table, method, parts] = compared(table, method, parts, options.repetitions) | machine
            keep()
    for cell in list(known.values()):
        size = (cell["table"], cell["stored_bytes"])
        if size not in made:
            made[size] = trellis(*size) | machine
            keep()
    cells = keep()
    write_text(options.page, page(cells))
    print(tables([cell for cell in cells if cell["part"] == "codes"]))


if __name__ == "__main__":
    main()
