"""`embedcompress recommend --task ctr`: which method to train for fields and a budget."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._report import size, to_json
from .._sources import read_npy
from ._inputs import training_package
from .compress import budget
from .plan import sizes

if TYPE_CHECKING:
    from ..training import Advice, Choice

SHOWN = 5
"""Reasons are printed of so many."""


def add_arguments(parser: Any) -> list[str]:
    """Add what this task takes beside the budget and counts, and return the names."""
    parser.add_argument("--fields", type=sizes, metavar="N,N,…", help="ids of each categorical field, such as 1460,583")
    parser.add_argument("--dim", type=int, metavar="D", help="columns of a row")
    parser.add_argument(
        "--train-memory", type=_bytes, metavar="SIZE", help="most bytes of the table while it trains, such as 2GB"
    )
    parser.add_argument("--latency", type=float, metavar="NS", help="most nanoseconds of the lookup of a row")
    parser.add_argument(
        "--cold", action="store_true", default=None, help="rank by rows whose ids are seldom seen in training"
    )
    parser.add_argument("--rules", metavar="FILE", help="rules that `bench fit` made of results of yours")
    return ["fields", "dim", "train_memory", "latency", "cold", "rules"]


def run(arguments: argparse.Namespace) -> None:
    """Rank the methods, and say why."""
    for name in ("fields", "dim"):
        if getattr(arguments, name) is None:
            raise ValueError(f"--task ctr needs --{name}")
    training = training_package()
    choice = training.recommend(
        arguments.fields,
        arguments.dim,
        budget=arguments.budget,
        counts=None if arguments.counts is None else read_npy(arguments.counts),
        train_memory=arguments.train_memory,
        latency=arguments.latency,
        cold=bool(arguments.cold),
        rules=None if arguments.rules is None else training.read_rules(arguments.rules),
    )
    print(to_json(_document(choice, arguments)) if arguments.json else _text(choice, arguments))


def _document(choice: Choice, arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("task", "fields", "dim", "budget", "counts", "train_memory", "latency")
    return {name: getattr(arguments, name) for name in names} | {
        "cold": bool(arguments.cold),
        "measured_on": choice.evidence.name,
        "growth": None if choice.growth is None else {"data": choice.growth.data, "sizes": list(choice.growth.sizes)},
        "results": dict(choice.results),
        "advice": [one.as_dict() for one in choice],
        "refused": [one.as_dict() for one in choice.refused],
    }


def _text(choice: Choice, arguments: argparse.Namespace) -> str:
    evidence = choice.evidence
    full = 4 * sum(arguments.fields) * arguments.dim
    parts = [
        f"{sum(arguments.fields):,} x {arguments.dim}, {size(full)} in f32. Measured on {evidence.name}, "
        f"{evidence.rows:,} x {evidence.settings['dimension']}: AUC {evidence.full['auc']:.4f} uncompressed.\n"
        f"{_growth(choice)}",
        repr(choice),
        "\n".join(_lines(choice[:SHOWN])),
    ]
    if choice.refused:
        parts.append("\n".join(["Refused:", *(f"  {one.reason}" for one in choice.refused)]))
    sizes_text = ", ".join(map(str, arguments.fields))
    options = "".join(f", {name}={value!r}" for name, value in choice[0].options.items())
    counts = "" if arguments.counts is None else ", counts=counts"
    if notes := _notes(choice, sum(arguments.fields)):
        parts.append("\n".join(notes))
    machine = choice.results["machines"][0]
    batch = "" if choice.growth is None else f", those of a batch of {choice.growth.settings['batch']:,} samples,"
    parts.append(
        f"Methods train in the bytes of parameters and buffers; with Adam, gradients{batch} and moments are counted, "
        "too.\n"
        f"Time is that of training, over the uncompressed table's. Lookups are of a row, on one thread of {machine}."
    )
    parts.append(
        f'The first one: training.embedding("{choice[0].method}", {sum(arguments.fields)}, {arguments.dim}, '
        f"budget={choice[0].budget}, fields=[{sizes_text}]{counts}{options})"
    )
    return "\n\n".join(parts)


def _growth(choice: Choice) -> str:
    if choice.growth is None:
        return "How training grows with the rows was not measured."
    sizes = choice.growth.sizes
    return (
        f"Training grows with the rows as on {choice.growth.data} clicks, under {choice.growth.head}: "
        f"{sizes[0]:,} to {sizes[-1]:,} rows."
    )


def _notes(choice: Choice, rows: int) -> list[str]:
    """Return what is extrapolated, a line for each kind."""
    from ..training._advice import MARKS

    said = {
        "budget": "no such budget was measured",
        "rows": f"losses were measured with {choice.evidence.rows:,} rows, not with {rows:,}",
        "training": "time and bytes of training were not measured at this size",
    }
    notes = []
    for kind, text in said.items():
        found = [one.label for one in choice if kind in one.beyond]
        if found:
            of = "all" if len(found) == len(choice) else ", ".join(found)
            notes.append(f"{MARKS[kind]}: extrapolated ({of}): {text}.")
    return notes


def _lines(advice: Sequence[Advice]) -> list[str]:
    lines = []
    for one in advice:
        lines += [f"{one.rank}. {one.label}: {one.reason}", f"   {'; '.join(one.cells)}"]
        if one.elsewhere:
            losses = (f"{name} {loss:.4f}" for name, loss in one.elsewhere.items())
            lines.append(f"   AUC lost elsewhere: {', '.join(losses)}")
    return lines


def _bytes(text: str) -> int:
    found = budget(text)
    if isinstance(found, float):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes, such as 2GB")
    return found
