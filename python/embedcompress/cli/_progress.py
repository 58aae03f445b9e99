"""Progress bars on stderr, for people only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .._table import Progress


@contextmanager
def bar(what: str, unit: str, quiet: bool) -> Iterator[Progress | None]:
    """Show a bar while the block runs; None where nobody would see it.

    Args:
        what: What is being done.
        unit: What is counted: "rows" or "B".
        quiet: Show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit=unit, unit_scale=True, leave=False, delay=0.3, file=sys.stderr) as shown:

        def progress(done: int, total: int) -> bool:
            shown.total = total
            shown.update(done - shown.n)
            return True

        yield progress
