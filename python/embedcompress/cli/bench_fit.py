"""`embedcompress bench fit`: the rules of `recommend --task ctr`, from results of `bench train` and `bench scale`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .._report import to_json
from ._inputs import training_package


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "fit",
        help="rules for `recommend --task ctr` from results of `bench train` and `bench scale`",
        description="Sum up results of `bench train` as what each method loses and costs at each budget, and those of "
        "`bench scale` as how time and memory of training grow with the rows, for `recommend --task ctr --rules FILE`. "
        "Needs torch.",
    )
    parser.add_argument(
        "results",
        nargs="+",
        metavar="RESULTS",
        type=Path,
        help="JSON lines that `bench train --out` wrote, and `bench scale --out`",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a JSON file")
    parser.add_argument("--json", action="store_true", help="print the rules, too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Fit the rules, write them, and say what they rest on."""
    training_package()
    from ..bench import _fit

    if not arguments.out.parent.is_dir():
        raise ValueError(f"the folder '{arguments.out.parent}' does not exist")
    rules = _fit.fit(arguments.results)
    _fit.write(rules, arguments.out)
    if arguments.json:
        print(to_json(rules))
        return
    for one in rules["evidence"]:
        points = [point for curve in one["curves"] for point in curve["points"]]
        print(f"{one['data']}/{one['head']}: {len(one['curves'])} methods, {len(points)} points")
    if growth := rules["growth"]:
        sizes = [point["rows"] for curve in growth["curves"] for point in curve["points"]]
        print(f"training, by rows: {len(growth['curves'])} methods, {min(sizes):,} to {max(sizes):,} rows")
    for sentence in rules["results"]["left_out"]:
        print(f"left out: {sentence}")
