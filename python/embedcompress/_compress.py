"""`compress`: from a weight to a table."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from . import _core
from ._table import Progress, Table, dense


def compress(
    weight: object,
    method: str = "greedy",
    *,
    budget: int | float | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Table:
    """Compress an embedding table.

    Args:
        weight: (rows, dimension), f32, f16 or bf16, C-contiguous: a NumPy array, a torch CPU tensor, a buffer, or a
            Table, such as `load` gives for a tensor of a checkpoint. Never written to, and not kept.
        method: A name from `methods()`.
        budget: The most bytes that the result may have: an int is bytes, a float up to 1 is a ratio of the f32 size.
            The method chooses its knob for it.
        progress: Called as progress(done, total) now and then; returning False stops with KeyboardInterrupt.
        **options: The method's own; see `methods()`.

    Returns:
        The compressed table. No row has a larger squared error than plain min-max at the same bits gives it. Scales
        in f16 can't say less than 6e-8: rows whose whole range is near that become constant; scale_dtype="f32" keeps
        them.

    Raises:
        ValueError: an unknown method or option; a value that is not finite, or does not fit f16 scales (the message
            names the row); an array that is strided, byte-swapped, or of the wrong dtype or rank.
        BudgetError: the method can't be that small; the message names the least that it can reach.
        KeyboardInterrupt: Ctrl-C, within half a second.
    """
    source = dense(weight)
    if budget is not None:
        options["budget"] = budget_bytes(budget, source)
    result: Table = _core.compress(source, method, json.dumps({k: _plain(k, v) for k, v in options.items()}), progress)
    return result


def budget_bytes(budget: int | float, source: Table) -> int:
    """Return a budget in bytes."""
    if isinstance(budget, np.generic):
        budget = budget.item()
    if isinstance(budget, bool) or not isinstance(budget, (int, float)):
        raise TypeError(f"budget must be a number, not {type(budget).__name__}")
    if isinstance(budget, float):
        if not 0 < budget <= 1:
            raise ValueError(f"a budget that is a float is a ratio of the f32 size, from 0 to 1, not {budget}")
        return int(budget * source.rows * source.dimension * 4)
    if budget < 0:
        raise ValueError(f"budget must not be negative, not {budget}")
    return budget


def _plain(name: str, value: Any) -> Any:
    """Return an option as JSON has it; NumPy's scalars become Python's."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"option {name} must be finite, not {value}")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"option {name} must be a number, a string or a flag, not {type(value).__name__}")
