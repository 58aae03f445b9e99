"""Variants of the methods that learn a table: a method with other options is a method of its own in all results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._labels import label
from .._methods import FULL, WHILE_TRAINING
from .._registry import methods
from ._train_config import AFTER

FAMILIES = {
    "sharing": ("hashing", "decomposition", "deduplication", "hybrid"),
    "codes": ("product quantization",),
    "quantization": ("uniform quantization", "codebook quantization"),
    "dimension reduction": ("mixed dimension",),
    "pruning": ("pruning",),
}
"""The taxonomy of the VLDB 2024 study, with the catalogue's families in it."""
HYBRIDS = "hybrids"
"""The family of methods that are no quantization by themselves, with arrays in codes of few bits."""
AFTER_TRAINING = "after training"
"""The family of trained tables that are compressed afterwards."""
OTHER = "other"
"""The family of methods that are not in the taxonomy."""
ALL_FAMILIES = (*FAMILIES, HYBRIDS, AFTER_TRAINING, OTHER)


def variant(request: Mapping[str, Any]) -> str:
    """Return what the method of a cell is called with its options, such as "robe(bits=4, block=4)" or "full + eden"."""
    trained, *after = request["method"].split(AFTER)
    return AFTER.join([label(trained, request.get("options", {})), *after])


def family(method: str, options: Mapping[str, Any]) -> str:
    """Return what a method with options is by the study's taxonomy, a hybrid, or compressed after training."""
    if AFTER in method:
        return AFTER_TRAINING
    found = next((one.family for one in methods(WHILE_TRAINING) if one.name == method), None)
    known = next((name for name, families in FAMILIES.items() if found in families), OTHER)
    if options.get("bits") is None or known in ("codes", "quantization"):
        return known
    return "quantization" if method == FULL else HYBRIDS
