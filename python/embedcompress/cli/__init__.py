"""The command line. Each subcommand is a module of this package with a function `add`.

Exit codes: 0 done; 1 an error of use or of data, said in one line; 2 arguments that argparse refuses; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import embedcompress as ec

from .._text import printable
from . import bench, compress, convert, decompress, evaluate, inspect, methods, plan, recommend, verify

COMMANDS = (compress, convert, decompress, inspect, verify, evaluate, recommend, plan, bench, methods)


def parser() -> argparse.ArgumentParser:
    """Return the parser of every subcommand."""
    result = argparse.ArgumentParser(
        prog="embedcompress", description="Compress embedding tables, and look at what became of them."
    )
    result.add_argument("--version", action="version", version=f"embedcompress {ec.__version__} ({ec.isa()})")
    subparsers = result.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(subparsers)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Raises:
        SystemExit: argparse refused the arguments (2), or was asked for help (0).
    """
    for stream in (sys.stdout, sys.stderr):
        # Names out of files need not fit the terminal's encoding.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("embedcompress: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has had enough. What is left must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, MemoryError) as error:
        print(f"embedcompress: error: {_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _one_line(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
        if error.filename is not None and str(error.filename) not in text:
            text = f"'{error.filename}': {text}"
    return printable(" ".join(text.split()))
