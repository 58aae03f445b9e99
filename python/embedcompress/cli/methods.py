"""`embedcompress methods`: the registry."""

from __future__ import annotations

import argparse
import json
import textwrap
from dataclasses import asdict
from typing import Any

import embedcompress as ec

from .._report import text_table, to_json
from ._inputs import training_package


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "methods",
        help="list the compression methods",
        description="List every compression method: its paper, what a row takes, and its options.",
    )
    parser.add_argument(
        "--training", action="store_true", help="those that learn a table with a model instead; needs torch"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the registry."""
    methods = training_package().methods() if arguments.training else ec.methods()
    if arguments.json:
        print(to_json([asdict(method) for method in methods]))
    else:
        print("\n\n".join(_text(method) for method in methods))


def _text(method: ec.Method) -> str:
    lines = [
        f"{method.name}  ({method.title}, {method.kind}; {method.paper})",
        f"  {method.summary}",
        f"  bytes per row: {method.bytes_per_row}",
        f"  cost: {method.cost}",
    ]
    options = [(option.name, json.dumps(option.default), option.summary, option.values) for option in method.options]
    if options:
        lines.append(textwrap.indent(text_table(("option", "default", "what", "values"), options, left=4), "  "))
    return "\n".join(lines)
