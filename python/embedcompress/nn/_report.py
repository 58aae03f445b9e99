"""What `compress_model_` did, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .._report import text_table
from ._entries import Entries


@dataclass(frozen=True)
class Layer:
    """One embedding of a model, or a head that shares its table."""

    name: str
    """Where it is in the model, such as "encoder.tokens"."""
    rows: int
    dimension: int
    method: str | None
    """None for a layer that was skipped or imported."""
    status: Literal["compressed", "imported", "shared", "skipped"]
    """"imported": it was quantized, and its codes are taken over as they are. "shared": it uses the table of a layer
    above it."""
    reason: str
    """Why it was skipped, what it shares, what it was untied from, what was imported and differs; else empty."""
    bytes_before: int
    """0 for a shared layer, whose weight is counted once, and for one that is untied from a weight that stays."""
    bytes_after: int
    normalized_l2: float | None
    """||X - Q(X)|| / ||X|| of the table; None if the layer was skipped, or imported: what it was quantized from is not
    known."""
    mean_cosine: float | None
    """Mean over rows of the cosine between a row and its copy."""

    @property
    def ratio(self) -> float:
        """`bytes_after` over `bytes_before`; 0 without bytes."""
        return self.bytes_after / self.bytes_before if self.bytes_before else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)


class Report(Entries[Layer]):
    """The layers that `compress_model_` met, in the model's order; `print` shows a table.

    Attributes:
        bytes_before: Of the whole model: parameters and saved buffers, each counted once.
        bytes_after: The same with tables: what `save_compressed` writes.
        dense_bytes: The part of `bytes_after` that is in no table: what was left out, and what is no embedding.
    """

    def __init__(self, layers: Sequence[Layer], bytes_before: int, bytes_after: int) -> None:
        super().__init__(layers)
        self.bytes_before, self.bytes_after = bytes_before, bytes_after
        self.dense_bytes = bytes_after - sum(layer.bytes_after for layer in self if layer.status in _IN_TABLES)

    def __repr__(self) -> str:
        """Return one line about the model."""
        compressed = sum(layer.status != "skipped" for layer in self)
        return (
            f"<Report: {compressed} of {len(self)} layers compressed, "
            f"{self.bytes_before:,} -> {self.bytes_after:,} bytes, {self.dense_bytes:,} of them dense>"
        )

    def __str__(self) -> str:
        """Return the layers as a table, then what is no embedding, and the sum."""
        head = ("layer", "rows", "dim", "method", "bytes before", "after", "ratio", "norm. l2", "cosine", "status")
        lines = [_cells(layer) for layer in self]
        rest = self.bytes_after - sum(layer.bytes_after for layer in self)
        lines.append(("the rest", "", "", "", f"{rest:,}", f"{rest:,}", "", "", "", "dense: no embeddings"))
        total = ("total", "", "", "", f"{self.bytes_before:,}", f"{self.bytes_after:,}", f"{self.ratio:.2%}")
        lines.append((*total, "", "", ""))
        return text_table(head, lines, left={0, 3, len(head) - 1})


_IN_TABLES = ("compressed", "imported", "shared")


def _cells(layer: Layer) -> tuple[str, ...]:
    status = f"{layer.status}: {layer.reason}" if layer.reason else layer.status
    figures: tuple[str, ...]
    if layer.status in ("compressed", "imported"):
        ratio = f"{layer.ratio:.2%}" if layer.bytes_before else ""
        figures = (f"{layer.bytes_before:,}", f"{layer.bytes_after:,}", ratio)
    elif layer.status == "skipped":
        figures = (f"{layer.bytes_before:,}", "", "")
    else:
        figures = ("", "", "")
    errors = tuple("" if x is None else f"{x:.5f}" for x in (layer.normalized_l2, layer.mean_cosine))
    return layer.name, f"{layer.rows:,}", str(layer.dimension), layer.method or "", *figures, *errors, status
