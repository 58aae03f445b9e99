"""What a training step of each method takes beside torch.nn.Embedding(sparse=True).

26 fields of 10,000 rows of 16 columns, batches of 2,048, ids as skewed as those of clicks (Zipf 1.05), Adagrad, which
takes sparse and dense gradients, on both sides: forward, backward, what the method does around the step, and the step.
Budgets are a tenth of the table, or the first of some larger ones that the method can meet. Contenders take turns; a
ratio is the median of the ratios of neighbouring turns. Figures go to docs/results/training_steps.json, and from there
to docs/training-steps.md. Some minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _pages import DOCS, RESULTS, described_machine, machine_text, median_ratio, read_json, write_json

import embedcompress as ec
from embedcompress import training
from embedcompress._atomic import write_text
from embedcompress._report import figure, markdown_table, percent

FIELDS, FIELD_ROWS, DIMENSION, BATCH = 26, 10_000, 16, 2048
BUDGETS = (0.1, 0.27, 0.3, 0.6, 1.0)
THREADS = (1, 2)
TURNS = 15


def ids_of(turn: int) -> torch.Tensor:
    """Return a batch, (2048, 26)."""
    random = np.random.default_rng(turn)
    shares = 1 / np.arange(1, FIELD_ROWS + 1) ** 1.05
    found = random.choice(FIELD_ROWS, (BATCH, FIELDS), p=shares / shares.sum())
    return torch.from_numpy(found + np.arange(FIELDS) * FIELD_ROWS)


def module_of(name: str) -> tuple[training.LearnedEmbedding, float]:
    """Return a method's module with sparse gradients where it has such, at the smallest budget that it can meet."""
    counts = np.tile(1e6 / np.arange(1, FIELD_ROWS + 1) ** 1.05, FIELDS)
    for budget in BUDGETS:
        try:
            module = training.embedding(
                name,
                FIELDS * FIELD_ROWS,
                DIMENSION,
                budget=budget,
                counts=counts,
                fields=[FIELD_ROWS] * FIELDS,
                sparse=True,
            )
        except ec.BudgetError:
            continue
        return module, budget
    raise AssertionError(name)


def step_of(module: torch.nn.Module) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Return a training step, from ids and the slope of the loss by rows."""
    # Else torch warns that an optimizer's sparse tensors are not checked.
    torch.sparse.check_sparse_tensor_invariants.disable()
    tables = [module] if isinstance(module, training.LearnedEmbedding) else []
    parameters = tables[0].weight_parameters() if tables else list(module.parameters())
    # A table that has an optimizer of its own has no parameters.
    optimizers = [torch.optim.Adagrad(parameters, lr=0.01)] if parameters else []

    def step(ids: torch.Tensor, slope: torch.Tensor) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()

        def loss() -> torch.Tensor:
            found = (module(ids) * slope).sum()
            for table in tables:
                found = found + table.regularization()
            return found

        loss().backward()  # type: ignore[no-untyped-call]
        for table in tables:
            table.before_step()
        for optimizer in optimizers:
            optimizer.step()
        for table in tables:
            table.after_step()
        training.second_pass(module, loss)

    return step


def measured(name: str, threads: int) -> dict[str, Any]:
    """Time a method's steps in turns with torch.nn.Embedding's."""
    torch.set_num_threads(threads)
    ec.set_num_threads(threads)
    torch.manual_seed(0)
    module, budget = module_of(name)
    peer = torch.nn.Embedding(FIELDS * FIELD_ROWS, DIMENSION, sparse=True)
    slope = torch.randn(BATCH, FIELDS, DIMENSION)
    steps = {"method": step_of(module.train()), "embedding": step_of(peer)}
    seconds: dict[str, list[float]] = {key: [] for key in steps}
    for turn in range(TURNS + 2):
        ids = ids_of(turn)
        for key, step in steps.items():
            start = time.perf_counter()
            step(ids, slope)
            # The first turns warm up.
            if turn > 1:
                seconds[key].append(time.perf_counter() - start)
    return {
        "method": name,
        "threads": threads,
        "budget": budget,
        "milliseconds": statistics.median(seconds["method"]) * 1e3,
        "embedding_milliseconds": statistics.median(seconds["embedding"]) * 1e3,
        "ratio": median_ratio(seconds["method"], seconds["embedding"]),
    }


def table(cells: Sequence[dict[str, Any]]) -> str:
    """Return the figures as Markdown: how many times the step of torch.nn.Embedding a step takes."""
    by_name: dict[str, dict[int, dict[str, Any]]] = {}
    for cell in cells:
        by_name.setdefault(cell["method"], {})[cell["threads"]] = cell
    header = ["method", "budget", *(f"{n} thread{'s' * (n > 1)}, ms (times nn.Embedding)" for n in THREADS)]
    return markdown_table(
        header,
        (
            [
                name,
                percent(found[THREADS[0]]["budget"]),
                *(f"{figure(found[n]['milliseconds'], 3)} ({found[n]['ratio']:.2f}×)" for n in THREADS),
            ]
            for name, found in by_name.items()
        ),
    )


def page(document: Mapping[str, Any]) -> str:
    """Return the page."""
    parts = [
        "# A training step of every method",
        "26 fields of 10,000 rows of 16 columns, batches of 2,048 Zipf-distributed ids, Adagrad, in turns "
        "with `torch.nn.Embedding(sparse=True)` and the same optimizer. Multi-stage methods are in their first stage. "
        "Made by `python python/benchmarks/training_steps.py`; the raw figures are in "
        "[results/training_steps.json](results/training_steps.json). [The report](report/report.md) has what whole "
        "trainings take and reach.",
        machine_text(document["machine"]),
        table(document["cells"]),
    ]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    names = [method.name for method in training.methods()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", choices=names, default=names)
    parser.add_argument("--page-only", action="store_true", help="run nothing: make the page from the figures")
    parser.add_argument("--json", type=Path, default=RESULTS / "training_steps.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "training-steps.md", help="the page")
    options = parser.parse_args(arguments)
    if not options.page_only:
        # Those of methods that are not asked for stay.
        kept = [cell for cell in read_json(options.json).get("cells", []) if cell["method"] not in options.methods]
        cells = kept + [measured(name, threads) for name in options.methods for threads in THREADS]
        cells.sort(key=lambda cell: (names.index(cell["method"]), cell["threads"]))
        write_json(options.json, {"machine": described_machine("torch"), "cells": cells})
    write_text(options.page, page(read_json(options.json)))


if __name__ == "__main__":
    main()
