"""DPQ: product codes that are learnt with the model.

Chen, Li and Sun, "Differentiable Product Quantization for End-to-End Embedding Compression", ICML 2020 (arXiv
1908.09756). A query of d numbers for each id is cut into parts; each part is replaced by one of the part's centroids.
"vq" takes the nearest one, passes the gradient straight through to the query, and pulls centroids towards queries
(`regularization`). "sx" takes the one with the largest product, and passes the gradient through a softmax. The frozen
table has codes and centroids only; the queries are as large as the full table while training.

Bytes: ceil(parts * bits / 8) for each row, and 4 d 2^bits for centroids.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method, Table, _core, product
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._distinct import Distinct
from .._embedding import LearnedEmbedding, numbers
from .._formats import product_bytes
from .._spec import Plan, Spec, refuse

USUAL_BITS = 8
"""Of a code at most, unless more are asked for: the search takes twice as long with each."""
BLOCK = 1 << 16
"""Rows whose codes are found at a time."""


class DPQ(LearnedEmbedding):
    """`training.embedding("dpq", …)`. Fields share centroids."""

    method: ClassVar[Method] = entry("dpq", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("query",)

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.kind: str = options["kind"]
        self.commitment: float = options["commitment"]
        self.parts: int = self.planned.knobs["parts"]
        self.bits: int = self.planned.knobs["bits"]
        self.width = spec.dimension // self.parts
        self.query = nn.Parameter(self.initial(spec.rows, spec.dimension))
        self.centroids = nn.Parameter(self.initial(self.parts, 1 << self.bits, self.width, purpose=1))
        if self.kind == "sx":
            self.values = nn.Parameter(self.initial(self.parts, 1 << self.bits, self.width, purpose=2))
        self._loss: Tensor | None = None

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take as many bits of code as fit; of equals, wider codes of fewer parts."""
        return solve("dpq", spec, options)

    def _cut(self, rows: Tensor) -> Tensor:
        """Return rows as (n, parts, width)."""
        return rows.reshape(len(rows), self.parts, self.width)

    def _scores(self, query: Tensor, ids: Tensor) -> Tensor:
        """Return the products with each centroid, (n, parts, 2^bits); -inf for those that a row may not have."""
        return torch.einsum("npw,pkw->npk", query, self.centroids)

    def _nearest(self, query: Tensor, ids: Tensor) -> Tensor:
        """Return the nearest centroid of those that a row may have, (n, parts)."""
        return nearest(query, self.centroids)

    def rows(self, ids: Tensor) -> Tensor:
        """Return centroids, with gradients as the kind has them."""
        batch = Distinct(ids)
        query = self._cut(batch.take(self.query, self.spec.sparse))
        if self.kind == "sx":
            scores = self._scores(query, batch.ids)
            found = entries(self.values, scores.argmax(2))
            if self.training:
                soft = torch.einsum("npk,pkw->npw", scores.softmax(2), self.values)
                found = found + soft - soft.detach()
        else:
            with torch.no_grad():
                codes = self._nearest(query, batch.ids)
            found = entries(self.centroids, codes)
            if self.training:
                apart = (found - query.detach()).reshape(-1, self.embedding_dim)
                self._loss = (apart.square() * batch.shares(apart)).sum() / self.embedding_dim
                found = query + (found - query).detach()
        return batch.spread(found.reshape(-1, self.embedding_dim))

    def regularization(self) -> Tensor:
        """Return the distance of the last batch's queries from their centroids, which moves the centroids."""
        if self._loss is None:
            return super().regularization()
        loss, self._loss = self._loss * self.commitment, None
        return loss

    def _codes(self) -> Tensor:
        """Return the codes of all rows, (n, parts)."""

        def codes(ids: Tensor) -> Tensor:
            query = self._cut(self.query[ids])
            return self._scores(query, ids).argmax(2) if self.kind == "sx" else self._nearest(query, ids)

        return torch.cat(
            [codes(ids) for ids in torch.split(torch.arange(self.num_embeddings, device=self.device), BLOCK)]
        )

    @property
    def _books(self) -> Tensor:
        """What codes stand for, (parts, 2^bits, width)."""
        return self.centroids if self.kind == "vq" else self.values

    def _frozen(self) -> Table:
        return frozen_codes(self._codes(), self._books, self.bits)


def nearest(query: Tensor, centroids: Tensor) -> Tensor:
    """Return the number of each part's nearest centroid, (n, parts).

    Args:
        query: (n, parts, width)
        centroids: (parts, count, width)
    """
    if query.device.type == "cpu" and not torch.compiler.is_compiling():
        codes = torch.empty(query.shape[:2], dtype=torch.int32)
        rows = query.detach().reshape(len(query), query.shape[1] * query.shape[2]).contiguous()
        _core.nearest_codes(rows.numpy(), centroids.detach().contiguous().numpy(), codes.numpy())
        return codes.long()
    products = torch.einsum("npw,pkw->npk", query, centroids)
    return (2 * products - centroids.square().sum(2)).argmax(2)


def entries(books: Tensor, codes: Tensor) -> Tensor:
    """Return what codes stand for, (n, parts, width).

    Args:
        books: (parts, count, width)
        codes: (n, parts)
    """
    parts, count, width = books.shape
    places = codes + torch.arange(parts, device=codes.device) * count
    flat = books.reshape(parts * count, width)
    if codes.device.type != "cpu" or torch.compiler.is_compiling():
        return functional.embedding(places, flat)
    found: Tensor = _Entries.apply(flat, places)  # type: ignore[no-untyped-call]
    return found


class _Entries(torch.autograd.Function):
    """Rows of a small table, whose gradients are added up number by number: torch calls a routine for each row."""

    @staticmethod
    def forward(context: Any, books: Tensor, places: Tensor) -> Tensor:
        context.save_for_backward(places)
        context.shape = books.shape
        return functional.embedding(places, books)

    @staticmethod
    def backward(context: Any, slopes: Tensor) -> tuple[Tensor, None]:
        (places,) = context.saved_tensors
        count, width = context.shape
        where = (places[..., None] * width + torch.arange(width)).view(-1)
        sums = slopes.new_zeros(count * width).scatter_add_(0, where, slopes.reshape(-1))
        return sums.view(count, width), None


def frozen_codes(codes: Tensor, books: Tensor, bits: int) -> Table:
    """Return codes and centroids as a table.

    Args:
        codes: (n, parts)
        books: (parts, 2^bits, width)
        bits: Of a code.
    """
    return product(numbers(codes), list(numbers(books)), bits=bits)


def stored_bytes(spec: Spec, parts: int, bits: int) -> int:
    """Return the bytes of codes and centroids."""
    return product_bytes(spec.rows, spec.dimension, parts, bits)


def solve(
    method: str,
    spec: Spec,
    options: dict[str, Any],
    least: int = 1,
    size: Callable[[Spec, int, int], int] = stored_bytes,
) -> Plan:
    """Return the plan of most bits of code within the budget.

    Args:
        method: Named in errors.
        spec: Has the budget.
        options: "parts" and "bits", None where the budget chooses.
        least: Bits that a code has at least.
        size: Bytes of a table with so many parts and bits.
    """
    given = {name: options[name] for name in ("parts", "bits") if options[name] is not None}
    widths = [given["bits"]] if "bits" in given else range(USUAL_BITS, least - 1, -1)
    cuts = [parts for parts in range(1, spec.dimension + 1) if spec.dimension % parts == 0]
    if "parts" in given:
        if given["parts"] not in cuts:
            raise ValueError(f"parts must be one of {cuts}, which divide {spec.dimension} columns")
        cuts = [given["parts"]]
    found = [(parts, bits) for bits in widths for parts in cuts if (1 << bits) <= max(spec.rows, 1 << least)]
    if not found:
        raise ValueError(f"{method}: bits must be such that there are at most as many centroids as rows")
    sizes = {pair: size(spec, *pair) for pair in found}
    fitting = [pair for pair in found if sizes[pair] <= spec.budget]
    if not fitting:
        raise refuse(method, spec, min(sizes.values()))
    parts, bits = max(fitting, key=lambda pair: (pair[0] * pair[1], pair[1]))
    return Plan(sizes[parts, bits], {"parts": parts, "bits": bits})
