"""Dedup: after training, blocks of rows that are alike become one, which is trained on.

Zhou et al., "Serving Deep Learning Models with Deduplication from Relational Databases", PVLDB 15, 2022, with a stage
of fine-tuning as in the VLDB 2024 study (arXiv 2311.15578). The stage "train" has the full table. The stage "tune"
begins by cutting it into blocks of rows: as many as the budget demands are replaced by a block that is near, and which
block stands for which stays as it is from then on. The blocks are found as by `embedcompress.compress(…, "dedup")`:
by distance, so that no threshold depends on how large values are. The study has blocks of 10,000 rows, and calls two
alike if 70 % of their values differ by at most .01, which almost any untrained rows do.

Bytes: 4 d for each row of the blocks that stay, and ceil(log2(blocks that stay)) bits for each block there was.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ... import Method, Table, _core, compress, remap
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._embedding import numbers
from .._formats import map_bytes
from .._gathered import Gathered
from .._new_rows import uniform_rows
from .._spec import Plan, Spec, refuse

MAP_SHARE = 2 / 3
"""Blocks are the smallest whose map takes at most this much of the budget: small ones are worth a large map."""
STUDY_BLOCK = 10_000


class Dedup(Gathered):
    """`training.embedding("dedup", …)`. Blocks may be shared across fields."""

    method: ClassVar[Method] = entry("dedup", WHILE_TRAINING)
    stages = ("train", "tune")

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.block: int = self.planned.knobs["block"]
        self.weight = uniform_rows(self, spec.rows, spec.dimension)
        self.register_buffer("map", None)

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take the smallest blocks whose map leaves enough of the budget to rows."""
        if options["block"] is not None:
            blocks = [options["block"]]
        else:
            blocks = [1 << power for power in range(max(1, (spec.rows // 2).bit_length()))]
        floors = {block: _floor(spec, block) for block in blocks}
        fitting = [block for block in blocks if floors[block] <= spec.budget]
        if not fitting:
            raise refuse("dedup", spec, min(floors.values()))
        light = (block for block in fitting if _map_bytes(spec, block) <= MAP_SHARE * spec.budget)
        best = next(light, min(fitting, key=lambda block: _map_bytes(spec, block)))
        return Plan(min(spec.budget, spec.full_bytes), {"block": best}, _study(spec))

    @torch.no_grad()
    def enter(self, stage: str) -> None:
        """Begin a stage; "tune" shares blocks, if that is not done yet."""
        super().enter(stage)
        if stage == "tune" and self.map is None and self.spec.budget < self.spec.full_bytes:
            self._share()

    def finish(self) -> None:
        """Share blocks, if that is not done yet."""
        self.enter("tune")
        super().finish()

    def _share(self) -> None:
        table = compress(
            numbers(self.weight.values()),
            "dedup",
            block_rows=self.block,
            block_columns=self.embedding_dim,
            budget=self.spec.budget,
            seed=self.spec.seed,
        )
        first_ids = np.arange(0, self.num_embeddings, self.block)
        inner_rows = np.empty_like(first_ids)
        _core.inner_rows(table, first_ids, inner_rows)
        kept = torch.from_numpy(table.parts()[1]["inner.rows"].values.copy())
        self.map = torch.from_numpy(inner_rows // self.block).to(self.device, torch.int32)
        self.weight.resize(len(kept))
        self.weight.fill([kept])

    def places(self, ids: Tensor) -> Tensor:
        """Return ids as they are, or rows of the blocks that stayed."""
        if self.map is None:
            return ids
        block = torch.div(ids, self.block, rounding_mode="floor")
        return ids + (self.map[block] - block) * self.block

    @property
    def stored_bytes(self) -> int:
        """Bytes of the frozen table; at most so many before blocks are shared."""
        if self.map is None:
            return super().stored_bytes
        return 4 * self.embedding_dim * len(self.weight) + map_bytes(self.num_embeddings, len(self.weight), self.block)

    def _frozen(self) -> Table:
        if self.map is None:
            return self.weight.frozen()
        return remap(self.weight.frozen(), map=numbers(self.map), block=self.block, rows=self.num_embeddings)

    def structure(self) -> dict[str, Any]:
        """Return how many rows stayed, and the map's length."""
        return {} if self.map is None else {"kept": len(self.weight), "blocks": len(self.map)}

    def restructure(self, structure: dict[str, Any]) -> None:
        """Make room for the rows that stayed, and their map."""
        self.map = torch.zeros(structure["blocks"], dtype=torch.int32, device=self.device)
        self.weight.resize(structure["kept"])


def _floor(spec: Spec, block: int) -> int:
    """Return the bytes of one block, the last one if it is shorter, since nothing is like it, and the map."""
    blocks, short = -(-spec.rows // block), spec.rows % block
    if blocks == 1:
        return spec.full_bytes
    return min(spec.full_bytes, 4 * spec.dimension * (block + short) + map_bytes(spec.rows, block, block))


def _map_bytes(spec: Spec, block: int) -> int:
    """Return the bytes of the map where the rest of the budget is rows; an upper bound."""
    kept = min(spec.budget // (4 * spec.dimension * block), spec.rows // block)
    return map_bytes(spec.rows, max(kept, 1) * block, block)


def _study(spec: Spec) -> dict[str, Any]:
    """Return how many of the study's blocks its rule keeps."""
    size = STUDY_BLOCK * spec.dimension
    blocks = -(-spec.rows // STUDY_BLOCK)
    shared = min(max(0, math.ceil((blocks * size - spec.budget / 4) / (size - 1))), blocks - 1)
    words = min(size * (blocks - shared) + blocks, spec.rows * spec.dimension)
    return {"block": STUDY_BLOCK, "kept": blocks - shared, "ratio": words / (spec.rows * spec.dimension)}
