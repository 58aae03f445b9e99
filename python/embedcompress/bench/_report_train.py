"""The part of the report on methods that learn their table: tables by budget, plots, and what each budget costs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from .._methods import WHILE_TRAINING
from .._registry import methods
from .._report import figure, markdown_table, percent, size
from ._lines import Line
from ._train_config import AFTER
from ._tuning import results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAMILIES = {
    "sharing": ("hashing", "decomposition", "deduplication", "hybrid"),
    "codes": ("product quantization",),
    "quantization": ("uniform quantization", "codebook quantization"),
    "dimension reduction": ("mixed dimension",),
    "pruning": ("pruning",),
}
"""The taxonomy of the VLDB 2024 study, with the catalogue's families in it."""
AFTER_TRAINING = "after training"
"""The family of trained tables that are compressed afterwards."""
COLORS = ("#1d4e89", "#c2570c", "#2e7d32", "#8e24aa", "#b71c1c", "#5d4037", "#00838f", "#9e9d24", "#37474f")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*", "h")
NEAR = 0.06
"""What of AUC the plots of costs show."""
TITLES = {"dlrm": "DLRM", "wdl": "Wide & Deep", "dcn": "DCN", "deepfm": "DeepFM", "mf": "matrix factorisation"}


def family(method: str) -> str:
    """Return what a method is by the study's taxonomy; "other" if it is not in it."""
    if AFTER in method:
        return AFTER_TRAINING
    found = next((one.family for one in methods(WHILE_TRAINING) if one.name == method), None)
    return next((name for name, families in FAMILIES.items() if found in families), "other")


@dataclass(frozen=True)
class Group:
    """The cells of one method at one budget that differ by their seed."""

    data: str
    head: str
    method: str
    budget: float
    lines: tuple[Line, ...]
    """Only those that have figures."""
    floor: int | None
    """The least bytes that a refusal named."""
    reason: str
    """Why there are no figures."""

    def mean(self, name: str) -> float:
        """Return the mean of a figure over seeds."""
        return statistics.fmean(self._values(name))

    def median(self, name: str) -> float:
        """Return the median of a figure over seeds, for times."""
        return statistics.median(self._values(name))

    def spread(self, name: str = "auc") -> float:
        """Return the standard deviation over seeds; 0 of one seed."""
        return statistics.stdev(self._values(name)) if len(self.lines) > 1 else 0.0

    def _values(self, name: str) -> list[float]:
        return [float(line["figures"][name]) for line in self.lines]

    @property
    def anchor(self) -> str:
        """What the row of the group is called in the page."""
        return f"{self.data}-{self.head}-{self.method}-{self.budget:g}".replace(".", "_").replace(AFTER, "+")


def groups(lines: Sequence[Line]) -> list[Group]:
    """Return lines of `bench train` by method and budget, in their order, without trials."""
    found: dict[tuple[str, str, str, float], list[Line]] = {}
    for line in results(lines):
        one = line["request"]
        found.setdefault((one["data"], one["head"], one["method"], one["budget"]), []).append(line)
    return [
        Group(
            *place,
            tuple(line for line in cells if "figures" in line),
            next((line["floor"] for line in cells if line.get("floor")), None),
            next((line.get("refused") or line["stopped"] for line in cells if "figures" not in line), ""),
        )
        for place, cells in found.items()
    ]


def front(made: Sequence[Group]) -> list[Group]:
    """Return the groups of one data set and head that no other beats in bytes and AUC, the smallest first."""
    result: list[Group] = []
    for group in sorted(made, key=lambda group: (group.mean("stored_bytes"), -group.mean("auc"))):
        if not result or group.mean("auc") > result[-1].mean("auc"):
            result.append(group)
    return result


def places(found: Sequence[Group]) -> list[tuple[str, str]]:
    """Return the data sets and heads that were run at several budgets."""
    budgets: dict[tuple[str, str], set[float]] = {}
    for group in found:
        budgets.setdefault((group.data, group.head), set()).add(group.budget)
    return [place for place, values in budgets.items() if len(values - {1.0}) > 1]


def all_places(found: Sequence[Group]) -> list[tuple[str, str]]:
    """Return all data sets and heads, those that were run at several budgets first."""
    return list(dict.fromkeys([*places(found), *((group.data, group.head) for group in found)]))


def title(data: str, head: str) -> str:
    """Return a heading, for Markdown and for HTML."""
    names = {"flights": "Flight delays", "movielens": "MovieLens-100k"}
    return f"{names.get(data, escape(data))}, {TITLES.get(head, head)}"


def tables(found: Sequence[Group], data: str, head: str) -> list[str]:
    """Return a heading and a table for each budget, best first."""
    here = [group for group in found if (group.data, group.head) == (data, head)]
    best = {id(group) for group in front([group for group in here if group.lines])}
    known = [line["figures"]["bayes_auc"] for group in here for line in group.lines if "bayes_auc" in line["figures"]]
    parts = []
    for budget in sorted({group.budget for group in here}, reverse=True):
        made = sorted(
            (group for group in here if group.budget == budget and group.lines), key=lambda group: -group.mean("auc")
        )
        refused = [group for group in here if group.budget == budget and not group.lines]
        name = "Uncompressed" if budget == 1 else f"At {100 * budget:g} %"
        parts += [f"### {title(data, head)}: {name.lower() if budget == 1 else name[0].lower() + name[1:]}"]
        if made:
            header = ("method", "family", "AUC", "cold rows", "log loss", "stored", "of f32", "train s",
                      "table in training", "peak", "lookup, ns/row")  # fmt: skip
            parts += [markdown_table(header, [_row(group, id(group) in best) for group in made], left=2)]
            if known:
                parts += [f"The best AUC that there can be is {statistics.fmean(known):.4f}."]
        if refused:
            parts += ["Not possible: " + "; ".join(map(_refusal, refused)) + "."]
    return parts


def _row(group: Group, on_front: bool) -> list[str]:
    spread = f" ± {group.spread():.4f}" if len(group.lines) > 1 else ""
    auc = f"{group.mean('auc'):.4f}{spread}"
    return [
        f'<a id="{group.anchor}"></a>{group.method}',
        "-" if group.method == "full" else family(group.method),
        f"**{auc}**" if on_front else auc,
        f"{group.mean('cold_auc'):.4f}",
        f"{group.mean('log_loss'):.4f}",
        size(round(group.mean("stored_bytes"))),
        percent(group.mean("ratio")) if group.mean("ratio") >= 0.001 else f"{100 * group.mean('ratio'):.2g} %",
        figure(group.median("train_seconds"), 3),
        size(round(group.mean("training_bytes"))),
        size(round(group.mean("peak_bytes"))),
        figure(group.median("lookup_ns_per_row"), 3),
    ]


def _refusal(group: Group) -> str:
    return (
        f"{group.method} ({size(group.floor)} at least)" if group.floor else f"{group.method} ({escape(group.reason)})"
    )


def heads_table(found: Sequence[Group]) -> list[str]:
    """Return the AUC under every head at the budget that all of them were run at; nothing if there is one head."""
    heads = list(dict.fromkeys((group.data, group.head) for group in found))
    shared = [(data, head) for data, head in heads if sum(one == data for one, _ in heads) > 1]
    parts = []
    for data in dict.fromkeys(data for data, _ in shared):
        names = [head for one, head in shared if one == data]
        by_place = {(group.head, group.method, group.budget): group for group in found if group.data == data}
        common = set.intersection(*({budget for head, _, budget in by_place if head == name} for name in names))
        for budget in sorted(common - {1.0}, reverse=True):
            methods = [method for head, method, b in by_place if head == names[0] and b in (budget, 1.0)]
            rows = []
            for method in dict.fromkeys(methods):
                cells = [by_place.get((head, method, 1.0 if method == "full" else budget)) for head in names]
                if all(cell is not None and cell.lines for cell in cells):
                    rows.append([method, *(f"{cell.mean('auc'):.4f}" for cell in cells if cell is not None)])
            rows.sort(key=lambda row: -statistics.fmean(map(float, row[1:])))
            parts += [
                f"### {title(data, '').rstrip(', ')}: all heads at {100 * budget:g} %",
                markdown_table(("method", *(TITLES.get(head, head) for head in names)), rows),
            ]
    return parts


def quality_plot(found: Sequence[Group], data: str, head: str) -> Figure:
    """Draw AUC against bytes: a panel for each family, all other methods in grey, and one for the front."""
    from matplotlib.figure import Figure

    here = [group for group in found if (group.data, group.head) == (data, head) and group.lines]
    curves: dict[str, list[Group]] = {}
    for group in sorted(here, key=lambda group: group.mean("ratio")):
        curves.setdefault(group.method, []).append(group)
    full = next((group for group in here if group.method == "full"), None)
    best = [group for group in front(here) if group.method != "full"]
    names = [
        name for name in [*FAMILIES, AFTER_TRAINING, "other"] if any(family(m) == name for m in curves if m != "full")
    ]
    lines = -(-(len(names) + 1) // 3)
    drawing = Figure(figsize=(10.5, 3.5 * lines), layout="constrained")
    first = drawing.add_subplot(lines, 3, 1)
    panels = [first, *(drawing.add_subplot(lines, 3, 2 + i, sharex=first, sharey=first) for i in range(len(names) - 1))]
    for axes, name in zip(panels, names, strict=True):
        for curve in (curve for method, curve in curves.items() if method != "full"):
            axes.plot(*_points(curve), color="#d5d5d5", lw=0.8, zorder=1)
        shown = [method for method in curves if family(method) == name and method != "full"]
        for index, method in enumerate(shown):
            spreads = [group.spread() for group in curves[method]]
            xs, ys = _points(curves[method])
            color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
            axes.errorbar(
                xs, ys, spreads, label=method, color=color, marker=marker, lw=1.6, ms=4.5, capsize=2, zorder=3
            )
        axes.legend(fontsize=8, frameon=False, loc="lower right")
        axes.set_title(name, fontsize=10)
    last = drawing.add_subplot(lines, 3, len(names) + 1, sharex=first)
    last.plot(*_points(best), color="black", marker="o", ms=4, lw=1.6, zorder=3)
    for group in best:
        place = (100 * group.mean("ratio"), group.mean("auc"))
        last.annotate(group.method, place, (3, -10), textcoords="offset points", fontsize=7.5, zorder=4)
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
    full = next((group for group in here if group.method == "full"), None)
    kinds = [*FAMILIES, AFTER_TRAINING, "other"]
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
                index = kinds.index(family(group.method))
                axes.plot(x, y, MARKERS[index], color=COLORS[index], ms=5)
                axes.annotate(group.method, (x, y), (4, 3), textcoords="offset points", fontsize=7.5)
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
    drawn = [
        index
        for index, kind in enumerate(kinds)
        if any(family(group.method) == kind for group in here if group.method != "full")
    ]
    handles = [panels[0][0].plot([], [], MARKERS[index], color=COLORS[index])[0] for index in drawn]
    drawing.legend(handles, [kinds[index] for index in drawn], loc="outside lower center", ncols=6, fontsize=8)
    return drawing


def _points(curve: Sequence[Group]) -> tuple[list[float], list[float]]:
    return [100 * group.mean("ratio") for group in curve], [group.mean("auc") for group in curve]
