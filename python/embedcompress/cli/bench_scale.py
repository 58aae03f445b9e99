"""`embedcompress bench scale`: training of large tables, on a stream of generated clicks."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .._report import figure, size, text_table, to_json
from ._calls import count, share
from ._inputs import training_package

SETTINGS = {
    "head": (str, "NAME", "dlrm, wdl, dcn or deepfm (default: dlrm)"),
    "dimension": (count, "N", "columns of a row (default: 16)"),
    "batch": (count, "N", "rows of a batch (default: 2048)"),
    "samples": (count, "N", "rows that each stage of a method is trained on (default: 1000000)"),
    "test-samples": (count, "N", "rows that the AUC is of (default: 200000)"),
    "warm-up": (count, "N", "steps that are not timed (default: 10)"),
    "gradients": (str, "KIND", "of tables, where the method allows: sparse or dense (default: sparse)"),
    "threads": (count, "N", "(default: 1)"),
}


def add(subparsers: Any) -> None:
    """Add this benchmark."""
    parser = subparsers.add_parser(
        "scale",
        help="training of large tables on generated clicks: time of a step, memory, AUC",
        description="Train a model on a stream of generated clicks, which have Criteo's fields at any number of ids, "
        "each cell in a fresh process, and measure milliseconds of a step, all bytes while training, peak memory, and "
        "the AUC beside the best that there can be. Cells that ended are in --out at once; running the same command "
        "again goes on with the others. Needs torch and scikit-learn.",
    )
    parser.add_argument("--rows", nargs="+", type=count, metavar="N", help="ids (default: 100000 1000000)")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="(default: full hash compo robe int8 cafe dpq)")
    parser.add_argument("--budgets", nargs="+", type=share, metavar="SHARE", help="of f32 (default: 0.3 0.1 0.01)")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="(default: 0)")
    for name, (kind, value, text) in SETTINGS.items():
        parser.add_argument(f"--{name}", type=kind, metavar=value, help=text)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON lines, one for each cell")
    parser.add_argument("--list", action="store_true", help="run nothing: print the cells")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the cells that --out does not have, and print all of them."""
    training_package()
    from ..bench import scale

    names = [one.name for one in fields(scale.Settings)]
    given: dict[str, Any] = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    settings = scale.Settings(**given).checked()
    if arguments.list:
        requests = settings.requests()
        print(to_json(requests) if arguments.json else "\n".join(" ".join(scale.shown(one)) for one in requests))
        return
    try:
        from ..bench import _scale_cell  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"bench scale needs {error.name}, which is not installed") from error
    if not arguments.out.parent.is_dir():
        raise ValueError(f"the folder '{arguments.out.parent}' does not exist")
    with tqdm(unit="cell", disable=arguments.json, bar_format="{desc}{n_fmt}/{total_fmt} |{bar}| {postfix}") as bar:

        def told(done: int, total: int, last: dict[str, Any] | None) -> None:
            bar.total, bar.n = total, done
            bar.set_postfix_str("" if last is None else " ".join(scale.shown(last["request"])))

        lines = scale.run(settings, arguments.out, told)
    if arguments.json:
        print(to_json(lines))
        return
    header = ("rows", "method", "budget", "seed", "ms/step", "CPU ms", "training", "stored", "peak", "AUC", "best AUC")
    print(text_table(header, ([*scale.shown(line["request"]), *_row(line)] for line in lines), left={1}))


def _row(line: dict[str, Any]) -> list[str]:
    found = line.get("figures")
    if found is None:
        return ["refused" if "refused" in line else "stopped", *[""] * 6]
    return [
        figure(found["step_ms"]["median"], 3),
        figure(found["step_cpu_ms"]["median"], 3),
        size(sum(found["table_bytes"].values())),
        size(found["stored_bytes"]),
        size(found["peak_bytes"]),
        f"{found['auc']:.4f}",
        f"{found['bayes_auc']:.4f}",
    ]
