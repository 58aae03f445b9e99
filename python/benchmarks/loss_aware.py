"""What ranges of 2 bits cost in log loss: flight delays, DLRM, ranges of the least error and of the least loss.

A table is trained in f32, by Adagrad, with the head by Adam, and compressed in every way. Squared gradients are from
one pass over the training data, of each sample's own loss; `calibrate_ranges` sees the loss of the validation data, and
what the page has is of the test data, which nothing else has seen. Groups are ids that training uses up to 9 times, up
to 99 times, and more. Seeds that docs/results/loss_aware.json has are not run again; the table goes to
docs/four-bit-paper.md. A few minutes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _pages import DOCS, RESULTS, cells_made_with, described_machine, fill, machines_text, write_cells
from sklearn.metrics import log_loss, roc_auc_score

import embedcompress as ec
from embedcompress import training
from embedcompress._report import markdown_table
from embedcompress.bench import _data, _train_cell
from embedcompress.bench._clicks import Clicks, Part
from embedcompress.bench._heads import HEADS

SETTINGS = {
    **{"dimension": 16, "batch": 256, "rate": 2e-3, "own_rate": 0.05, "bits": 2, "rounds": 1, "step": 0.05},
    "uses": [10, 100],
}
"""All that decides a cell beside its form and seed."""
SEEDS = (0, 1, 2)
PLAIN: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "ASYM": ("asym", False, {}),
    "GREEDY": ("greedy", False, {}),
    "GREEDY (opt)": ("greedy", False, {"b": 1000, "r": 0.5}),
    "least squares": ("least_squares", False, {}),
    "least squares, squared gradients": ("least_squares", True, {}),
}
"""Method, whether it has weights, and options."""
CALIBRATED = ("GREEDY", "least squares", "least squares, squared gradients")


def trained(data: Clicks, seed: int) -> torch.nn.Module:
    """Return a model with an uncompressed table, after one epoch."""
    torch.manual_seed(seed)
    embedding = training.embedding(
        "full", data.rows, SETTINGS["dimension"], budget=1.0, fields=data.sizes, seed=seed,
        optimizer=training.Adagrad(SETTINGS["own_rate"]),
    )  # fmt: skip
    model = HEADS["dlrm"](embedding, len(data.sizes), SETTINGS["dimension"], len(data.numbers), 0.0)
    trainer = training.Trainer(
        model,
        _train_cell._loss,
        steps_per_epoch=-(-len(data.train) // SETTINGS["batch"]),
        head_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=SETTINGS["rate"]),
        seed=seed,
    )
    trainer.fit(lambda epoch: _train_cell._shuffled(data.train, SETTINGS["batch"], seed, epoch))
    return model.eval()


def summed_loss(model: torch.nn.Module, batch: _train_cell.Batch) -> torch.Tensor:
    """Return the sum over a batch of the log loss of each sample."""
    ids, numbers, labels = batch
    return torch.nn.functional.binary_cross_entropy_with_logits(model(ids, numbers), labels, reduction="sum")


def cells(data: Clicks, seed: int) -> list[dict[str, Any]]:
    """Train a model, and measure it with its table in every form."""
    model = trained(data, seed)
    embedding = model.embedding
    weight = embedding.freeze().decode()
    batches = map(_train_cell._tensors, data.train.batches(_train_cell.CHUNK))
    squares = training.squared_gradients(model, embedding, batches, summed_loss)
    groups = np.digitize(data.counts, SETTINGS["uses"])

    def predicted(table: ec.Table, part: Part) -> Any:
        model.embedding = _train_cell.Frozen(table)
        return _train_cell.predicted(model, part)

    def loss(table: ec.Table) -> float:
        found, labels = predicted(table, data.validation)
        return float(log_loss(labels, found))

    def cell(form: str, table: ec.Table, **more: Any) -> dict[str, Any]:
        found, labels = predicted(table, data.test)
        apart = (table.decode() - weight).astype(np.float64)
        result = {
            **{"form": form, "seed": seed, "log_loss": float(log_loss(labels, found))},
            "auc": float(roc_auc_score(labels, found)),
            "normalized_l2": float(np.linalg.norm(apart) / np.linalg.norm(weight.astype(np.float64))),
            "weighted_error": float((apart**2 * squares).sum() / (2 * len(data.train))),
            **more,
        }
        print(result, flush=True)
        return result

    made = [cell("f32", ec.dense(weight))]
    for form, (method, is_weighted, options) in PLAIN.items():
        given = {"bits": SETTINGS["bits"], "weights": squares if is_weighted else None, **options}
        made.append(cell(form, ec.compress(weight, method, **given)))
    for form in CALIBRATED:
        method, is_weighted, options = PLAIN[form]
        found = ec.calibrate_ranges(
            weight, loss, method, groups=groups, rounds=SETTINGS["rounds"], step=SETTINGS["step"],
            bits=SETTINGS["bits"], weights=squares if is_weighted else None, **options,
        )  # fmt: skip
        more = {"p": found.p, "factors": found.factors.tolist(), "evaluations": found.evaluations}
        losses = {"validation_before": found.initial_loss, "validation_after": found.loss}
        made.append(cell(f"{form}, calibrated", found.table, **more, **losses))
    return made


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the page: means over seeds, and what forms lose against f32 of the same seeds."""
    by_form: dict[str, dict[int, Any]] = {}
    for one in found:
        by_form.setdefault(one["form"], {})[one["seed"]] = one
    exact = by_form["f32"]
    rows = []
    for form, here in by_form.items():
        lost = [one["log_loss"] - exact[seed]["log_loss"] for seed, one in here.items()]
        error = f" ± {statistics.stdev(lost) / len(lost) ** 0.5:.5f}" if len(lost) > 1 else ""

        def mean(name: str, digits: int, here: Mapping[int, Any] = here) -> str:
            return f"{statistics.mean(one[name] for one in here.values()):.{digits}f}"

        chosen = here[min(here)]
        factors = ", ".join(f"{factor:.2f}" for factor in chosen.get("factors", []))
        rows.append(
            [
                *(form, mean("log_loss", 5), "" if form == "f32" else f"{statistics.mean(lost):.5f}{error}"),
                *(mean("auc", 4), mean("normalized_l2", 3), mean("weighted_error", 5)),
                "" if chosen.get("p") is None else f"{chosen['p']:g}",
                factors,
            ]
        )
    head = ["ranges", "log loss", "more than f32", "AUC", "l2", "weighted error", "p", "factors"]
    return markdown_table(head, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what seeds are missing, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--json", type=Path, default=RESULTS / "loss_aware.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "four-bit-paper.md", help="the page with the table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    ec.set_num_threads(1)
    data = _data.read({"reader": "flights"}, "random")
    kept = cells_made_with(SETTINGS, options.json)
    machine = described_machine("torch", "scikit-learn")
    for seed in options.seeds:
        if all(one["seed"] != seed for one in kept):
            kept += [one | {"machine": machine} for one in cells(data, seed)]
            write_cells(options.json, kept, settings=SETTINGS)
    fill(options.page, {"loss aware": f"{machines_text(kept, 'form')}\n\n{table(kept)}"})


if __name__ == "__main__":
    main()
