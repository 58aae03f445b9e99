"""`embedcompress plan`: what a method that learns its table makes of a budget."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .._report import percent, size, text_table, to_json
from .._sources import read_npy
from ._inputs import training_package
from .compress import budget, option


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "plan",
        help="solve a training method's knobs for a budget",
        description="Solve the knobs of a method that learns a compressed table, for any fields, without data. Beside "
        "them stands what the rule of the VLDB 2024 study chooses, where that is another one. Needs torch.",
    )
    parser.add_argument("--method", required=True, metavar="NAME", help="such as tt; see embedcompress.training")
    parser.add_argument(
        "--fields", required=True, type=sizes, metavar="N,N,…", help="ids of each categorical field, such as 1460,583"
    )
    parser.add_argument("--dim", required=True, type=int, metavar="D", help="columns of a row")
    parser.add_argument(
        "--budget",
        type=budget,
        required=True,
        metavar="SIZE",
        help="most bytes of the frozen table: a share of the f32 size (0.1, 10%%) or bytes (6000000, 6MB, 6MiB)",
    )
    parser.add_argument("--counts", metavar="FILE", help="a .npy file: how often each id is used; some methods need it")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=option,
        metavar="KEY=VALUE",
        help="an option of the method; can be given several times",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Solve, and print the knobs."""
    rows = sum(arguments.fields)
    counts = None if arguments.counts is None else read_npy(arguments.counts)
    plan = training_package().plan(
        arguments.method,
        rows,
        arguments.dim,
        budget=arguments.budget,
        counts=counts,
        fields=arguments.fields,
        **dict(arguments.option),
    )
    full = 4 * rows * arguments.dim
    if arguments.json:
        document = {
            "method": arguments.method,
            "rows": rows,
            "dimension": arguments.dim,
            "stored_bytes": plan.stored_bytes,
            "ratio": plan.stored_bytes / full,
            "knobs": dict(plan.knobs),
            "study": dict(plan.study),
        }
        print(to_json(document))
        return
    print(f"{arguments.method}: {size(plan.stored_bytes)}, {percent(plan.stored_bytes / full)} of {size(full)}")
    knobs = [(name, json.dumps(value), json.dumps(plan.study.get(name, ""))) for name, value in plan.knobs.items()]
    knobs += [(name, "", json.dumps(value)) for name, value in plan.study.items() if name not in plan.knobs]
    print(text_table(("knob", "here", "by the study's rule"), knobs, left=3))


def sizes(text: str) -> list[int]:
    """Return the sizes of fields."""
    try:
        return [int(part) for part in text.replace(" ", "").split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers, such as 1460,583") from None
