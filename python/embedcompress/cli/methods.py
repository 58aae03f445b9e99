"""`embedcompress methods`: the catalogue."""

from __future__ import annotations

import argparse
import json
import textwrap
from dataclasses import asdict
from typing import Any

import embedcompress as ec

from .._report import text_table, to_json
from ._inputs import training_package

STAGES = {"after-training": "after training", "while-training": "while training", "all": None}
"""What `ec.methods` calls the stages, by their names here."""


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "methods",
        help="list the compression methods",
        description="List the methods: their papers, what a row takes, and their options.",
    )
    parser.add_argument(
        "--stage",
        choices=STAGES,
        default="after-training",
        help="after-training (the default): those that compress a table that is there; while-training: those that "
        "learn one with a model, and need torch",
    )
    parser.add_argument(
        "--training", dest="stage", action="store_const", const="while-training", help="same as --stage while-training"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the catalogue."""
    if arguments.stage != "after-training":
        training_package()  # which lists what other packages register
    methods = ec.methods(STAGES[arguments.stage])
    if arguments.json:
        print(to_json([asdict(method) for method in methods]))
    else:
        print("\n\n".join(_text(method) for method in methods))


def _text(method: ec.Method) -> str:
    lines = [
        f"{method.name}  ({method.title}; {method.family}, {method.stage}; {method.paper})",
        f"  {method.summary}",
        f"  bytes per row: {method.bytes_per_row}",
        f"  cost: {method.cost}",
    ]
    options = [(option.name, json.dumps(option.default), option.summary, option.values) for option in method.options]
    if options:
        lines.append(textwrap.indent(text_table(("option", "default", "what", "values"), options, left=4), "  "))
    return "\n".join(lines)
