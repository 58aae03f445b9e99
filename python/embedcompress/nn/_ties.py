"""What a model of transformers declares, told anew when weights have become tables: which of them are tied.

`_tied_weights_keys` names pairs of parameters. Those of tables are no parameters any more; they share a module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ._compressed import Compressed

LISTENERS: list[Callable[[nn.Module], None]] = []
"""What else is called with a model that has got tables."""


def settle(model: nn.Module) -> None:
    """Tell a model, and who listens, that it has got tables."""
    _declare_ties(model)
    for listener in LISTENERS:
        listener(model)


def _declare_ties(model: nn.Module) -> None:
    """Put pairs of shared tables in the place of pairs of weights, in every part of a model that declares some."""
    for part in model.modules():
        declared: Any = getattr(part, "_tied_weights_keys", None)
        compressed = {
            name: module
            for name, module in part.named_modules(remove_duplicate=False)
            if isinstance(module, Compressed)
        }
        if not isinstance(declared, dict) or not compressed:
            continue
        kept = {
            target: source
            for target, source in declared.items()
            if not any(key.rpartition(".")[0] in compressed and key.endswith(".weight") for key in (target, source))
            and ".parts" not in target
        }
        firsts: dict[int, str] = {}
        for name, module in compressed.items():
            first = firsts.setdefault(id(module.parts), name)
            if first != name and module is not compressed[first]:
                kept[f"{name}.parts"] = f"{first}.parts"
        part._tied_weights_keys = kept  # type: ignore[assignment]
        if hasattr(part, "all_tied_weights_keys"):
            part.all_tied_weights_keys = part.get_expanded_tied_weights_keys(all_submodels=True)  # type: ignore[operator]
