"""Lookups of every store and route beside the same arithmetic written in torch or SciPy, at one thread.

100,000 rows of 64 columns, 2,048 random ids a call, as rows and as sums of bags of 32. What a peer does is what one
would write without this library: fetch the packed rows, unpack them with shifts, look up or multiply, sum. Both sides
take turns; a ratio is the median of the ratios of neighbouring turns, the peer's time by ours: above 1, ours is
quicker. Figures go to docs/results/store_lookups.json and docs/store-lookups.md. About a minute.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from _pages import DOCS, RESULTS, described_machine, interleaved, machine_text, median_ratio, write_json

import embedcompress as ec
from embedcompress._atomic import write_text
from embedcompress._report import figure, markdown_table

ROWS, DIMENSION, COUNT, BAG = 100_000, 64, 2048, 32
TURNS = 51

Rows = Callable[[Any], Any]
"""From ids to rows, as torch tensors."""


def tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def unpacked(packed: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """Return codes of 1, 2, 4 or 8 bits, low bits first."""
    if bits == 8:
        return packed[:, :count]
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
    return ((packed[:, :, None] >> shifts) & (2**bits - 1)).flatten(1)[:, :count]


def arrays_of(table: ec.Table) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """Return the top node of a table, and its arrays by field."""
    tree, arrays = table.parts()
    return tree, {field: arrays[name].values for field, name in tree["tensors"].items()}


def uniform(table: ec.Table) -> Rows:
    tree, arrays = arrays_of(table)
    codes = tree["dimension"] * tree["bits"] // 8
    stored = tensor(arrays["rows"])

    def rows(ids: Any) -> Any:
        row = stored[ids]
        scale, bias = row[:, codes : codes + 4].contiguous().view(torch.float16).float().split(1, dim=1)
        return unpacked(row[:, :codes], tree["bits"], tree["dimension"]) * scale + bias

    return rows


def codebook(table: ec.Table) -> Rows:
    tree, arrays = arrays_of(table)
    codes = tree["dimension"] * tree["bits"] // 8
    stored = tensor(arrays["rows"])

    def rows(ids: Any) -> Any:
        row = stored[ids]
        books = row[:, codes:].contiguous().view(torch.float16).float()
        return books.gather(1, unpacked(row[:, :codes], tree["bits"], tree["dimension"]).long())

    return rows


def product(table: ec.Table) -> Rows:
    tree, arrays = arrays_of(table)
    codes, parts = tensor(arrays["rows"]), tree["parts"]
    width = tree["dimension"] // parts if tree["mode"] == "concatenate" else tree["dimension"]
    books = tensor(arrays["codebooks"]).float().reshape(parts, 256, width)
    numbers = torch.arange(parts)

    def rows(ids: Any) -> Any:
        found = books[numbers, codes[ids].long()]
        return found.flatten(1) if tree["mode"] == "concatenate" else found.sum(1)

    return rows


def shared_array(table: ec.Table) -> Rows:
    tree, arrays = arrays_of(table)
    array, block = tensor(arrays["values"]), tree["block"]
    chunks, inside = tree["dimension"] // block, torch.arange(block)
    steps = torch.arange(1, chunks + 1)

    def signed(number: int) -> int:
        return number - 2**64 if number >= 2**63 else number

    def shifted(values: Any, bits: int) -> Any:
        return (values >> bits) & (2 ** (64 - bits) - 1)

    def rows(ids: Any) -> Any:
        h = tree["seed"] + (ids[:, None] * chunks + steps) * signed(0x9E3779B97F4A7C15)
        h = (h ^ shifted(h, 30)) * signed(0xBF58476D1CE4E5B9)
        h = (h ^ shifted(h, 27)) * signed(0x94D049BB133111EB)
        h = h ^ shifted(h, 31)
        start = shifted(h, 32) * len(array) >> 32
        return array[(start[:, :, None] + inside) % len(array)].flatten(1)

    return rows


def tensor_train(cores: Sequence[torch.Tensor]) -> Rows:
    a, b, c = cores
    n0, n1 = len(a), len(b)

    def rows(ids: Any) -> Any:
        left = torch.bmm(a[ids % n0], b[ids // n0 % n1].flatten(2)).reshape(len(ids), -1, b.shape[3])
        return torch.bmm(left, c[ids // (n0 * n1)]).flatten(1)

    return rows


def hash_network(hashes: Sequence[Any], buckets: int, weights: Sequence[Any], biases: Sequence[Any]) -> Rows:
    factors, summands, moduli = (torch.as_tensor(part) for part in hashes)
    layers = [(tensor(weight), tensor(bias)) for weight, bias in zip(weights, biases, strict=True)]

    def rows(ids: Any) -> Any:
        values = 2 * ((ids[:, None] * factors + summands) % moduli % buckets).float() / (buckets - 1) - 1
        for index, (weight, bias) in enumerate(layers):
            values = torch.addmm(bias, torch.nn.functional.mish(values) if index else values, weight)
        return values

    return rows


def cases(weight: np.ndarray[Any, Any]) -> dict[str, tuple[ec.Table, Rows]]:
    """Return every table with its peer."""
    random = np.random.default_rng(1)

    def numbers(*shape: int) -> np.ndarray[Any, Any]:
        return random.standard_normal(shape, np.float32)

    def plain(table: Any) -> Rows:
        values = tensor(table)
        return lambda ids: torch.nn.functional.embedding(ids, values)

    found: dict[str, tuple[ec.Table, Rows]] = {"Dense f32": (ec.dense(weight), plain(weight))}
    half = weight.astype(np.float16)
    half_of = plain(half)
    found["Dense f16"] = (ec.dense(half), lambda ids: half_of(ids).float())
    for bits in (8, 4, 2):
        table = ec.compress(weight, "asym", bits=bits)
        found[f"Uniform {bits} bits"] = (table, uniform(table))
    table = ec.compress(weight[:10_000], "kmeans", bits=4)
    found["Codebook of rows, 4 bits"] = (table, codebook(table))
    for name, method, options in (
        ("Product 16 x 8 bits", "pq", {"parts": 16, "rounds": 2}),
        ("Product, sum of 4 x 8 bits", "rq", {"parts": 4, "rounds": 2}),
    ):
        table = ec.compress(weight, method, bits=8, **options)
        found[name] = (table, product(table))
    for share in (0.25, 0.05):
        matrix = scipy.sparse.random_array(weight.shape, density=share, format="csr", dtype=np.float32, rng=random)

        def fetched(ids: Any, matrix: Any = matrix) -> Any:
            return tensor(matrix[ids.numpy()].toarray())

        found[f"Sparse CSR, {share:.0%}"] = (ec.sparse(matrix), fetched)
    for block in (64, 8, 1):
        table = ec.shared_array(numbers(200_000), rows=ROWS, dimension=DIMENSION, block=block)
        found[f"SharedArray, blocks of {block}"] = (table, shared_array(table))
    for rank in (8, 32):
        cores = [numbers(50, 4, rank), numbers(50, rank, 4, rank), numbers(40, rank, 4)]
        found[f"TensorTrain, rank {rank}"] = (ec.tensor_train(cores), tensor_train([tensor(core) for core in cores]))
    for width in (64, 256):
        sizes = [1024, *[width] * 4, DIMENSION]
        weights = [numbers(*pair) / pair[0] ** 0.5 for pair in itertools.pairwise(sizes)]
        biases = [numbers(size) for size in sizes[1:]]
        factors, summands = random.integers(1, 10**6, (2, 1024))
        hashes = (factors, summands, np.full(1024, 1_000_003))
        table = ec.hash_network(
            rows=ROWS,
            factors=factors,
            summands=summands,
            moduli=hashes[2],
            buckets=10**6,
            weights=weights,
            biases=biases,
        )
        found[f"HashNetwork, 1,024 hashes, 5 layers of {width}"] = (
            table,
            hash_network(hashes, 10**6, weights, biases),
        )
    few = weight[:1000]
    many_of, few_of = plain(weight), plain(few)
    found["Remap, modulo"] = (ec.remap(ec.dense(few), rows=ROWS, modulo=1000), lambda ids: few_of(ids % 1000))
    chosen = random.integers(0, 1000, ROWS)
    plain_map = tensor(chosen.astype(np.int32))
    found["Remap, map"] = (ec.remap(ec.dense(few), map=chosen), lambda ids: few_of(plain_map[ids]))
    factors4 = ec.compress(few, "asym", bits=4)
    factor_of = uniform(factors4)
    for title, inner, rows in (
        ("Combine, product of two", ec.dense(few), few_of),
        ("Combine, product of two in 4 bits", factors4, factor_of),
    ):
        by_quotient = ec.remap(inner.slice(0, 100), rows=ROWS, divisor=1000)
        found[title] = (
            ec.combine([by_quotient, ec.remap(inner, rows=ROWS, modulo=1000)], "product"),
            # Each of the two is bound now, not at the end of the loop.
            (lambda of: lambda ids: of(ids // 1000) * of(ids % 1000))(rows),
        )
    halves = [np.ascontiguousarray(weight[:, :32]), np.ascontiguousarray(weight[:, 32:])]
    left_of, right_of = plain(halves[0]), plain(halves[1])
    found["Columns"] = (
        ec.columns([ec.dense(part) for part in halves]),
        lambda ids: torch.cat([left_of(ids), right_of(ids)], 1),
    )
    hot, cold = (ec.compress(weight[:10_000], "asym", bits=8), ec.compress(weight[10_000:], "asym", bits=2))
    hot_of, cold_of = uniform(hot), uniform(cold)

    def parted(ids: Any) -> Any:
        out = torch.empty(len(ids), DIMENSION)
        is_hot = ids < len(hot)
        out[is_hot], out[~is_hot] = hot_of(ids[is_hot]), cold_of(ids[~is_hot] - len(hot))
        return out

    found["Partition by ranges, 8 and 2 bits"] = (ec.partition([hot, cold]), parted)
    matrix, coordinates = numbers(16, DIMENSION), numbers(ROWS, 16)
    coordinates_of, there = plain(coordinates), tensor(matrix)
    found["Project 16 to 64"] = (ec.project(ec.dense(coordinates), matrix), lambda ids: coordinates_of(ids) @ there)
    turned = ec.rotate(ec.dense(weight), 0)
    turn = tensor(np.linalg.solve(weight[:DIMENSION].astype(np.float64), turned.decode(0, DIMENSION))).float()
    found["Rotate"] = (turned, lambda ids: many_of(ids) @ turn)
    return found


def measured(name: str, table: ec.Table, peer: Rows) -> dict[str, Any]:
    """Check that both sides agree, and time them."""
    batches = [np.random.default_rng(turn).integers(0, table.rows, COUNT) for turn in range(16)]
    tensors = [tensor(batch) for batch in batches]
    offsets = np.arange(0, COUNT, BAG)
    wanted = peer(tensors[0]).numpy()
    np.testing.assert_allclose(table.lookup(batches[0]), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    out, sums = np.empty((COUNT, DIMENSION), np.float32), np.empty((len(offsets), DIMENSION), np.float32)
    turn = dict.fromkeys(("lookup", "peer", "bag", "peer_bag"), 0)

    def next_of(name: str) -> int:
        turn[name] = (turn[name] + 1) % len(batches)
        return turn[name]

    seconds = interleaved(
        {
            "lookup": lambda: table.lookup(batches[next_of("lookup")], out=out),
            "peer": lambda: peer(tensors[next_of("peer")]),
            "bag": lambda: table.bag(batches[next_of("bag")], offsets, out=sums),
            "peer_bag": lambda: peer(tensors[next_of("peer_bag")]).reshape(-1, BAG, DIMENSION).sum(1),
        },
        TURNS,
    )
    return {
        "name": name,
        "stored_bytes": table.stored_bytes,
        **{f"{name}_ns": statistics.median(found) / COUNT * 1e9 for name, found in seconds.items()},
        "lookup_ratio": median_ratio(seconds["peer"], seconds["lookup"]),
        "bag_ratio": median_ratio(seconds["peer_bag"], seconds["bag"]),
    }


def page(document: Mapping[str, Any]) -> str:
    """Return the page."""
    return f"""# Lookups of every store and route

Made by `python python/benchmarks/store_lookups.py`; the raw figures are in
[results/store_lookups.json](results/store_lookups.json). {ROWS:,} rows of {DIMENSION} columns, {COUNT:,} random ids a
call, one thread. The peer is the same arithmetic written in torch (SciPy for sparse rows): packed rows fetched,
unpacked with shifts, looked up or multiplied. Ratios are medians of neighbouring turns; above 1, the library is
quicker.

{table(document["cells"])}

Rows in f32, plain routes over them and sparse rows are bound by the memory that both sides read: there is little
arithmetic to save.

{machine_text(document["machine"])}
"""


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as Markdown."""
    return markdown_table(
        ["table", "lookup, ns a row", "peer", "ratio", "bags of 32, ns a row", "peer", "ratio"],
        (
            [
                cell["name"],
                *(figure(cell[key], 3) for key in ("lookup_ns", "peer_ns", "lookup_ratio")),
                *(figure(cell[key], 3) for key in ("bag_ns", "peer_bag_ns", "bag_ratio")),
            ]
            for cell in cells
        ),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "store_lookups.json", help="where to write the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "store-lookups.md", help="the page that quotes them")
    options = parser.parse_args(arguments)
    ec.set_num_threads(2)
    tables = cases(np.random.default_rng(0).standard_normal((ROWS, DIMENSION), np.float32))
    ec.set_num_threads(1)
    torch.set_num_threads(1)
    cells = [measured(name, table, peer) for name, (table, peer) in tables.items()]
    document = {"machine": described_machine("torch", "scipy"), "threads": 1, "cells": cells}
    write_json(options.json, document)
    write_text(options.page, page(document))
    print(table(cells))


if __name__ == "__main__":
    main()
