"""What a training step costs as tables grow: no step is to cost what the whole table costs.

26 fields of equal sizes, 256 ids of each in a batch (logarithms of ranks are uniform), rows of 16 columns, sparse
gradients, Adagrad, one thread. A figure is the mean of 20 steps, as some methods do every few steps what they don't do
in the others, in milliseconds of a processor, which other work on the machine moves less than the clock's. Methods of
several stages are in the one named in `STAGES`, or in their first. Figures go to docs/results/step_costs.json under a
label, and those of the labels "before" and "after" to docs/training.md. Some minutes, and 3 GB of memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _pages import DOCS, RESULTS, described_machine, fill, machine_text, read_json, write_json
from training_steps import step_of

import embedcompress as ec
from embedcompress import training
from embedcompress._report import figure, markdown_table, percent

FIELDS, BATCH, DIMENSION = 26, 256, 16
ROWS = (100_000, 5_000_000)
BUDGETS = (0.01, 0.1)
STAGES = {"deeplight": "prune", "autosrh": "search"}
"""Stages that cost most, where that is not the first."""
METHODS = ("full", "robe", "tt", "deeplight", "pep", "autosrh", "optembed", "cafe", "cce")
WARM, STEPS = 3, 20


def batch_of(sizes: Sequence[int], turn: int) -> torch.Tensor:
    """Return ids, (256, 26): the logarithms of ranks are uniform."""
    random = np.random.default_rng(turn)
    ranks = np.exp(random.random((BATCH, FIELDS)) * np.log(np.array(sizes))).astype(np.int64)
    starts = np.cumsum([0, *sizes[:-1]])
    # Ids that are used alike do not lie together.
    return torch.from_numpy((ranks * 7_919) % np.array(sizes) + starts)


def measured(name: str, rows: int, budget: float) -> dict[str, Any]:
    """Time the steps of a method at a size and a budget."""
    sizes = [rows // FIELDS + (field < rows % FIELDS) for field in range(FIELDS)]
    counts = np.concatenate([1e6 / np.arange(1, size + 1) for size in sizes])
    cell: dict[str, Any] = {"method": name, "rows": rows, "budget": budget}
    try:
        module = training.embedding(
            name,
            rows,
            DIMENSION,
            budget=1.0 if name == "full" else budget,
            counts=counts,
            fields=sizes,
            sparse=True,
        )
    except ec.BudgetError:
        return cell | {"milliseconds": None}
    if name in STAGES:
        module.enter(STAGES[name])
    step = step_of(module.train())
    slope = torch.randn(BATCH, FIELDS, DIMENSION, generator=torch.Generator().manual_seed(0)) * 1e-3
    seconds = []
    for turn in range(WARM + STEPS):
        ids = batch_of(sizes, turn)
        start = time.process_time()
        step(ids, slope)
        seconds.append(time.process_time() - start)
    seconds = seconds[WARM:]
    return cell | {
        "milliseconds": statistics.mean(seconds) * 1e3,
        "median_milliseconds": statistics.median(seconds) * 1e3,
    }


def table(document: Mapping[str, Any]) -> str:
    """Return the figures as Markdown, those of before and after beside each other."""
    labels = [label for label in ("before", "after") if label in document]
    found = {
        label: {(cell["method"], cell["rows"], cell["budget"]): cell for cell in document[label]["cells"]}
        for label in labels
    }
    keys = [(name, budget) for name in METHODS for budget in BUDGETS if name != "full" or budget == BUDGETS[-1]]

    def milliseconds(label: str, name: str, rows: int, budget: float) -> str:
        value = found[label].get((name, rows, budget), {}).get("milliseconds")
        return "–" if value is None else figure(value, 3)

    header = ["method", "budget", *(f"{rows:,} rows, {label}" for rows in ROWS for label in labels)]
    lines = (
        [
            name,
            percent(1.0 if name == "full" else budget),
            *(milliseconds(label, name, rows, budget) for rows in ROWS for label in labels),
        ]
        for name, budget in keys
    )
    return markdown_table(header, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--rows", nargs="*", type=int, default=ROWS)
    parser.add_argument("--label", default="after", help="what the figures are of: before a change, or after")
    parser.add_argument("--json", type=Path, default=RESULTS / "step_costs.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "training.md", help="the page with the table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    ec.set_num_threads(1)
    document = read_json(options.json)
    cells = {(c["method"], c["rows"], c["budget"]): c for c in document.get(options.label, {}).get("cells", [])}
    for name in options.methods:
        for rows in options.rows:
            for budget in BUDGETS if name != "full" else BUDGETS[-1:]:
                cell = measured(name, rows, budget)
                cells[name, rows, budget] = cell
                print(cell, flush=True)
    document[options.label] = {"machine": described_machine("torch"), "cells": list(cells.values())}
    write_json(options.json, document)
    machine = machine_text(document[options.label]["machine"])
    fill(options.page, {"step costs": f"{machine}\n\n{table(document)}"})


if __name__ == "__main__":
    main()
