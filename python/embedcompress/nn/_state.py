"""What of a model is saved: tensors that are no table's, each once, and tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ._parts import Parts


def plain_state(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a state_dict that are not those of tables."""
    modules = model.named_modules(remove_duplicate=False)
    of_tables = tuple(f"{name}." for name, module in modules if isinstance(module, Parts))
    for key, value in model.state_dict(keep_vars=True).items():
        if not key.startswith(of_tables):
            yield key, value


def same_memory(tensor: Tensor) -> object:
    """Return what two tensors have in common that are the same view of the same memory: one of them is saved."""
    begin, end = span(tensor)
    if begin == end:
        return id(tensor)
    return begin, tuple(tensor.shape), tensor.stride(), tensor.dtype


def span(tensor: Tensor) -> tuple[int, int]:
    """Return the range of addresses that a tensor lies in; an empty one if it has no memory."""
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.numel() == 0:
        return 0, 0
    try:
        begin = tensor.data_ptr()
    except RuntimeError:
        # A tensor subclass may stand on no memory of its own.
        return 0, 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return begin, begin + (last + 1) * tensor.element_size()


def stored_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's tensors and tables, each counted once: what `save_compressed` writes.

    torch's quantized tensors, which it does not write, are left out.
    """
    tensors = (value for _, value in plain_state(model) if isinstance(value, Tensor) and not value.is_quantized)
    plain = {same_memory(value): value for value in tensors}
    tables = sum(module.table().stored_bytes for module in model.modules() if isinstance(module, Parts))
    return tables + sum(tensor.numel() * tensor.element_size() for tensor in plain.values())
