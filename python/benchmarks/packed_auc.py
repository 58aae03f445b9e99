"""What training on packed rows costs in AUC: flight delays, under DLRM, each form beside f32 with the same optimizer.

All forms train by row-wise Adagrad of the same rate, the head by Adam; whatever else there is is that of
`embedcompress bench train`. Forms of codes have them for all rows, or f16 for the rows that `high_precision` chooses by
fields or by counts. The rate is that of the best validation AUC of f32 among .02, .05, .1 and .2.
Cells that docs/results/packed_auc.json has are not run again; the table goes to docs/training.md. Some minutes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from _pages import DOCS, RESULTS, cells_made_with, fill, machines_text, measured_cells, write_cells

from embedcompress import training
from embedcompress._report import markdown_table
from embedcompress.bench import _data, _train_cell
from embedcompress.bench._clicks import Clicks

SETTINGS = {"dimension": 16, "batch": 256, "epochs": 1, "rate": 2e-3, "dropout": 0.0, "evaluations": 4, "patience": 3}
OWN_RATE = 0.1
TRAINED = SETTINGS | {"own_rate": OWN_RATE}
"""All that decides a cell beside its form and seed."""
SEEDS = (0, 1, 2)


def one(method: str, by_counts: bool = False, **options: Any) -> Callable[[Clicks, int], training.LearnedEmbedding]:
    """Return what makes a table of one form."""

    def make(data: Clicks, seed: int) -> training.LearnedEmbedding:
        known: dict[str, Any] = {"fields": data.sizes} | ({"counts": data.counts} if by_counts else {})
        own = training.RowwiseAdagrad(OWN_RATE)
        shape = data.rows, int(SETTINGS["dimension"])
        return training.embedding(method, *shape, budget=1.0, seed=seed, optimizer=own, **known, **options)

    return make


PURE = {"high_precision": 0}
FORMS: dict[str, Callable[[Clicks, int], training.LearnedEmbedding]] = {
    "f32": one("full"),
    "bf16": one("full", dtype="bf16"),
    "f16": one("full", dtype="f16"),
    "int16": one("int16"),
    "int8": one("int8", **PURE),
    "int8, f16 by fields": one("int8"),
    "int8, f16 by counts": one("int8", by_counts=True),
    "alpt, 8 bits": one("alpt", bits=8, **PURE),
    "int4": one("int4", **PURE),
    "int4, f16 by fields": one("int4"),
    "int4, f16 by counts": one("int4", by_counts=True),
    "alpt, 4 bits": one("alpt", bits=4, **PURE),
    "alpt, 4 bits, f16 by fields": one("alpt", bits=4),
    "alpt, 4 bits, one pass": one("alpt", bits=4, passes=1, **PURE),
}


def cell(form: str, seed: int, data: Clicks) -> dict[str, Any]:
    """Train one form."""
    module = FORMS[form](data, seed)
    request = SETTINGS | {"method": module.method.name, "head": "dlrm", "seed": seed}
    outcome = _train_cell.trained(module, request, data)
    if "figures" not in outcome:
        raise RuntimeError(f"{form}, seed {seed}: {outcome['stopped']}")
    figures = outcome["figures"]
    return {
        "form": form,
        "seed": seed,
        "auc": figures["auc"],
        "cold_auc": figures["cold_auc"],
        "log_loss": figures["log_loss"],
        "training_share": figures["training_bytes"] / (4 * data.rows * module.embedding_dim),
        "frozen_apart": figures["frozen_apart"],
        "train_seconds": figures["train_seconds"],
    }


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the page: means over seeds, and what forms lose against f32 of the same seeds."""
    by_form: dict[str, dict[int, Any]] = {}
    for found in cells:
        by_form.setdefault(found["form"], {})[found["seed"]] = found
    rows = []
    for form in (form for form in FORMS if form in by_form):
        here = by_form[form]
        lost = [by_form["f32"][seed]["auc"] - found["auc"] for seed, found in here.items()]
        error = f" ± {statistics.stdev(lost) / len(lost) ** 0.5:.4f}" if len(lost) > 1 else ""
        rows.append(
            [
                form,
                str(len(here)),
                f"{statistics.mean(found['training_share'] for found in here.values()):.3f}",
                f"{statistics.mean(found['auc'] for found in here.values()):.4f}",
                "" if form == "f32" else f"{statistics.mean(lost):.4f}{error}",
                f"{statistics.mean(found['cold_auc'] for found in here.values()):.4f}",
            ]
        )
    return markdown_table(["rows", "seeds", "table and state, of f32", "AUC", "lost against f32", "cold AUC"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="*", choices=list(FORMS), default=list(FORMS), help="beside f32")
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--json", type=Path, default=RESULTS / "packed_auc.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "training.md", help="the page with the table")
    options = parser.parse_args(arguments)
    data = _data.read({"reader": "flights"}, "random")
    cells = {(one["form"], one["seed"]): one for one in cells_made_with(TRAINED, options.json)}
    asked = [(form, seed) for seed in options.seeds for form in dict.fromkeys(["f32", *options.forms])]
    missing = [one for one in asked if one not in cells]
    for place, found in measured_cells(missing, lambda one: cell(*one, data), "scikit-learn"):
        cells[place] = found
        write_cells(options.json, list(cells.values()), settings=TRAINED)
    kept = list(cells.values())
    fill(options.page, {"packed auc": f"{machines_text(kept, 'form')}\n\n{table(kept)}"})


if __name__ == "__main__":
    main()
