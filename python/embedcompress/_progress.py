"""What calls that take long tell of how far they are: a caller's function, or a bar on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], object]
"""Called as progress(done, total) now and then; returning False stops the call with KeyboardInterrupt."""
ProgressOption = Progress | bool | None
"""What callers give: a function, True for a bar on stderr, False or None for nothing."""


@contextmanager
def reporting(progress: ProgressOption, what: str, unit: str) -> Iterator[Progress | None]:
    """Give what the work tells of its progress while the block runs; None if nobody wants to know.

    Args:
        progress: What the caller gave.
        what: What is being done, for a bar.
        unit: What is counted, for a bar: "rows" or "B".
    """
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit=unit, unit_scale=True, leave=False, delay=0.3, file=sys.stderr) as bar:

        def show(done: int, total: int) -> bool:
            if total != bar.total:
                bar.total = total or None
            if done < bar.n:
                # Another stage of the same work counts from the start again.
                bar.reset(total or None)
            bar.update(done - bar.n)
            return True

        yield show
