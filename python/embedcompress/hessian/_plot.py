"""`plot`: eigenvalues of each block with their spread, and the loss around a model, as in the paper's figures."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from .._figures import write
from ._result import Sensitivities
from ._surface import Surface

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOR = "#1d4e89"
_KINDS = {Sensitivities: ("box", "violin"), Surface: ("surface", "contour")}


def plot(found: Sensitivities | Surface, path: str | PathLike[str] | None = None, *, kind: str | None = None) -> Figure:
    """Draw what `sensitivity` or `surface` gave; needs matplotlib.

    Args:
        found: Sensitivities give the spread of the top eigenvalue over runs for each block, with Ω as a mark (figure 2
            of Shen et al. 2020); a Surface gives the loss along two eigenvectors (their figure 3).
        path: Where to write the plot, in the format of its suffix.
        kind: "box" or "violin", "surface" (in three dimensions) or "contour"; the first of the pair if not given.

    Returns:
        The figure, not yet shown.
    """
    from matplotlib.figure import Figure

    kinds = next((kinds for of, kinds in _KINDS.items() if isinstance(found, of)), None)
    if kinds is None:
        raise TypeError(f"found must be Sensitivities or a Surface, not {type(found).__name__}")
    kind = kind or kinds[0]
    if kind not in kinds:
        raise ValueError(f"kind must be one of {', '.join(kinds)}, not {kind!r}")
    width = max(5.0, 2 + 0.5 * len(found)) if isinstance(found, Sensitivities) else 5.5
    drawing = Figure(figsize=(width, 4.2), layout="constrained")
    if isinstance(found, Sensitivities):
        _spread(drawing, found, kind)
    else:
        _landscape(drawing, found, kind)
    if path is not None:
        write(drawing, path)
    return drawing


def _spread(drawing: Figure, found: Sensitivities, kind: str) -> None:
    axes = drawing.subplots()
    values = [one.runs for one in found.values()]
    places = np.arange(1, len(found) + 1)
    if kind == "box":
        axes.boxplot(values, positions=places, widths=0.6, medianprops={"color": _COLOR})
    else:
        axes.violinplot(values, positions=places, widths=0.8, showmeans=True)
    axes.plot(places, [one.omega for one in found.values()], "x", color="#c2570c", label="Ω = |mean| + std")
    flat = [value for runs in values for value in runs]
    if min(flat) > 0 and max(flat) > 100 * min(flat):
        axes.set_yscale("log")
    long = max(len(name) for name in found) > 4
    axes.set_xticks(places, list(found), rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_ylabel("top eigenvalue")
    axes.grid(axis="y", alpha=0.3)
    axes.legend()


def _landscape(drawing: Figure, found: Surface, kind: str) -> None:
    first, second = np.meshgrid(found.first, found.second, indexing="ij")
    losses = np.where(np.isfinite(found.losses), found.losses, np.nan)
    axes: Any
    if kind == "surface":
        axes = drawing.add_subplot(projection="3d")
        axes.plot_surface(first, second, losses, cmap="viridis", linewidth=0.2, edgecolor="k", alpha=0.9)
        axes.set_zlabel("loss", labelpad=12)
        # Labels of three axes need room that the layout does not know of.
        axes.set_box_aspect(None, zoom=0.85)
    else:
        axes = drawing.subplots()
        drawing.colorbar(axes.contourf(first, second, losses, 24, cmap="viridis"), label="loss")
        axes.plot(0, 0, "x", color="white")
    pad = 8 if kind == "surface" else 4
    axes.set_xlabel(f"eigenvector of {found.eigenvalues[0]:.3g}", labelpad=pad)
    axes.set_ylabel(f"eigenvector of {found.eigenvalues[1]:.3g}", labelpad=pad)
    axes.set_title(found.block)
