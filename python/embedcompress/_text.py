"""Text from files, as it may be shown."""


def printable(text: str) -> str:
    """Return text from a file with everything escaped that could disturb a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
