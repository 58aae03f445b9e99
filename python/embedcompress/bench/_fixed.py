"""Text whose columns are fixed: every line is checked whole, whether a sample keeps it or not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ._streaming import Skipped, lines


@dataclass(frozen=True)
class Kind:
    """What a cell may be."""

    pattern: bytes
    """A regular expression. Possessive (`++`, `?+`), which is quicker: a cell has one way to match."""
    name: str


LABEL = Kind(rb"[01]", "0 or 1")
WHOLE = Kind(rb"(?:-?+[0-9]{1,18}+)?+", "a whole number")
HEXADECIMAL = Kind(rb"(?:[0-9a-f]{8})?+", "8 hexadecimal digits")
HOUR = Kind(rb"[0-9]{6}(?:[01][0-9]|2[0-3])", "an hour as YYMMDDHH")
ANYTHING = Kind(rb"[^,\t]*+", "text")


class Layout:
    """Columns by name, and what separates them."""

    def __init__(self, separator: bytes, columns: Mapping[str, Kind]) -> None:
        self.separator = separator
        self.columns = columns
        self._pattern = re.compile(separator.join(kind.pattern for kind in columns.values()) + rb"\r?\n?")

    def rows(self, path: Path, skipped: Skipped, header: bool = False) -> Iterator[bytes]:
        """Yield the lines of a file that have the layout; what is wrong with the others goes to `skipped`.

        Raises:
            OSError: the file can't be read.
            ValueError: most lines have another layout, or the first is not the header that there should be.
        """
        found = lines(path)
        if header:
            expected = self.separator.join(name.encode() for name in self.columns)
            first = next(found, b"").rstrip(b"\r\n")
            if first and first != expected:
                raise ValueError(f"'{path}': line 1 is not the header {expected.decode()}")
        number = start = int(header)
        matches = self._pattern.fullmatch
        for number, line in enumerate(found, start + 1):
            if matches(line):
                yield line
            else:
                skipped.add(path, number, self._problem(line.rstrip(b"\r\n")))
        skipped.end(path, number - start)

    def cells(self, line: bytes) -> list[bytes]:
        """Return the cells of a line."""
        return line.rstrip(b"\r\n").split(self.separator)

    def _problem(self, line: bytes) -> str:
        try:
            line.decode()
        except UnicodeDecodeError:
            return "is not UTF-8"
        if not line.strip():
            return "is empty"
        cells = line.split(self.separator)
        if len(cells) != len(self.columns):
            return f"has {len(cells)} columns instead of {len(self.columns)}"
        for (name, kind), cell in zip(self.columns.items(), cells, strict=True):
            if not re.fullmatch(kind.pattern, cell):
                return f"has {shown(cell.decode())} as {name}, not {kind.name}"
        return "has stray carriage returns at its end"


def shown(cell: str) -> str:
    """Return a cell as messages show it."""
    return repr(cell if len(cell) <= 24 else cell[:21] + "...")
