"""OPQ: product codes of rotated rows, and a matrix that rotates them back.

Ge, He, Ke and Sun, "Optimized Product Quantization", 2013 (IEEE TPAMI 36 (4), 2014). The rotation starts as the best of
none, a random one, and the principal directions shared out among parts so that each has the same product of variances;
product codes of a sample and the rotation that fits them best (Procrustes) then take turns. Last, the matrix is fitted
to the codes of all rows by least squares.

Bytes: those of `pq`, and d * d * (2 or 4) for the matrix. Work beside that of `pq`: d^3 and rows * d^2 operations for
each turn.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np

from .. import _core
from .._methods import Method, Option
from .._routes import project
from .._table import Progress, Table, dense
from . import _product_plan as product_plan
from ._compressor import (
    BUDGET,
    FLOAT_BYTES,
    Compressor,
    Request,
    budget_error,
    float_type,
    integer,
    integer_if_given,
)
from ._linear import Moments, Steps, Values, blocks, coordinates, finite

SAMPLE_ROWS = 32_768


class OptimizedProduct(Compressor):
    """`compress(weight, "opq")`."""

    method: ClassVar[Method] = Method(
        name="opq",
        title="OPQ",
        paper="Ge, He, Ke and Sun 2013, IEEE TPAMI 36 (4)",
        kind="post-training",
        summary="product codes of rows that a learned matrix rotates",
        bytes_per_row="ceil(parts * bits / 8) + (2^bits + d) * d * (2 for f16, 4 for f32) / rows",
        cost="turns * (2^bits * d + d^2) steps for each of 32768 rows, and that of pq",
        options=(
            Option("parts", "an integer from 1 to d", None, "parts of a row; if not given, as many as have 4 columns"),
            Option("bits", "an integer from 1 to 16", 8, "bits of a code"),
            Option("entry_dtype", "one of 'f16', 'f32'", "f16", "type of a codebook's entries"),
            Option("matrix_dtype", "one of 'f16', 'f32'", "f16", "type of the matrix"),
            Option("turns", "an integer from 0 to 1000", 12, "fits of the rotation"),
            Option("rounds", "an integer from 1 to 100000", 25, "most rounds of k-means, of the last codes"),
            Option("seed", "an integer, at least 0", 0, "of the rows that are learned from, and the first rotation"),
            Option(BUDGET.name, BUDGET.values, None, "most bytes of the result; chooses parts, and bits unless given"),
        ),
    )

    def compress(self, request: Request) -> Table:
        """Return a projection of product codes."""
        table, options = request.source, dict(request.options)
        rows, dimension = table.rows, table.dimension
        bits = integer(options, "bits", "opq", 1, 16)
        turns, rounds = integer(options, "turns", "opq", 0, 1000), integer(options, "rounds", "opq", 1, 100_000)
        seed = integer(options, "seed", "opq", 0, 2**62)
        entries, element = (float_type(options, name, "opq") for name in ("entry_dtype", "matrix_dtype"))
        entry_bytes, matrix_bytes = FLOAT_BYTES[entries], dimension * dimension * FLOAT_BYTES[element]
        if request.budget is not None:
            if "parts" in request.given:
                raise ValueError("give opq either parts or a budget, not both")
            widths = (bits,) if "bits" in request.given else product_plan.WIDTHS
            plan = product_plan.best(rows, dimension, request.budget - matrix_bytes, entry_bytes, widths)
            if plan is None:
                floor = product_plan.least_bytes(rows, dimension, entry_bytes, widths) + matrix_bytes
                raise budget_error("opq", request.budget, floor)
            parts, bits = plan.parts, plan.bits
        else:
            parts = integer_if_given(options, "parts", "opq", 1, dimension) or -(-dimension // 4)
        codes = {"parts": parts, "bits": bits, "seed": seed}
        steps = Steps(request.progress, rows, (turns + 1, 1, 3, 1))
        rotation = _learned(table, codes, turns, steps.next())
        rotated = coordinates(table, np.zeros(dimension), rotation, steps.next())
        inner = _pq(rotated, {**codes, "entry_dtype": entries, "rounds": rounds}, steps.next())
        matrix = _fitted(table, inner, rotation, steps.next())
        return project(inner, matrix, element=element)


def _pq(values: Values, options: dict[str, Any], progress: Progress | None = None) -> Table:
    source = dense(np.ascontiguousarray(values, np.float32))
    result: Table = _core.compress(source, None, "pq", json.dumps(options), progress)
    return result


def _learned(table: Table, codes: dict[str, Any], turns: int, progress: Progress | None) -> Values:
    """Return the rotation under which product codes of a sample have the least error, (d, d) f32."""
    dimension = table.dimension
    count = min(table.rows, max(SAMPLE_ROWS, 64 << codes["bits"]))
    random = np.random.default_rng(codes["seed"])
    chosen = np.sort(random.choice(table.rows, count, replace=False)) if count < table.rows else np.arange(count)
    sample = finite(table.lookup(chosen), chosen)
    identity = np.eye(dimension, dtype=np.float32)
    if count < 2 or turns == 0:
        return identity
    centered = dense(sample - sample.mean(axis=0, dtype=np.float64).astype(np.float32))
    no_mean = np.zeros(dimension)
    quick = {**codes, "entry_dtype": "f32", "rounds": 4}

    def tried(rotation: Values) -> tuple[float, Values]:
        rotated = coordinates(centered, no_mean, rotation)
        decoded = _pq(rotated, quick).decode()
        return float(np.square(rotated - decoded, dtype=np.float64).sum()), decoded

    starts = [identity, _random_rotation(dimension, random), _allocated(centered, codes["parts"])]
    (error, decoded), rotation = min(((tried(start), start) for start in starts), key=lambda found: found[0][0])
    best, least = rotation, error
    for turn in range(turns):
        # Block by block, so that Ctrl-C waits for a block and not for the sample.
        cross = np.zeros((dimension, dimension))
        for start, rows in blocks(centered):
            cross += rows.T.astype(np.float64) @ decoded[start : start + len(rows)]
        left, _, right = np.linalg.svd(cross)
        rotation = (left @ right).astype(np.float32)
        error, decoded = tried(rotation)
        if error < least:
            best, least = rotation, error
        if progress is not None and progress(turn + 1, turns) is False:
            raise KeyboardInterrupt
    return best


def _random_rotation(dimension: int, random: np.random.Generator) -> Values:
    factor, upper = np.linalg.qr(random.standard_normal((dimension, dimension)))
    return (factor * np.sign(np.diag(upper))).astype(np.float32)


def _allocated(centered: Table, parts: int) -> Values:
    """Return the principal directions, each in the part whose product of variances is the smallest so far."""
    dimension = centered.dimension
    variances, directions = np.linalg.eigh(Moments.of(centered).gram)
    variances = np.maximum(variances, max(float(variances[-1]), 1e-300) * 1e-12)
    rooms = [len(columns) for columns in np.array_split(np.arange(dimension), parts)]
    members: list[list[int]] = [[] for _ in rooms]
    logs = np.zeros(parts)
    # As logarithms of shares of the least variance, so that every direction adds to its part.
    gains = np.log(variances / variances[0])
    for index in range(dimension - 1, -1, -1):
        part = min((part for part in range(parts) if len(members[part]) < rooms[part]), key=lambda part: logs[part])
        members[part].append(index)
        logs[part] += gains[index]
    order = [index for part in members for index in part]
    return np.ascontiguousarray(directions[:, order], np.float32)


def _fitted(table: Table, inner: Table, rotation: Values, progress: Progress | None) -> Values:
    """Return the matrix from codes to rows of the least squared error; the rotation back where codes leave it open."""
    dimension = table.dimension
    gram, cross = np.zeros((dimension, dimension)), np.zeros((dimension, dimension))
    for start, values in blocks(table, progress):
        decoded = inner.decode(start, start + len(values)).astype(np.float64)
        gram += decoded.T @ decoded
        cross += decoded.T @ (values - decoded.astype(np.float32) @ rotation.T)
    weight = 1e-6 * max(float(np.trace(gram)) / dimension, 1e-30)
    correction = np.linalg.solve(gram + weight * np.eye(dimension), cross)
    return np.asarray(rotation.T + correction, np.float32)
