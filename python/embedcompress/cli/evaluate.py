"""`embedcompress evaluate`: what a compressed table costs against its source."""

from __future__ import annotations

import argparse
from typing import Any

import embedcompress as ec

from .._report import figure, percent, size, text_table, to_json
from .._text import printable
from ._inputs import READS, Input
from ._progress import bar


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "evaluate",
        help="compare a compressed table with its source",
        description="Compare the tables of a file with what they were made of: error, cosine, nearest neighbours.",
    )
    parser.add_argument("table", metavar="TABLE", help="a file that `embedcompress compress` wrote")
    parser.add_argument("source", metavar="SOURCE", help=f"what it was made of: {READS}")
    parser.add_argument("--table", dest="name", metavar="NAME", help="a table of TABLE (default: all)")
    parser.add_argument(
        "--tensor", metavar="NAME", help="the tensor of SOURCE (default: the one of the table's name, or the only one)"
    )
    parser.add_argument(
        "--axis",
        type=int,
        metavar="N",
        help="the last axis that numbers rows, if that tensor has more than two",
    )
    parser.add_argument(
        "--queries",
        type=int,
        default=256,
        metavar="N",
        help="rows whose neighbours are searched; 0 for none (default: 256)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Compare and print the figures."""
    if arguments.queries < 0:
        raise ValueError(f"--queries must be at least 0, not {arguments.queries}")
    compressed, source = Input(arguments.table), Input(arguments.source, arguments.axis)
    if arguments.name is None and arguments.tensor is not None and len(compressed.names) > 1:
        names = ", ".join(compressed.names)
        raise ValueError(f"--tensor goes with one table, name it with --table: {names}")
    if not compressed.names:
        raise ValueError(f"'{arguments.table}' has no table")
    results: list[dict[str, Any]] = []
    for name in compressed.names if arguments.name is None else (arguments.name,):
        table = compressed.table(name)
        tensor = arguments.tensor
        if tensor is None:
            tensor = name if name in source.names else source.choose(())[0]
        weight = source.table(tensor)
        with bar(f"{printable(name)}: evaluate", "rows", arguments.json) as progress:
            quality = ec.evaluate(table, weight, queries=arguments.queries, progress=progress)
        results.append(
            {"table": name, "tensor": tensor, "rows": table.rows, "dimension": table.dimension, **quality.as_dict()}
        )
    report = {
        "file": arguments.table,
        "source": arguments.source,
        "queries": arguments.queries,
        "tables": results,
    }
    print(to_json(report) if arguments.json else _text(results))


def _text(results: list[dict[str, Any]]) -> str:
    header = ("table", "rows x dim", "bytes", "of f32", "norm. l2", "cosine", "worst row", "its l2", "recall@10")
    rows = [
        (
            printable(result["table"]),
            f"{result['rows']:,} x {result['dimension']:,}",
            size(result["stored_bytes"]),
            percent(result["ratio"]),
            figure(result["normalized_l2"]),
            f"{result['mean_cosine']:.5f}",
            str(result["worst_row"]),
            figure(result["worst_row_l2"]),
            "-" if result["recall_at_10"] is None else f"{result['recall_at_10']:.3f}",
        )
        for result in results
    ]
    return text_table(header, rows)
