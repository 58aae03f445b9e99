"""Every method that learns its table, at every budget: quality of the model, seconds, memory, lookups of the result.

Flight delays under a DLRM head and MovieLens-100k under matrix factorisation. A cell trains one model in a process of
its own, whose peak memory is that of the cell, with one thread; as many run at once as --jobs says. Figures go to
docs/results/training_methods.json after every cell, so that a run that was cut off goes on with --resume; the page
docs/training-methods.md is made from them. Some minutes for each method on two cores.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _training_methods_page as page
import numpy as np
import torch
import training_steps
from _pages import DOCS, RESULTS, described_machine, read_json, write_json
from sklearn.metrics import log_loss, roc_auc_score
from torch.nn import functional
from tqdm import tqdm

import embedcompress as ec
from embedcompress import training
from embedcompress.bench._clicks import Clicks, Part
from embedcompress.bench._flights import flights
from embedcompress.bench._heads import HEADS, Head
from embedcompress.bench._movielens import movielens

DATA = {"flights": flights, "movielens": movielens}
SETTINGS: dict[str, dict[str, Any]] = {
    # A second epoch only overfits, as click models mostly do.
    "flights": {"head": "dlrm", "dimension": 16, "batch": 256, "epochs": 1, "rate": 2e-3, "dropout": 0.0},
    "movielens": {"head": "mf", "dimension": 16, "batch": 512, "epochs": 12, "rate": 3e-3, "dropout": 0.0},
}
"""Epochs are of each stage."""
EVALUATIONS, PATIENCE = 4, 3
BUDGETS = (0.5, 0.1, 0.01)
SEEDS = (0, 1, 2)
CHUNK = 8192
"""Rows that are evaluated at once."""

Cell = dict[str, Any]


def cells(data: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Return what is measured; the uncompressed table first."""
    return [
        {"data": name, "method": method, "budget": budget, "seed": seed}
        for seed in seeds
        for name in data
        for method in methods
        for budget in ((1.0,) if method == "full" else BUDGETS)
    ]


def key(cell: Cell) -> tuple[Any, ...]:
    return tuple(cell[name] for name in ("data", "method", "budget", "seed"))


def probabilities(model: torch.nn.Module, part: Part) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        logits = [model(chunk) for chunk in torch.from_numpy(part.ids).long().split(CHUNK)]
    return torch.cat(logits).sigmoid().double().numpy()


class Frozen(torch.nn.Module):
    """Rows of a frozen table, where the learned one was."""

    def __init__(self, table: ec.Table) -> None:
        super().__init__()
        self.table = table

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return rows."""
        return torch.from_numpy(self.table.lookup(ids.numpy()))


def run(cell: Cell) -> Cell:
    """Return a cell with its figures, or with the refusal."""
    torch.set_num_threads(1)
    ec.set_num_threads(1)
    settings = SETTINGS[cell["data"]]
    data = DATA[cell["data"]]()
    dimension, seed = settings["dimension"], cell["seed"]
    try:
        module = training.embedding(
            cell["method"],
            data.rows,
            dimension,
            budget=cell["budget"],
            counts=data.counts,
            fields=data.sizes,
            seed=seed,
        )
    except ec.BudgetError as error:
        return cell | {"refused": str(error)}
    torch.manual_seed(seed)
    model = HEADS[settings["head"]](module, len(data.sizes), dimension, settings["dropout"])
    trainer = training.Trainer(
        model,
        loss,
        epochs=settings["epochs"],
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=settings["rate"]),
        evaluate=lambda model: float(roc_auc_score(data.validation.labels, probabilities(model, data.validation))),
        evaluations=EVALUATIONS,
        patience=PATIENCE,
        seed=seed,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    history = trainer.fit(
        lambda epoch: batches(data.train, settings["batch"], seed, epoch),
        lambda epoch: batches(data.validation, settings["batch"], seed, epoch),
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    table = module.freeze()
    freezing = time.perf_counter() - start
    return cell | {
        **quality(model, module, table, data),
        "validation_auc": max(one.score for one in history if one.stage == history[-1].stage),
        "stored_bytes": table.stored_bytes,
        "ratio": table.stored_bytes / (4 * data.rows * dimension),
        "training_bytes": module.training_bytes,
        "train_seconds": trainer.seconds,
        "steps": sum(max(one.step for one in history if one.stage == stage) for stage in {h.stage for h in history}),
        "freeze_seconds": freezing,
        "peak_bytes": peak * 1024,
        "peak_rise_bytes": (peak - before) * 1024,
        "lookup_ns_per_row": lookup_time(table, data.test),
    }


def loss(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    ids, labels = batch
    return functional.binary_cross_entropy_with_logits(model(ids), labels)


def batches(part: Part, size: int, seed: int, epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    order = np.random.default_rng((seed, epoch)).permutation(len(part))
    ids, labels = torch.from_numpy(part.ids[order]).long(), torch.from_numpy(part.labels[order])
    return list(zip(ids.split(size), labels.split(size), strict=True))


def quality(model: Head, module: training.LearnedEmbedding, table: ec.Table, data: Clicks) -> dict[str, float]:
    """Return what the model with the frozen table reaches, and how far its predictions are from the module's."""
    learned = probabilities(model, data.test)
    model.embedding = Frozen(table)
    found = probabilities(model, data.test)
    model.embedding = module
    return {
        "auc": float(roc_auc_score(data.test.labels, found)),
        "log_loss": float(log_loss(data.test.labels, found)),
        "frozen_apart": float(np.abs(found - learned).max()),
    }


def lookup_time(table: ec.Table, part: Part, turns: int = 21) -> float:
    ids = part.ids[:2048].ravel()
    seconds = []
    for _ in range(turns):
        start = time.perf_counter()
        table.lookup(ids)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) / len(ids) * 1e9


def main(arguments: Sequence[str] | None = None) -> None:
    names = [method.name for method in training.methods()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="*", choices=list(DATA), default=list(DATA))
    parser.add_argument("--methods", nargs="*", choices=names, default=names)
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=2, help="cells at once")
    parser.add_argument("--resume", action="store_true", help="keep the cells that the figures have")
    parser.add_argument("--page-only", action="store_true", help="run nothing: make the page from the figures")
    parser.add_argument("--json", type=Path, default=RESULTS / "training_methods.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "training-methods.md", help="the page")
    options = parser.parse_args(arguments)
    document = read_json(options.json) if options.resume or options.page_only else {}
    if not options.page_only:
        found = {key(cell): cell for cell in document.get("cells", [])}
        document = {
            "command": "python python/benchmarks/training_methods.py",
            "machine": document.get("machine") or described_machine("torch", "scikit-learn"),
            "settings": {"data": SETTINGS, "evaluations": EVALUATIONS, "patience": PATIENCE, "jobs": options.jobs},
        }
        wanted = [cell for cell in cells(options.data, options.methods, options.seeds) if key(cell) not in found]
        context = multiprocessing.get_context("spawn")
        with (
            concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=context, max_tasks_per_child=1) as pool,
            tqdm(total=len(wanted)) as progress,
        ):
            for task in concurrent.futures.as_completed([pool.submit(run, cell) for cell in wanted]):
                cell = task.result()
                found[key(cell)] = cell
                write_json(options.json, document | {"cells": sorted(found.values(), key=key)})
                progress.update()
                progress.set_postfix_str(f"{cell['data']} {cell['method']} {cell['budget']}: {cell.get('auc', 0):.4f}")
        document["cells"] = sorted(found.values(), key=key)
    steps = RESULTS / "training_steps.json"
    timed = read_json(steps)["cells"] if steps.exists() else []
    options.page.write_text(page.text(document, training_steps.table(timed) if timed else ""), encoding="utf-8")


if __name__ == "__main__":
    main()
