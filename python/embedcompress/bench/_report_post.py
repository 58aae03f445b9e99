"""Advice and claims on compressing what exists, from the lines of `bench table` and `bench retrieval`.

Nothing is random in them but initial values, so a difference counts if it is more than `NOISE` of the larger figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._registry import methods
from .._report import percent
from ._calls import label
from ._lines import Line
from ._report_cells import made
from ._report_findings import Finding

NOISE = 0.01

FAMILIES = {
    "uniform quantization": "scalar quantization",
    "codebook quantization": "scalar quantization",
    "product quantization": "product codes",
    "decomposition": "low rank",
}
"""What the report calls the catalogue's families, where it has fewer or shorter names."""


def family(line: Line) -> str:
    """Return what a cell's method is; "hybrid" if methods are nested in it."""
    options = line["request"]["options"]
    method = line["request"]["method"]
    if {"inner", "hot", "cold"} & options.keys():
        return "hybrid"
    found = next((one.family for one in methods() if one.name == method), "other")
    return FAMILIES.get(found, found)


class Contest:
    """The cells of one subject, and which figure says which is better."""

    def __init__(self, lines: Sequence[Line], value: str, most: bool) -> None:
        """Take the lines, the figure, and whether more of it is better."""
        self.cells = made(lines)
        self.value, self.most = value, most
        self.budgets = sorted({line["request"]["budget"] for line in lines if line["request"].get("budget")})

    def best(self, budget: float, wanted: Callable[[Line], bool] = lambda line: True) -> Line | None:
        """Return the best cell that fits a budget, among those that are wanted."""
        fitting = [line for line in self.cells if line["figures"]["ratio"] <= budget and wanted(line)]
        return (max if self.most else min)(fitting, key=self._figure, default=None)

    def _figure(self, line: Line) -> float:
        return float(line["figures"][self.value])

    def shown(self, line: Line) -> str:
        """Return a cell in words."""
        return f"{label(line['request'])} {self._figure(line):.4g}"

    def advice(self) -> list[str]:
        """Return a sentence for each budget: what is best, and what of methods that nest nothing."""
        sentences = []
        for budget in reversed(self.budgets):
            first = self.best(budget)
            if first is None:
                continue
            text = f"**Up to {100 * budget:.3g} %**: {self.shown(first)}"
            single = self.best(budget, lambda line: family(line) not in ("hybrid", "low rank"))
            if single is not None and single is not first:
                text += f"; of those that are one method alone, {self.shown(single)}"
            sentences.append(text + ".")
        return sentences

    def findings(self) -> list[Finding]:
        """Return what the cells say of each claim."""
        if not self.budgets:
            return []
        moderate = min(self.budgets, key=lambda budget: abs(budget - 0.25))
        small = min(self.budgets, key=lambda budget: abs(budget - 0.03))
        contests = [
            self._contest(
                "At moderate budgets ({}) quantization of single numbers wins.", moderate, "scalar quantization"
            ),
            self._contest("At small budgets ({}), below one bit a number, product codes win.", small, "product codes"),
            self._contest("Low rank is a good compressor at {}.", moderate, "low rank"),
            self._contest("Pruning is a good compressor at {}.", moderate, "pruning"),
            self._contest("Deduplication is a good compressor at {}.", moderate, "deduplication"),
            self._hybrids(small),
        ]
        return [finding for finding in contests if finding is not None]

    def _contest(self, claim: str, budget: float, name: str) -> Finding | None:
        ours = self.best(budget, lambda line: family(line) == name)
        theirs = self.best(budget, lambda line: family(line) not in (name, "hybrid"))
        claim = claim.format(percent(budget))
        if theirs is None:
            return None
        if ours is None:
            return Finding(claim, "contradicted", f"None of it fits; the best is {self.shown(theirs)}.")
        return Finding(
            claim,
            self._verdict(ours, theirs),
            f"The best of it is {self.shown(ours)}, of the others {self.shown(theirs)}.",
        )

    def _hybrids(self, budget: float) -> Finding | None:
        ours = self.best(budget, lambda line: family(line) == "hybrid")
        theirs = self.best(budget, lambda line: family(line) != "hybrid")
        if ours is None or theirs is None:
            return None
        return Finding(
            f"Nesting methods in each other beats each alone at {percent(budget)}.",
            self._verdict(ours, theirs),
            f"{self.shown(ours)} beside {self.shown(theirs)}.",
        )

    def _verdict(self, ours: Line, theirs: Line) -> str:
        first, second = self._figure(ours), self._figure(theirs)
        if abs(first - second) <= NOISE * max(abs(first), abs(second)):
            return "open"
        return "confirmed" if (first > second) == self.most else "contradicted"
