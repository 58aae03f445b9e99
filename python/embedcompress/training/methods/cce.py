"""CCE: sums of hashed rows, in which one hash becomes a learnt clustering.

Tsang and Ahle, "Clustering the Sketch: Dynamic Compression for Embedding Tables", NeurIPS 2023 (arXiv 2210.05974),
written from the paper's idea. A row is cut into chunks of columns; each is T0[h0(x)] + T1[h1(x)] of tables of k rows.
At first both are hashes. A few times while training, the sums of all ids are clustered: h0(x) becomes x's cluster, T0
the centroids, h1 another hash, and T1 the mean of what is left of the ids that share its row. Results
of the paper's code do not count the map that h0 becomes, which here often takes more bytes than the tables. Each field
has tables of its own, all of the same k; one that would not shrink stays as it is.

Bytes of a field: 8 d k, or with bits those of the codes of its tables, and for each chunk ceil(n log2(k) / 8), log2
rounded up, for the map and 8 for the hash. While training, the map has whole bytes: 1, 2 or 4 for each id and chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ... import Method, Table, columns, combine, remap
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._clusters import clusters, means, nearest
from .._distinct import Distinct
from .._embedding import LearnedEmbedding, numbers
from .._fields import of_field
from .._formats import hash_bytes, map_bytes
from .._hashing import hashed, seeds
from .._new_rows import given_rows
from .._spec import Plan, Spec, largest, refuse
from .._steps import Steps, touched

CHUNKS = (4, 2, 1)
"""What the budget chooses from."""
BLOCK = 1 << 18
"""Ids that are hashed at a time before training."""
MAP_SHARE = 2 / 3
"""There are the most chunks whose maps take at most this much of the budget."""


class CCE(LearnedEmbedding):
    """`training.embedding("cce", …)`."""

    method: ClassVar[Method] = entry("cce", WHILE_TRAINING)
    looked_up: ClassVar[tuple[str, ...]] = ("tables", "plain")
    takes_optimizer: ClassVar[bool] = True
    takes_bits: ClassVar[bool] = True
    map: Tensor
    seeds: Tensor
    k: Tensor
    first: Tensor
    first_plain: Tensor
    is_plain: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.interval, self.clusterings = options["interval"], options["clusterings"]
        self.chunks: int = self.planned.knobs["chunks"]
        self.width = spec.dimension // self.chunks
        self.counts: list[int] = self.planned.knobs["k"]
        self.steps = Steps(spec.seed)
        self.total = sum(self.counts)
        plain = [size if k == 0 else 0 for size, k in zip(spec.sizes, self.counts, strict=True)]
        self.plain_rows = sum(plain)
        for name, rows in (("first", self.counts), ("first_plain", plain)):
            self.register_buffer(name, torch.tensor(rows).cumsum(0) - torch.tensor(rows), persistent=False)
        self.register_buffer("is_plain", torch.tensor(self.counts) == 0, persistent=False)
        self.register_buffer("k", torch.tensor(self.counts), persistent=False)
        # Every id's row of the first table; of the second, the seed of the hash of each field.
        most = max(self.counts) - 1
        dtype = next(one for one in (torch.uint8, torch.int16, torch.int32) if most <= torch.iinfo(one).max)
        self.register_buffer("map", torch.zeros(self.chunks, spec.rows, dtype=dtype))
        self.register_buffer("seeds", self._new_seeds(0))
        start = self._new_seeds(1)
        for field, chunk, ids in self._pieces():
            for part in torch.split(ids, BLOCK):
                places = hashed(part - ids[0], self.counts[field], int(start[chunk, field]))
                self.map[chunk, part] = places.to(dtype)
        # The last row is what plain ids add of the tables, and the others of the plain rows: nothing.
        tables = self.initial(2 * self.chunks * self.total + 1, self.width)
        tables[-1] = 0
        rows = self.initial(self.plain_rows + 1, spec.dimension, purpose=1)
        rows[-1] = 0
        self.tables = given_rows(spec, tables, is_padded=True) if self.total else None
        self.plain = given_rows(spec, rows, is_padded=True) if self.plain_rows else None

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take the most chunks whose map leaves enough of the budget to the largest tables that fit."""
        able = [chunks for chunks in CHUNKS if spec.dimension % chunks == 0]
        if options["chunks"] is not None:
            able = [options["chunks"]]
            if spec.dimension % able[0]:
                raise ValueError(f"chunks must divide the {spec.dimension} columns, not {able[0]}")
        floors = {chunks: _size(spec, chunks, 2) for chunks in able}
        able = [chunks for chunks in able if floors[chunks] <= spec.budget]
        if not able:
            raise refuse("cce", spec, min(floors.values()))
        top = max(*spec.sizes, 2)
        most = {chunks: largest("cce", spec, 2, top, partial(_size, spec, chunks)) for chunks in able}
        light = [chunks for chunks in able if _map_bytes(spec, chunks, most[chunks]) <= MAP_SHARE * spec.budget]
        chunks = max(light) if light else min(able)
        k = most[chunks]
        counts = [k if _shrinks(spec, chunks, k, size) else 0 for size in spec.sizes]
        return Plan(_size(spec, chunks, k), {"chunks": chunks, "k": counts})

    def _new_seeds(self, purpose: int) -> Tensor:
        """Return seeds of hashes, (chunks, fields)."""
        return seeds(self.chunks * len(self.spec.sizes), self.generator(2 + purpose)).reshape(self.chunks, -1)

    def _pieces(self) -> Iterator[tuple[int, int, Tensor]]:
        """Yield each field that has tables, with each chunk and the field's ids."""
        for field, (start, size) in enumerate(zip(self.spec.starts, self.spec.sizes, strict=True)):
            for chunk in range(self.chunks if self.counts[field] else 0):
                yield field, chunk, torch.arange(start, start + size, device=self.map.device)

    def _places(self, ids: Tensor) -> Tensor:
        """Return which rows of the tables add up to each id's, (n, chunks, 2)."""
        field, local = self.fields.split(ids)
        chunk = torch.arange(self.chunks, device=ids.device)
        k, first, none = (of_field(of, field) for of in (self.k, self.first, self.is_plain))
        seed = self.seeds.T[0] if field is None else self.seeds.T[field]
        k, first, none = (value.reshape(-1, 1) for value in (k, first, none))
        second = hashed(local[:, None], k.clamp(min=1), seed)
        base = 2 * chunk * self.total + first
        places = torch.stack([base + self.map[:, ids].T, base + self.total + second], 2)
        return torch.where(none[:, :, None], 2 * self.chunks * self.total, places)

    def rows(self, ids: Tensor) -> Tensor:
        """Return sums of two rows for each chunk, or rows as they are; those of an id are added up once."""
        batch = Distinct(ids)
        return batch.spread(self._sums(batch.ids))

    def _sums(self, ids: Tensor) -> Tensor:
        total = None
        if self.tables is not None:
            places = self._places(ids)
            both = self.tables.once(places.flatten()).view(*places.shape, self.width)
            total = both.sum(2).view(len(ids), self.embedding_dim)
        if self.plain is None:
            assert total is not None
            return total
        field, local = self.fields.split(ids)
        place = torch.where(of_field(self.is_plain, field), local + of_field(self.first_plain, field), self.plain_rows)
        own = self.plain.once(place)
        return own if total is None else own + total

    def before_step(self) -> None:
        """Tell optimizers that sparse gradients have each row once: they add up nothing."""
        for parameter in self.parameters():
            touched(parameter)

    @torch.no_grad()
    def after_step(self) -> None:
        """Cluster ids, after every so many steps, as often as is asked for."""
        step = self.steps.next()
        if step % self.interval == 0 and step // self.interval <= self.clusterings:
            self._cluster(step // self.interval)

    def _cluster(self, time: int) -> None:
        new = self._new_seeds(1 + time).to(self.seeds.device)
        random = self.steps.generator()
        for field, chunk, ids in self._pieces():
            assert self.tables is not None
            first, second = self._tables(field, chunk)
            k, local = self.counts[field], ids - ids[0]
            own, other = self.tables.values(first), self.tables.values(second)
            before = hashed(local, k, int(self.seeds[chunk, field]))
            sums = own[self.map[chunk, ids].long()] + other[before]
            centroids = clusters(sums, k, random)
            of = nearest(sums, centroids)
            after = hashed(local, k, int(new[chunk, field]))
            self.map[chunk, ids] = of.to(self.map.dtype)
            self.tables.write(first, centroids)
            self.tables.write(second, means(sums - centroids[of], after, k)[0])
        self.seeds.copy_(new)

    def _tables(self, field: int, chunk: int) -> tuple[slice, slice]:
        """Return where both tables of a field's chunk are, k rows each."""
        start, k = 2 * chunk * self.total + int(self.first[field]), self.counts[field]
        return slice(start, start + k), slice(start + self.total, start + self.total + k)

    def _frozen(self) -> Table:
        return self.per_field(self._frozen_field(field) for field in range(len(self.spec.sizes)))

    def _frozen_field(self, field: int) -> Table:
        start, size = self.spec.starts[field], self.spec.sizes[field]
        if self.plain is not None and self.counts[field] == 0:
            begin = int(self.first_plain[field])
            return self.plain.frozen(slice(begin, begin + size))
        chunks = []
        assert self.tables is not None
        for chunk in range(self.chunks):
            first, second = self._tables(field, chunk)
            cluster = numbers(self.map[chunk, start : start + size])
            by_hash = remap(self.tables.frozen(second), rows=size, hash=int(self.seeds[chunk, field]))
            chunks.append(combine([remap(self.tables.frozen(first), map=cluster), by_hash], "sum"))
        return columns(chunks) if len(chunks) > 1 else chunks[0]


def _field_size(spec: Spec, chunks: int, k: int, size: int) -> int:
    """Return the bytes of a field's tables, maps and hashes."""
    return chunks * (2 * spec.array_bytes(k, spec.dimension // chunks) + map_bytes(size, k) + hash_bytes())


def _shrinks(spec: Spec, chunks: int, k: int, size: int) -> bool:
    return _field_size(spec, chunks, k, size) < spec.array_bytes(size)


def _size(spec: Spec, chunks: int, k: int) -> int:
    return sum(min(spec.array_bytes(size), _field_size(spec, chunks, k, size)) for size in spec.sizes)


def _map_bytes(spec: Spec, chunks: int, k: int) -> int:
    return sum(chunks * map_bytes(size, k) for size in spec.sizes if _shrinks(spec, chunks, k, size))
