"""Compressed embeddings in torch's own operators, for what exports models: torch.onnx.export and its like.

`CompressedEmbedding` looks rows up by an operator of this library, which no exporter knows. `decompose_` puts modules
in the place of it that hold the same codes and compute the same rows in gathers and arithmetic, as `export` writes them
to ONNX. They are slower here: they are for other runtimes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from .. import Table
from .._checks import check_type
from .._export import Graph, onnx_graph
from ._attention import CompressedMultiheadAttention
from ._collection import CompressedEmbeddingBagCollection
from ._compressed import FLOATS
from ._modules import CompressedEmbedding
from ._parts import Parts

_DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U8": torch.uint8,
    "I32": torch.int32,
    "I64": torch.int64,
}
_OF_NUMBERS = {1: torch.float32, 2: torch.uint8, 6: torch.int32, 7: torch.int64, 10: torch.float16, 16: torch.bfloat16}
"""The types by ONNX's numbers."""


class DecomposedEmbedding(nn.Module):
    """Rows of a compressed table in torch's own operators.

    Args:
        table: (rows, dimension): Dense, Uniform, Codebook and Product under Remap (but for hashes), Combine, Columns
            and Project.
        dtype: Of the rows that it returns; the numbers of the table are left as they are.

    Raises:
        ValueError: the table has a store or a route that is not said so.
    """

    def __init__(self, table: Table, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        graph, ((self._ids, self._rows, _),) = onnx_graph({"weight": table}, {"weight": "Gather"})
        if any(tensor.dtype not in _DTYPES for tensor in graph.tensors.values()):
            raise ValueError("table 'weight' can't be said in torch's operators: it has a hash, which is in u64")
        self.num_embeddings, self.embedding_dim = table.shape
        self.dtype = dtype
        self._nodes = graph.nodes
        self._sizes: dict[str, tuple[int, ...]] = {}
        for name, values in _values(graph).items():
            self.register_buffer(name, values)
            if values.dtype is torch.int64 and values.dim() == 1:
                self._sizes[name] = tuple(values.tolist())

    def forward(self, input: Tensor) -> Tensor:
        """Look rows up.

        Args:
            input: Integer ids of any shape, from 0 to num_embeddings - 1.

        Returns:
            (*input.shape, embedding_dim).
        """
        found: dict[str, Any] = {self._ids: input.long(), **self._buffers}
        for _, operator, names, result, attributes in self._nodes:
            found[result] = self._run(operator, names, [found[name] for name in names], attributes)
        rows: Tensor = found[self._rows]
        return rows.to(self.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the table, and take casts for those of the rows."""
        dtype = fn(torch.zeros(1, dtype=self.dtype)).dtype
        self.dtype = dtype if dtype in FLOATS else self.dtype
        for name, values in self._buffers.items():
            assert values is not None
            self._buffers[name] = values.to(fn(torch.zeros(1, dtype=torch.uint8)).device)
        return self

    def _run(self, operator: str, names: list[str], values: list[Any], attributes: Mapping[str, int]) -> Any:
        """Return what a node of ONNX does."""
        first, *rest = values
        match operator:
            case "Gather" if attributes["axis"] == 0:
                (ids,) = rest
                return first.index_select(0, ids.reshape(-1)).reshape((*ids.shape, *first.shape[1:]))
            case "Gather":
                return first.index_select(-1, rest[0])
            case "GatherElements":
                return first.gather(-1, rest[0].long())
            case "Cast":
                return first.to(_OF_NUMBERS[attributes["to"]])
            case "Add":
                return first + rest[0]
            case "Mul":
                return first * rest[0]
            case "Div":
                return torch.div(first, rest[0], rounding_mode="floor")
            case "Mod":
                return torch.remainder(first, rest[0])
            case "MatMul":
                return first @ rest[0]
            case "Equal":
                return first == rest[0]
            case "Where":
                return torch.where(first, *rest)
            case "Unsqueeze":
                return first.unsqueeze(self._sizes[names[1]][0])
            case "ReduceSum":
                return first.sum(self._sizes[names[1]])
            case "Shape":
                return tuple(first.shape)
            case "Concat" if isinstance(first, tuple):
                return (*first, *self._sizes[names[1]])
            case "Concat":
                return torch.cat(values, dim=attributes["axis"])
            case "Reshape":
                return first.reshape(rest[0])
            case "Identity":
                return first
        raise AssertionError(f"no operator {operator}")

    def extra_repr(self) -> str:
        """Describe the module as torch.nn.Embedding does."""
        return f"{self.num_embeddings}, {self.embedding_dim}"


def _values(graph: Graph) -> dict[str, Tensor]:
    """Return the tensors of a graph."""
    result = {}
    for name, tensor in graph.tensors.items():
        data = bytearray(b"".join(block.tobytes() for block in tensor.blocks()))
        dtype = _DTYPES[tensor.dtype]
        # A table without rows has none to lend.
        flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        result[name] = flat.reshape(tensor.shape)
    return result


_OTHERS = (CompressedEmbeddingBagCollection, CompressedMultiheadAttention)
"""Compressed layers that have their tables deeper within."""


def decompose_(model: nn.Module) -> nn.Module:
    """Put `DecomposedEmbedding` in the place of each `CompressedEmbedding` of a model, and return the model.

    The model is for exporters then, such as torch.onnx.export. Embeddings that share a table share one module.

    Args:
        model: It is changed; a model that is an embedding itself stays as it is, and its replacement is returned.

    Raises:
        ValueError: a layer is compressed and no embedding, or its table is none of those that `DecomposedEmbedding`
            takes; the message names it, and the model is as it was.
    """
    check_type(model, nn.Module, "model", "a torch.nn.Module")
    made: dict[tuple[int, torch.dtype], DecomposedEmbedding] = {}
    places = []
    for name, module in model.named_modules(remove_duplicate=False):
        # A class derived from it may compute something else.
        if type(module) is not CompressedEmbedding:
            if isinstance(module, _OTHERS) or isinstance(module._modules.get("parts"), Parts):
                what = f"is a {type(module).__name__}: only CompressedEmbedding is decomposed"
                raise ValueError(f"{name or 'the model'} {what}")
            continue
        key = id(module.parts), module.dtype
        if key not in made:
            try:
                made[key] = DecomposedEmbedding(module.table, module.dtype)
            except ValueError as error:
                raise ValueError(f"{name or 'the model'}: {error}") from error
        places.append((name, made[key]))
    for name, replacement in places:
        if not name:
            return replacement
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, replacement)
    return model
