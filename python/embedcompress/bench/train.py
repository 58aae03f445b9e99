"""Training with every method, on data, under heads, at budgets: quality beside cost.

A cell trains one model, in a process of its own, on one thread; cells of one table that is compressed by several
methods afterwards share it. Cells that end are written at once and are never run
again; what a cell gives depends on its request alone, so that a run that was cut off gives what a whole one does.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from .._report import machine, processors
from . import _data
from ._lines import Line, Lines, key
from ._train_config import Config, training_of
from ._tuning import TRIAL, Cell, Request, as_result, best, shown
from ._variants import variant

NAME = "train"
_PRELOADED = ["sklearn.metrics", "embedcompress.training", "embedcompress.bench._train_cell"]


@dataclass(frozen=True)
class Status:
    """How far a run is."""

    done: int
    """Cells, those of earlier runs included."""
    total: int
    remaining_seconds: float | None
    """An estimate; None before there is any."""
    last: Line | None
    """The cell that ended last, in this run."""


def run(
    config: Config, out: Path, *, jobs: int | None = None, progress: Callable[[Status], object] | None = None
) -> list[Line]:
    """Run the cells that a file does not have.

    Args:
        config: What is run.
        out: A file of JSON lines; at the end, lines are in the order of the cells, each after its trials.
        jobs: Cells at once; as many as there are processors if not given.
        progress: Told of every cell that ended.

    Returns:
        The line of every cell, without trials, which are in the file only.

    Raises:
        ValueError: another run writes to the file; data can't be read, or a head can't take it.
        RuntimeError: cells failed, which is a mistake in this library or the end of memory. All others have been run.
        KeyboardInterrupt: cells that had ended are in the file.
    """
    most = max(1, jobs or processors())
    with Lines(out, NAME) as lines, tempfile.TemporaryDirectory(prefix="embedcompress-bench-") as folder:
        cells = _Cells(config.cells(), lines)
        # All data is read before anything runs, once for all cells.
        kept = _keep(config, cells.missing(), Path(folder))
        estimate = Estimate(lines.found.values())
        head = {"bench": NAME, "machine": described_machine()}
        failures: list[str] = []
        running: list[_Worker] = []

        def tell(last: Line | None) -> None:
            if progress:
                left = estimate.seconds([*cells.missing(), *(one for worker in running for one in worker.requests)])
                progress(Status(cells.done, cells.total, None if left is None else left / most, last))

        tell(None)
        try:
            while running or cells.waiting:
                while cells.waiting and len(running) < most:
                    requests = cells.next_job()
                    running.append(_Worker(requests, kept[_data_key(requests[0])]))
                ready = multiprocessing.connection.wait([worker.connection for worker in running])
                for worker in [worker for worker in running if worker.connection in ready]:
                    running.remove(worker)
                    outcomes, failure = worker.result()
                    if failure:
                        failures += [f"{_shown(request)}: {failure}" for request in worker.requests]
                        continue
                    for request, outcome in zip(worker.requests, outcomes, strict=True):
                        line = head | {"request": request} | outcome
                        lines.add(line)
                        estimate.learn(line)
                        cells.take_chosen()
                        tell(line)
        finally:
            for worker in running:
                worker.stop()
        if failures:
            raise RuntimeError(f"{len(failures)} cells failed:\n" + "\n".join(failures))
        lines.sort(cells.requests())
        return [lines.found[key(request)] for request in cells.results()]


class _Cells:
    """What a run is to have lines of, and which of it can be run now."""

    def __init__(self, cells: Sequence[Cell], lines: Lines) -> None:
        self._cells, self._lines = cells, lines
        self._open = [cell for cell in cells if cell.trials]
        """Those that trials are still to complete."""
        self._known: set[str] = set()
        """Keys of all requests that have lines, wait or run: trials and cells overlap."""
        self.waiting: list[Request] = []
        for cell in cells:
            for request in cell.trials or [cell.request]:
                self._take(request)
        self.take_chosen()

    def _take(self, request: Request) -> None:
        """Have a request wait, unless it has a line, waits or runs already."""
        name = key(request)
        if name not in self._known and name not in self._lines.found:
            self.waiting.append(request)
        self._known.add(name)

    @property
    def total(self) -> int:
        """Cells, trials included; those whose trials are to choose yet may turn out to be others."""
        return len(self._known) + len(self._open)

    @property
    def done(self) -> int:
        """Cells that have lines, trials included."""
        return sum(name in self._lines.found for name in self._known)

    def take_chosen(self) -> None:
        """Complete cells whose trials have ended. Where a trial was what they want, its line is theirs."""
        for cell in list(self._open):
            request = cell.chosen(self._lines.found)
            if request is None:
                continue
            self._open.remove(cell)
            trial = best([self._lines.found[key(one)] for one in cell.trials])
            is_new = key(request) not in self._known and key(request) not in self._lines.found
            if is_new and as_result(trial) == request:
                # The time of the training is the trial's.
                copy = {name: value for name, value in trial.items() if name != "seconds"}
                self._lines.add(copy | {"request": request})
            self._take(request)

    def next_job(self) -> list[Request]:
        """Return the first request that waits, with all others that one training serves."""
        first = training_of(self.waiting[0])
        found = [request for request in self.waiting if training_of(request) == first]
        self.waiting = [request for request in self.waiting if request not in found]
        return found

    def missing(self) -> list[Request]:
        """Return what waits to be run, or to be chosen by trials."""
        return [*self.waiting, *(cell.request for cell in self._open)]

    def results(self) -> list[Request]:
        """Return all cells whose optimizer is known, without trials."""
        return [request for cell in self._cells if (request := cell.chosen(self._lines.found)) is not None]

    def requests(self) -> list[Request]:
        """Return all cells whose optimizer is known, each after its trials."""
        found: dict[str, Request] = {}
        for cell in self._cells:
            chosen = cell.chosen(self._lines.found)
            found |= {key(request): request for request in (*cell.trials, *([chosen] if chosen else []))}
        return list(found.values())


def described_machine() -> dict[str, Any]:
    """Return what lines say of the machine."""
    import sklearn
    import torch

    found = machine()
    found["versions"] |= {"torch": torch.__version__, "scikit-learn": sklearn.__version__}
    return {name: found[name] for name in ("cpu", "processors", "isa", "versions")}


class Estimate:
    """How long cells are going to take, from those that ended."""

    def __init__(self, lines: Any = ()) -> None:
        self._seconds: dict[tuple[str, ...], list[float]] = {}
        for line in lines:
            self.learn(line)

    def learn(self, line: Line) -> None:
        """Take a cell that ended; one without seconds has those of a trial, which count once."""
        for place in _like(line["request"]) if "seconds" in line else ():
            self._seconds.setdefault(place, []).append(float(line["seconds"]))

    def seconds(self, requests: Sequence[Request]) -> float | None:
        """Return the sum over cells, each taken as the mean of those most like it; None if there is none."""
        if () not in self._seconds:
            return None
        total = 0.0
        for request in requests:
            like = next(found for place in _like(request) if (found := self._seconds.get(place)))
            total += sum(like) / len(like)
        return total


_LIKE = (
    ("data", "head", "variant", "budget"), ("data", "variant", "budget"), ("data", "variant"),
    ("data", "method", "budget"), ("data", "method"), ("data",), (),
)  # fmt: skip


def _like(request: Request) -> list[tuple[str, ...]]:
    """Return what cells have in common with this one, those that are most like it first."""
    known = request | {"variant": variant(request)}
    return [tuple(f"{name} {known[name]}" for name in names) for names in _LIKE]


class _Worker:
    """A process that runs one training, and all cells that it serves."""

    def __init__(self, requests: Sequence[Request], folder: Path) -> None:
        self.requests = requests
        context = _context()
        self.connection, theirs = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(target=_work, args=(requests, folder, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def result(self) -> tuple[list[dict[str, Any]], str]:
        """Return the outcome of each request, or what went wrong."""
        try:
            outcomes, failure = self.connection.recv()
        except EOFError:
            outcomes, failure = [], ""
        self.process.join()
        self.connection.close()
        if not outcomes and not failure:
            failure = f"the process ended with code {self.process.exitcode}"
        return outcomes, failure

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()
        self.connection.close()


def _context() -> Any:
    """Return how processes start: from one that has imported everything, where there is such a way."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _work(requests: Sequence[Request], folder: Path, connection: Connection) -> None:
    end_with_parent()
    outcomes: list[dict[str, Any]] = []
    failure = ""
    try:
        from . import _train_cell

        start = time.process_time()
        found = _train_cell.run_all(requests, _data.load(folder))
        seconds = (time.process_time() - start) / len(requests)
        outcomes = [outcome | {"seconds": seconds} for outcome in found]
    except Exception:
        failure = traceback.format_exc()
    with contextlib.suppress(BrokenPipeError):
        connection.send((outcomes, failure))


def end_with_parent() -> None:
    """Have this process end when the one that started it does, even if that is killed."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _keep(config: Config, requests: Sequence[Request], folder: Path) -> dict[tuple[str, str], Path]:
    """Read the data that cells need, and check that heads can take it."""
    from ._heads import HEADS

    kept: dict[tuple[str, str], Path] = {}
    checked: set[tuple[Any, ...]] = set()
    for request in requests:
        place = _data_key(request)
        if place not in kept:
            kept[place] = folder / str(len(kept))
            kept[place].mkdir()
            try:
                _data.save(_data.read(config.source(request["data"]), request["split"]), kept[place])
            except (ValueError, OSError, ModuleNotFoundError) as error:
                raise ValueError(f"data {request['data']!r}: {error}") from error
        if (*place, request["head"]) not in checked:
            checked.add((*place, request["head"]))
            data = _data.load(kept[place])
            try:
                HEADS[request["head"]](None, len(data.sizes), request["dimension"], len(data.numbers))
            except ValueError as error:
                raise ValueError(f"data {request['data']!r} under the head {request['head']!r}: {error}") from None
    return kept


def _data_key(request: Mapping[str, Any]) -> tuple[str, str]:
    return request["data"], request["split"]


def _shown(request: Request) -> str:
    known = request | {"method": variant(request)}
    names = ("data", "head", "method", "budget", "seed")
    return ", ".join(f"{name} {known[name]}" for name in names) + (
        f", trial of {shown(request['optimizer'])}" if TRIAL in request else ""
    )
