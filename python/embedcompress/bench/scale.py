"""Training of large tables on a stream of generated clicks: time of a step, all training memory, and what is learned.

A cell trains one model in a fresh process, one after the other, so that its time and its peak of memory are its own.
Cells that end are written at once and are never run again. One that can't be run says why, as `refused`.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ._generated import field_sizes
from ._lines import Line, Lines, key
from ._tuning import Request
from .train import described_machine, end_with_parent

NAME = "scale"
GRADIENTS = ("sparse", "dense")


@dataclass(frozen=True)
class Settings:
    """Every combination of four lists, and how models are trained."""

    rows: tuple[int, ...] = (100_000, 1_000_000)
    """Ids of all fields."""
    methods: tuple[str, ...] = ("full", "hash", "compo", "robe", "int8", "cafe", "dpq")
    budgets: tuple[float, ...] = (0.3, 0.1, 0.01)
    """Shares of the f32 size. `full`, the uncompressed table, has one cell whatever they are."""
    seeds: tuple[int, ...] = (0,)
    head: str = "dlrm"
    dimension: int = 16
    batch: int = 2048
    samples: int = 1_000_000
    """Of an epoch; each stage of a method has one."""
    test_samples: int = 200_000
    warm_up: int = 10
    """Steps of each stage that are not timed."""
    gradients: str = "sparse"
    """Of tables, where the method allows; or dense."""
    threads: int = 1

    def checked(self) -> Settings:
        """Return the settings, with methods by the names that they have here.

        Raises:
            ValueError: something can't be; the message names it.
        """
        from .._methods import WHILE_TRAINING
        from .._registry import method_name
        from ._heads import HEADS

        for name in ("rows", "methods", "budgets", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        for rows in self.rows:
            field_sizes(rows)
        for budget in self.budgets:
            if not 0 < budget <= 1:
                raise ValueError(f"a budget is a share of the f32 size, above 0 and up to 1, not {budget:g}")
        for name in ("dimension", "batch", "samples", "test_samples", "warm_up", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds must be 0 or more, not {min(self.seeds)}")
        if -(-self.samples // self.batch) <= self.warm_up:
            raise ValueError(f"{self.samples} samples in batches of {self.batch} are no more than {self.warm_up} steps")
        if self.head not in HEADS or self.head == "mf":
            raise ValueError(f"head must be one of {', '.join(name for name in HEADS if name != 'mf')}")
        if self.gradients not in GRADIENTS:
            raise ValueError(f"gradients must be one of {', '.join(GRADIENTS)}, not {self.gradients!r}")
        names = tuple(method_name(method, WHILE_TRAINING) for method in self.methods)
        return Settings(**{one.name: getattr(self, one.name) for one in fields(self)} | {"methods": names})

    def requests(self) -> list[Request]:
        """Return every cell once, the smallest tables first."""
        settings = ("head", "dimension", "batch", "samples", "test_samples", "warm_up", "gradients", "threads")
        found: dict[str, Request] = {}
        for rows in sorted(self.rows):
            for method in self.methods:
                for budget in (1.0,) if method == "full" else self.budgets:
                    for seed in self.seeds:
                        one = {"data": "generated", "rows": rows, "method": method, "budget": budget, "seed": seed}
                        one |= {name: getattr(self, name) for name in settings}
                        found.setdefault(key(one), one)
        return list(found.values())


def run(settings: Settings, out: Path, progress: Callable[[int, int, Line | None], object] | None = None) -> list[Line]:
    """Run the cells that a file does not have.

    Args:
        settings: What is run.
        out: A file of JSON lines; at the end, lines are in the order of the cells.
        progress: Told of cells done, of all, and of the one that ended last, if one has in this run.

    Returns:
        The line of every cell.

    Raises:
        ValueError: settings that can't be, or another run writes to the file.
        KeyboardInterrupt: cells that had ended are in the file.
    """
    requests = settings.checked().requests()
    with Lines(out, NAME) as lines:
        waiting = [request for request in requests if key(request) not in lines.found]
        head = {"bench": NAME, "machine": described_machine()}
        last: Line | None = None
        for number, request in enumerate(waiting):
            if progress:
                progress(len(requests) - len(waiting) + number, len(requests), last)
            last = head | {"request": request} | _outcome(request)
            lines.add(last)
        if progress:
            progress(len(requests), len(requests), last)
        lines.sort(requests)
        return [lines.found[key(request)] for request in requests]


def _outcome(request: Request) -> dict[str, Any]:
    """Run a cell in a process of its own, and return what it found, or why it ended."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(request, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        outcome: dict[str, Any] = ours.recv()
    except EOFError:
        process.join()
        code = process.exitcode
        text = f"the process ended with code {code}"
        if code is not None and code < 0:
            text = f"the process was ended by signal {-code}: a system does so where memory is short"
        return {"refused": text, "floor": None}
    finally:
        # Whatever it still does after the outcome, or after Ctrl-C, is of no use.
        process.terminate()
        process.join()
        ours.close()
    return outcome


def _work(request: Request, connection: Connection) -> None:
    end_with_parent()
    try:
        from . import _scale_cell

        outcome = _scale_cell.run(request)
    except Exception as error:
        outcome = {"refused": f"{type(error).__name__}: {error}", "floor": None}
    connection.send(outcome)


def shown(request: Request) -> Sequence[str]:
    """Return what tells cells of a run apart."""
    return f"{request['rows']:,}", request["method"], f"{100 * request['budget']:g} %", str(request["seed"])
