"""One matrix, compressed by many calls: each measured once, and written as a line when it is done."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import embedcompress as ec

from .. import _core
from .._progress import Progress
from .._report import machine
from ._calls import Call
from ._lines import Line, Lines, key, refusal

Figures = dict[str, Any]

SAME_FORMAT = frozenset({"sym", "gss", "asym", "aciq", "hist_apprx", "hist_brute", "greedy"})
"""Methods that choose ranges of rows for the format of least_squares: a budget chooses bits, and nothing else."""


class TooLongError(Exception):
    """A call took more than its time."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Stop what runs inside after so many seconds of the processors, all threads together.

    Raises:
        TooLongError: it was stopped.
    """

    def stop(*_: object) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class Measured:
    """Measures what calls make of one matrix.

    Attributes:
        weight: The matrix.
        subject: The part of a line's request that says what is compressed, and how that is judged.
        known: Figures by method, expression and bytes: a call that leads to the same table is not measured again.
    """

    def __init__(
        self, weight: ec.Table, subject: Mapping[str, Any], judge: Callable[[ec.Table], Figures], limit: float
    ) -> None:
        """Begin with nothing known.

        Args:
            weight: The matrix.
            subject: As the attribute.
            judge: Returns the figures of quality and speed of a compressed matrix.
            limit: Most seconds of the processors of a call of `compress`.
        """
        self.weight, self.subject, self.limit = weight, dict(subject), limit
        self._judge = judge
        self.known: dict[tuple[str, str, int], Figures] = {}
        self._stopped: set[str] = set()

    def request(self, call: Call) -> dict[str, Any]:
        """Return what a call's line is found by."""
        return self.subject | call.request()

    def run(self, bench: str, calls: Sequence[Call], lines: Lines, progress: Progress | None = None) -> list[Line]:
        """Measure what the file has no line of yet, and what was stopped sooner than the limit; return all lines.

        Raises:
            KeyboardInterrupt: progress says so; what was finished is in the file.
        """
        found = dict(lines.found)
        for call in calls:
            self._take(call, found.get(key(self.request(call)), {}))
        described = machine()
        for done, call in enumerate(calls):
            line = found.get(key(self.request(call)))
            if line is None or line.get("limit_seconds", self.limit) < self.limit:
                lines.add({"bench": bench, "request": self.request(call), "machine": described} | self.measure(call))
            if progress is not None and progress(done + 1, len(calls)) is False:
                raise KeyboardInterrupt
        return [lines.found[key(self.request(call))] for call in calls]

    def measure(self, call: Call) -> Line:
        """Return the outcome of a call: its figures, its refusal, or when it was stopped."""
        same = self._same_format(call)
        if same is not None:
            return {"figures": same}
        start, start_cpu = time.perf_counter(), time.process_time()
        try:
            with limited(self.limit):
                table = call.compress(self.weight)
        except TooLongError:
            self._stopped.add(call.method)
            return {"stopped": f"> {self.limit:g} s", "limit_seconds": self.limit}
        except ValueError as error:
            return refusal(error)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
        identity = (call.method, _core.expression_summary(table), table.stored_bytes)
        if identity not in self.known:
            self.known[identity] = {
                "expression": identity[1],
                "stored_bytes": table.stored_bytes,
                "ratio": table.ratio,
                **self._judge(table),
                "compress_seconds": seconds,
                "compress_cpu_seconds": cpu_seconds,
                "compress_threads": ec.get_num_threads(),
            }
        return {"figures": self.known[identity]}

    def _take(self, call: Call, line: Mapping[str, Any]) -> None:
        """Remember what an earlier run found."""
        if "stopped" in line:
            self._stopped.add(call.method)
        if "figures" in line:
            figures = line["figures"]
            self.known[call.method, figures["expression"], figures["stored_bytes"]] = figures

    def _same_format(self, call: Call) -> Figures | None:
        """Return what is known without compressing: a budget of these methods chooses bits, and nothing else.

        Where some of their bits took too long, what the budget chooses may be among those.
        """
        if call.method not in SAME_FORMAT - self._stopped or call.budget is None or call.options:
            return None
        room = int(call.budget * self.weight.rows * self.weight.dimension * 4)
        fitting = [figures for (method, _, size), figures in self.known.items()
                   if method == call.method and size <= room]  # fmt: skip
        return max(fitting, key=lambda figures: figures["stored_bytes"], default=None)


def digest(weight: ec.Table) -> str:
    """Return what tells matrices of other values apart, whatever file they came from."""
    found = hashlib.sha256(f"{weight.rows} x {weight.dimension}".encode())
    for start in range(0, weight.rows, 65_536):
        found.update(weight.decode(start, min(start + 65_536, weight.rows)).astype("<f4", copy=False).data)
    return found.hexdigest()[:16]
