"""Batches as they come: read once, never listed, and skipped where a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

Batches = Callable[[int], Iterable[Any]]
"""From the number of an epoch, which decides its batches and their order, to the batches."""


def length_of(found: Iterable[Any]) -> int | None:
    """Return how many batches an epoch has; None if it does not say."""
    try:
        return len(found)  # type: ignore[arg-type]
    except TypeError:
        # Not a Sized, or one that knows at the end only, as a DataLoader of an IterableDataset.
        return None


def begun(found: Iterable[Any], done: int) -> Iterator[Any]:
    """Return the batches of an epoch after those that a run had done.

    Raises:
        ValueError: there are fewer.
    """
    iterator = iter(found)
    skipped = sum(1 for _ in islice(iterator, done))
    if skipped < done:
        raise ValueError(f"the checkpoint was saved after {done} batches of an epoch that now has {skipped}")
    return iterator


class Endless:
    """The batches of one epoch after the other."""

    def __init__(self, batches: Batches, epoch: int = 0, done: int = 0) -> None:
        """Begin, or go on after some batches of an epoch."""
        self.batches, self.epoch, self.done = batches, epoch, done
        self._iterator = begun(batches(epoch), done) if done else None

    def __next__(self) -> Any:
        """Return the next batch.

        Raises:
            ValueError: an epoch has none.
        """
        while True:
            if self._iterator is None:
                self._iterator = iter(self.batches(self.epoch))
            for batch in self._iterator:
                self.done += 1
                return batch
            if not self.done:
                raise ValueError("there are no validation batches")
            self.epoch, self.done, self._iterator = self.epoch + 1, 0, None
