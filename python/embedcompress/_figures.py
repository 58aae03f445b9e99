"""Figures of matplotlib as files, without pyplot: no display is looked for, and no state is left behind."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ._atomic import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METADATA: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""What would make the bytes differ from one day or version to the next."""


def write(figure: Figure, path: str | PathLike[str], dpi: int = 110) -> None:
    """Write a figure, whole or not at all, in the format that the suffix says, or PNG without one."""
    kind = Path(path).suffix.lstrip(".") or "png"
    write_file(path, lambda file: figure.savefig(file, dpi=dpi, format=kind, metadata=_METADATA.get(kind)))
