"""Where the rows of a table lie among cache lines, and what aligned rows would cost and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RowPlacement:
    """How the rows of a store lie at an alignment."""

    row_alignment: int
    row_bytes: int
    """From the start of one row to the start of the next."""
    lines_per_row: float
    """Mean number of 64-byte cache lines that a row lies in, its padding left out; 0 without rows."""
    stored_bytes: int
    """Bytes of the store."""


@dataclass(frozen=True)
class RowLayout:
    """Where the rows of a store lie among cache lines of 64 bytes, and where they would lie at other alignments."""

    path: str
    """The fields that lead to the store, with dots between them: "" for the whole table, or such as "inner"."""
    rows: int
    unpadded_row_bytes: int
    """Bytes of a row without padding."""
    current: RowPlacement
    """What the rows have where they are, at the address at which they are."""
    choices: tuple[RowPlacement, ...]
    """What `Table.aligned` would give, for 1, 16, 32 and 64 bytes."""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RowLayout:
        """Return what the core says about a store."""
        choices = tuple(RowPlacement(**choice) for choice in fields["choices"])
        return cls(**{**fields, "current": RowPlacement(**fields["current"]), "choices": choices})

    @property
    def best(self) -> RowPlacement:
        """Where rows lie in the fewest cache lines; of several such choices, in the fewest bytes; then, the largest."""
        return min(self.choices, key=lambda choice: (choice.lines_per_row, choice.stored_bytes, -choice.row_alignment))

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a sentence about the rows, and what their best alignment would give."""
        now, best = self.current, self.best
        padding = now.row_bytes - self.unpadded_row_bytes
        size = f"{self.unpadded_row_bytes:,} bytes" + (f" and {padding} of padding" if padding else "")
        text = f"rows of {size} lie in {_lines(now.lines_per_row)} on average"
        if best.lines_per_row >= now.lines_per_row:
            return text
        more = best.stored_bytes / now.stored_bytes - 1
        cost = f"{100 * more:+.0f} % bytes" if best.stored_bytes != now.stored_bytes else "the same bytes"
        return f"{text}; with row_alignment={best.row_alignment}: {_lines(best.lines_per_row)}, {cost}"


def _lines(count: float) -> str:
    """Return a mean number of cache lines; a whole one without decimals."""
    return f"{count:.4g} cache line{'' if count == 1 else 's'}"
