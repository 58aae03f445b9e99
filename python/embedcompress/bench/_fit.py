"""The rules of `training.recommend`, fitted to the results of `embedcompress bench train` and of `bench scale`.

For each data set and head, and each method with its options: a point for each measured budget, with means over seeds.
Losses are differences to the uncompressed table of the same seed, so that what a seed does to both falls out. How
training grows with the rows is in `_fit_growth`.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .._atomic import write_text
from .._methods import FULL
from .._reading import read_whole
from ..training._rules import FORMAT
from ._fit_growth import growth
from ._fit_values import Values, machines, mean, rounded, the_one
from ._generated_clicks import READER
from ._lines import Line, key, parse
from ._train_config import AFTER
from ._tuning import is_trial, results
from ._variants import variant

SETTINGS = (
    "split", "dimension", "batch", "epochs", "rate", "dropout", "evaluations", "patience", "sparse",
    "source",
)  # fmt: skip


def fit(paths: Sequence[Path]) -> Values:
    """Return the rules that files of results give, as JSON has them.

    Raises:
        ValueError: there are no results of `bench train`, two kinds of training for one data set and head, a cell
            twice, or no uncompressed tables; those of `bench scale` have other heads or columns; a file has results of
            another benchmark.
    """
    files: list[Values] = []
    lines: dict[str, list[Line]] = {"train": [], "scale": []}
    seen: set[tuple[str, str]] = set()
    for path in paths:
        content = read_whole(path)
        found = parse(content, path)
        for number, line in enumerate(found, 1):
            place = line["bench"], key(line["request"])
            if line["bench"] not in lines:
                raise ValueError(
                    f"'{path}', line {number}: a result of bench {line['bench']}, not of bench {' or '.join(lines)}"
                )
            if place in seen:
                raise ValueError(f"'{path}', line {number}: its cell has a result before it")
            seen.add(place)
            lines[line["bench"]].append(line)
        files.append({"file": path.name, "sha256": hashlib.sha256(content).hexdigest(), "cells": len(found)})
    left_out: list[str] = []
    ours = [line for line in results(lines["train"]) if AFTER not in line["request"]["method"]]
    real = [line for line in ours if line["request"].get("source", {}).get("reader") != READER]
    if made := len(ours) - len(real):
        left_out.append(
            f"{made} cell{'s' * (made > 1)} of generated clicks: an AUC on them says nothing of one on data"
        )
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in real:
        groups.setdefault((line["request"]["data"], line["request"]["head"]), []).append(line)
    tuned = {(line["request"]["data"], line["request"]["head"]) for line in lines["train"] if is_trial(line)}
    evidence = [one for place, cells in sorted(groups.items()) if (one := _evidence(place, cells, place in tuned))]
    if not evidence:
        names = ", ".join(f"'{path}'" for path in paths)
        raise ValueError(
            f"{names}: no data set and head with the method {FULL}, which losses are measured against"
            + "".join(f"; left out: {one}" for one in left_out)
        )
    grows = growth(lines["scale"], left_out) if lines["scale"] else None
    if grows is not None:
        _check_alike(evidence, grows)
    return {
        "format": FORMAT,
        "results": {"files": files, "machines": machines(real), "left_out": left_out},
        "evidence": evidence,
        "growth": grows,
    }


def write(rules: Values, path: Path) -> None:
    """Write rules, a line for each point, atomically."""
    write_text(path, _text(rules) + "\n")


def _check_alike(evidence: Sequence[Values], grows: Values) -> None:
    """Raise an error if no training of a data set was like those of `bench scale`."""
    for name, there, here in (
        ("head", grows["head"], {one["head"] for one in evidence}),
        ("dimension", grows["settings"]["dimension"], {one["settings"]["dimension"] for one in evidence}),
    ):
        if there not in here:
            raise ValueError(
                f"cells of bench scale have the {name} {there}, those of bench train "
                f"{', '.join(map(str, sorted(here)))}: fit rules to results that have the same"
            )


def _check_once(place: tuple[str, str], lines: Sequence[Line]) -> None:
    """Raise an error if a method has two results with the same options, budget and seed."""
    seen = set()
    for line in lines:
        one = variant(line["request"]), line["request"]["budget"], line["request"]["seed"]
        if one in seen:
            raise ValueError(
                f"{'/'.join(place)} has two results of {one[0]} with the budget {one[1]:g} and seed {one[2]}"
            )
        seen.add(one)


def _evidence(place: tuple[str, str], lines: Sequence[Line], is_tuned: bool) -> Values | None:
    """Return what is known of a data set under a head; None if nothing there is uncompressed.

    Args:
        place: Data set and head.
        lines: Their results, without trials.
        is_tuned: Whether each method has an optimizer at each budget that trials chose.
    """
    names = SETTINGS if is_tuned else (*SETTINGS, "optimizer")
    settings = the_one([{name: line["request"].get(name) for name in names} for line in lines], place)
    full = {line["request"]["seed"]: line["figures"] for line in lines
            if variant(line["request"]) == FULL and "figures" in line}  # fmt: skip
    if not full:
        return None
    _check_once(place, lines)
    curves = []
    for name, own in sorted(_by_variant(lines).items()):
        for budget in {line["request"]["budget"] for line in own}:
            here = [line["request"] for line in own if line["request"]["budget"] == budget]
            the_one([{"optimizer": one.get("optimizer")} for one in here], (*place, name, f"{budget:g}"))
        request = own[0]["request"]
        what = {"method": request["method"], "options": request.get("options", {})}
        curves.append(what | _curve(own, full))
    f32_bytes = statistics.mean(map(_f32, full.values()))
    return {
        "data": place[0],
        "head": place[1],
        "rows": round(f32_bytes / (4 * settings["dimension"])),
        "settings": {name: value for name, value in settings.items() if value is not None},
        "full": {
            "seeds": sorted(full),
            "auc": mean(full.values(), lambda one: one["auc"]),
            "cold_auc": mean(full.values(), lambda one: one["cold_auc"]),
            "train_seconds": mean(full.values(), lambda one: one["train_seconds"]),
        },
        "spread": _spread(lines, full),
        "curves": curves,
    }


def _by_variant(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Return lines by their methods with options."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(variant(line["request"]), []).append(line)
    return found


def _curve(lines: Sequence[Line], full: dict[int, Values]) -> Values:
    """Return the points of a method, and the budgets at which it has none."""
    budgets = sorted({line["request"]["budget"] for line in lines})
    points, refused, stopped = [], [], []
    for budget in budgets:
        here = [line for line in lines if line["request"]["budget"] == budget]
        if floors := [line["floor"] for line in here if "refused" in line]:
            refused.append({"budget": budget, "floor": floors[0]})
        elif any("stopped" in line for line in here):
            # What diverges for one seed is not to be counted on, whatever the others gave.
            stopped.append(budget)
        elif pairs := _pairs(here, full):
            points.append(_point(budget, pairs))
    return {"points": points, "refused": refused, "stopped": stopped}


def _pairs(lines: Sequence[Line], full: dict[int, Values]) -> dict[int, tuple[Values, Values]]:
    """Return the figures of cells and of the uncompressed table, by seed."""
    found = {line["request"]["seed"]: line["figures"] for line in lines if "figures" in line}
    return {seed: (found[seed], full[seed]) for seed in sorted(found) if seed in full}


def _point(budget: float, pairs: dict[int, tuple[Values, Values]]) -> Values:
    values = pairs.values()
    return {
        "budget": budget,
        "seeds": list(pairs),
        "ratio": mean(values, lambda pair: pair[0]["ratio"]),
        "loss": mean(values, lambda pair: pair[1]["auc"] - pair[0]["auc"]),
        "error": _error(values, "auc"),
        "cold_loss": mean(values, lambda pair: pair[1]["cold_auc"] - pair[0]["cold_auc"]),
        "cold_error": _error(values, "cold_auc"),
        "training_ratio": mean(values, lambda pair: pair[0]["training_bytes"] / _f32(pair[0])),
        "training_time": mean(values, lambda pair: pair[0]["train_seconds"] / pair[1]["train_seconds"]),
        "lookup_ns": mean(values, lambda pair: pair[0]["lookup_ns_per_row"]),
    }  # fmt: skip


def _spread(lines: Sequence[Line], full: dict[int, Values]) -> list[Values]:
    """Return the standard deviation of losses over seeds that is usual at each budget: the median over methods."""
    found = []
    others = [line for line in lines if variant(line["request"]) != FULL]
    for budget in sorted({line["request"]["budget"] for line in others}):
        here = [line for line in others if line["request"]["budget"] == budget]
        cells = [_pairs(own, full).values() for _, own in sorted(_by_variant(here).items())]
        several = [cell for cell in cells if len(cell) > 1]
        if several:
            found.append(
                {"budget": budget}
                | {name: rounded(statistics.median(_deviation(cell, of) for cell in several))
                   for name, of in (("loss", "auc"), ("cold_loss", "cold_auc"))}
            )  # fmt: skip
    return found


def _deviation(pairs: Iterable[tuple[Values, Values]], name: str) -> float:
    return float(statistics.stdev(full[name] - found[name] for found, full in pairs))


def _f32(figures: Values) -> float:
    return float(figures["stored_bytes"] / figures["ratio"])


def _error(pairs: Iterable[tuple[Values, Values]], name: str) -> float | None:
    """Return the standard error of a mean loss; None of one seed."""
    values = list(pairs)
    return rounded(_deviation(values, name) / math.sqrt(len(values))) if len(values) > 1 else None


def _text(value: Any, indent: str = "") -> str:
    """Return JSON with a line for each object that has no objects in it."""
    inner = indent + " "
    if isinstance(value, dict) and any(isinstance(one, dict | list) and _is_deep(one) for one in value.values()):
        parts = [f"{inner}{json.dumps(name)}: {_text(one, inner)}" for name, one in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return "[\n" + ",\n".join(inner + _text(one, inner) for one in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _is_deep(value: Any) -> bool:
    return isinstance(value, dict) or any(isinstance(one, dict) for one in value)
