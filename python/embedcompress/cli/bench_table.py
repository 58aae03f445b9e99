"""`embedcompress bench table`: every post-training method on a table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import embedcompress as ec

from .._report import printable, to_json
from .._samples import SAMPLES
from ..bench.table import BUDGETS, LIMIT_SECONDS, QUERIES
from ._calls import add_arguments, chosen, count, share
from ._inputs import Input
from ._progress import bar


def add(subparsers: Any) -> None:
    """Add this benchmark."""
    parser = subparsers.add_parser(
        "table",
        help="every post-training method on a table: error, neighbours kept, times",
        description="Compress a table by every post-training method and by hybrids, at every number of bits and within "
        "budgets, and measure each: normalised l2, cosine, recall@10, seconds of compressing, nanoseconds of a lookup. "
        "A run that was cut off goes on where it was.",
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help=f"a .safetensors or .npy file, or a table that a package carries: {', '.join(SAMPLES)}",
    )
    parser.add_argument("--tensor", metavar="NAME", help="the table of FILE; needed unless there is only one")
    parser.add_argument(
        "--queries",
        type=count,
        default=QUERIES,
        metavar="N",
        help=f"random rows whose nearest neighbours are searched (default: {QUERIES})",
    )
    parser.add_argument(
        "--recommend",
        nargs="+",
        type=share,
        default=[],
        metavar="SHARE",
        help="also ask `recommend` for these budgets, to compare its choice with the best cells",
    )
    add_arguments(parser, BUDGETS, LIMIT_SECONDS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the cells that the file does not have, and print the best of all."""
    from ..bench import _report_tables, table

    calls = chosen(arguments)
    name, weight = _table(arguments)
    with bar(printable(name), "cells", arguments.json) as progress:
        found = table.run(
            name,
            weight,
            calls,
            arguments.out,
            recommend=list(dict.fromkeys(arguments.recommend)),
            queries=arguments.queries,
            limit=arguments.limit,
            progress=progress,
        )
    print(to_json({"table": name, "lines": found}) if arguments.json else _report_tables.summary(found))


def _table(arguments: argparse.Namespace) -> tuple[str, ec.Table]:
    """Return the table with the name that its lines get: a file's name, and the tensor's where it has one."""
    if arguments.file in SAMPLES:
        if arguments.tensor is not None:
            raise ValueError(f"--tensor is for a file; {arguments.file} is a table")
        return arguments.file, SAMPLES[arguments.file]().weight
    source = Input(arguments.file)
    (name,) = source.choose(() if arguments.tensor is None else (arguments.tensor,))
    short = Path(arguments.file).name
    return (f"{short}: {name}" if source.tensors else short), source.table(name)
