"""The part of the report on trials of optimizers."""

from __future__ import annotations

from collections.abc import Sequence

from .._report import markdown_table
from ._lines import Line
from ._report_train import title
from ._tuning import is_trial, shown
from ._variants import variant


def choices(lines: Sequence[Line]) -> list[str]:
    """Return what trials chose: a heading and a table for each data set and head that has such; nothing without."""
    found: dict[tuple[str, str], dict[tuple[str, float], list[Line]]] = {}
    for line in filter(is_trial, lines):
        one = line["request"]
        place = found.setdefault((one["data"], one["head"]), {})
        place.setdefault((variant(one), one["budget"]), []).append(line)
    parts = []
    for (data, head), cells in found.items():
        names = list(dict.fromkeys(shown(line["request"]["optimizer"]) for trials in cells.values() for line in trials))
        rows = []
        for (method, budget), trials in cells.items():
            scores = {shown(line["request"]["optimizer"]): line["figures"]["validation_auc"]
                      for line in trials if "figures" in line}  # fmt: skip
            if not scores:
                continue
            texts = {name: f"{score:.4f}" for name, score in scores.items()}
            best = max(scores, key=lambda name: scores[name])
            texts[best] = f"**{texts[best]}**"
            rows.append([method, f"{100 * budget:g} %", str(len(trials)), *(texts.get(name, "-") for name in names)])
        if rows:
            parts += [
                f"### {title(data, head)}: trials of optimizers",
                markdown_table(("method", "budget", "trials", *names), rows),
            ]
    return parts
