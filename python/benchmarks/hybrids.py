"""What codes of 4 bits buy a method that has few rows: flight delays, under DLRM, each in codes and in f32.

With the same budget, arrays of codes have about six times as many numbers. Tables train by torch's Adagrad, the head by
Adam; whatever else there is is that of `embedcompress bench train`.
Cells that docs/results/hybrids.json has are not run again; the table goes to docs/training.md. About a minute each.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _pages import DOCS, RESULTS, cells_made_with, fill, machines_text, measured_cells, write_cells

import embedcompress as ec
from embedcompress import training
from embedcompress._report import markdown_table
from embedcompress.bench import _data, _train_cell
from embedcompress.bench._clicks import Clicks
from embedcompress.training._registry import class_of

BITS = 4
SETTINGS = {
    "dimension": 16,
    "batch": 256,
    "epochs": 1,
    "rate": 2e-3,
    "dropout": 0.0,
    "evaluations": 4,
    "patience": 3,
    "optimizer": {"name": "Adagrad", "lr": 0.05},
}
TRAINED = SETTINGS | {"bits": BITS}
"""All that decides a cell beside its form and seed."""
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Form:
    """A method, the budget as a share of the f32 bytes, and options."""

    method: str
    budget: float
    options: Mapping[str, Any] = field(default_factory=dict)
    coded: Mapping[str, Any] = field(default_factory=lambda: {"bits": BITS})
    """Options of codes."""

    @property
    def name(self) -> str:
        """How tables and commands call it."""
        options = "".join(f", {name}={value}" for name, value in (self.options | self.coded).items() if name != "bits")
        return f"{self.method}{options}, {100 * self.budget:g} %"


_ALL = (
    Form("full", 1.0),
    Form("robe", 0.1, {"block": 4}),
    Form("robe", 0.01, {"block": 4}),
    Form("robe", 0.001, {"block": 8}),
    Form("hash", 0.1),
    Form("tt", 0.01),
    Form("mde", 0.1),
    Form("adapt", 0.1),
    Form("adapt", 0.01),
    Form("cafe", 0.1),
    Form("cafe", 0.01),
    Form("cce", 0.1),
    Form("cce", 0.01),
    *(
        Form("adapt", budget, options, {"bits": BITS} | coded)
        for budget in (0.1, 0.01)
        for options, coded in (({}, {"hot_bits": 8}), ({"split": "counts"}, {}), ({"split": "counts"}, {"hot_bits": 8}))
    ),
    *(Form("dpq", budget, coded={"centroid_bits": BITS}) for budget in (0.1, 0.01)),
    *(Form("dhe", budget) for budget in (0.1, 0.01)),
    *(Form("mgqe", budget, coded={"centroid_bits": BITS}) for budget in (0.1, 0.01)),
)
FORMS = {form.name: form for form in _ALL}
KINDS = ("f32", "codes")
"""What arrays are."""


def cell(name: str, kind: str, seed: int, data: Clicks) -> dict[str, Any]:
    """Train one form; a budget that it can't meet is told by the least that it can."""
    form = FORMS[name]
    found: dict[str, Any] = {"form": name, "arrays": kind, "seed": seed}
    full = 4 * data.rows * int(SETTINGS["dimension"])  # type: ignore[call-overload]
    try:
        module = training.embedding(
            form.method,
            data.rows,
            SETTINGS["dimension"],  # type: ignore[arg-type]
            budget=form.budget,
            fields=data.sizes,
            counts=data.counts if class_of(form.method).needs_counts else None,
            seed=seed,
            **form.options,
            **(form.coded if kind == "codes" else {}),
        )
    except ec.BudgetError as error:
        return found | {"least_share": error.floor / full}
    request = SETTINGS | {"method": form.method, "head": "dlrm", "seed": seed}
    outcome = _train_cell.trained(module, request, data)
    if "figures" not in outcome:
        raise RuntimeError(f"{name}, {kind}, seed {seed}: {outcome['stopped']}")
    figures = outcome["figures"]
    kept = ("auc", "cold_auc", "log_loss", "frozen_apart", "train_seconds")
    shares = {f"{name}_share": figures[f"{name}_bytes"] / full for name in ("stored", "training")}
    return found | {name: figures[name] for name in kept} | shares


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the page: means over seeds."""
    rows = []
    for name in FORMS:
        of_form = {kind: [one for one in cells if (one["form"], one["arrays"]) == (name, kind)] for kind in KINDS}
        if not any(of_form.values()):
            continue
        row = [name]
        for found in of_form.values():
            trained = [one for one in found if "auc" in one]
            seeds = str(len(trained)) if trained else ""
            if not trained:
                row += [seeds, f"≥ {100 * found[0]['least_share']:.2g} %" if found else "", "", ""]
                continue
            means = [statistics.mean(one[what] for one in trained) for what in ("stored_share", "auc", "cold_auc")]
            row += [seeds, f"{100 * means[0]:.3g} %", f"{means[1]:.4f}", f"{means[2]:.4f}"]
        rows.append(row)
    heads = [f"{kind}: {what}" for kind in KINDS for what in ("seeds", "stored", "AUC", "cold AUC")]
    return markdown_table(["method", *heads], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="*", choices=list(FORMS), default=list(FORMS), help="method and budget")
    parser.add_argument("--arrays", nargs="*", choices=list(KINDS), default=list(KINDS), help="f32, or codes of 4 bits")
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--json", type=Path, default=RESULTS / "hybrids.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "training.md", help="the page with the table")
    options = parser.parse_args(arguments)
    data = _data.read({"reader": "flights"}, "random")
    cells = {(one["form"], one["arrays"], one["seed"]): one for one in cells_made_with(TRAINED, options.json)}
    asked = [(name, kind, seed) for seed in options.seeds for name in options.forms for kind in options.arrays]
    missing = [one for one in asked if one not in cells]
    for place, found in measured_cells(missing, lambda one: cell(*one, data), "scikit-learn"):
        cells[place] = found
        write_cells(options.json, list(cells.values()), settings=TRAINED)
    kept = list(cells.values())
    fill(options.page, {"hybrids": f"{machines_text(kept, 'form')}\n\n{table(kept)}"})


if __name__ == "__main__":
    main()
