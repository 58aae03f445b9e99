"""The words of word vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._atomic import AnyPath
from ._source import malformed

Rows = np.ndarray[Any, Any]
Words = tuple[str, ...]


def checked_words(path: AnyPath, kind: str, words: list[bytes], place: Callable[[int], str]) -> Words:
    """Return words as text.

    Args:
        path: Of the file.
        kind: Of the file.
        words: The word of each row.
        place: Says where the word of a row is.

    Raises:
        FormatError: one is not UTF-8, or is there twice.
    """
    if len(set(words)) < len(words):
        seen: dict[bytes, int] = {}
        for row, word in enumerate(words):
            if word in seen:
                shown = word.decode(errors="replace")
                raise malformed(path, f"{kind}: {place(row)} has the word '{shown}' again, after {place(seen[word])}")
            seen[word] = row
    try:
        return tuple(word.decode() for word in words)
    except UnicodeDecodeError:
        row = next(row for row, word in enumerate(words) if not _is_text(word))
        raise malformed(path, f"{kind}: {place(row)} has a word that is not UTF-8: {words[row][:40]!r}") from None


def _is_text(word: bytes) -> bool:
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return True
