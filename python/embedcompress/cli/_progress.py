"""Progress bars on stderr, for people only."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

from .._progress import Progress, reporting


def bar(what: str, unit: str, quiet: bool) -> AbstractContextManager[Progress | None]:
    """Show a bar while the block runs; None where nobody would see it.

    Args:
        what: What is being done.
        unit: What is counted: "rows" or "B".
        quiet: Show nothing.
    """
    return reporting(not quiet and sys.stderr.isatty(), what, unit)
