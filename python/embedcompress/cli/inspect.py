"""`embedcompress inspect`: what a file holds."""

from __future__ import annotations

import argparse
import os
from typing import Any

import embedcompress as ec

from .._report import size, text_table, to_json
from .._text import printable
from ._inputs import READS, Input
from .verify import verify_file

WIDTHS = {"F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
WIDTHS |= {"I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "F8_E8M0": 1}
"""Bytes of an element; quantized GGUF tensors have none of their own."""


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what a file holds",
        description="Show the tables of a file as trees with their bytes, and how many cache lines their rows lie in; "
        "or the tensors of any other file.",
    )
    parser.add_argument("file", metavar="FILE", help=READS)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read all of a .safetensors file and check every rule and every digest first",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print what the file holds; its arrays are not read, unless they are to be verified."""
    source = Input(arguments.file)
    if arguments.verify:
        verify_file(arguments.file, arguments.json)
    metadata: dict[str, str] = {}
    tables: list[dict[str, Any]] = []
    texts: list[tuple[str, str]] = []
    others = source.tensors
    if source.is_table_file:
        held = ec.contents(arguments.file)
        metadata = held.metadata
        plain = set(held.plain)
        others = tuple(tensor for tensor in source.tensors if tensor.name in plain)
    for name in source.names if source.is_table_file else ():
        table = source.table(name)
        layouts = table.row_layouts()
        texts.append((name, "\n".join([str(table), *map(_rows_text, layouts), *_words_text(source.words(name))])))
        tables.append(
            {
                "name": name,
                "rows": table.rows,
                "dimension": table.dimension,
                "stored_bytes": table.stored_bytes,
                "ratio": table.ratio,
                "words": None if (words := source.words(name)) is None else len(words),
                "tree": table.parts()[0],
                "row_layouts": [layout.as_dict() for layout in layouts],
            }
        )
    report = {
        "file": arguments.file,
        "file_bytes": _file_bytes(arguments.file),
        "kind": source.source.kind,
        "is_table_file": source.is_table_file,
        "metadata": metadata,
        "tables": tables,
        "tensors": [
            {
                "name": tensor.name,
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "bytes": _bytes(tensor.dtype, tensor.shape),
                "is_table": not source.is_table_file and tensor.name in source.names,
            }
            for tensor in others
        ],
    }
    print(to_json(report) if arguments.json else _text(report, texts))


def _file_bytes(path: str) -> int:
    """Return the bytes of a file, or of those of a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())


def _bytes(dtype: str, shape: tuple[int, ...]) -> int | None:
    """Return the bytes of a tensor; None for types whose elements have none of their own."""
    if dtype not in WIDTHS:
        return None
    count = WIDTHS[dtype]
    for extent in shape:
        count *= extent
    return count


def _words_text(words: tuple[str, ...] | None) -> list[str]:
    if words is None:
        return []
    shown = ", ".join(words[:6]) + (", ..." if len(words) > 6 else "")
    return [printable(f"{len(words):,} words: {shown}")]


def _rows_text(layout: ec.RowLayout) -> str:
    return f"{layout.path}: {layout}" if layout.path else str(layout)


def _text(report: dict[str, Any], texts: list[tuple[str, str]]) -> str:
    parts = [f"{printable(report['file'])}, {report['kind']} of {report['file_bytes']:,} bytes"]
    for name, tree in texts:
        parts.append(printable(name) + "\n" + "\n".join("  " + line for line in tree.splitlines()))
    if report["metadata"]:
        pairs = [f"  {printable(key)}: {printable(value)}" for key, value in report["metadata"].items()]
        parts.append("\n".join(["metadata", *pairs]))
    if report["tensors"]:
        rows = [
            (
                "  " + printable(tensor["name"]),
                tensor["dtype"],
                " x ".join(f"{extent:,}" for extent in tensor["shape"]) or "scalar",
                "-" if tensor["bytes"] is None else size(tensor["bytes"]),
                "yes" if tensor["is_table"] else "",
            )
            for tensor in report["tensors"]
        ]
        if report["is_table_file"]:
            listed = text_table(("other tensors", "type", "shape", "bytes"), [row[:4] for row in rows])
        else:
            listed = text_table(("tensors", "type", "shape", "bytes", "can be compressed"), rows)
        parts.append(listed)
    return "\n\n".join(parts)
