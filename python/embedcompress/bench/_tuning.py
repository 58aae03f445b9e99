"""Which optimizer a method's tables are trained with: as many trials for each, of which validation chooses.

A trial is a cell of its own, whose request says so and has the optimizer, with one seed. The trial with the best AUC on
validation data is what all seeds are run with; test data has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._lines import Line, key

Request = dict[str, Any]
TRIAL = "trial"
"""What a request has that is a trial's."""


@dataclass(frozen=True)
class Cell:
    """What is to be run: a request, or one that trials are to complete."""

    request: Request
    trials: tuple[Request, ...] = ()
    """Those that choose the request's optimizer; none if it has one, or needs none."""

    def chosen(self, found: Mapping[str, Line]) -> Request | None:
        """Return the request with the optimizer that trials chose; None before all of them have lines.

        Args:
            found: Lines by the key of their request.
        """
        if not self.trials:
            return self.request
        lines = [found.get(key(trial)) for trial in self.trials]
        ended = [line for line in lines if line is not None]
        if len(ended) < len(lines):
            return None
        return self.request | {"optimizer": best(ended)["request"]["optimizer"]}


def trial(request: Request, optimizer: Mapping[str, Any], seed: int) -> Request:
    """Return a trial of an optimizer for a request."""
    return request | {"seed": seed, "optimizer": dict(optimizer), TRIAL: True}


def is_trial(line: Line) -> bool:
    """Return whether a line is a trial's."""
    return TRIAL in line["request"]


def results(lines: Iterable[Line]) -> list[Line]:
    """Return the lines that are no trials."""
    return [line for line in lines if not is_trial(line)]


def best(trials: Sequence[Line]) -> Line:
    """Return the trial that is chosen: that with the best AUC on validation data, or the first if none has one."""
    made = [line for line in trials if "figures" in line]
    return max(made, key=lambda line: line["figures"]["validation_auc"], default=trials[0])


def as_result(line: Line) -> Request:
    """Return the request that a trial's line answers, too."""
    return {name: value for name, value in line["request"].items() if name != TRIAL}


def shown(optimizer: Mapping[str, Any]) -> str:
    """Return an optimizer's name and numbers."""
    numbers = [f"{value:g}" if name == "lr" else f"{name} {value}" for name, value in optimizer.items()
               if name not in ("name", "own")]  # fmt: skip
    return " ".join([str(optimizer["name"]) + (" of its own" if optimizer.get("own") else ""), *numbers])
