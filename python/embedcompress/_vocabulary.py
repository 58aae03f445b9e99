"""What each row of a table stands for, as the metadata of a file keeps it: the key and how words are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PREFIX = "vocabulary."
"""Of the metadata's key; the table's name follows."""


def vocabulary_entry(name: str, words: Sequence[str]) -> dict[str, str]:
    """Return the entry that says the words of a table's rows: one a line.

    Raises:
        ValueError: a word has a line's end.
    """
    broken = next((row for row, word in enumerate(words) if "\n" in word), None)
    if broken is not None:
        raise ValueError(
            f"the word of row {broken}, {words[broken]!r}, has a line's end, which a vocabulary can't keep"
        )
    return {PREFIX + name: "\n".join(words)}


def vocabulary_of(metadata: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    """Return the words of a table's rows; None if the metadata has none of them."""
    text = metadata.get(PREFIX + name)
    return None if text is None else tuple(text.split("\n"))
