"""`embedcompress convert`: tables of other programs' files into this library's, with the codes that they have."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import embedcompress as ec

from .._report import size, text_table, to_json
from .._sources import TensorInfo
from .._text import printable
from .._vocabulary import vocabulary_entry
from ._inputs import READS, Input, add_tensor
from ._progress import bar
from .compress import check_output

ORIGIN = "origin."
"""Of the metadata's key that says what a table was taken over from; the table's name follows."""


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "convert",
        help="take tables over from other programs' files as they are",
        description="Write tables of a file to one safetensors file without choosing anything anew: codes, scales and "
        "biases of GGUF (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0) and of MLX stay what they are, to the bit, and so do f32, f16 "
        "and bf16. Types that no store has, such as Q4_K, are decoded to f32, which the output says.",
    )
    parser.add_argument("input", metavar="INPUT", help=READS)
    parser.add_argument("output", metavar="OUTPUT", help="the .safetensors file to write; replaced if it exists")
    add_tensor(parser, "INPUT", several=True)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Convert, and say what became of each table."""
    source = Input(arguments.input, arguments.axis)
    names = source.choose(arguments.tensor)
    check_output(arguments.output, arguments.input)
    start = time.perf_counter()
    infos = {name: source.info(name) for name in names}
    tables = {name: source.table(name) for name in names}
    metadata = {"writer": f"embedcompress {ec.__version__}"}
    for name in names:
        words, info = source.words(name), infos[name]
        metadata |= {} if words is None else vocabulary_entry(name, words)
        origin = None if info is None else source.source.origin(info)
        metadata |= {} if origin is None else {ORIGIN + name: origin}
    with bar("convert", "B", arguments.json) as progress:
        ec.save(arguments.output, tables, metadata=metadata, progress=progress)
    report = {
        "input": arguments.input,
        "output": arguments.output,
        "output_bytes": os.path.getsize(arguments.output),
        "seconds": time.perf_counter() - start,
        "tables": [_described(source, name, infos[name], table) for name, table in tables.items()],
    }
    print(to_json(report) if arguments.json else _text(report))


def _described(source: Input, name: str, info: TensorInfo | None, table: ec.Table) -> dict[str, Any]:
    return {
        "name": name,
        "type": "table" if info is None else info.dtype,
        "decoded": info is not None and source.source.is_decoded(info),
        "rows": table.rows,
        "dimension": table.dimension,
        "stored_bytes": table.stored_bytes,
        "expression": str(table).partition("  ")[0],
    }


def _text(report: dict[str, Any]) -> str:
    rows = [
        (
            printable(table["name"]),
            f"{table['rows']:,} x {table['dimension']:,}",
            table["type"],
            table["expression"],
            size(table["stored_bytes"]),
        )
        for table in report["tables"]
    ]
    lines = [text_table(("table", "rows x dim", "from", "to", "bytes"), rows), ""]
    for table in report["tables"]:
        if table["decoded"]:
            lines.append(f"{printable(table['name'])}: no store has {table['type']}: it is decoded to f32.")
    output = printable(report["output"])
    lines.append(f"Wrote {output}, {report['output_bytes']:,} bytes, in {report['seconds']:.2f} s.")
    return "\n".join(lines)
