"""What stands for the dense matrix of a compressed module: its `weight`.

Forwards that were written for a dense weight run on it as they are: lookups, pooling and products are computed from the
codes, and what else reads it gets the decoded matrix for the time of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_map_only

from .. import compress, partition
from ._linear import multiply, multiply_transposed
from ._lookups import look_up, pool
from ._operators import runs_eagerly
from ._parts import Parts

GROWTH_BITS = 8
"""Of the rows that are added to a table whose own have no bits, and the most of any that are added."""


class CompressedWeight(Tensor):
    """A tensor of the shape and dtype of the dense matrix, without its memory.

    `functional.embedding`, `embedding_bag` and `linear`, `torch.addmm` and indexing by rows are computed from the
    table. Any other operation decodes the matrix first. It has no gradient and can't be written to; only `.data` takes
    a matrix of more rows or fewer whose common rows are those of the table, as transformers' resize_token_embeddings
    has it: the table gets or loses rows, and keeps the codes of the others.

    Args:
        parts: Of the table.
        dtype: Of the matrix.
    """

    parts: Parts
    # What torch and transformers ask a weight for: it is a parameter, and its values are not to be initialized.
    _is_param = True
    _is_hf_initialized = True

    @staticmethod
    def __new__(cls, parts: Parts, dtype: torch.dtype) -> CompressedWeight:
        """Make one on the device of the parts."""
        shape = (parts.num_embeddings, parts.embedding_dim)
        self: CompressedWeight = Tensor._make_wrapper_subclass(
            cls, shape, dtype=dtype, device=parts.device, requires_grad=False
        )
        self.parts = parts
        return self

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute from the table, or decode."""
        kwargs = kwargs or {}
        own = _OPERATIONS.get(func)
        if own is not None:
            result = own(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if func in _DESCRIPTIONS:
            return super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]
        target = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(kwargs.get("out"), CompressedWeight) or (_writes(func) and isinstance(target, CompressedWeight)):
            raise RuntimeError(f"a compressed weight can't be written to: {func.__name__}")
        return func(
            *tree_map_only(CompressedWeight, _decoded, args), **tree_map_only(CompressedWeight, _decoded, kwargs)
        )

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Decode for what torch's own code in C++ asks."""
        return func(
            *tree_map_only(CompressedWeight, _decoded, args), **tree_map_only(CompressedWeight, _decoded, kwargs or {})
        )

    def __repr__(self, *, tensor_contents: object = None) -> str:  # type: ignore[override]
        """Name the shape, not the values."""
        return f"CompressedWeight({self.shape[0]} x {self.shape[1]}, {self.dtype})"

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle and copy the parts."""
        return CompressedWeight, (self.parts, self.dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> CompressedWeight:
        """Return one of the same parts, which belong to modules."""
        return CompressedWeight(memo.get(id(self.parts), self.parts), self.dtype)


def _decoded(weight: CompressedWeight) -> Tensor:
    if weight.device.type == "meta":
        return torch.empty(weight.shape, dtype=weight.dtype, device="meta")
    return _rows(weight, 0, weight.shape[0])


def _rows(weight: CompressedWeight, start: int, stop: int) -> Tensor:
    stop = max(start, stop)
    if runs_eagerly(weight.parts.arrays()[0]):
        return torch.from_numpy(weight.parts.table().decode(start, stop)).to(weight.dtype)
    return look_up(weight.parts, torch.arange(start, stop)).to(weight.dtype)


def _writes(func: Any) -> bool:
    name: str = getattr(func, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    return in_place or name in ("__setitem__", "__set__") or (name.startswith("__i") and name not in _READ_BY_DUNDER)


_READ_BY_DUNDER = ("__index__", "__int__", "__invert__", "__iter__")


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    if not isinstance(weight, CompressedWeight):
        return NotImplemented
    _refuse_norm(max_norm)
    return look_up(weight.parts, input).to(weight.dtype)


def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    if not isinstance(weight, CompressedWeight):
        return NotImplemented
    _refuse_norm(max_norm)
    rows = pool(weight.parts, input, offsets, mode, per_sample_weights, include_last_offset, padding_idx)
    return rows.to(weight.dtype)


def _refuse_norm(max_norm: float | None) -> None:
    if max_norm is not None:
        raise NotImplementedError(f"max_norm={max_norm} rewrites rows, and a compressed table is never written to")


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    if not isinstance(weight, CompressedWeight) or isinstance(input, CompressedWeight):
        return NotImplemented
    return multiply(weight.parts, input, bias, 0, weight.shape[0])


def _addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1, **kwargs: Any) -> Any:
    plain = beta == 1 and alpha == 1 and not kwargs
    if not plain or not isinstance(mat2, CompressedWeight) or isinstance(mat1, CompressedWeight):
        return NotImplemented
    return multiply_transposed(mat2.parts, mat1) + input


def _getitem(weight: Tensor, index: Any) -> Any:
    if not isinstance(weight, CompressedWeight) or weight.device.type == "meta":
        return NotImplemented
    first, rest = (index[0], index[1:]) if isinstance(index, tuple) and index else (index, ())
    if isinstance(first, slice):
        start, stop, step = first.indices(weight.shape[0])
        return _rows(weight, start, stop)[(slice(None), *rest)] if step == 1 else NotImplemented
    if rest or not isinstance(first, Tensor) or first.dtype not in (torch.int64, torch.int32):
        return NotImplemented
    return look_up(weight.parts, torch.where(first < 0, first + weight.shape[0], first)).to(weight.dtype)


def _set_data(weight: CompressedWeight, values: Tensor) -> None:
    """Take rows on or away; refuse other values."""
    rows, columns = weight.shape
    if values.dim() != 2 or values.shape[1] != columns:
        raise ValueError(f"a compressed weight of {rows} x {columns} can't become one of {tuple(values.shape)}")
    kept, table = min(rows, len(values)), weight.parts.table()
    step = max((1 << 20) // columns, 1)
    for start in range(0, kept, step):
        stop = min(start + step, kept)
        if not torch.equal(_rows(weight, start, stop).to(values.dtype), values[start:stop].detach()):
            raise ValueError(
                "a compressed weight can't be written to: rows can be added to its table or taken away, and the others "
                "must be as they were"
            )
    if len(values) > rows:
        bits = min(_bits_of_values(table.parts()[0]) or GROWTH_BITS, GROWTH_BITS)
        table = partition([table, compress(values[rows:].detach().float(), bits=bits)])
    elif len(values) < rows:
        table = table.slice(0, len(values))
    weight.parts.replace(table)


def _bits_of_values(tree: Mapping[str, Any]) -> int | None:
    """Return the bits of a value in the last store of a table that has a code for each; None if none has."""
    children: Mapping[str, Any] = tree.get("children", {})
    # Those of numbers have their order.
    for key in sorted(children, key=lambda name: (len(name), name), reverse=True):
        found = _bits_of_values(children[key])
        if found is not None:
            return found
    return int(tree["bits"]) if tree["kind"] in ("uniform", "codebook") else None


def _require_grad(weight: CompressedWeight, requires_grad: bool = True) -> Any:
    if requires_grad:
        raise RuntimeError("a compressed weight has no gradient: it is for inference")
    return weight


def _type(weight: CompressedWeight, dtype: Any = None, non_blocking: bool = False) -> Any:
    """Name the type; a cast decodes."""
    return NotImplemented if dtype is not None else torch.empty(0, dtype=weight.dtype, device=weight.device).type()


def _data_ptr(weight: CompressedWeight) -> int:
    """Return an address that tied weights have in common, and others don't, as who asks for it wants to know."""
    arrays = weight.parts.arrays()
    return arrays[0].data_ptr() if arrays else 0


def _no_memory(weight: CompressedWeight) -> Any:
    raise RuntimeError("a compressed weight has no memory of its own: its rows are in the buffers of its module")


def _itself(weight: CompressedWeight) -> CompressedWeight:
    return weight


_Descriptor: Any = Tensor
_OPERATIONS: dict[Any, Callable[..., Any]] = {
    functional.embedding: _embedding,
    functional.embedding_bag: _embedding_bag,
    functional.linear: _linear,
    torch.addmm: _addmm,
    Tensor.__getitem__: _getitem,
    Tensor.detach: _itself,
    Tensor.requires_grad_: _require_grad,
    Tensor.type: _type,
    Tensor.data_ptr: _data_ptr,
    Tensor.untyped_storage: _no_memory,
    _Descriptor.data.__get__: _itself,
    _Descriptor.data.__set__: _set_data,
    _Descriptor.requires_grad.__set__: _require_grad,
}
_DESCRIPTIONS = {
    *(
        getattr(_Descriptor, name).__get__
        for name in (
            "shape", "dtype", "device", "layout", "ndim", "requires_grad", "is_leaf", "is_meta", "is_cpu", "is_cuda",
            "is_mps", "is_xpu", "is_sparse", "is_quantized", "is_nested", "grad", "grad_fn", "itemsize", "nbytes",
        )
    ),
    *(
        getattr(_Descriptor, name)
        for name in (
            "size", "dim", "numel", "nelement", "element_size", "stride", "is_floating_point", "is_complex",
            "is_contiguous", "__len__", "__hash__", "get_device",
        )
    ),
}  # fmt: skip
"""What is asked about a tensor that does not read its values."""
