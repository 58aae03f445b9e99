"""`embedcompress decompress`: tables back into plain arrays, or word vectors."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from .._decompress import ENDINGS, decompress
from .._report import size, to_json
from .._text import printable
from ._inputs import READS, Input, add_tensor
from ._progress import bar
from .compress import check_output


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "decompress",
        help="write the rows of tables as plain f32",
        description="Write the decoded rows of tables in f32: to a .npy file, to a .safetensors file of plain tensors, "
        "or, of a table with a vocabulary, to word2vec text or binary.",
    )
    parser.add_argument("input", metavar="INPUT", help=f"a file that `embedcompress compress` wrote, or {READS}")
    endings = ", ".join(f"{ending} ({what})" for ending, what in ENDINGS.items())
    parser.add_argument("output", metavar="OUTPUT", help=f"the file to write, whose ending says its kind: {endings}")
    add_tensor(parser, "INPUT", several=True)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write, and say what was written."""
    source = Input(arguments.input, arguments.axis)
    ending = Path(arguments.output).suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"'{arguments.output}' must end with one of {', '.join(ENDINGS)}, which says what to write")
    takes_all = ending == ".safetensors" and not arguments.tensor and source.is_table_file and source.names
    names = list(source.names) if takes_all else source.choose(arguments.tensor)
    if len(names) > 1 and ending != ".safetensors":
        raise ValueError(f"a {ending} file has one table, and --tensor names {len(names)}: {', '.join(names[:8])}")
    check_output(arguments.output, arguments.input)
    tables = {name: source.table(name) for name in names}
    start = time.perf_counter()
    with bar("decompress", "rows", arguments.json) as progress:
        decompress(arguments.output, tables, source.words(names[0]), progress)
    report = {
        "input": arguments.input,
        "output": arguments.output,
        "output_bytes": os.path.getsize(arguments.output),
        "seconds": time.perf_counter() - start,
        "tables": [{"name": name, "rows": t.rows, "dimension": t.dimension} for name, t in tables.items()],
    }
    if arguments.json:
        print(to_json(report))
        return
    for name, table in tables.items():
        print(f"{printable(name)}: {table.rows:,} x {table.dimension:,}, from {size(table.stored_bytes)}")
    print(f"Wrote {printable(arguments.output)}, {report['output_bytes']:,} bytes, in {report['seconds']:.2f} s.")
