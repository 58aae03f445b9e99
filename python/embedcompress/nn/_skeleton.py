"""Models without the memory of their parameters, to be filled from a file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils.weak import WeakIdKeyDictionary


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Put every parameter that this thread registers on the meta device; buffers are computed as ever."""
    thread = threading.get_ident()
    made: Any = WeakIdKeyDictionary()

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if threading.get_ident() != thread or type(parameter) is not nn.Parameter or parameter.is_meta:
            return None
        if parameter not in made:
            new = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
            new.__dict__.update(parameter.__dict__)
            made[parameter] = new
        # One that is registered again, as a tie, becomes the same.
        found: nn.Parameter = made[parameter]
        return found

    handle = register_module_parameter_registration_hook(on_meta)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


def fill_buffers(model: nn.Module) -> None:
    """Compute the buffers of a model of transformers that are on the meta device and in no file, as it does itself.

    Raises:
        ValueError: there are such buffers in a model of another kind. The message names one.
    """
    wanting = [
        (prefix, module, name, buffer)
        for prefix, module in model.named_modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and buffer.is_meta
    ]
    if not wanting:
        return
    initialize: Any = getattr(model, "initialize_weights", None)
    persistent = [
        (prefix, name) for prefix, module, name, _ in wanting if name not in module._non_persistent_buffers_set
    ]
    if initialize is None or persistent:
        prefix, name = (persistent or [(wanting[0][0], wanting[0][2])])[0]
        raise ValueError(
            f"{prefix + '.' if prefix else ''}{name} is on the meta device, and the file does not have it: give a "
            "function that makes the model, which is called so that parameters take no memory"
        )
    modules = {id(module) for _, module, _, _ in wanting}
    for module in model.modules():
        module._is_hf_initialized = id(module) not in modules  # type: ignore[assignment]
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    for tensor in tensors:
        tensor._is_hf_initialized = True  # type: ignore[attr-defined]
    for _, module, name, buffer in wanting:
        module._buffers[name] = torch.zeros_like(buffer, device="cpu")
    initialize()
