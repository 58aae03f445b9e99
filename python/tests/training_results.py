"""Results of `embedcompress bench train` and `bench scale` that were never run, and rules fitted to them."""

import json

from embedcompress import training
from embedcompress.bench import _fit

MACHINE = {"cpu": "a processor", "processors": 2, "isa": "x86-64-v3", "versions": {}}
ROWS = 10_000
F32 = ROWS * 16 * 4
FIELDS = [9_000, 900, 100]
CRITEO = (
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10, 5652),
    *(2173, 4, 7046547, 18, 15, 286181, 105, 142572),
)
"""Sizes of its 26 fields (arXiv 2311.15578)."""


def cell(method, budget, seed, auc=None, data="one", head="dlrm", options=None, **figures):
    """A line of results; None of AUC is a refusal."""
    request = {"data": data, "head": head, "method": method, "budget": budget, "seed": seed, "dimension": 16}
    request |= {"options": options} if options else {}
    line = {"bench": "train", "machine": MACHINE, "request": request}
    if auc is None:
        return line | {"refused": "cannot", "floor": 12345}
    known = {
        "auc": auc,
        "cold_auc": auc - 0.02,
        "ratio": budget,
        "stored_bytes": budget * F32,
        "training_bytes": budget * F32,
        "train_seconds": 10.0,
        "lookup_ns_per_row": 10.0,
    }
    return line | {"figures": known | figures}


def full(seed, auc=0.8, **figures):
    return cell("full", 1.0, seed, auc, lookup_ns_per_row=3.0, **figures)


def written(folder, lines):
    path = folder / "results.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def rules_of(folder, lines):
    out = folder / "rules.json"
    _fit.write(_fit.fit([written(folder, lines)]), out)
    return training.read_rules(out)


def scaled(method, rows, budget=0.1, time=100.0, samples=1000, **changed):
    """A line of `bench scale`: milliseconds of a step; parameters and buffers as the budget, with Adam three times."""
    request = {
        "data": "generated", "rows": rows, "method": method, "budget": budget, "seed": 0, "head": "dlrm",
        "dimension": 16, "batch": 256, "samples": samples, "test_samples": 500, "warm_up": 2, "gradients": "sparse",
        "threads": 1,
    }  # fmt: skip
    own = round(budget * rows * 64)
    parts = {"parameters": own - 64, "buffers": 64, "gradients": 0, "optimizer": 2 * own} | changed
    figures = {"step_ms": {"median": 2 * time}, "step_cpu_ms": {"median": time}, "table_bytes": parts}
    return {"bench": "scale", "machine": MACHINE, "request": request, "figures": figures}


def three(method, budget, auc, **figures):
    """Three seeds that are 0.003 apart, which makes the usual standard deviation 0.003."""
    return [cell(method, budget, seed, auc + 0.003 * (seed - 1), **figures) for seed in range(3)]


FULL = [full(seed) for seed in range(3)]


def labels(choice):
    return [one.label for one in choice]
