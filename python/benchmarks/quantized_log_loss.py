"""What 4 and 2 bits of a trained table cost a model: log loss and AUC of flight delays under DLRM, beside the l2 loss.

The uncompressed table is trained once for each seed, by torch's Adagrad of the rate `TABLE_RATE`, the head by Adam;
whatever else there is is that of `embedcompress bench train`. Then each form takes its place, and nothing is trained
on. A form is a function from what was trained to a table: it may use the model and the training data, as one does whose
ranges know of the loss. Cells that docs/results/quantized_log_loss.json has are not run again; the table goes to
docs/four-bit-paper.md. Some minutes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _pages import DOCS, RESULTS, cells_made_with, described_machine, fill, machines_text, write_cells
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

import embedcompress as ec
from embedcompress import training
from embedcompress._report import markdown_table, percent
from embedcompress.bench import _data, _train_cell
from embedcompress.bench._data import Data

TABLE_RATE = 0.05
SETTINGS = {
    "head": "dlrm", "dimension": 16, "batch": 256, "epochs": 1, "rate": 2e-3, "dropout": 0.0, "evaluations": 4,
    "patience": 3, "optimizer": {"name": "Adagrad", "lr": TABLE_RATE},
}  # fmt: skip
"""All that decides a cell beside its form, bits and seed."""
SEEDS = (0, 1, 2)
BITS = (4, 2)


@dataclass(frozen=True)
class Subject:
    """What forms are made of."""

    trained: _train_cell.Trained
    """The model, whose `embedding` is the uncompressed table."""
    weight: NDArray[np.float32]
    """(rows, dimension)."""
    data: Data


Form = Callable[[Subject, int], ec.Table]
"""From what was trained, and bits, to a table."""


def of(method: str, **options: Any) -> Form:
    """Return a method that looks at the table alone."""
    return lambda subject, bits: ec.compress(subject.weight, method, bits=bits, **options)


FORMS: dict[str, Form] = {
    "TABLE": of("table"),
    "SYM": of("sym"),
    "GSS": of("gss"),
    "ASYM": of("asym"),
    "ACIQ": of("aciq"),
    "HIST-APPRX": of("hist_apprx"),
    "HIST-BRUTE": of("hist_brute"),
    "GREEDY": of("greedy"),
    "GREEDY (opt)": of("greedy", b=1000, r=0.5),
    "Least squares (ours)": of("least_squares"),
    "KMEANS": of("kmeans"),
    "EDEN": of("eden"),
}
"""By the name in the page. KMEANS has a codebook in each row, and EDEN rotates rows; all others have ranges."""
UNCOMPRESSED = "f32"


def subject_of(data: Data, seed: int) -> Subject:
    """Train the uncompressed table."""
    dimension = int(SETTINGS["dimension"])  # type: ignore[call-overload]
    module = training.embedding("full", data.rows, dimension, budget=1.0, fields=data.sizes, seed=seed)
    trained = _train_cell.train(module, SETTINGS | {"seed": seed}, data)
    return Subject(trained, np.ascontiguousarray(module.freeze().decode(), np.float32), data)


def figures(subject: Subject, table: ec.Table | None) -> dict[str, Any]:
    """Return what a table is worth in place of the trained one; None is that itself."""
    model = subject.trained.model
    labels = np.concatenate([labels for _, _, labels in subject.data.test.batches(_train_cell.CHUNK)])
    found, apart = subject.trained.learned, 0.0
    if table is not None:
        whole = model.embedding
        model.embedding = _train_cell.Frozen(table)
        found, labels = _train_cell.predicted(model, subject.data.test)
        model.embedding = whole
        apart = float(np.linalg.norm(table.decode() - subject.weight) / np.linalg.norm(subject.weight))
    size = subject.weight.nbytes if table is None else table.stored_bytes
    return {
        "ratio": size / subject.weight.nbytes,
        "normalized_l2": apart,
        "log_loss": float(log_loss(labels, found)),
        "auc": float(roc_auc_score(labels, found)),
    }


def wanted(forms: Sequence[str]) -> list[tuple[str, int]]:
    """Return forms with their bits, the uncompressed table first."""
    return [(UNCOMPRESSED, 32), *((form, bits) for bits in BITS for form in forms)]


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the page: means over seeds; what forms add to the log loss of f32 with the same seeds."""
    by_form: dict[tuple[str, int], dict[int, Any]] = {}
    for found in cells:
        by_form.setdefault((found["form"], found["bits"]), {})[found["seed"]] = found
    whole = by_form[UNCOMPRESSED, 32]
    rows = []
    for form, bits in (place for place in wanted(list(FORMS)) if place in by_form):
        here = by_form[form, bits]
        added = [1e5 * (found["log_loss"] - whole[seed]["log_loss"]) for seed, found in here.items()]
        error = f" ± {statistics.stdev(added) / len(added) ** 0.5:.0f}" if len(added) > 1 else ""

        def mean(name: str, here: dict[int, Any] = here) -> float:
            return statistics.fmean(found[name] for found in here.values())

        rows.append(
            [
                form,
                str(bits),
                str(len(here)),
                percent(mean("ratio")),
                "" if form == UNCOMPRESSED else f"{mean('normalized_l2'):.4f}",
                f"{mean('log_loss'):.5f}",
                "" if form == UNCOMPRESSED else f"{round(statistics.fmean(added))}{error}",
                f"{mean('auc'):.4f}",
            ]
        )
    header = ["method", "bits", "seeds", "of f32", "normalised l2", "log loss", "more than f32, 1e-5", "AUC"]
    return markdown_table(header, rows)


def part(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return what stands in the page."""
    return f"{machines_text(cells, 'form')}\n\n{table(cells)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="*", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--json", type=Path, default=RESULTS / "quantized_log_loss.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "four-bit-paper.md", help="the page with the table")
    options = parser.parse_args(arguments)
    cells = {(one["form"], one["bits"], one["seed"]): one for one in cells_made_with(SETTINGS, options.json)}
    machine = described_machine("torch", "scikit-learn")
    data = _data.read({"reader": "flights"}, "random")
    for seed in options.seeds:
        missing = [place for place in wanted(options.forms) if (*place, seed) not in cells]
        if not missing:
            continue
        subject = subject_of(data, seed)
        for form, bits in missing:
            made = None if form == UNCOMPRESSED else FORMS[form](subject, bits)
            found = {"form": form, "bits": bits, "seed": seed} | figures(subject, made)
            print(found, flush=True)
            cells[form, bits, seed] = found | {"machine": machine}
        write_cells(options.json, list(cells.values()), settings=SETTINGS)
    fill(options.page, {"log loss": part(list(cells.values()))})


if __name__ == "__main__":
    main()
