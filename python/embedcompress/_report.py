"""Text tables, sizes in words, and the description of a machine, for the command line and the reports."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import _core


def size(count: int) -> str:
    """Return a number of bytes in words, in powers of ten: 5,982,312 is "5.98 MB"."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"


def percent(share: float) -> str:
    """Return a share such as 0.1276 as "12.8 %"."""
    return f"{100 * share:.1f} %"


def figure(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits, and without an exponent where it has a common size."""
    if value is None:
        return "-"
    if value == 0 or not math.isfinite(value) or not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits}g}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int | Collection[int] = 1) -> str:
    """Return a table for a terminal; the first `left` columns, or those of these places, are aligned left."""
    left = range(left) if isinstance(left, int) else left
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table in Markdown; the first `left` columns are aligned left, the others right."""
    marks = [":--" if column < left else "--:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, marks, *rows])


def to_json(value: object) -> str:
    """Return one JSON document; numbers that JSON does not have, such as infinity, become null."""
    return json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """Return a value for JSON: numbers that it does not have, such as infinity, become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return value


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Return what figures of speed depend on: the processor, its caches and the versions."""
    return {
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "processors": processors(),
        "caches": _caches(),
        # What else the machine was doing: processes that ran or waited, over the last minute.
        "load_before": round(os.getloadavg()[0], 2),
        "isa": _core.isa(),
        "versions": {
            "embedcompress": _core.version(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
    }


def _cpu_model() -> str:
    try:
        # The kernel makes this file as it is read: the first processor's part is enough.
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace", buffering=4096) as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _caches() -> dict[str, str]:
    """Return the sizes of the first processor's data caches by level, where the system says."""
    sizes = {}
    for index in range(8):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{index}/"
        try:
            level, kind, extent = (_first_line(folder + name) for name in ("level", "type", "size"))
        except OSError:
            break
        if kind != "Instruction":
            sizes["L" + level] = extent
    return sizes


def _first_line(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.readline().strip()
