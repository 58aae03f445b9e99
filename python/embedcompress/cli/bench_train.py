"""`embedcompress bench train`: every method that learns its table, on data, under heads, at budgets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .._report import figure, percent, text_table, to_json
from ..bench import _train_config
from ..bench._tuning import TRIAL, shown
from ..bench._variants import variant
from ._inputs import training_package

LISTS = {"data": str, "heads": str, "methods": str, "budgets": float, "seeds": int}
SETTINGS = {
    "split": (str, "random or temporal (default: random)"),
    "dimension": (int, "columns of a row (default: 16)"),
    "batch": (int, "rows of a batch (default: 256)"),
    "epochs": (int, "of each stage of a method (default: 1)"),
    "rate": (float, "of the head's Adam, and of the tables' (default: 0.002)"),
    "dropout": (float, "in the heads (default: 0)"),
}


def add(subparsers: Any) -> None:
    """Add this benchmark."""
    parser = subparsers.add_parser(
        "train",
        help="methods that learn their table: model quality beside cost",
        description="Train a model with every method at every budget, each cell in a process of its own, and measure "
        "quality, bytes, training time, memory and lookups. Cells that ended are in --out at once; running the same "
        "command again goes on with the others. Needs torch and scikit-learn.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file with [[grid]] and [data.NAME] tables")
    grid = parser.add_argument_group("a grid, instead of a file")
    grid.add_argument(
        "--data", nargs="+", metavar="NAME", help="flights or movielens; files and generated clicks need --config"
    )
    grid.add_argument("--heads", nargs="+", metavar="NAME", help="dlrm, wdl, dcn, deepfm, mf (default: dlrm)")
    grid.add_argument("--methods", nargs="+", metavar="NAME", help="all of them by default")
    grid.add_argument("--budgets", nargs="+", type=float, metavar="SHARE", help="of f32 (default: 0.5 0.1 0.01)")
    grid.add_argument("--seeds", nargs="+", type=int, metavar="N", help="(default: 0)")
    for name, (kind, text) in SETTINGS.items():
        grid.add_argument(f"--{name}", type=kind, metavar="VALUE", help=text)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON lines, one for each cell")
    parser.add_argument("--jobs", type=int, metavar="N", help="cells at once (default: one for each processor)")
    parser.add_argument("--list", action="store_true", help="run nothing: print the cells")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the cells that --out does not have, and print all of them."""
    training_package()
    config = _config(arguments)
    if arguments.list:
        requests = config.requests()
        print(to_json(requests) if arguments.json else "\n".join(map(_shown, requests)))
        return
    try:
        from ..bench import _train_cell  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"bench train needs {error.name}, which is not installed") from error
    from ..bench import train

    if not arguments.out.parent.is_dir():
        raise ValueError(f"the folder '{arguments.out.parent}' does not exist")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, not {arguments.jobs}")
    with tqdm(unit="cell", disable=arguments.json, bar_format="{desc}{n_fmt}/{total_fmt} |{bar}| {postfix}") as bar:

        def told(status: train.Status) -> None:
            bar.total, bar.n = status.total, status.done
            left = status.remaining_seconds
            text = "" if left is None else f"about {_minutes(left)} left"
            if status.last:
                text += f"; {_shown(status.last['request'])}: {_outcome(status.last)}"
            bar.set_postfix_str(text)

        lines = train.run(config, arguments.out, jobs=arguments.jobs, progress=told)
    if arguments.json:
        print(to_json(lines))
        return
    header = ("data", "head", "method", "budget", "seed", "AUC", "log loss", "of f32", "train s", "lookup ns/row")
    print(text_table(header, map(_row, lines), left=3))


def _config(arguments: argparse.Namespace) -> _train_config.Config:
    names = [*LISTS, *SETTINGS]
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.config is not None:
        if given:
            raise ValueError(f"--{next(iter(given))} can't be given beside --config")
        return _train_config.read(arguments.config)
    if "data" not in given:
        raise ValueError("give --data, or --config")
    return _train_config.checked(_train_config.Config((_train_config.grid(given, "the command"),)))


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _shown(request: dict[str, Any]) -> str:
    tried = [f"trial of {shown(request['optimizer'])}"] if TRIAL in request else []
    known = request | {"method": variant(request)}
    return " ".join([str(known[name]) for name in ("data", "head", "method", "budget", "seed")] + tried)


def _outcome(line: dict[str, Any]) -> str:
    return f"AUC {line['figures']['auc']:.4f}" if "figures" in line else line.get("refused") or line["stopped"]


def _row(line: dict[str, Any]) -> list[str]:
    request = line["request"]
    names = [
        request["data"],
        request["head"],
        variant(request),
        f"{100 * request['budget']:g} %",
        str(request["seed"]),
    ]
    found = line.get("figures")
    if found is None:
        return [*names, "refused" if "refused" in line else "stopped", "", "", "", ""]
    return [
        *names,
        f"{found['auc']:.4f}",
        f"{found['log_loss']:.4f}",
        percent(found["ratio"]),
        figure(found["train_seconds"], 3),
        figure(found["lookup_ns_per_row"], 3),
    ]
