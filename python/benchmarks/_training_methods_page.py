"""The page of `training_methods.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from _pages import machine_text

from embedcompress._report import figure, markdown_table, percent, size

Cell = Mapping[str, Any]

TITLES = {
    "flights": "Flight delays, DLRM",
    "movielens": "MovieLens-100k, matrix factorisation",
}


def text(document: Mapping[str, Any], steps: str) -> str:
    """Return the page.

    Args:
        document: The figures.
        steps: The table of what a step takes; empty if it was not measured.
    """
    settings = document["settings"]
    parts = [
        "# Every method that learns its table",
        f"Made by `{document['command']}`; the raw figures are in "
        "[results/training_methods.json](results/training_methods.json).",
        "AUC and log loss are of the test part, with the frozen table that the core looks up; means of the seeds, and "
        "their standard deviation behind ±. Seconds are of training steps, on one thread beside another process; peak "
        "memory is that of the process. *≥ 6.3 %* says that the method refuses the budget, and what it needs at least.",
        machine_text(document["machine"]),
    ]
    for name, title in TITLES.items():
        cells = [cell for cell in document["cells"] if cell["data"] == name]
        if cells:
            used = ", ".join(f"{key} {value}" for key, value in settings["data"][name].items())
            parts += [f"## {title}", f"Settings: {used}.", _table(cells)]
    if steps:
        parts += [
            "## A training step",
            "26 fields of 10,000 rows of 16 columns, batches of 2,048 Zipf-distributed ids, Adagrad, in turns with "
            "`torch.nn.Embedding(sparse=True)` and the same optimizer: `python/benchmarks/training_steps.py`, raw "
            "figures in [results/training_steps.json](results/training_steps.json). Multi-stage methods are in "
            "their first stage.",
            steps,
        ]
    return "\n\n".join(parts) + "\n"


def _table(cells: Sequence[Cell]) -> str:
    groups: dict[tuple[str, float], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell["method"], cell["budget"]), []).append(cell)
    order = sorted(groups, key=lambda pair: (-pair[1], -_mean(groups[pair], "auc"), pair[0]))
    return markdown_table(
        [
            "budget",
            "method",
            "AUC",
            "seeds",
            "log loss",
            "stored",
            "ratio",
            "train s",
            "training bytes",
            "peak",
            "lookup ns",
        ],
        (_row(method, budget, groups[method, budget]) for method, budget in order),
        left=2,
    )


def _row(method: str, budget: float, cells: Sequence[Cell]) -> list[str]:
    made = [cell for cell in cells if "auc" in cell]
    if not made:
        least = cells[0]["refused"].rsplit("(", 1)[1].split(" ")[0]
        return [percent(budget), method, f"≥ {100 * float(least):.2g} %", *[""] * 8]
    spread = f" ± {statistics.stdev(cell['auc'] for cell in made):.4f}" if len(made) > 1 else ""
    return [
        percent(budget),
        method,
        f"{_mean(made, 'auc'):.4f}{spread}",
        str(len(made)),
        f"{_mean(made, 'log_loss'):.4f}",
        size(int(_mean(made, "stored_bytes"))),
        percent(_mean(made, "ratio")),
        figure(_mean(made, "train_seconds"), 3),
        size(int(_mean(made, "training_bytes"))),
        size(int(_mean(made, "peak_bytes"))),
        figure(_mean(made, "lookup_ns_per_row"), 3),
    ]


def _mean(cells: Sequence[Cell], name: str) -> float:
    values = [cell[name] for cell in cells if name in cell]
    return statistics.fmean(values) if values else 0.0
