"""The JSON document of a run: one cell a line, written after each, so that a run that was cut off goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .._atomic import exists, write_text
from .._reading import json_value, read_whole
from ._cells import Cell, cell_of

VERSION = 1
_SAME = ("cpu", "processors", "isa", "versions", "huge_pages")
"""What of the machine must be the same for cells to stand in one document."""


class Document:
    """What a run has measured so far.

    Attributes:
        head: Everything but the cells.
        results: A cell's figures, by cell.
    """

    def __init__(self, head: dict[str, Any], path: Path | None = None):
        self.head = {"version": VERSION} | head
        self.path = path
        self.results: dict[Cell, dict[str, Any]] = {}
        self._lines: list[str] = []

    def resume(self) -> None:
        """Take over the cells of the file, if there is one.

        Raises:
            ValueError: it is of another machine, other versions or settings, or no such document.
        """
        if self.path is None or not exists(self.path):
            return
        found = read(self.path)
        if found["settings"] != self.head["settings"]:
            raise ValueError(f"'{self.path}' has other settings: {json.dumps(found['settings'])}")
        for name in _SAME:
            if found["machine"].get(name) != self.head["machine"].get(name):
                raise ValueError(f"'{self.path}' is of another machine: {name} is {found['machine'].get(name)!r}")
        # The peers were set up, and the load measured, when the first cell ran.
        self.head["machine"] = found["machine"]
        for result in found["cells"]:
            self._keep(result)

    def add(self, result: dict[str, Any]) -> None:
        """Keep a cell's figures, and write the file."""
        self._keep(result)
        self.write()

    def _keep(self, result: dict[str, Any]) -> None:
        self.results[cell_of(result)] = result
        self._lines.append(json.dumps(result, allow_nan=False))

    def as_dict(self) -> dict[str, Any]:
        """Return the document."""
        return self.head | {"cells": list(self.results.values())}

    def write(self) -> None:
        """Write the file, atomically."""
        if self.path is None:
            return
        head = json.dumps(self.head, indent=1, ensure_ascii=False, allow_nan=False)
        text = head.removesuffix("\n}") + ',\n "cells": [\n  ' + ",\n  ".join(self._lines) + "\n ]\n}\n"
        write_text(self.path, text)


def read(path: Path) -> dict[str, Any]:
    """Return a document.

    Raises:
        ValueError: the file is not one.
    """
    try:
        found: dict[str, Any] = json_value(read_whole(path))
        if found["version"] == VERSION and {"settings", "machine", "cells"} <= found.keys():
            for result in found["cells"]:
                cell_of(result)
            return found
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ValueError(f"'{path}' is not a document of `embedcompress bench lookup` of version {VERSION}")
