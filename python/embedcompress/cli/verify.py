"""`embedcompress verify`: whether all of a file is as its format says."""

from __future__ import annotations

import argparse
from typing import Any

import embedcompress as ec

from .._report import to_json
from .._text import printable
from ._progress import bar


def add(subparsers: Any) -> None:
    """Add this subcommand."""
    parser = subparsers.add_parser(
        "verify",
        help="check all of some files",
        description="Read all of each .safetensors file and check every rule of the format over its tables, and the "
        "digest of each tensor if the file has digests. The first fault ends it with exit code 1.",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="a .safetensors file")
    parser.add_argument("--json", action="store_true", help="print one JSON document, without progress bars")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Verify each file and say so."""
    report = []
    for path in arguments.files:
        verify_file(path, arguments.json)
        report.append({"file": path, "tables": len(ec.contents(path).tables), "digests": ec.contents(path).has_digests})
        if not arguments.json:
            digests = "every rule and every digest" if report[-1]["digests"] else "every rule; it has no digests"
            print(f"{printable(path)}: {digests}")
    if arguments.json:
        print(to_json({"files": report}))


def verify_file(path: str, quiet: bool) -> None:
    """Check all of a file, with a progress bar unless it is to be quiet."""
    with bar("verifying", "B", quiet) as progress:
        ec.verify(path, progress=progress)
