"""What the reports on a model share: entries in its order, and bytes before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, overload

Entry = TypeVar("Entry")


class Entries(Sequence[Entry]):
    """Entries of a report; `bytes_before` and `bytes_after` are set by what derives from it."""

    bytes_before: int
    bytes_after: int

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = tuple(entries)

    @property
    def ratio(self) -> float:
        """`bytes_after` over `bytes_before`; 0 without bytes."""
        return self.bytes_after / self.bytes_before if self.bytes_before else 0.0

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        """Return an entry."""
        return self._entries[index]

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)
