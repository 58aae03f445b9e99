"""Training with every method, on data, under heads, at budgets: quality beside cost.

A cell trains one model, in a process of its own, on one thread. Cells that end are written at once and are never run
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
from ._train_config import Config, Request

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
        out: A file of JSON lines; at the end, lines are in the order of the cells.
        jobs: Cells at once; as many as there are processors if not given.
        progress: Told of every cell that ended.

    Returns:
        The line of every cell.

    Raises:
        ValueError: another run writes to the file; data can't be read, or a head can't take it.
        RuntimeError: cells failed, which is a mistake in this library or the end of memory. All others have been run.
        KeyboardInterrupt: cells that had ended are in the file.
    """
    requests = config.requests()
    most = max(1, jobs or processors())
    with Lines(out, NAME) as lines, tempfile.TemporaryDirectory(prefix="embedcompress-bench-") as folder:
        waiting = [request for request in requests if key(request) not in lines.found]
        # All data is read before anything runs, once for all cells.
        kept = _keep(config, waiting, Path(folder))
        estimate = Estimate(lines.found.values())
        head = {"bench": NAME, "machine": described_machine()}
        failures: list[str] = []
        running: list[_Worker] = []

        def tell(last: Line | None) -> None:
            if progress:
                left = estimate.seconds([*waiting, *(worker.request for worker in running)])
                done = len(requests) - len(waiting) - len(running) - len(failures)
                progress(Status(done, len(requests), None if left is None else left / most, last))

        tell(None)
        try:
            while running or waiting:
                while waiting and len(running) < most:
                    request = waiting.pop(0)
                    running.append(_Worker(request, kept[_data_key(request)]))
                ready = multiprocessing.connection.wait([worker.connection for worker in running])
                for worker in [worker for worker in running if worker.connection in ready]:
                    running.remove(worker)
                    outcome, failure = worker.result()
                    if failure:
                        failures.append(f"{_shown(worker.request)}: {failure}")
                        continue
                    line = head | {"request": worker.request} | outcome
                    lines.add(line)
                    estimate.learn(line)
                    tell(line)
        finally:
            for worker in running:
                worker.stop()
        if failures:
            raise RuntimeError(f"{len(failures)} cells failed:\n" + "\n".join(failures))
        lines.sort(requests)
        return [lines.found[key(request)] for request in requests]


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
        """Take a cell that ended."""
        for names in _LIKE:
            found = self._seconds.setdefault(tuple(str(line["request"][name]) for name in names), [])
            found.append(float(line.get("seconds", 0.0)))

    def seconds(self, requests: Sequence[Request]) -> float | None:
        """Return the sum over cells, each taken as the mean of those most like it; None if there is none."""
        if () not in self._seconds:
            return None
        total = 0.0
        for request in requests:
            like = next(
                found for names in _LIKE if (found := self._seconds.get(tuple(str(request[name]) for name in names)))
            )
            total += sum(like) / len(like)
        return total


_LIKE = (("data", "head", "method", "budget"), ("data", "method", "budget"), ("data", "method"), ("data",), ())


class _Worker:
    """A process that runs one cell."""

    def __init__(self, request: Request, folder: Path) -> None:
        self.request = request
        context = _context()
        self.connection, theirs = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(target=_work, args=(request, folder, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def result(self) -> tuple[dict[str, Any], str]:
        """Return the outcome, or what went wrong."""
        try:
            outcome, failure = self.connection.recv()
        except EOFError:
            outcome, failure = {}, ""
        self.process.join()
        self.connection.close()
        if not outcome and not failure:
            failure = f"the process ended with code {self.process.exitcode}"
        return outcome, failure

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


def _work(request: Request, folder: Path, connection: Connection) -> None:
    end_with_parent()
    outcome: dict[str, Any] = {}
    failure = ""
    try:
        from . import _train_cell

        start = time.process_time()
        outcome = _train_cell.run(request, _data.load(folder))
        outcome["seconds"] = time.process_time() - start
    except Exception:
        failure = traceback.format_exc()
    with contextlib.suppress(BrokenPipeError):
        connection.send((outcome, failure))


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


def _shown(request: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {request[name]}" for name in ("data", "head", "method", "budget", "seed"))
