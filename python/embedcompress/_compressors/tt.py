"""TT: the table as a tensor train of three cores, by TT-SVD.

Oseledets 2011 (SIAM J. Sci. Comput. 33); as a format of embedding tables TT-Rec (Yin et al., MLSys 2021); a baseline of
the VLDB 2024 study (arXiv 2311.15578). Row numbers have three digits and columns three indices, a row's first digit and
the first column index going to the first core. The first core holds the leading left singular vectors of the
(N0 d0) x (N1 d1 N2 d2) unfolding, the last one the right singular vectors of what is left; both come from Gram matrices
in f64, which is exact. The table is read twice.

Bytes: (N0 d0 R1 + R1 N1 d1 R2 + R2 N2 d2) * (2 for f16, 4 for f32), where N0 N1 N2 >= rows and d0 d1 d2 = d.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._methods import Method, Option
from .._stores import tensor_train
from .._table import Progress, Table
from ._compressor import BUDGET, FLOAT_BYTES, Compressor, Request, choice, integer_if_given, largest
from ._inner import half
from ._linear import Steps, Values, finite

# Of a run of rows in f64. Products of shorter ones take as long as adding them up.
_SLAB_BYTES = 32 << 20


@dataclass(frozen=True)
class Shape:
    """How rows and columns are factorised."""

    rows: tuple[int, int, int]
    columns: tuple[int, int, int]

    @staticmethod
    def of(rows: int, dimension: int) -> Shape:
        """Return factors as equal as they can be: of at least `rows`, and of exactly `dimension`."""
        first = max(1, math.ceil(round(rows ** (1 / 3), 9)))
        second = max(1, math.ceil(round((rows / first) ** 0.5, 9)))
        third = max(1, -(-rows // (first * second)))
        splits = [(a, b, dimension // (a * b)) for a in _divisors(dimension) for b in _divisors(dimension // a)]
        # The last core has no rank behind it, the middle one two: the columns that are left over go to the ends.
        columns = min(splits, key=lambda split: (sum(split), split[1], -split[0]))
        return Shape((first, second, third), columns)

    @property
    def sides(self) -> tuple[int, int, int]:
        """Entries of each core but for its ranks."""
        return tuple(n * d for n, d in zip(self.rows, self.columns, strict=True))  # type: ignore[return-value]

    def ranks(self, rank: int) -> tuple[int, int]:
        """Return both ranks: no higher than the sides that they join allow."""
        first, middle, last = self.sides
        second = min(rank, last)
        return min(rank, first, middle * second), second

    def numbers(self, rank: int) -> int:
        """Return how many numbers the cores have."""
        first, middle, last = self.sides
        r1, r2 = self.ranks(rank)
        return first * r1 + r1 * middle * r2 + r2 * last


class TensorTrain(Compressor):
    """`compress(weight, "tt")`."""

    method: ClassVar[Method] = Method(
        name="tt",
        title="TT",
        paper="Oseledets 2011; Yin et al., MLSys 2021, arXiv 2101.11714",
        kind="post-training",
        summary="a tensor train of three cores, by singular value decompositions of the reshaped table",
        bytes_per_row="(N0 d0 + N1 d1 R + N2 d2) * R * (2 for f16, 4 for f32) / rows, N0 N1 N2 >= rows, d0 d1 d2 = d",
        cost="two passes over the table, 2 * rows * d * (N0 d0 + R) operations",
        options=(
            Option("rank", "an integer, at least 1", None, "of both joints; that of a tenth of the bytes if not given"),
            Option("element", "f32 or f16", "f32", "type of the cores"),
            Option(BUDGET.name, BUDGET.values, None, "most bytes of the result; chooses rank"),
        ),
    )

    def compress(self, request: Request) -> Table:
        """Return the three cores."""
        table, options = request.source, request.options
        element = choice(options, "element", "tt", FLOAT_BYTES, "f32 or f16")
        width = FLOAT_BYTES[element]
        shape = Shape.of(table.rows, table.dimension)
        highest = max(shape.sides[0], shape.sides[2])
        rank = integer_if_given(options, "rank", "tt", 1)
        if rank is not None and request.budget is not None:
            raise ValueError("give tt either a rank or a budget, not both")
        if rank is None:
            least = shape.numbers(1) * width
            budget = max(table.rows * table.dimension * 4 // 10, least)
            if request.budget is not None:
                # The cores of a sample are smaller, as it is.
                budget = request.budget * table.rows // max(request.counted_rows, 1)
            rank = largest("tt", budget, 1, highest, lambda value: shape.numbers(value) * width)
        cores = decompose(table, shape, shape.ranks(rank), Steps(request.progress, table.rows, (1, 1)))
        if element == "f16":
            return tensor_train([half(core, "the cores' values") for core in cores], rows=table.rows)
        return tensor_train([core.astype(np.float32) for core in cores], rows=table.rows)


def decompose(table: Table, shape: Shape, ranks: tuple[int, int], steps: Steps) -> tuple[Values, Values, Values]:
    """Return the cores of the TT-SVD: (N0, d0, R1), (N1, R1, d1, R2) and (N2, R2, d2)."""
    (n0, n1, n2), (d0, d1, d2) = shape.rows, shape.columns
    rank1, rank2 = ranks
    side = n0 * d0
    gram = np.zeros((side, side))
    for _, _, slab in _slabs(table, shape, steps.next()):
        gram += slab @ slab.T
    first = _leading(gram, rank1)
    # What is left: (R1, N1, d1, N2, d2).
    rest = np.empty((rank1, n1, d1, n2, d2))
    for middles, digit, slab in _slabs(table, shape, steps.next()):
        rest[:, middles, :, digit, :] = (first.T @ slab).reshape(rank1, -1, d1, d2)
    wide = rest.reshape(rank1 * n1 * d1, n2 * d2)
    last = _leading(wide.T @ wide, rank2)
    middle = (wide @ last).reshape(rank1, n1, d1, rank2)
    return (
        first.reshape(n0, d0, rank1),
        np.ascontiguousarray(middle.transpose(1, 0, 2, 3)),
        np.ascontiguousarray(last.reshape(n2, d2, rank2).transpose(0, 2, 1)),
    )


def _slabs(table: Table, shape: Shape, progress: Progress | None) -> Iterator[tuple[slice, int, Values]]:
    """Return runs of rows: their middle digits M, their last one, and their values as (N0 d0, M d1 d2).

    Rows that the table does not have are zeros. Runs are short, as Ctrl-C waits for what is done with one of them.
    """
    (n0, n1, n2), (d0, d1, d2) = shape.rows, shape.columns
    step = max(1, _SLAB_BYTES // (8 * n0 * table.dimension))
    for digit in range(n2):
        for first in range(0, n1, step):
            count = min(step, n1 - first)
            start = (digit * n1 + first) * n0
            stop = min(start + count * n0, table.rows)
            slab = np.zeros((count * n0, table.dimension))
            if start < stop:
                slab[: stop - start] = finite(table.decode(start, stop), start)
            by_side = slab.reshape(count, n0, d0, d1, d2).transpose(1, 2, 0, 3, 4)
            yield slice(first, first + count), digit, by_side.reshape(n0 * d0, count * d1 * d2)
            if progress is not None and progress(min(stop, table.rows), table.rows) is False:
                raise KeyboardInterrupt


def _leading(gram: Values, count: int) -> Values:
    """Return the eigenvectors of the largest eigenvalues, in columns."""
    vectors: Values = np.linalg.eigh(gram)[1][:, ::-1][:, :count]
    return vectors


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
