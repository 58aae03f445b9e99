"""The part of the report on methods that learn their table: cells by method and budget, and tables of them."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from .._methods import FULL
from .._report import figure, markdown_table, percent, size
from ._lines import Line
from ._train_config import AFTER
from ._tuning import results
from ._variants import family, variant

TITLES = {"dlrm": "DLRM", "wdl": "Wide & Deep", "dcn": "DCN", "deepfm": "DeepFM", "mf": "matrix factorisation"}


@dataclass(frozen=True)
class Group:
    """The cells of one variant of a method at one budget that differ by their seed."""

    data: str
    head: str
    method: str
    options: Mapping[str, Any]
    budget: float
    lines: tuple[Line, ...]
    """Only those that have figures."""
    floor: int | None
    """The least bytes that a refusal named."""
    reason: str
    """Why there are no figures."""

    @property
    def label(self) -> str:
        """Return what the method is called with its options."""
        return variant({"method": self.method, "options": self.options})

    @property
    def is_full(self) -> bool:
        """Return whether this is the uncompressed table."""
        return self.label == FULL

    @property
    def family(self) -> str:
        """Return what kind of method this is."""
        return family(self.method, self.options)

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
        text = f"{self.data}-{self.head}-{self.label.replace(AFTER, '+')}-{self.budget:g}".replace(".", "_")
        # Links can't have brackets, blanks or commas.
        return re.sub(r"-?[^\w+=-]+-?", "-", text)


def groups(lines: Sequence[Line]) -> list[Group]:
    """Return lines of `bench train` by variant and budget, in their order, without trials."""
    found: dict[tuple[str, str, str, float], list[Line]] = {}
    for line in results(lines):
        one = line["request"]
        found.setdefault((one["data"], one["head"], variant(one), one["budget"]), []).append(line)
    return [
        Group(
            data,
            head,
            cells[0]["request"]["method"],
            cells[0]["request"].get("options", {}),
            budget,
            tuple(line for line in cells if "figures" in line),
            next((line["floor"] for line in cells if line.get("floor")), None),
            next((line.get("refused") or line["stopped"] for line in cells if "figures" not in line), ""),
        )
        for (data, head, _, budget), cells in found.items()
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
        is_full = all(group.is_full for group in here if group.budget == budget)
        parts += [f"### {title(data, head)}: {'uncompressed' if is_full else f'at {100 * budget:g} %'}"]
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
        f'<a id="{group.anchor}"></a>{group.label}',
        "-" if group.is_full else group.family,
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
    return f"{group.label} ({f'{size(group.floor)} at least' if group.floor else escape(group.reason)})"


def heads_table(found: Sequence[Group]) -> list[str]:
    """Return the AUC under every head at the budget that all of them were run at; nothing if there is one head."""
    heads = list(dict.fromkeys((group.data, group.head) for group in found))
    shared = [(data, head) for data, head in heads if sum(one == data for one, _ in heads) > 1]
    parts = []
    for data in dict.fromkeys(data for data, _ in shared):
        names = [head for one, head in shared if one == data]
        by_place = {(group.head, group.label, group.budget): group for group in found if group.data == data}
        common = set.intersection(*({budget for head, _, budget in by_place if head == name} for name in names))
        for budget in sorted(common - {1.0}, reverse=True):
            labels = [label for head, label, b in by_place if head == names[0] and b in (budget, 1.0)]
            rows = []
            for label in dict.fromkeys(labels):
                cells = [by_place.get((head, label, 1.0 if label == FULL else budget)) for head in names]
                if all(cell is not None and cell.lines for cell in cells):
                    rows.append([label, *(f"{cell.mean('auc'):.4f}" for cell in cells if cell is not None)])
            rows.sort(key=lambda row: -statistics.fmean(map(float, row[1:])))
            parts += [
                f"### {title(data, '').rstrip(', ')}: all heads at {100 * budget:g} %",
                markdown_table(("method", *(TITLES.get(head, head) for head in names)), rows),
            ]
    return parts
