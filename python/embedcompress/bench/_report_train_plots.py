"""Plots of the report on methods that learn their table: quality against bytes and against time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._report_train import Group, front
from ._variants import ALL_FAMILIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#1d4e89", "#c2570c", "#2e7d32", "#8e24aa", "#b71c1c", "#5d4037", "#00838f", "#9e9d24", "#37474f")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*", "h")
NEAR = 0.06
"""What of AUC the plots of costs show."""


def quality_plot(found: Sequence[Group], data: str, head: str) -> Figure:
    """Draw AUC against bytes: a panel for each family, all other methods in grey, and one for the front."""
    from matplotlib.figure import Figure

    here = [group for group in found if (group.data, group.head) == (data, head) and group.lines]
    full = next((group for group in here if group.is_full), None)
    curves: dict[str, list[Group]] = {}
    for group in sorted((group for group in here if not group.is_full), key=lambda group: group.mean("ratio")):
        curves.setdefault(group.label, []).append(group)
    best = [group for group in front(here) if not group.is_full]
    names = [name for name in ALL_FAMILIES if any(curve[0].family == name for curve in curves.values())]
    lines = -(-(len(names) + 1) // 3)
    drawing = Figure(figsize=(10.5, 3.5 * lines), layout="constrained")
    first = drawing.add_subplot(lines, 3, 1)
    panels = [first, *(drawing.add_subplot(lines, 3, 2 + i, sharex=first, sharey=first) for i in range(len(names) - 1))]
    for axes, name in zip(panels, names, strict=True):
        for curve in curves.values():
            axes.plot(*_points(curve), color="#d5d5d5", lw=0.8, zorder=1)
        shown = [label for label, curve in curves.items() if curve[0].family == name]
        for index, label in enumerate(shown):
            spreads = [group.spread() for group in curves[label]]
            xs, ys = _points(curves[label])
            color = COLORS[index % len(COLORS)]
            # Another round of colours has other markers with them.
            marker = MARKERS[(index + index // len(COLORS)) % len(MARKERS)]
            axes.errorbar(xs, ys, spreads, label=label, color=color, marker=marker, lw=1.6, ms=4.5, capsize=2, zorder=3)
        axes.legend(fontsize=8, frameon=False, loc="lower right")
        axes.set_title(name, fontsize=10)
    last = drawing.add_subplot(lines, 3, len(names) + 1, sharex=first)
    last.plot(*_points(best), color="black", marker="o", ms=4, lw=1.6, zorder=3)
    for group in best:
        place = (100 * group.mean("ratio"), group.mean("auc"))
        last.annotate(group.label, place, (3, -10), textcoords="offset points", fontsize=7.5, zorder=4)
    last.set_title("what no other method beats (magnified)", fontsize=10)
    last.margins(y=0.12)
    for axes in [*panels, last]:
        if full:
            axes.axhline(full.mean("auc"), color="black", lw=0.8, ls=":", zorder=2)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    drawing.supxlabel("stored bytes, of f32", fontsize=9)
    drawing.supylabel("AUC of the test part", fontsize=9)
    return drawing


def cost_plot(found: Sequence[Group], data: str, head: str, budgets: Sequence[float]) -> Figure:
    """Draw AUC against training time and against lookup time, a line of panels for each budget.

    What is more than `NEAR` below the best is left out.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    here = [group for group in found if (group.data, group.head) == (data, head) and group.lines]
    drawing = Figure(figsize=(10.5, 3.6 * len(budgets)), layout="constrained")
    panels = drawing.subplots(len(budgets), 2, squeeze=False)
    full = next((group for group in here if group.is_full), None)
    for row, budget in zip(panels, budgets, strict=True):
        made = [group for group in here if group.budget == budget]
        least = max((group.mean("auc") for group in made), default=0) - NEAR
        made = [group for group in made if group.mean("auc") >= least]
        for axes, name, label in (
            (row[0], "train_seconds", "training, CPU seconds"),
            (row[1], "lookup_ns_per_row", "lookup of the frozen table, ns per row"),
        ):
            axes.set_xscale("log")
            for group in made:
                x, y = group.median(name), group.mean("auc")
                index = ALL_FAMILIES.index(group.family)
                axes.plot(x, y, MARKERS[index], color=COLORS[index], ms=5)
                axes.annotate(group.label, (x, y), (4, 3), textcoords="offset points", fontsize=7.5)
            if full:
                axes.axhline(full.mean("auc"), color="black", lw=0.8, ls=":")
                axes.axvline(full.median(name), color="black", lw=0.8, ls=":")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_minor_formatter(NullFormatter())
            times = [max(group.median(name), 1e-9) for group in [*made, *([full] if full else [])]]
            axes.set_xlim(min(times) / 1.3, max(times) * 1.5)
            axes.set_xlabel(label, fontsize=9)
            axes.set_ylabel(f"AUC at {100 * budget:g} %", fontsize=9)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
    families = {group.family for group in here if not group.is_full}
    drawn = [index for index, kind in enumerate(ALL_FAMILIES) if kind in families]
    handles = [panels[0][0].plot([], [], MARKERS[index], color=COLORS[index])[0] for index in drawn]
    drawing.legend(handles, [ALL_FAMILIES[index] for index in drawn], loc="outside lower center", ncols=6, fontsize=8)
    return drawing


def _points(curve: Sequence[Group]) -> tuple[list[float], list[float]]:
    return [100 * group.mean("ratio") for group in curve], [group.mean("auc") for group in curve]
