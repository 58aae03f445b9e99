"""Files that appear complete or not at all: what Python writes goes through here, and so through the core's writer."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from os import PathLike, fspath
from typing import IO

from . import _core

AnyPath = str | bytes | PathLike[str] | PathLike[bytes]
"""A path as the functions of `os` take it; bytes need not be UTF-8."""


def write_file(path: AnyPath, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file by a function that writes to a binary one, open for reading too.

    A file of that name is replaced at the end, and keeps its owner and its permissions; of a link the target is. An
    error in `fill` leaves it as it was, and so does the end of the process.

    Raises:
        OSError: the file can't be written, or there is something else than a file; it names the path.
    """

    def into(descriptor: int) -> None:
        with open(descriptor, "w+b", closefd=False) as file:
            fill(file)

    try:
        _core.write_file(path, into)
    except OSError as error:
        # Writing to a descriptor says no name.
        if error.filename is None:
            error.filename = fspath(path)
        raise


def exists(path: AnyPath) -> bool:
    """Whether there is a file of that name, for those that go on from it.

    Raises:
        OSError: there is something else, such as a pipe, which would be waited for; it names the path.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, "it is not a regular file", fspath(path))
    return True


def write_bytes(path: AnyPath, content: bytes) -> None:
    """Write bytes to a file; see `write_file`."""
    write_file(path, lambda file: file.write(content))


def write_text(path: AnyPath, text: str) -> None:
    """Write a text to a file in UTF-8; see `write_file`."""
    write_bytes(path, text.encode())
