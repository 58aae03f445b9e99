"""What a training step costs as tables grow: no step is to cost what the whole table costs.

26 fields in the proportions of Criteo's Kaggle data, shrunk to 100,000 ids in all and as they are, 33,762,577; 256 ids
of each in a batch, drawn by a power law as in `embedcompress bench scale`, rows of 16 columns, sparse gradients,
Adagrad, one thread. Budgets are 1 %, or the least of some larger ones that the method can meet; `robe` has 10 %, too.
Methods of several stages are in the one named in `STAGES`, or in their first. Both sizes take turns. A figure is the
median of steps, in milliseconds of a processor, which other work on the machine moves less than the clock's, and the
growth that of the ratios of neighbouring steps. Each cell has a process of its own. Figures go to
docs/results/step_costs.json, and from there to docs/training-costs.md. A quarter of an hour, and 10 GB of memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _pages import DOCS, RESULTS, fill, machines_text, measured_cells, median_ratio, read_cells, write_cells
from training_steps import step_of

import embedcompress as ec
from embedcompress import training
from embedcompress._report import figure, markdown_table, percent
from embedcompress.bench._generated import CRITEO_SIZES, Generated
from embedcompress.training._registry import class_of

BATCH, DIMENSION = 256, 16
ROWS = (100_000, sum(CRITEO_SIZES))
BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.27, 0.3, 0.4, 0.6, 1.0)
STAGES = {"autosrh": "search"}
"""Stages that cost most, where that is not the first."""
FUSED = tuple(method.name for method in training.methods() if class_of(method.name).takes_optimizer)
"""Methods that are measured with an optimizer of their own, too."""
PURE = {"high_precision": 0}
OWN_OPTIONS: dict[str, dict[str, Any]] = {"int8": PURE, "int4": PURE, "alpt": PURE}
"""Options with an optimizer of their own: no rows of f16."""
WARM, STEPS = 3, 20
_SCATTER = 7_919
"""A prime that divides no size: ids that are used alike do not lie together."""


def cells() -> list[tuple[str, float, bool]]:
    """Return methods, the least budgets that are tried, and whether the table has an optimizer of its own."""
    names = [method.name for method in training.methods()]
    found = [(name, 1.0 if name == "full" else BUDGETS[0], False) for name in names]
    own = [(name, 1.0 if name == "full" else BUDGETS[0], True) for name in FUSED]
    for cells_of, order in ((found, names), (own, list(FUSED))):
        place = order.index("robe")
        cells_of.insert(place + 1, ("robe", 0.1, cells_of[place][2]))
    return found + own


def scattered(data: Generated, ranks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the ids of ranks within fields, (…, 26)."""
    sizes = np.array(data.sizes)
    starts = np.cumsum(sizes) - sizes
    ids: np.ndarray[Any, Any] = (ranks - starts) * _SCATTER % sizes + starts
    return ids


def counts_of(data: Generated) -> np.ndarray[Any, Any]:
    """Return how often each id is used."""
    counts = data.counts(1_000_000)
    start = 0
    for size in data.sizes:
        part = counts[start : start + size].copy()
        counts[start + np.arange(size) * _SCATTER % size] = part
        start += size
    return counts


def own_options(name: str) -> dict[str, Any]:
    """Return what gives a table an optimizer of its own."""
    return {"optimizer": training.RowwiseAdagrad(0.01), **OWN_OPTIONS.get(name, {})}


def made(name: str, data: Generated, least: float, fused: bool) -> tuple[training.LearnedEmbedding, float]:
    """Return a module at the smallest budget that the method can meet, and that budget."""
    own: dict[str, Any] = own_options(name) if fused else {"sparse": True}
    counts = counts_of(data)
    for budget in (one for one in BUDGETS if one >= least):
        try:
            return training.embedding(
                name, data.rows, DIMENSION, budget=budget, counts=counts, fields=data.sizes, **own
            ), budget
        except ec.BudgetError:
            continue
    raise AssertionError(name)


def measured(name: str, least: float, fused: bool, rows: Sequence[int]) -> dict[str, Any]:
    """Time the steps of a method at each size, in turns."""
    torch.set_num_threads(1)
    ec.set_num_threads(1)
    sizes = []
    for count in rows:
        data = Generated(count)
        module, budget = made(name, data, least, fused)
        if name in STAGES:
            module.enter(STAGES[name])
        sizes.append((data, step_of(module.train()), budget))
    slope = torch.randn(BATCH, len(CRITEO_SIZES), DIMENSION, generator=torch.Generator().manual_seed(0)) * 1e-3
    seconds: list[list[float]] = [[] for _ in sizes]
    wall: list[list[float]] = [[] for _ in sizes]
    for turn in range(WARM + STEPS):
        for index, (data, step, _) in enumerate(sizes):
            ids = torch.from_numpy(scattered(data, data.batch("train", turn, BATCH)[0]))
            start, clock = time.process_time(), time.perf_counter()
            step(ids, slope)
            seconds[index].append(time.process_time() - start)
            wall[index].append(time.perf_counter() - clock)
    seconds, wall = ([one[WARM:] for one in found] for found in (seconds, wall))
    return {
        "method": name,
        "fused": fused,
        "least": least,
        "rows": list(rows),
        "budgets": [budget for _, _, budget in sizes],
        "milliseconds": [statistics.median(found) * 1e3 for found in seconds],
        "wall_milliseconds": [statistics.median(found) * 1e3 for found in wall],
        "growth": median_ratio(seconds[-1], seconds[0]),
    }


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as Markdown."""
    by_cell = {(one["method"], one["least"], one["fused"]): one for one in found}
    full = by_cell[cells()[0]]["milliseconds"][-1]
    lines = []
    for one in (by_cell[cell] for cell in cells() if cell in by_cell):
        budgets = dict.fromkeys(percent(budget) for budget in one["budgets"])
        lines.append(
            [
                one["method"] + (", own optimizer" if one["fused"] else ""),
                ", ".join(budgets),
                *(figure(value, 3) for value in one["milliseconds"]),
                f"{one['growth']:.2f}×",
                f"{one['milliseconds'][-1] / full:.2f}×",
            ]
        )
    sizes = (f"{rows:,} rows, ms" for rows in by_cell[cells()[0]]["rows"])
    return markdown_table(["method", "budget", *sizes, "growth", "times `full`"], lines)


def in_order(found: Mapping[tuple[str, float, bool], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the figures that there are, in the order of the table."""
    return [found[cell] for cell in cells() if cell in found]


def in_a_process(*arguments: Any) -> dict[str, Any]:
    """Return what `measured` does in a new process, which gives back all of its memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result: dict[str, Any] = pool.apply(measured, arguments)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    names = [method.name for method in training.methods()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", choices=names, default=names)
    parser.add_argument("--rows", nargs=2, type=int, default=ROWS)
    parser.add_argument("--json", type=Path, default=RESULTS / "step_costs.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "training-costs.md", help="the page with the table")
    options = parser.parse_args(arguments)
    found = {(one["method"], one["least"], one["fused"]): one for one in read_cells(options.json)}
    wanted = [cell for cell in cells() if cell[0] in options.methods]
    for cell, figures in measured_cells(wanted, lambda cell: in_a_process(*cell, options.rows)):
        found[cell] = figures
        # What is there is kept if a later cell is stopped.
        write_cells(options.json, in_order(found))
    kept = in_order(found)
    fill(options.page, {"step costs": f"{machines_text(kept, 'method')}\n\n{table(kept)}"})


if __name__ == "__main__":
    main()
