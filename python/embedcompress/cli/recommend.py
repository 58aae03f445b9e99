"""`embedcompress recommend`: which method to take for a table, or for one that is to be trained, and a budget."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

import embedcompress as ec

from .._figures import write
from .._recommend import METRICS
from .._report import figure, percent, printable, size, text_table, to_json
from . import _recommend_training
from ._inputs import Input, read_npy
from ._progress import bar
from .compress import budget

_DEFAULTS: dict[str, Any] = {"metric": "l2", "sample": 16_384, "seed": 0}


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "recommend",
        help="find the best method for a table, or for training one, and a budget",
        description="For --task table, try methods and hybrids on a sample of a table, the best few on the whole of "
        "it, and rank them. For --task ctr, rank the methods that learn their table by what they lost where they were "
        "measured; nothing is trained.",
    )
    parser.add_argument(
        "--task",
        choices=("table", "ctr"),
        default="table",
        help="table: compress one that there is; ctr: train one for click-through rates (default: table)",
    )
    parser.add_argument(
        "--budget",
        type=budget,
        required=True,
        metavar="SIZE",
        help="most bytes of the result: a share of the f32 size (0.125, 12.5%%) or bytes (6000000, 6MB, 6MiB)",
    )
    parser.add_argument("--counts", metavar="FILE", help="a .npy file: how often each row, or id, is used")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    table = parser.add_argument_group("--task table")
    table.add_argument("file", metavar="FILE", nargs="?", help="a .safetensors or .npy file")
    table.add_argument("--tensor", metavar="NAME", help="the table of FILE; needed unless there is only one")
    table.add_argument("--metric", choices=METRICS, help="what to rank by; recall is recall@10 (default: l2)")
    table.add_argument("--sample", type=int, metavar="N", help="rows that all candidates are tried on (default: 16384)")
    table.add_argument("--seed", type=int, metavar="N", help="of the sample and the queries (default: 0)")
    table.add_argument("--threads", type=int, metavar="N", help="most threads to use")
    table.add_argument("--plot", metavar="FILE", help="a PNG of quality against bytes; needs matplotlib")
    of_training = _recommend_training.add_arguments(parser.add_argument_group("--task ctr"))
    parser.set_defaults(run=run, options={"table": ["file", *_DEFAULTS, "tensor", "threads", "plot"], "ctr": of_training})


def run(arguments: argparse.Namespace) -> None:
    """Recommend, and say why.

    Raises:
        ValueError: an option belongs to another task, or one that the task needs is missing.
    """
    for task, names in arguments.options.items():
        given = [name for name in names if task != arguments.task and getattr(arguments, name) is not None]
        if given:
            option = "FILE" if given[0] == "file" else f"--{given[0].replace('_', '-')}"
            raise ValueError(f"{option} belongs to --task {task}, not to --task {arguments.task}")
    if arguments.task == "ctr":
        _recommend_training.run(arguments)
        return
    if arguments.file is None:
        raise ValueError("--task table needs FILE, a .safetensors or .npy file")
    for name, value in _DEFAULTS.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    _of_table(arguments)


def _of_table(arguments: argparse.Namespace) -> None:
    if arguments.plot is not None:
        _check_plot(arguments.plot)
    source = Input(arguments.file)
    (name,) = source.choose(() if arguments.tensor is None else (arguments.tensor,))
    weight = source.table(name)
    counts = None if arguments.counts is None else read_npy(arguments.counts)
    threads_before = ec.get_num_threads()
    if arguments.threads is not None:
        ec.set_num_threads(arguments.threads)
    try:
        with bar(f"{printable(name)}: recommend", "steps", arguments.json) as progress:
            found = ec.recommend(
                weight,
                arguments.budget,
                counts=counts,
                metric=arguments.metric,
                sample=arguments.sample,
                seed=arguments.seed,
                progress=progress,
            )
    finally:
        ec.set_num_threads(threads_before)
    report = {
        "file": arguments.file,
        "table": name,
        "rows": weight.rows,
        "dimension": weight.dimension,
        "budget": arguments.budget,
        "metric": arguments.metric,
        "counts": arguments.counts,
        "recommendations": [one.as_dict() for one in found],
    }
    if arguments.plot is not None:
        plot(found, arguments.metric, f"{name}, {weight.rows:,} x {weight.dimension}", arguments.plot)
    print(to_json(report) if arguments.json else _text(report, arguments))


def _check_plot(path: str) -> None:
    """Refuse before the work what could not be drawn after it."""
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise ValueError(f"the plot's folder '{os.path.dirname(path)}' does not exist")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ValueError("--plot needs matplotlib: pip install matplotlib") from None


def plot(found: Sequence[ec.Recommendation], metric: str, title: str, path: str) -> None:
    """Write a plot of quality against bytes."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7, 4.5), layout="constrained")
    axes = drawing.subplots()
    figures = {
        "l2": ("normalised l2", [one.normalized_l2 for one in found]),
        "cosine": ("mean cosine", [one.mean_cosine for one in found]),
        "recall": ("recall@10", [one.recall_at_10 or 0 for one in found]),
    }
    label, values = figures[metric]
    for place, (one, value) in enumerate(zip(found, values, strict=True)):
        axes.plot(one.stored_bytes, value, "o", color="#c2570c" if place == 0 else "#1d4e89")
        axes.annotate(
            f"{place + 1}. {_call(one)}", (one.stored_bytes, value), (5, 4), textcoords="offset points", size=7
        )
    axes.margins(x=0.25, y=0.15)
    axes.set_xlabel("stored bytes")
    axes.set_ylabel(label)
    axes.set_title(printable(title), fontsize=10)
    axes.grid(alpha=0.3)
    write(drawing, path)


def _call(one: ec.Recommendation) -> str:
    """Return what to call, but for the budget."""
    options = [f"{name}={value}" for name, value in one.as_dict()["options"].items() if name != "budget"]
    return " ".join([one.method, *options])


def _text(report: dict[str, Any], arguments: argparse.Namespace) -> str:
    header = ("", "method", "bytes", "of f32", "norm. l2", "cosine", "recall@10", "compress", "lookup")
    rows = [
        (
            str(place),
            one["method"],
            size(one["stored_bytes"]),
            percent(one["ratio"]),
            figure(one["normalized_l2"]),
            f"{one['mean_cosine']:.5f}",
            "-" if one["recall_at_10"] is None else f"{one['recall_at_10']:.3f}",
            f"{one['compress_seconds']:.2f} s",
            f"{one['lookup_ns_per_row']:.1f} ns/row",
        )
        for place, one in enumerate(report["recommendations"], 1)
    ]
    lines = [text_table(header, rows, left=2), ""]
    for place, one in enumerate(report["recommendations"], 1):
        lines += [f"{place}. {one['expression']}", f"   {one['reason']}"]
    best = report["recommendations"][0]
    given = {name: value for name, value in best["options"].items() if name not in ("budget", "counts", "weights")}
    options = "".join(f" --option {name}={json.dumps(value).strip(chr(34))}" for name, value in given.items())
    use = f" --counts {arguments.counts}" if {"counts", "weights"} & set(best["options"]) else ""
    lines += [
        "",
        f"The first one: embedcompress compress {printable(report['file'])} OUTPUT --method {best['method']}{options} "
        f"--budget {best['options']['budget']}{use}",
    ]
    return "\n".join(lines)
