"""The rules that come with the library, beside the results that they are fitted to: twelve situations."""

import json
import math
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
from training_results import CRITEO

from embedcompress import training
from embedcompress.bench import _fit, _lines, _tuning
from embedcompress.bench._train_config import AFTER
from embedcompress.bench._variants import variant
from embedcompress.training._rules import committed_rules

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results" / "train.jsonl"
SCALE = ROOT / "docs" / "results" / "scale.jsonl"
RULES = ROOT / "python" / "embedcompress" / "training" / "rules.json"


def test_the_committed_rules_are_fitted_to_the_committed_results():
    files = " ".join(str(path.relative_to(ROOT)) for path in (RESULTS, SCALE))
    refit = f"embedcompress bench fit {files} --out {RULES.relative_to(ROOT)}"
    assert json.loads(RULES.read_text(encoding="utf-8")) == json.loads(json.dumps(_fit.fit([RESULTS, SCALE]))), refit


FLIGHTS = [12, 31, 19, 1020, 16, 3835, 4037, 3, 104, 44173, 44932, 19432, 11979]
MOVIELENS = [943, 1_682]
SITUATIONS = [
    ("half of the bytes", FLIGHTS, {"budget": 0.5}),
    ("a tenth", FLIGHTS, {"budget": 0.1}),
    ("a hundredth", FLIGHTS, {"budget": 0.01}),
    ("a thousandth", FLIGHTS, {"budget": 0.001}),
    ("a tenth, and the uncompressed table does not fit in training", FLIGHTS, {"budget": 0.1, "train_memory": 2e6}),
    ("half, on a server that must answer fast", FLIGHTS, {"budget": 0.5, "latency": 12.0}),
    ("a hundredth, and most ids are rare", FLIGHTS, {"budget": 0.01, "cold": True}),
    ("between what was measured, and most ids are rare", FLIGHTS, {"budget": 0.03, "cold": True}),
    ("a hundredth, on a device that trains in little memory", FLIGHTS, {"budget": 0.01, "train_memory": 2e5}),
    ("a tenth, in little memory and fast", FLIGHTS, {"budget": 0.1, "train_memory": 4e6, "latency": 15.0}),
    ("a small table, a tenth", MOVIELENS, {"budget": 0.1}),
    ("a table of two gigabytes that trains in half of one", CRITEO, {"budget": 0.1, "train_memory": 1e9}),
]


def measured(data, head, cold):
    """Cells of the committed results: losses by seed and costs, by method with options and budget."""
    lines = [line for line in _tuning.results(_lines.read(RESULTS)) if AFTER not in line["request"]["method"]]
    lines = [line for line in lines if (line["request"]["data"], line["request"]["head"]) == (data, head)]
    name = "cold_auc" if cold else "auc"
    uncompressed = {
        line["request"]["seed"]: line["figures"][name]
        for line in lines
        if variant(line["request"]) == "full" and "figures" in line
    }
    cells, stopped = {}, set()
    for line in lines:
        request = line["request"]
        place = variant(request), request["budget"]
        if "stopped" in line:
            stopped.add(place)
        if "figures" in line and request["seed"] in uncompressed:
            figures = line["figures"]
            found = cells.setdefault(
                place, {"method": request["method"], "options": request.get("options", {}), "seeds": [], "loss": [],
                        "memory": [], "ns": []},
            )  # fmt: skip
            found["seeds"].append(request["seed"])
            found["loss"].append(uncompressed[request["seed"]] - figures[name])
            found["memory"].append(figures["training_bytes"] / figures["stored_bytes"] * figures["ratio"])
            found["ns"].append(figures["lookup_ns_per_row"])
    # What diverges for a seed is not to be counted on.
    return {place: found for place, found in cells.items() if place not in stopped}


def held(place, cell, rows):
    """The most that training held of the bytes in f32: on the data set, and at this size if it was measured there."""
    label, budget = place
    growth = committed_rules().growth
    known = growth.curves[label].at(rows, budget).training_ratio if growth.covers(label, (rows, budget)) else 0.0
    return max(statistics.mean(cell["memory"]), known)


def plannable(cell, budget, fields, counts):
    try:
        training.plan(cell["method"], sum(fields), 16, budget=budget, counts=counts, fields=fields, **cell["options"])
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("situation", "fields", "arguments"), SITUATIONS, ids=[one[0] for one in SITUATIONS])
def test_situations_get_what_the_results_support(situation, fields, arguments):
    """The first choice is within the noise of the best cell that keeps the limits, and its cells are there."""
    counts = None if sum(fields) > 1e6 else 1000 // np.arange(1, sum(fields) + 1)
    choice = training.recommend(fields, 16, counts=counts, **arguments)
    first = choice[0]
    cold, f32 = arguments.get("cold", False), 64 * sum(fields)
    cells = measured(*choice.evidence.name.split("/"), cold)
    allowed = {
        place: statistics.mean(found["loss"])
        for place, found in cells.items()
        if place[1] <= arguments["budget"]
        and held(place, found, sum(fields)) * f32 <= arguments.get("train_memory", math.inf)
        and statistics.mean(found["ns"]) <= arguments.get("latency", math.inf)
        and plannable(found, place[1], fields, counts)
    }
    assert allowed, "no cell keeps the limits"
    (_, budget), best = min(allowed.items(), key=lambda item: item[1])
    deviations = {}
    for (label, there), found in cells.items():
        if label != "full" and len(found["loss"]) > 1:
            deviations.setdefault(there, []).append(statistics.stdev(found["loss"]))
    near = {budget, max(there for _, there in allowed)}
    spreads = [statistics.median(deviations[there]) for there in near & deviations.keys()]
    noise = max(spreads, default=0.0) * math.sqrt(2 / min(len(found["loss"]) for found in cells.values()))
    expected = first.cold_auc_loss if cold else first.auc_loss
    assert expected <= best + noise + 1e-5, f"{first.label} loses {expected}; the best measured at {budget}, {best}"
    assert "budget" not in first.beyond
    assert ("rows" in first.beyond) == (sum(fields) > 3 * choice.evidence.rows)
    assert first.training_bytes <= arguments.get("train_memory", math.inf)
    assert first.lookup_ns_per_row <= arguments.get("latency", math.inf)
    budgets = []
    for one in first.cells:
        data, head, label, share, seeds = re.fullmatch(r"(.+)/(.+)/(.+)/(.+): seeds? (.+)", one).groups()
        assert f"{data}/{head}" == choice.evidence.name
        named, there = set(map(int, seeds.split())), set(cells[label, float(share)]["seeds"])
        assert named <= there if label == "full" else named == there
        budgets += [(label, float(share))] if label != "full" else []
    # What it is expected to lose lies between what was measured.
    losses = [statistics.mean(cells[place]["loss"]) for place in budgets]
    assert min(losses) - 1e-5 <= expected <= max(losses) + 1e-5
