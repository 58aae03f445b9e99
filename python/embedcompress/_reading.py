"""Texts that come from a user's file or command line."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any


def read_whole(path: Path) -> bytes:
    """Return what a file or a pipe has.

    Raises:
        OSError: it can't be read.
        ValueError: it is a device, which may have no end.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise ValueError(f"'{path}' is a device, not a file")
        return file.read()


def json_value(text: str | bytes) -> Any:
    """Return the value that JSON stands for.

    Raises:
        ValueError: it is no JSON, is not UTF-8, or is nested deeper than Python reads.
    """
    try:
        return json.loads(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None
