"""What tables and lists of results look like in a prompt and in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, TypeVar

from ._report import text_table

if TYPE_CHECKING:
    from ._table import Table

Item = TypeVar("Item")

_COLOURS = ("#1d4e89", "#c2570c", "#2f855a", "#805ad5", "#b7791f", "#718096")
"""Of the arrays in a bar, in turn."""


class Shown(list[Item]):
    """A list that prints as a table with a line for each item, in a notebook as one of HTML.

    Args:
        items: What the list holds.
        header: Of the columns.
        cells: Gives the cells of an item, as texts.
        left: How many of the first columns are aligned left.
    """

    def __init__(
        self, items: Iterable[Item], header: Sequence[str], cells: Callable[[Item], Sequence[str]], left: int = 1
    ) -> None:
        super().__init__(items)
        self._header, self._cells, self._left = tuple(header), cells, left

    def __repr__(self) -> str:
        """Return the table for a terminal."""
        return text_table(self._header, map(self._cells, self), self._left)

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self._header)
        lines = ("".join(f"<td>{escape(cell)}</td>" for cell in self._cells(item)) for item in self)
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def table_html(table: Table) -> str:
    """Return a table for a notebook: its repr, a bar of the bytes of its arrays, and the tree of its stores."""
    sizes = {name: array.values.nbytes for name, array in table.parts()[1].items()}
    rest = table.stored_bytes - sum(sizes.values())
    if rest > 0:
        sizes["constants"] = rest
    parts = "".join(
        f'<div style="width:{100 * size / max(table.stored_bytes, 1):.3f}%;background:{_COLOURS[i % len(_COLOURS)]}" '
        f'title="{escape(name)}: {size:,} bytes"></div>'
        for i, (name, size) in enumerate(sizes.items())
    )
    legend = ", ".join(
        f'<span style="color:{_COLOURS[i % len(_COLOURS)]}">&#9632;</span> {escape(name)} {size:,}'
        for i, (name, size) in enumerate(sizes.items())
    )
    return (
        f"<div>{escape(repr(table))}</div>"
        f'<div style="display:flex;height:12px;max-width:640px">{parts}</div><div>{legend} bytes</div>'
        f"<pre>{escape(str(table))}</pre>"
    )
