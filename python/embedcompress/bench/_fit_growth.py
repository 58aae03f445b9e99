"""How training grows with the rows of a table, from results of `embedcompress bench scale`.

Times are of a processor, over those of the uncompressed table of a cell that differs in nothing else; one for which
there is none is left out. Bytes are over those of the table in f32.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._methods import FULL
from ._fit_values import Values, machines, mean, the_one
from ._lines import Line, key

SETTINGS = ("data", "head", "dimension", "batch", "gradients", "threads")


def growth(lines: Sequence[Line], left_out: list[str]) -> Values:
    """Return what each method costs at each number of rows and budget, means over cells that differ in nothing else.

    Args:
        lines: Results.
        left_out: What is not in it, in sentences, is added.

    Raises:
        ValueError: cells were trained in several ways, or no uncompressed table was.
    """
    settings = the_one([{name: line["request"][name] for name in SETTINGS} for line in lines], ("bench scale",))
    data, head = settings.pop("data"), settings.pop("head")
    made = [line for line in lines if "figures" in line]
    full = {_beside(line): _time(line) for line in made if line["request"]["method"] == FULL}
    if not full:
        raise ValueError(f"bench scale: no result of the method {FULL}, which times are measured against")
    cells: dict[str, dict[tuple[int, float], list[tuple[Line, float]]]] = {}
    for line in made:
        request = line["request"]
        if (uncompressed := full.get(_beside(line))) is None:
            cell = f"{request['method']} at {request['budget']:g} with {request['rows']:,} rows"
            left_out.append(f"bench scale, {cell}: no result of {FULL} beside it, which its time is measured against")
            continue
        here = cells.setdefault(request["method"], {})
        here.setdefault((request["rows"], request["budget"]), []).append((line, _time(line) / uncompressed))
    curves = [
        {"method": method, "points": [_point(*place, found) for place, found in sorted(here.items())]}
        for method, here in sorted(cells.items())
    ]
    return {"data": data, "head": head, "settings": settings, "machines": machines(made), "curves": curves}


def _point(rows: int, budget: float, cells: Sequence[tuple[Line, float]]) -> Values:
    """Return means over cells and their times over the uncompressed table's."""
    f32 = 4 * rows * cells[0][0]["request"]["dimension"]
    return {
        "rows": rows,
        "budget": budget,
        "time": mean(cells, lambda one: one[1]),
        "training_ratio": mean(
            cells, lambda one: sum(_bytes(one[0])[name] for name in ("parameters", "buffers")) / f32
        ),
        "state_ratio": mean(cells, lambda one: sum(_bytes(one[0]).values()) / f32),
    }


def _beside(line: Line) -> str:
    """Return what cells have the same that are compared: all but the method and its budget."""
    return key({name: value for name, value in line["request"].items() if name not in ("method", "budget")})


def _time(line: Line) -> float:
    return float(line["figures"]["step_cpu_ms"]["median"])


def _bytes(line: Line) -> dict[str, int]:
    found: dict[str, int] = line["figures"]["table_bytes"]
    return found
