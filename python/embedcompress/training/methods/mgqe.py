"""MGQE: product codes whose rare rows choose among fewer centroids.

Kang et al., "Learning Multi-granular Quantized Embeddings for Large-Vocab Categorical Features in Recommender Systems",
WWW 2020 companion (arXiv 2002.08530). As DPQ, but only the rows that are used most, a tenth of all, choose among all
2^b centroids; the others have the first 2^(b-2). Rows of all fields are ranked together, and share centroids; in the
VLDB 2024 study (arXiv 2311.15578) each field has its own. There b is 8, and 8, 4 or 2 parts are all that a budget can
choose.

Bytes: with n' frequent rows and M parts, ceil(M b / 8) n' + ceil(M (b-2) / 8) (n - n') + 4 d (2^b + 2^(b-2)), and 72
for each 512 rows that say which are frequent; or all rows with codes of b bits, where that takes fewer. With
`centroid_bits`, both kinds of rows and their centroids take what those of DPQ do.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ... import Method, Table, partition
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._counts import most_used
from .._embedding import numbers
from .._formats import assignment_bytes
from .._spec import Plan, Spec
from .dpq import DPQ, codes_bytes, frozen_codes, nearest, solve, stored_bytes

FEWER_BITS = 2
"""How many bits less a rare row's code has."""


class MGQE(DPQ):
    """`training.embedding("mgqe", …)`. Needs counts."""

    method: ClassVar[Method] = entry("mgqe", WHILE_TRAINING)
    needs_counts = True
    is_rare: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        is_rare = np.ones(spec.rows, bool)
        assert spec.counts is not None
        is_rare[most_used(spec.counts, frequent_rows(spec, options))] = False
        self.register_buffer("is_rare", torch.from_numpy(is_rare))
        self.forget_counts()

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take as many bits of code as fit; of equals, wider codes of fewer parts."""
        frequent, width = frequent_rows(spec, options), options["centroid_bits"]

        def size(spec: Spec, parts: int, bits: int) -> int:
            return min(stored_bytes(spec, parts, bits, width), _partitioned(spec, frequent, parts, bits, width))

        found = solve("mgqe", spec, options, size, FEWER_BITS + 1)
        return Plan(found.stored_bytes, {**found.knobs, "frequent": frequent}, _study(spec))

    def _scores(self, query: Tensor, ids: Tensor) -> Tensor:
        scores = super()._scores(query, ids)
        first = torch.arange(scores.shape[2], device=ids.device) < 1 << (self.bits - FEWER_BITS)
        return scores.masked_fill((self.is_rare[ids][:, None] & ~first)[:, None], -math.inf)

    def _nearest(self, query: Tensor, ids: Tensor, books: Tensor) -> Tensor:
        rare = self.is_rare[ids]
        codes = torch.empty(query.shape[:2], dtype=torch.int64, device=query.device)
        for mask, centroids in (
            (~rare, books),
            (rare, books[:, : 1 << (self.bits - FEWER_BITS)]),
        ):
            rows = mask.nonzero().view(-1)
            codes.index_copy_(0, rows, nearest(query.index_select(0, rows), centroids))
        return codes

    def _frozen(self) -> Table:
        codes, books, width = self._codes(), self._unrounded, self.centroid_bits
        if self.stored_bytes == stored_bytes(self.spec, self.parts, self.bits, width):
            return frozen_codes(codes, books, self.bits, width)
        fewer = self.bits - FEWER_BITS
        tables = [
            frozen_codes(codes[~self.is_rare], books, self.bits, width),
            frozen_codes(codes[self.is_rare], books[:, : 1 << fewer], fewer, width),
        ]
        return partition(tables, numbers(self.is_rare).astype(np.uint8))


def frequent_rows(spec: Spec, options: dict[str, Any]) -> int:
    """Return how many rows have all centroids."""
    share: float = options["frequent"]
    return math.ceil(share * spec.rows)


def _partitioned(spec: Spec, frequent: int, parts: int, bits: int, centroid_bits: int | None) -> int:
    """Return the bytes of frequent and rare rows that are stored apart."""
    marks = assignment_bytes(spec.rows)
    if marks is None:
        return spec.full_bytes
    kinds = ((frequent, bits), (spec.rows - frequent, bits - FEWER_BITS))
    return marks + sum(codes_bytes(rows, spec.dimension, parts, width, centroid_bits) for rows, width in kinds)


def _study(spec: Spec) -> dict[str, Any]:
    """Return the most of 8, 4 and 2 parts that fit in the study's count, or 2; it has a word for a row's flag."""

    def words(parts: int) -> float:
        total = 0.0
        for size in spec.sizes:
            frequent = math.ceil(size / 10)
            own = size + 256 * spec.dimension + parts * (8 * frequent + 6 * (size - frequent)) / 32
            total += min(own, size * spec.dimension)
        return total

    parts = next((parts for parts in (8, 4) if 4 * words(parts) <= spec.budget), 2)
    return {"parts": parts, "ratio": words(parts) / (spec.rows * spec.dimension)}
