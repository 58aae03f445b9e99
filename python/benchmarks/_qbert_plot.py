"""Plots of `qbert.py` for its page: accuracy beside size, and the curvature of each block."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _qbert_results import MEBI, Results
from _qbert_settings import MAIN

from embedcompress import hessian
from embedcompress._figures import write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAMILIES = {"f32": "#555555", "directq": "#b23a48", "qbert": "#e08e45", "ours": "#1d4e89"}
"""Colours, by the first part of a setting's name."""
TICKS = (8, 10, 15, 20, 40, 80)
"""MB."""


def draw(folder: Path, found: Results) -> dict[str, Path]:
    """Write the plots that there are figures for; return them by name."""
    made = {}
    if any(found.by_seed(part, setting) for part in ("ptq", "qat") for setting in MAIN):
        made["accuracy"] = folder / "qbert-accuracy.png"
        write(accuracy(found), made["accuracy"])
    if found.curvature:
        made["curvature"] = folder / "qbert-curvature.png"
        hessian.plot(sensitivities(found), made["curvature"])
    for block, figures in found.surfaces.items():
        name = f"surface {block}"
        made[name] = folder / f"qbert-{name.replace(' ', '-')}.png"
        hessian.plot(surface(block, figures), made[name])
    return made


def sensitivities(found: Results) -> hessian.Sensitivities:
    """Return the curvature of each block with the runs of all seeds."""
    result = hessian.Sensitivities()
    for block, seeds in found.curvature.items():
        runs, products, settled = (
            tuple(value for one in seeds for value in one[name]) for name in ("runs", "products", "settled")
        )
        result[block] = hessian.Sensitivity(block, seeds[0]["parameters"], runs, products, settled)
    return result


def surface(block: str, figures: Mapping[str, Any]) -> hessian.Surface:
    """Return the loss around a block."""
    grid = (np.array(figures[name]) for name in ("first", "second", "losses"))
    return hessian.Surface(block, tuple(figures["eigenvalues"]), *grid)


def accuracy(found: Results) -> Figure:
    """Return the figure of accuracies beside bytes; dashed is f32 as fine-tuned, dotted what chance gives."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9, 4.2), layout="constrained")
    panels = drawing.subplots(1, 2, sharex=True, sharey=True)
    for axes, part, title in zip(panels, ("ptq", "qat"), ("without training", "after an epoch"), strict=True):
        for setting in MAIN:
            accuracies = [100 * value for value in found.values(part, setting, "accuracy")]
            size = found.mean(part, setting, "bytes")
            if not accuracies or size is None:
                continue
            family = setting.name.split("-")[0]
            mean = sum(accuracies) / len(accuracies)
            spread = [[mean - min(accuracies)], [max(accuracies) - mean]]
            axes.errorbar(size / MEBI, mean, spread, marker="o", markersize=4, capsize=2, color=FAMILIES[family])
        for name, style in (("accuracy", "--"), ("chance", ":")):
            level = found.mean("ptq", "f32", name)
            if level is not None:
                axes.axhline(100 * level, linestyle=style, linewidth=1, color=FAMILIES["f32"])
        axes.set(title=title, xlabel="whole model, MB", xscale="log")
        axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy, %; least to most of the seeds")
    for family, color in FAMILIES.items():
        panels[1].plot([], [], "o", color=color, label={"directq": "DirectQ", "qbert": "Q-BERT"}.get(family, family))
    panels[1].legend(loc="center right")
    return drawing
