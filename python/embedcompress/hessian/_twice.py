"""What makes a forward pass differentiable twice: attention, embeddings and bags by formulas that allow it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

_MISSING = re.compile(r"derivative for '?([\w:]+)'? is not implemented")
_EMBEDDING = signature(functional.embedding)
_BAG = signature(functional.embedding_bag)


@contextmanager
def twice_differentiable(device_type: str) -> Iterator[None]:
    """Compute in f32, by formulas that can be differentiated twice, whatever the caller has set.

    Fused attention, sparse gradients of embeddings and torch.nn.functional.embedding_bag can't: attention goes through
    its plain formula, gradients are dense, bags are gathered and pooled. Compiled modules run uncompiled.

    Raises:
        ValueError: an operator in use has no second derivative; the message names it.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device_type, enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        # A compiled model has loaded the compiler already; loading it otherwise takes seconds.
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_Lookups())
        try:
            yield
        except RuntimeError as error:
            reason = _reason(str(error))
            if reason is None:
                raise
            raise ValueError(reason) from error


def _reason(message: str) -> str | None:
    """Return what to tell of an error of torch; None if it is not about a second derivative."""
    if found := _MISSING.search(message):
        hint = ""
        if "attention" in found[1]:
            hint = "; choose an attention without a fused kernel, such as attn_implementation='eager' of transformers"
        return f"the model uses {found[1]}, which torch can't differentiate twice{hint}"
    if "double backward" in message or "once_differentiable" in message:
        return f"the model uses an operator that torch can't differentiate twice: {message.splitlines()[0]}"
    return None


class _Lookups(TorchFunctionMode):
    """Sends `embedding` and `embedding_bag` of torch.nn.functional through formulas with two derivatives."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.embedding:
            return _embedding(**_arguments(_EMBEDDING, args, kwargs))
        if func is functional.embedding_bag:
            return _bag(**_arguments(_BAG, args, kwargs))
        return func(*args, **kwargs)


def _arguments(of: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    bound = of.bind(*args, **kwargs)
    bound.apply_defaults()
    given: dict[str, Any] = bound.arguments
    if given["max_norm"] is not None:
        rows, dimension = given["weight"].shape
        raise ValueError(
            f"an embedding of {rows} x {dimension} has max_norm, which changes its weight whenever rows are looked up: "
            "set max_norm to None"
        )
    return given


def _embedding(input: Tensor, weight: Tensor, padding_idx: int | None, **unused: Any) -> Tensor:
    return functional.embedding(input, weight, padding_idx)


def _bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None,
    mode: str,
    per_sample_weights: Tensor | None,
    include_last_offset: bool,
    padding_idx: int | None,
    **unused: Any,
) -> Tensor:
    """Return the pooled rows of bags, as torch.nn.functional.embedding_bag does."""
    if padding_idx is not None:
        padding_idx %= len(weight)
    if offsets is None:
        ids, counted = input, torch.ones_like(input, dtype=torch.bool)
    else:
        starts = offsets[:-1] if include_last_offset else offsets
        ends = torch.cat([starts[1:], offsets[-1:] if include_last_offset else offsets.new_tensor([len(input)])])
        places = starts[:, None] + torch.arange(int((ends - starts).max()) if len(starts) else 0, device=input.device)
        counted = places < ends[:, None]
        places = places.where(counted, 0)
        ids = input[places] if len(input) else places
        per_sample_weights = None if per_sample_weights is None else per_sample_weights[places]
    if padding_idx is not None:
        counted = counted & (ids != padding_idx)
    rows = functional.embedding(ids.where(counted, 0), weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[..., None]
    if mode == "max":
        if not rows.shape[1]:
            return rows.sum(1)
        top = rows.masked_fill(~counted[..., None], -torch.inf).amax(1)
        return top.masked_fill(~counted.any(1, keepdim=True), 0)
    pooled = (rows * counted[..., None]).sum(1)
    return pooled / counted.sum(1, keepdim=True).clamp(min=1) if mode == "mean" else pooled
