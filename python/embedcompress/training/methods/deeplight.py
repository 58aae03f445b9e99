"""DeepLight: the smallest numbers of the table are pruned step by step while training goes on.

Deng, Pan, Zhou, Kong, Flores and Lin, "DeepLight: Deep Lightweight Feature Interactions for Accelerating CTR
Predictions in Ad Serving", WSDM 2021 (arXiv 2002.06987). Plain training and pruning are one run, as in the authors'
code: after the first .3 of its steps the table is pruned as in `_gradual`, so that a part s_t =
s (1 - 0.99^(t / decay_steps)) of it is zero t steps later. The paper's decay of 100 steps prunes 99.9 % of s after
68,732 steps; a training of fewer gets there after three quarters of those that are left. Where the number of steps is
not known, pruning begins at once. Scores count from 99.9 % on; a training that does not get there has its last state.

Bytes: those of `_sparse`, for as many numbers as the budget has room for. The table is full while training.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ... import Method
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._gradual import GraduallyPruned
from .._spec import Spec

BASE = 0.99
DECAY_STEPS = 100.0
WARM_UP = 0.3
"""The share of the steps before pruning begins."""


class DeepLight(GraduallyPruned):
    """`training.embedding("deeplight", …)`."""

    method: ClassVar[Method] = entry("deeplight", WHILE_TRAINING)

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.begin = 0
        """Steps before pruning begins."""
        self.is_planned = options["decay_steps"] is not None
        self.decay_steps = options["decay_steps"] if self.is_planned else DECAY_STEPS

    def schedule(self, steps: int) -> None:
        """Have all but a thousandth of the pruning done after three quarters of the steps that are no warm-up."""
        self.begin = int(WARM_UP * steps)
        if not self.is_planned:
            self.decay_steps = min(DECAY_STEPS, 0.75 * (steps - self.begin) * math.log(BASE) / math.log(1e-3))

    def pruned_share(self, steps: int) -> float:
        """Return which share of the numbers to be pruned is zero after so many steps."""
        return float(1 - BASE ** (max(steps - self.begin, 0) / self.decay_steps))

    def get_extra_state(self) -> dict[str, Any]:
        """Return the schedule, beside how far it is."""
        return super().get_extra_state() | {"decay_steps": self.decay_steps, "begin": self.begin}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.decay_steps, self.begin = state["decay_steps"], state["begin"]
