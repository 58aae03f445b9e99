"""Results of a benchmark: a JSON line for each cell, written as it ends, so that a run that was cut off goes on.

A line has `bench`, the name of the benchmark; `request`, all that decides the cell's result; `machine`; and one of
`figures`, what was measured; `refused`, why the method can't, beside `floor`, the least bytes that it needs; `stopped`,
why it was. Two lines never have the same request.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .._atomic import exists, write_bytes
from .._errors import BudgetError
from .._reading import json_value, read_whole
from .._report import finite

Line = dict[str, Any]
OUTCOMES = ("figures", "refused", "stopped")


def key(request: Mapping[str, Any]) -> str:
    """Return what tells requests apart."""
    return json.dumps(request, sort_keys=True)


class Lines:
    """The lines of a file, to which only this process adds.

    Attributes:
        found: Lines by the key of their request.
    """

    def __init__(self, path: Path, bench: str) -> None:
        """Open a file, or begin it.

        A last line without its end, which a run that was killed leaves, is cut off.

        Raises:
            ValueError: another process is writing to the file, or it has lines of something else.
            OSError: it is no regular file, or can't be opened.
        """
        self.path, self.bench = path, bench
        exists(path)
        self._file: IO[bytes] = open(path, "a+b")  # noqa: SIM115
        try:
            _lock(self._file, path)
            self._file.seek(0)
            content = self._file.read()
            whole = content.rfind(b"\n") + 1
            self._file.truncate(whole)
            self.found = {key(line["request"]): line for line in parse(content[:whole], path, bench)}
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, line: Line) -> None:
        """Append a line; it is on the disk when this returns."""
        self._file.write(_text(line))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.found[key(line["request"])] = line

    def sort(self, requests: Iterable[Mapping[str, Any]]) -> None:
        """Write the file anew, atomically: lines of these requests in this order, and then all others.

        Nothing can be added after it.
        """
        order = dict.fromkeys([key(request) for request in requests] + list(self.found))
        write_bytes(self.path, b"".join(_text(self.found[one]) for one in order if one in self.found))


def refusal(error: Exception) -> dict[str, Any]:
    """Return `refused`, an error of a budget, and `floor`, the least bytes that it names; None if it names none."""
    return {"refused": str(error), "floor": error.floor if isinstance(error, BudgetError) else None}


def read(path: Path) -> list[Line]:
    """Return the lines of a file, of any benchmark.

    Raises:
        ValueError: a line is none; the message names it.
    """
    return parse(read_whole(path), path)


def parse(content: bytes, path: Path, bench: str | None = None) -> list[Line]:
    """Return the lines that a file has."""
    found = []
    for number, text in enumerate(content.splitlines(), 1):
        line: Any = None
        with contextlib.suppress(ValueError):
            line = json_value(text)
        if not (
            isinstance(line, dict)
            and {"bench", "request", "machine"} <= line.keys()
            and any(outcome in line for outcome in OUTCOMES)
        ):
            raise ValueError(f"'{path}', line {number}: not a result of a benchmark")
        if bench is not None and line["bench"] != bench:
            raise ValueError(f"'{path}', line {number}: a result of bench {line['bench']}, not of bench {bench}")
        found.append(line)
    return found


def _text(line: Line) -> bytes:
    return (json.dumps(finite(line), ensure_ascii=False, allow_nan=False) + "\n").encode()


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ModuleNotFoundError:
        # Elsewhere than on Unix, two runs that write to one file are not told apart.
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ValueError(f"another run is writing to '{path}'") from None
