"""What looks rows up in terms of tensors, and the torch operators of it.

`embedcompress::lookup` and `embedcompress::bag` take the arrays of a table and its text, `embedcompress::bags` those of
several tables, so a traced graph holds all that it needs. They make Tables on those arrays in each call, which takes
microseconds. Modules outside a trace skip the operators: see `runs_eagerly`. A call that the core refuses is checked
again here, to raise what torch does; one that it takes costs no more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _is_tracing, _len_torch_dispatch_stack
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.compiler import is_dynamo_compiling

from .. import Table, _core
from .._arrays import as_ids, as_numbers, has_integers
from .._checks import check_type
from ._expression import assemble, parse, take_apart

_ID_DTYPES = (torch.int64, torch.int32)
"""Those of ids that are read where they lie."""


def _on_arrays(function: Callable[..., np.ndarray[Any, Any]]) -> Callable[..., Tensor]:
    """Return a function of a table and arrays as one of tensors."""

    def call(table: object, *arguments: object) -> Tensor:
        arrays = [
            argument.detach().contiguous().numpy() if isinstance(argument, Tensor) else argument
            for argument in arguments
        ]
        return torch.from_numpy(function(table, *arrays))

    return call


if _core.set_tensor_type(Tensor):
    _lookup_tensor, _bag_tensor, _bags_tensor = _core.lookup_tensor, _core.bag_tensor, _core.bags_tensor
else:
    # A torch without DLPack's C exchange API.
    _lookup_tensor, _bag_tensor = _on_arrays(Table.lookup), _on_arrays(Table.bag)
    _bags_tensor = _on_arrays(_core.bags)


def runs_eagerly(ids: object) -> bool:
    """Whether a call on these ids is only computed, not traced, compiled, faked or intercepted."""
    return (
        not is_dynamo_compiling()
        and type(ids) is Tensor
        and ids.is_cpu
        and not _len_torch_dispatch_stack()
        and not _is_tracing()
    )


def _check_ids(ids: Tensor, name: str) -> None:
    if not has_integers(ids):
        raise RuntimeError(f"{name} must be integers, not {ids.dtype}")


def _as_ids(ids: Tensor, name: str) -> Tensor:
    return ids if ids.dtype in _ID_DTYPES else torch.from_numpy(as_ids(ids, name))


def _as_weights(weights: Tensor | None) -> Tensor | None:
    if weights is None or weights.dtype is torch.float32:
        return weights
    return torch.from_numpy(as_numbers(weights, "per_sample_weights"))


def lookup(table: Table, ids: Tensor) -> Tensor:
    """Look rows up.

    Args:
        table: (rows, dimension).
        ids: Integers, any shape, any strides.

    Returns:
        (*ids.shape, dimension), f32.

    Raises:
        IndexError: an id is outside [0, rows).
        RuntimeError: ids are not integers.
    """
    try:
        return _lookup_tensor(table, ids)
    except RuntimeError:
        # Of torch.vmap; that is not asked before, since it would cost every call.
        if not is_functorch_wrapped_tensor(ids):
            raise
        text, arrays = take_apart(table)
        rows: Tensor = lookup_operator(arrays, text, ids)
        return rows
    except ValueError as error:
        refusal = error
    _check_ids(ids, "input")
    read = _as_ids(ids, "input")
    if read is ids:
        raise refusal
    return _lookup_tensor(table, read)


def _check_bags(ids: Tensor, offsets: Tensor | None, mode: str, per_sample_weights: Tensor | None) -> None:
    """Check what shapes and dtypes tell, in torch's order."""
    if per_sample_weights is not None:
        check_type(per_sample_weights, Tensor, "per_sample_weights", "a tensor")
    if per_sample_weights is not None and ids.size() != per_sample_weights.size():
        raise ValueError(
            f"per_sample_weights, of shape {tuple(per_sample_weights.shape)}, must have the shape of input, "
            f"{tuple(ids.shape)}"
        )
    if offsets is not None:
        check_type(offsets, Tensor, "offsets", "a tensor")
    if ids.dim() == 2:
        if offsets is not None:
            raise ValueError("offsets must be None if input has two axes: each of its rows is a bag")
    elif ids.dim() != 1:
        raise ValueError(f"input must have one axis or two, not {ids.dim()}")
    elif offsets is None:
        raise ValueError("offsets has to be given if input has one axis")
    elif offsets.dim() != 1:
        raise ValueError(f"offsets must have one axis, not {offsets.dim()}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode must be one of sum, mean and max, not {mode!r}")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(f"per_sample_weights go with mode='sum' only, not with mode={mode!r}")
        if per_sample_weights.dtype.is_complex or per_sample_weights.dtype is torch.bool:
            raise RuntimeError(f"per_sample_weights must be real numbers, not {per_sample_weights.dtype}")
    _check_ids(ids, "input")
    if offsets is not None:
        _check_ids(offsets, "offsets")


def bag(
    table: Table,
    ids: Tensor,
    offsets: Tensor | None,
    mode: str,
    per_sample_weights: Tensor | None,
    include_last_offset: bool,
    padding_idx: int | None,
) -> Tensor:
    """Look rows up and pool them, as torch.nn.functional.embedding_bag does.

    Args:
        table: (rows, dimension).
        ids: (ids,) with offsets, or (bags, ids of each) without.
        offsets: (bags,), or one more with include_last_offset.
        mode: "sum", "mean" or "max".
        per_sample_weights: Real numbers in the shape of ids; with "sum" only.
        include_last_offset: The last offset is the number of ids.
        padding_idx: Ids that take no part.

    Returns:
        (bags, dimension), f32.

    Raises:
        RuntimeError: an id is outside [0, rows); offsets don't begin at 0, decrease or leave the ids; not integers.
        ValueError: wrong ranks, or weights of another shape.
        NotImplementedError: weights with another mode than "sum".
    """
    try:
        return _bag_tensor(table, ids, offsets, mode, per_sample_weights, include_last_offset, padding_idx)
    except (IndexError, ValueError) as error:
        refusal = str(error)
    _check_bags(ids, offsets, mode, per_sample_weights)
    read = _as_ids(ids, "input"), None if offsets is None else _as_ids(offsets, "offsets")
    weights = _as_weights(per_sample_weights)
    if read[0] is ids and read[1] is offsets and weights is per_sample_weights:
        # torch's bags raise RuntimeError for an id that its Embedding raises IndexError for.
        raise RuntimeError(refusal)
    return bag(table, *read, mode, weights, include_last_offset, padding_idx)


def _check_jagged(ids: Tensor, offsets: Tensor, features: int, mode: str, per_sample_weights: Tensor | None) -> None:
    """Check what shapes and dtypes tell."""
    if ids.dim() != 1:
        raise ValueError(f"ids must have one axis, not {ids.dim()}")
    _check_bags(ids, offsets, mode, per_sample_weights)
    if (offsets.shape[0] - 1) % features != 0 or offsets.shape[0] == 0:
        raise ValueError(
            f"offsets must have as many entries as features times samples, and one more: {offsets.shape[0]} do not go "
            f"with {features} features"
        )


def bags(
    tables: tuple[Table, ...], ids: Tensor, offsets: Tensor, mode: str, per_sample_weights: Tensor | None
) -> Tensor:
    """Look the rows of several features up and pool them.

    Args:
        tables: That of each feature.
        ids: (ids,), feature by feature.
        offsets: (features * batch + 1,).
        mode: "sum", "mean" or "max".
        per_sample_weights: Real numbers in the shape of ids; with "sum" only.

    Returns:
        (batch, sum of the features' dimensions), f32.

    Raises:
        RuntimeError: as `bag`, as are ValueError and NotImplementedError.
    """
    try:
        return _bags_tensor(tables, ids, offsets, mode, per_sample_weights)
    except (IndexError, ValueError) as error:
        refusal = str(error)
    _check_jagged(ids, offsets, len(tables), mode, per_sample_weights)
    read, weights = (_as_ids(ids, "ids"), _as_ids(offsets, "offsets")), _as_weights(per_sample_weights)
    if read[0] is ids and read[1] is offsets and weights is per_sample_weights:
        raise RuntimeError(refusal)
    return bags(tables, *read, mode, weights)


def _lookup(arrays: Sequence[Tensor], expression: str, ids: Tensor) -> Tensor:
    return lookup(assemble(expression, arrays), ids)


def _lookup_over_axis(
    info: Any, axes: tuple[Any, ...], arrays: Sequence[Tensor], expression: str, ids: Tensor
) -> tuple[Tensor, int]:
    """Look up under torch.vmap: rows of one table stand for themselves, whatever axis is left out."""
    if any(axis is not None for axis in axes[0]):
        raise NotImplementedError("torch.vmap goes over ids, and not over the arrays of a table")
    return lookup_operator(arrays, expression, ids.movedim(axes[2], 0)), 0


def _fake_lookup(arrays: Sequence[Tensor], expression: str, ids: Tensor) -> Tensor:
    _check_ids(ids, "input")
    return torch.empty((*ids.shape, parse(expression).dimension), dtype=torch.float32, device=ids.device)


def _bag(
    arrays: Sequence[Tensor],
    expression: str,
    ids: Tensor,
    offsets: Tensor | None,
    mode: str,
    per_sample_weights: Tensor | None,
    include_last_offset: bool,
    padding_idx: int | None,
) -> Tensor:
    table = assemble(expression, arrays)
    return bag(table, ids, offsets, mode, per_sample_weights, include_last_offset, padding_idx)


def _fake_bag(
    arrays: Sequence[Tensor],
    expression: str,
    ids: Tensor,
    offsets: Tensor | None,
    mode: str,
    per_sample_weights: Tensor | None,
    include_last_offset: bool,
    padding_idx: int | None,
) -> Tensor:
    _check_bags(ids, offsets, mode, per_sample_weights)
    bags = ids.shape[0] if offsets is None else offsets.shape[0] - bool(include_last_offset)
    return torch.empty((bags, parse(expression).dimension), dtype=torch.float32, device=ids.device)


SEPARATOR = "\x1e"
"""Between the expressions of several tables, as no JSON has it: torch.jit.trace takes no lists of strings."""


def _bags(
    arrays: Sequence[Tensor],
    expressions: str,
    features: Sequence[int],
    ids: Tensor,
    offsets: Tensor,
    mode: str,
    per_sample_weights: Tensor | None,
) -> Tensor:
    tables, start = [], 0
    for expression in expressions.split(SEPARATOR):
        end = start + len(parse(expression).names)
        tables.append(assemble(expression, arrays[start:end]))
        start = end
    return bags(tuple(tables[index] for index in features), ids, offsets, mode, per_sample_weights)


def _fake_bags(
    arrays: Sequence[Tensor],
    expressions: str,
    features: Sequence[int],
    ids: Tensor,
    offsets: Tensor,
    mode: str,
    per_sample_weights: Tensor | None,
) -> Tensor:
    _check_jagged(ids, offsets, len(features), mode, per_sample_weights)
    batch = (offsets.shape[0] - 1) // len(features)
    dimensions = [parse(expression).dimension for expression in expressions.split(SEPARATOR)]
    dimension = sum(dimensions[index] for index in features)
    return torch.empty((batch, dimension), dtype=torch.float32, device=ids.device)


_library = torch.library.Library("embedcompress", "DEF")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    "lookup(Tensor[] arrays, str expression, Tensor ids) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.define(  # type: ignore[no-untyped-call]
    "bag(Tensor[] arrays, str expression, Tensor ids, Tensor? offsets, str mode, Tensor? per_sample_weights, "
    "bool include_last_offset, int? padding_idx) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.define(  # type: ignore[no-untyped-call]
    "bags(Tensor[] arrays, str expressions, int[] features, Tensor ids, Tensor offsets, str mode, "
    "Tensor? per_sample_weights) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.impl("lookup", _lookup, "CPU")  # type: ignore[no-untyped-call]
_library.impl("bag", _bag, "CPU")  # type: ignore[no-untyped-call]
_library.impl("bags", _bags, "CPU")  # type: ignore[no-untyped-call]
torch.library.register_fake("embedcompress::lookup", _fake_lookup, lib=_library)
torch.library.register_fake("embedcompress::bag", _fake_bag, lib=_library)
torch.library.register_fake("embedcompress::bags", _fake_bags, lib=_library)

lookup_operator = torch.ops.embedcompress.lookup.default
bag_operator = torch.ops.embedcompress.bag.default
bags_operator = torch.ops.embedcompress.bags.default
torch.library.register_vmap("embedcompress::lookup", _lookup_over_axis, lib=_library)
