"""Lines of `qbert.py` as tables and claims ask for them: means over seeds, spread, differences at the same seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from _qbert_settings import BY_NAME, Setting

from embedcompress.bench._lines import Line, key

MEBI = 2**20


@dataclass(frozen=True)
class Difference:
    """Of two settings, at the same seeds."""

    mean: float
    error: float
    """Standard error over seeds; infinite with one."""
    seeds: int


class Results:
    """Figures by part, setting and seed."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._found: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
        self.curvature: dict[str, list[dict[str, Any]]] = {}
        """Figures of each block, a seed after the other."""
        self.surfaces: dict[str, dict[str, Any]] = {}
        """The loss around a block."""
        for line in lines:
            request = line["request"]
            if "refused" in line:
                continue
            if request["part"] == "hessian":
                self.curvature.setdefault(request["block"], []).append(line["figures"])
            elif request["part"] == "surface":
                self.surfaces[request["block"]] = line["figures"]
            elif "setting" in request:
                place = self._found.setdefault((request["part"], key(request["setting"])), {})
                place[request["seed"]] = line["figures"]

    def by_seed(self, part: str, setting: Setting | str) -> dict[int, dict[str, Any]]:
        """Return the figures of a setting by seed; settings of other names may share them."""
        chosen = BY_NAME[setting] if isinstance(setting, str) else setting
        return self._found.get((part, key(chosen.request())), {})

    def values(self, part: str, setting: Setting | str, name: str) -> list[float]:
        """Return a figure of each seed that has it."""
        return [figures[name] for figures in self.by_seed(part, setting).values() if name in figures]

    def mean(self, part: str, setting: Setting | str, name: str) -> float | None:
        """Return the mean of a figure over seeds; None without one."""
        found = self.values(part, setting, name)
        return statistics.fmean(found) if found else None

    def accuracy(self, part: str, setting: Setting | str, seeds: Collection[int] | None = None) -> str:
        """Return accuracy in percent with its standard deviation over seeds, or over some of them."""
        own = self.by_seed(part, setting).items()
        found = [100 * figures["accuracy"] for seed, figures in own if seeds is None or seed in seeds]
        if not found:
            return "-"
        spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
        return f"{statistics.fmean(found):.1f}{spread}"

    def drop(
        self, part: str, setting: Setting | str, beside: Setting | str, other: str | None = None
    ) -> Difference | None:
        """Return how many points of accuracy a setting is below another one, of the same part or of `other`."""
        first, second = self.by_seed(part, setting), self.by_seed(other or part, beside)
        apart = [100 * (second[seed]["accuracy"] - first[seed]["accuracy"]) for seed in first if seed in second]
        if not apart:
            return None
        error = statistics.stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else math.inf
        return Difference(statistics.fmean(apart), error, len(apart))

    def smaller(self, setting: Setting | str) -> float | None:
        """Return how many times smaller than f32 the whole model is."""
        part = "qat" if self.by_seed("qat", setting) else "ptq"
        own, whole = self.mean(part, setting, "bytes"), self.mean("ptq", "f32", "bytes")
        return whole / own if own and whole else None

    def mebibytes(self, setting: Setting | str, name: str) -> str:
        """Return the size of a model, or of a part, in MB of 2^20 bytes."""
        for part in ("qat", "ptq", "similarity"):
            mean = self.mean(part, setting, name)
            if mean is not None:
                return f"{mean / MEBI:.2f}"
        return "-"


def bits_text(setting: Setting, found: Results) -> tuple[str, str, str]:
    """Return the bits of layers, of the word and of the position embedding, those of each seed if they differ."""
    if setting.tokens is not None:
        classes = ["".join(map(str, one["bits_of_classes"])) for one in found.by_seed("ptq", setting).values()]
        return str(setting.bits), ", ".join(dict.fromkeys(classes)) or "-", str(setting.position)
    if isinstance(setting.bits, int):
        return str(setting.bits), str(setting.word), str(setting.position)
    chosen = list((found.by_seed("ptq", setting) or found.by_seed("qat", setting)).values())
    layers, others = [], []
    for figures in chosen:
        bits = figures["bits"]
        layers.append("".join(str(count) for name, count in bits.items() if name.startswith("layer ")))
        others.append((str(bits["word"]), str(bits["position"])))
    words, positions = (list(dict.fromkeys(column)) for column in zip(*others, strict=True)) if others else ([], [])
    return tuple(", ".join(dict.fromkeys(one)) or "-" for one in (layers, words, positions))
