"""`embedcompress bench lookup`: speed beside other libraries."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .._report import to_json
from ..bench import _cells
from ._progress import bar

_SHOWN = 60
"""More cells than this are summed up, not listed."""


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    lookup = subparsers.add_parser(
        "lookup",
        help="lookups, pooled and plain, beside other libraries",
        description="Measure lookups in turns with those of PyTorch, FBGEMM and faiss, where they are installed, and "
        "with the limit, the time of touching the cache lines of the same rows. Without filters, the whole grid runs, "
        "which takes most of an hour.",
    )
    grid = lookup.add_argument_group("filters", "Each takes one value or more; all of the grid by default.")
    # Named like the fields of Grid, so that they can be handed on.
    grid.add_argument(
        "--bits", nargs="+", choices=_cells.FORMATS, help="format of the table; 16 and 32 are f16 and f32"
    )
    grid.add_argument("--dimension", nargs="+", type=_cells.count_argument, metavar="D", help="columns")
    grid.add_argument(
        "--rows",
        dest="table",
        nargs="+",
        type=_cells.table_argument,
        metavar="N|SIZE",
        help="rows, or the size of the table in f32, such as 1GiB",
    )
    grid.add_argument(
        "--pooling",
        nargs="+",
        type=_cells.pooling_argument,
        metavar="bagN|lookup",
        help="sums of bags of N ids, or rows",
    )
    grid.add_argument(
        "--threads", nargs="+", type=_cells.threads_argument, metavar="N", help="threads of every contender"
    )
    grid.add_argument("--ids", nargs="+", choices=_cells.IDS, help="distribution of ids")
    lookup.add_argument(
        "--repetitions",
        type=_cells.count_argument,
        default=15,
        metavar="N",
        help="turns of each contender; half as many for large tables (default: 15)",
    )
    lookup.add_argument("--out", type=Path, metavar="FILE", help="a JSON file that is written after every cell")
    lookup.add_argument("--resume", action="store_true", help="keep the cells that --out has, and run the others")
    lookup.add_argument("--plot", type=Path, metavar="FILE", help="a PNG of the ratios by dimension; needs matplotlib")
    lookup.add_argument("--summary", action="store_true", help="run nothing: sum up what --out has")
    lookup.add_argument("--json", action="store_true", help="print one JSON document: the cells and the summary")
    lookup.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the cells and print the summary."""
    from ..bench import _document, _plot, _summary, lookup

    if (arguments.resume or arguments.summary) and arguments.out is None:
        raise ValueError(f"--{'resume' if arguments.resume else 'summary'} needs --out, the file to read")
    for path in (arguments.out, arguments.plot):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"the folder '{path.parent}' does not exist")
    if arguments.summary:
        document = _document.read(arguments.out)
    else:
        chosen = {name: getattr(arguments, name) for name in _cells.Grid.__dataclass_fields__}
        # What is named twice runs once.
        grid = _cells.Grid(**{name: tuple(dict.fromkeys(values)) for name, values in chosen.items() if values})
        settings = lookup.Settings(repetitions=arguments.repetitions)
        with bar("lookups", "cells", arguments.json) as progress:
            document = lookup.run(grid, settings, out=arguments.out, resume=arguments.resume, progress=progress)
    cells = document["cells"]
    summary = _summary.summarize(cells)
    if arguments.plot is not None:
        _plot.plot(cells, arguments.plot)
    if arguments.json:
        print(to_json(document | {"summary": summary}))
        return
    missing = document["not_installed"]
    parts = [_summary.cells_text(cells)] if 0 < len(cells) <= _SHOWN else []
    parts += ["\n".join(_summary.lines(summary))]
    if missing:
        parts.append(f"Not installed, and so not measured: {', '.join(missing)}.")
    print("\n\n".join(parts))
