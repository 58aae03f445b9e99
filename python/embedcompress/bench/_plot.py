"""The plot of a run: ratios by dimension, a panel for each format and size of table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .._figures import write
from ._cells import FORMATS
from ._peers import NAMES, QUANTIZED
from ._summary import Result, fastest

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_COLORS = {"bag50": "#1d4e89", "bag1": "#c2570c", "lookup": "#2ca02c"}
_TITLES = {"codebook4": "codebook, 4 bits", "16": "f16", "32": "f32"}


def plot(results: Sequence[Result], path: Path) -> None:
    """Write the plot: ratios to the fastest quantized peer, and of formats that none has, to PyTorch's f32."""
    from matplotlib.figure import Figure

    formats = [bits for bits in FORMATS if any(result["bits"] == bits for result in results)]
    tables = list(dict.fromkeys(result["table"] for result in results))
    drawing = Figure(figsize=(3.1 * len(formats) + 1, 3 * len(tables) + 1), layout="constrained")
    grid = drawing.subplots(len(tables), len(formats), squeeze=False, sharex=True, sharey=True)
    for row, table in enumerate(tables):
        for column, bits in enumerate(formats):
            axes = grid[row][column]
            part = [result for result in results if (result["bits"], result["table"]) == (bits, table)]
            _panel(axes, part)
            size = table if table.endswith("iB") else f"{int(table):,} rows"
            axes.set_title(f"{_TITLES.get(bits, f'{bits} bits')}, {size}\n{_peer_title(part)}", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("dimension")
    for axes in grid[:, 0]:
        axes.set_ylabel("peer's time / ours")
    handles: dict[str, Artist] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        drawing.legend(
            handles=list(handles.values()), labels=list(handles), loc="outside lower center", ncols=6, fontsize=8
        )
    write(drawing, path)


def _panel(axes: Axes, results: Sequence[Result]) -> None:
    lines: dict[tuple[str, int, str], list[tuple[int, float]]] = {}
    has_quantized = any(fastest(result, QUANTIZED) for result in results)
    for result in results:
        value = _compared(result, has_quantized)
        if value is not None:
            key = (result["pooling"], result["threads"], result["ids"])
            lines.setdefault(key, []).append((result["dimension"], value))
    for (pooling, threads, ids), points in lines.items():
        points.sort()
        axes.plot(
            *zip(*points, strict=True),
            color=_COLORS.get(pooling, "#9467bd"),
            marker="o" if threads == 1 else "s",
            markerfacecolor="white" if ids == "zipf" else None,
            linestyle="-" if threads == 1 else ":",
            alpha=1 if ids == "uniform" else 0.6,
            markersize=4,
            linewidth=1,
            label=f"{pooling}, {threads} thr., {ids}",
        )
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    dimensions = sorted({result["dimension"] for result in results})
    axes.set_xticks(dimensions, [str(dimension) for dimension in dimensions], fontsize=7)
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def _compared(result: Result, has_quantized: bool) -> float | None:
    best = fastest(result, QUANTIZED if has_quantized else ("torch_f32",))
    return best and best[1]


def _peer_title(results: Sequence[Result]) -> str:
    has_quantized = any(fastest(result, QUANTIZED) for result in results)
    return "to the fastest quantized peer" if has_quantized else f"to {NAMES['torch_f32']}"
