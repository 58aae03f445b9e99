"""`embedcompress bench report`: a page of what benchmarks found."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .._report import to_json


def add(subparsers: Any) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "report",
        help="make a page of results",
        description="Make a self-contained HTML page, and its twin in Markdown, of what other benchmarks wrote: "
        "quality against bytes, costs, tables by budget, advice and its evidence. Needs matplotlib and Markdown.",
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="JSON lines of bench train and others")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the report goes")
    parser.add_argument("--json", action="store_true", help="print the names of the files as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the report."""
    from ..bench import report

    written = [str(path) for path in report.make(arguments.results, arguments.out)]
    print(to_json({"files": written}) if arguments.json else "\n".join(written))
