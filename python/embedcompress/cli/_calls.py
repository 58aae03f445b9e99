"""Arguments that the benchmarks of post-training methods share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..bench._calls import Call, calls, contenders
from .compress import budget


def add_arguments(parser: Any, budgets: Sequence[float], limit: float) -> None:
    """Add what chooses calls, limits them, and says where results go.

    Args:
        parser: Of the benchmark.
        budgets: The default ones.
        limit: Seconds of a call by default.
    """
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="METHOD",
        help="methods, and hybrids such as 'svd(eden)' (default: all that are post-training)",
    )
    parser.add_argument(
        "--budgets",
        nargs="+",
        type=share,
        default=list(budgets),
        metavar="SHARE",
        help=f"shares of the f32 bytes (default: {' '.join(f'{one:g}' for one in budgets)})",
    )
    parser.add_argument(
        "--limit",
        type=seconds,
        default=limit,
        metavar="SECONDS",
        help=f"most seconds of the processors, all threads together, of making a table (default: {limit:g})",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="a file of JSON lines; a cell that it has is not run again",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def chosen(arguments: argparse.Namespace) -> list[Call]:
    """Return the calls that the arguments choose.

    Raises:
        ValueError: there is no such method, or no folder to write to.
    """
    if not arguments.out.parent.is_dir():
        raise ValueError(f"the folder '{arguments.out.parent}' does not exist")
    # What is named twice runs once.
    return list(calls(contenders(arguments.methods), list(dict.fromkeys(arguments.budgets))))


def share(text: str) -> float:
    """Return a share of the f32 bytes."""
    found = budget(text)
    if isinstance(found, int):
        raise argparse.ArgumentTypeError(f"'{text}' is not a share of the f32 size, such as 0.125 or 12.5%")
    return found


def seconds(text: str) -> float:
    """Return a number of seconds above zero."""
    try:
        found = float(text)
    except ValueError:
        found = 0
    if not 0 < found < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return found


def count(text: str) -> int:
    """Return a whole number above zero."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 on")
    return int(text)
