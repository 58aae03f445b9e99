"""Where benchmarks leave their figures: JSON in docs/results, and tables in pages between named comments."""

from __future__ import annotations

import importlib.metadata
import json
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from embedcompress._atomic import write_text
from embedcompress._report import machine, to_json

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = DOCS / "results"


Cell = TypeVar("Cell")


def described_machine(*packages: str) -> dict[str, Any]:
    """Return the machine and the versions, those of peers included."""
    found = machine()
    found["versions"] |= {package: importlib.metadata.version(package) for package in packages}
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Return what an earlier run left; nothing if there was none."""
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return result


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, to_json(value) + "\n")


def machine_text(found: Mapping[str, Any]) -> str:
    """Return a sentence on the machine of a run."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"Machine: {found['cpu']}, {found['processors']} processors, {found['system']}, kernels for {found['isa']}, "
        f"load average before the run {found['load_before']}; {versions}."
    )


def read_cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells that an earlier run left, each with its `machine`; none if there was no run."""
    document = read_json(path)
    return [cell | {"machine": document["machines"][cell["machine"]]} for cell in document.get("cells", [])]


def cells_made_with(settings: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """Return the cells of a file, or none if they were made with other settings."""
    return read_cells(path) if read_json(path).get("settings") == settings else []


def measured_cells(
    cells: Iterable[Cell], measure: Callable[[Cell], dict[str, Any]], *packages: str
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Measure cells, print what each gives, and yield it with the machine as it was before the first one.

    Args:
        cells: What to measure.
        measure: Returns a cell's figures.
        *packages: Beside torch, those whose versions the machine is to have.
    """
    machine = described_machine("torch", *packages)
    for cell in cells:
        found = measure(cell)
        print(found, flush=True)
        yield cell, found | {"machine": machine}


def write_cells(path: Path, cells: Sequence[Mapping[str, Any]], **more: Any) -> None:
    """Write cells, and each of their machines once."""
    machines: list[Any] = []
    for cell in cells:
        if cell["machine"] not in machines:
            machines.append(cell["machine"])
    numbered = [{**cell, "machine": machines.index(cell["machine"])} for cell in cells]
    write_json(path, {"machines": machines, **more, "cells": numbered})


def resumed_cells(
    settings: Mapping[str, Any], path: Path
) -> tuple[list[dict[str, Any]], Callable[[Sequence[Mapping[str, Any]]], None]]:
    """Return the cells that a file has of these settings, and what adds measured cells to them and to the file."""
    cells = cells_made_with(settings, path)
    described = described_machine()

    def keep(found: Sequence[Mapping[str, Any]]) -> None:
        cells.extend({**cell, "machine": described} for cell in found)
        write_cells(path, cells, settings=settings)

    return cells, keep


def lookup_figures(cell: Mapping[str, Any]) -> list[str]:
    """Return the times of a cell's rows and bags in nanoseconds, each with its ratio, as they stand in a table."""
    return [
        f"{cell[name]:.{digits}f}"
        for part in ("rows", "bags")
        for name, digits in ((f"{part}_ns", 1), (f"{part}_ratio", 2))
    ]


def machines_text(cells: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return a sentence on the machine of cells, or one for each run, with the names of its cells."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        found.setdefault(machine_text(cell["machine"]), []).append(f"`{cell[name]}`")
    if len(found) == 1:
        return next(iter(found))
    return "\n\n".join(f"{text} So: {', '.join(dict.fromkeys(names))}." for text, names in found.items())


def fill(page: Path, parts: Mapping[str, str]) -> None:
    """Replace what stands in a page between `<!-- name -->` and `<!-- /name -->`."""
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{page.name} has no place for {name}")
        text = pattern.sub(lambda match, part=part: f"{match[1]}\n{part}\n\n{match[2]}", text)  # type: ignore[misc]
    write_text(page, text)


def interleaved(calls: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Return the seconds of each call, which take turns so that what else the machine does meets them all."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repetition in range(repetitions + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            # The first round warms up.
            if repetition:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(theirs: list[float], ours: list[float]) -> float:
    """Return the median of the ratios of neighbouring calls: above 1 where ours is faster."""
    return statistics.median(their / our for their, our in zip(theirs, ours, strict=True))
