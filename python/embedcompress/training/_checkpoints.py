"""Checkpoints of a training: files of a folder, each whole or not there.

`stage-I.pt` is the state after a stage, `stage-I-part.pt` the one within it, and `stage-I-best-STEP.pt` the best of it
so far. The last two go when the stage has ended.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .._atomic import write_file

State = dict[str, Any]


@dataclass
class Position:
    """Where in a stage a training is: what neither the model nor the optimizers have."""

    epoch: int = 0
    done: int = 0
    """Batches of the epoch."""
    step: int = 0
    """Steps since the stage began."""
    evaluated: int = 0
    """Batches of the epoch that were done at its last evaluation."""
    waited: int = 0
    """Evaluations since the best score."""
    best: float | None = None
    """The best score; None before there is one."""
    best_step: int = 0
    """The step of the best score."""
    best_trained: float | None = None
    """The best score since the first step, which `waited` goes by."""
    total: int | None = None
    """Steps of the stage; None where that was not known as it began."""
    validation_epoch: int = 0
    validation_done: int = 0


class Checkpoints:
    """The files of a folder, which is made with the first of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage(self, index: int) -> Path:
        """Return where the state after a stage is."""
        return self.folder / f"stage-{index}.pt"

    def part(self, index: int) -> Path:
        """Return where the state within a stage is."""
        return self.folder / f"stage-{index}-part.pt"

    def best(self, index: int, step: int) -> Path:
        """Return where the best state of a stage is, which it had at a step."""
        return self.folder / f"stage-{index}-best-{step}.pt"

    def write(self, path: Path, state: State) -> None:
        """Write a file, which replaces one of that name at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(path, lambda file: torch.save(state, file))

    def read(self, path: Path, mapped: bool = False, needed: Collection[str] = ()) -> State:
        """Return what a file has; mapped, its tensors take no memory of their own.

        Raises:
            ValueError: something that is needed is missing.
        """
        state: State = torch.load(path, weights_only=True, mmap=mapped)
        if missing := [name for name in needed if name not in state]:
            raise ValueError(f"'{path}' is no checkpoint that this version can go on from: it lacks {missing[0]}")
        return state

    def clean(self, index: int, keep: Collection[Path] = ()) -> None:
        """Remove all files of within a stage but some."""
        for path in self.folder.glob(f"stage-{index}-*.pt"):
            if path not in keep:
                path.unlink(missing_ok=True)


def random_state() -> State:
    """Return the state of torch's generators of random numbers."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": devices}


def set_random_state(state: State) -> None:
    """Go on drawing where the state was taken."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
