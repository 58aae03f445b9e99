"""How training grows with the rows of a table, from results of `embedcompress bench scale`.

Times are of a processor, over those of the uncompressed table of as many rows; a size at which that was not measured
gives nothing. Bytes are over those of the table in f32.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ._fit_values import FULL, Values, machines, mean, the_one
from ._lines import Line

SETTINGS = ("data", "head", "dimension", "batch", "gradients", "threads")


def growth(lines: Sequence[Line]) -> Values:
    """Return what each method costs at each number of rows and budget, means over cells that differ in nothing else.

    Raises:
        ValueError: cells were trained in several ways, or no uncompressed table was.
    """
    settings = the_one([{name: line["request"][name] for name in SETTINGS} for line in lines], ("bench scale",))
    data, head = settings.pop("data"), settings.pop("head")
    made = [line for line in lines if "figures" in line]
    full: dict[int, list[float]] = {}
    for line in made:
        if line["request"]["method"] == FULL:
            full.setdefault(line["request"]["rows"], []).append(_time(line))
    if not full:
        raise ValueError(f"bench scale: no result of the method {FULL}, which times are measured against")
    cells: dict[str, dict[tuple[int, float], list[Line]]] = {}
    for line in made:
        request = line["request"]
        if request["rows"] in full:
            here = cells.setdefault(request["method"], {})
            here.setdefault((request["rows"], request["budget"]), []).append(line)
    times = {rows: statistics.median(found) for rows, found in full.items()}
    curves = [
        {"method": method, "points": [_point(*place, found, times[place[0]]) for place, found in sorted(here.items())]}
        for method, here in sorted(cells.items())
    ]
    return {"data": data, "head": head, "settings": settings, "machines": machines(made), "curves": curves}


def _point(rows: int, budget: float, lines: Sequence[Line], full: float) -> Values:
    f32 = 4 * rows * lines[0]["request"]["dimension"]
    return {
        "rows": rows,
        "budget": budget,
        "time": 1.0 if lines[0]["request"]["method"] == FULL else mean(lines, lambda one: _time(one) / full),
        "training_ratio": mean(lines, lambda one: sum(_bytes(one)[name] for name in ("parameters", "buffers")) / f32),
        "state_ratio": mean(lines, lambda one: sum(_bytes(one).values()) / f32),
    }


def _time(line: Line) -> float:
    return float(line["figures"]["step_cpu_ms"]["median"])


def _bytes(line: Line) -> dict[str, int]:
    found: dict[str, int] = line["figures"]["table_bytes"]
    return found
