"""DPQ: product codes that are learnt with the model.

Chen, Li and Sun, "Differentiable Product Quantization for End-to-End Embedding Compression", ICML 2020 (arXiv
1908.09756). A query of d numbers for each id is cut into parts; each part is replaced by one of the part's centroids.
"vq" takes the nearest one, passes the gradient straight through to the query, and pulls centroids towards queries
(`regularization`). "sx" takes the one with the largest product, and passes the gradient through a softmax. The frozen
table has codes and centroids only; the queries are as large as the full table while training.

With `centroid_bits`, what codes stand for is rounded to codes itself, a row of a centroid's numbers at a time, whenever
it is read. The frozen table is then one of columns: each part is a map into a table of such codes.

Bytes: ceil(parts * bits / 8) for each row, and 4 d 2^bits for centroids. With `centroid_bits`, for each part
ceil(n bits / 8), which are not rounded up for each row, and the bytes of 2^bits rows of codes of d / parts numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import Method, Table, _core, columns, product, remap
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._coded_rows import coded_table, rounded, straight_through
from .._distinct import Distinct
from .._embedding import LearnedEmbedding, numbers
from .._formats import array_bytes, map_bytes, product_bytes
from .._spec import Plan, Spec, refuse

MOST_MAPS = 1024
"""Parts at most of a table with codes for centroids: each is a table of its own."""
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
        self.centroid_bits: int | None = options["centroid_bits"]
        self.width = spec.dimension // self.parts
        self.query = nn.Parameter(self.initial(spec.rows, spec.dimension))
        self.centroids = nn.Parameter(self.initial(self.parts, 1 << self.bits, self.width, purpose=1))
        if self.kind == "sx":
            self.values = nn.Parameter(self.initial(self.parts, 1 << self.bits, self.width, purpose=2))
        self._loss: Tensor | None = None

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take as many bits of code as fit; of equals, wider codes of fewer parts."""
        return solve("dpq", spec, options, size=partial(stored_bytes, centroid_bits=options["centroid_bits"]))

    def _cut(self, rows: Tensor) -> Tensor:
        """Return rows as (n, parts, width)."""
        return rows.reshape(len(rows), self.parts, self.width)

    def _scores(self, query: Tensor, ids: Tensor) -> Tensor:
        """Return the products with each centroid, (n, parts, 2^bits); -inf for those that a row may not have."""
        return torch.einsum("npw,pkw->npk", query, self.centroids)

    def _nearest(self, query: Tensor, ids: Tensor, books: Tensor) -> Tensor:
        """Return the nearest centroid of those that a row may have, (n, parts)."""
        return nearest(query, books)

    def rows(self, ids: Tensor) -> Tensor:
        """Return centroids, with gradients as the kind has them."""
        batch = Distinct(ids)
        query, books = self._cut(batch.take(self.query, self.spec.sparse)), self._books
        if self.kind == "sx":
            scores = self._scores(query, batch.ids)
            found = entries(books, scores.argmax(2))
            if self.training:
                soft = torch.einsum("npk,pkw->npw", scores.softmax(2), books)
                found = found + soft - soft.detach()
        else:
            with torch.no_grad():
                codes = self._nearest(query, batch.ids, books)
            found = entries(books, codes)
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
        books = self._books

        def codes(ids: Tensor) -> Tensor:
            query = self._cut(self.query[ids])
            return self._scores(query, ids).argmax(2) if self.kind == "sx" else self._nearest(query, ids, books)

        return torch.cat(
            [codes(ids) for ids in torch.split(torch.arange(self.num_embeddings, device=self.device), BLOCK)]
        )

    @property
    def _books(self) -> Tensor:
        """What codes stand for, (parts, 2^bits, width), rounded if they are stored as codes."""
        books = self._unrounded
        if self.centroid_bits is None:
            return books
        values = rounded(books.detach().flatten(0, 1), self.centroid_bits).view_as(books)
        return straight_through(books, values)

    @property
    def _unrounded(self) -> Tensor:
        return self.centroids if self.kind == "vq" else self.values

    @property
    def rounding(self) -> dict[str, int | None]:
        """The bits of codes that what the table's codes stand for is rounded to."""
        return {"centroid_bits": self.centroid_bits}

    def _frozen(self) -> Table:
        return frozen_codes(self._codes(), self._unrounded, self.bits, self.centroid_bits)


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


def frozen_codes(codes: Tensor, books: Tensor, bits: int, centroid_bits: int | None) -> Table:
    """Return codes and centroids as a table.

    Args:
        codes: (n, parts)
        books: (parts, 2^bits, width), not rounded.
        bits: Of a code.
        centroid_bits: Of the codes that the numbers of centroids are stored as; None for f32.
    """
    if centroid_bits is None:
        return product(numbers(codes), list(numbers(books)), bits=bits)
    of_parts = [
        remap(coded_table(book, centroid_bits), map=code)
        for book, code in zip(books.detach(), numbers(codes).T, strict=True)
    ]
    return of_parts[0] if len(of_parts) == 1 else columns(of_parts)


def stored_bytes(spec: Spec, parts: int, bits: int, centroid_bits: int | None) -> int:
    """Return the bytes of codes and centroids."""
    return codes_bytes(spec.rows, spec.dimension, parts, bits, centroid_bits)


def codes_bytes(rows: int, dimension: int, parts: int, bits: int, centroid_bits: int | None) -> int:
    """Return the bytes of the codes of so many rows, and of their centroids."""
    if centroid_bits is None:
        return product_bytes(rows, dimension, parts, bits)
    return parts * (map_bytes(rows, 1 << bits) + array_bytes(1 << bits, dimension // parts, centroid_bits))


def solve(
    method: str,
    spec: Spec,
    options: dict[str, Any],
    size: Callable[[Spec, int, int], int],
    least: int = 1,
) -> Plan:
    """Return the plan of most bits of code within the budget.

    Args:
        method: Named in errors.
        spec: Has the budget.
        options: "parts" and "bits", None where the budget chooses.
        size: Bytes of a table with so many parts and bits.
        least: Bits that a code has at least.
    """
    given = {name: options[name] for name in ("parts", "bits") if options[name] is not None}
    widths = [given["bits"]] if "bits" in given else range(USUAL_BITS, least - 1, -1)
    most = spec.dimension if options["centroid_bits"] is None else min(spec.dimension, MOST_MAPS)
    cuts = [parts for parts in range(1, most + 1) if spec.dimension % parts == 0]
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
