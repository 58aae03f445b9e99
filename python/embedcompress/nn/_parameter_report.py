"""What `prepare`, `convert` and `load_compressed` did with each parameter and buffer of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .._report import text_table
from ._entries import Entries
from ._fake import Quantization


@dataclass(frozen=True)
class ParameterEntry:
    """A parameter or a buffer of a model."""

    name: str
    shape: tuple[int, ...]
    status: Literal["quantized", "shared", "kept"]
    """"shared": it is tied to one above, and has its codes. "kept": it is as it was."""
    settings: Quantization | None
    """How it is quantized; None if it is kept, or read from a file."""
    reason: str
    """Why it is kept, or what it shares."""
    bytes_before: int
    """0 if it is shared: it is counted once."""
    bytes_after: int

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)


class ParameterReport(Entries[ParameterEntry]):
    """The parameters and saved buffers of a model, in its order; `print` shows a table.

    Attributes:
        bytes_before: Of all of them, each counted once.
        bytes_after: The same after quantization, with what is kept as it was.
    """

    def __init__(self, entries: Sequence[ParameterEntry]) -> None:
        super().__init__(entries)
        self.bytes_before = sum(entry.bytes_before for entry in self)
        self.bytes_after = sum(entry.bytes_after for entry in self)

    def named(self, name: str) -> ParameterEntry:
        """Return the entry of a name.

        Raises:
            KeyError: there is none.
        """
        for entry in self:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def __repr__(self) -> str:
        """Return one line about the model."""
        quantized = sum(entry.status != "kept" for entry in self)
        return (
            f"<ParameterReport: {quantized} of {len(self)} quantized, "
            f"{self.bytes_before:,} -> {self.bytes_after:,} bytes>"
        )

    def __str__(self) -> str:
        """Return the entries as a table."""
        lines = [("parameter", "shape", "bits", "group", "bytes before", "after", "status")]
        for entry in self:
            settings = entry.settings
            lines.append(
                (
                    entry.name,
                    " x ".join(map(str, entry.shape)),
                    str(settings.bits) if settings else "",
                    settings.group if settings else "",
                    f"{entry.bytes_before:,}",
                    f"{entry.bytes_after:,}",
                    f"{entry.status}: {entry.reason}" if entry.reason else entry.status,
                )
            )
        lines.append(("total", "", "", "", f"{self.bytes_before:,}", f"{self.bytes_after:,}", f"{self.ratio:.2%}"))
        return text_table(lines[0], lines[1:], left={0, 3, 6})
