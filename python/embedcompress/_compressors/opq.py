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
from ._compressor import BUDGET, Compressor, Request

Values = np.ndarray[Any, Any]

SAMPLE_ROWS = 32_768
_BLOCK_BYTES = 8 << 20


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
        bits = _integer(options, "bits", 1, 16)
        turns, rounds = _integer(options, "turns", 0, 1000), _integer(options, "rounds", 1, 100_000)
        seed = _integer(options, "seed", 0, 2**62)
        entries, element = (_choice(options, name) for name in ("entry_dtype", "matrix_dtype"))
        entry_bytes, matrix_bytes = _SIZES[entries], dimension * dimension * _SIZES[element]
        if request.budget is not None:
            if "parts" in request.given:
                raise ValueError("give opq either parts or a budget, not both")
            widths = (bits,) if "bits" in request.given else product_plan.WIDTHS
            plan = product_plan.best(rows, dimension, request.budget - matrix_bytes, entry_bytes, widths)
            if plan is None:
                floor = product_plan.least_bytes(rows, dimension, entry_bytes, widths) + matrix_bytes
                error: type[ValueError] = _core.BudgetError
                raise error(
                    f"opq cannot meet a budget of {request.budget} bytes: the least it can reach is {floor} bytes"
                )
            parts, bits = plan.parts, plan.bits
        else:
            given = options["parts"]
            parts = -(-dimension // 4) if given is None else _integer(options, "parts", 1, dimension)
        codes = {"parts": parts, "bits": bits, "seed": seed}
        progress = _Progress(request.progress, rows, turns + 6)
        rotation = _learned(table, codes, turns, progress)
        rotated = np.empty((rows, dimension), np.float32)
        for start, values in _blocks(table):
            rotated[start : start + len(values)] = values @ rotation
        progress.step(2)
        inner = _pq(rotated, {**codes, "entry_dtype": entries, "rounds": rounds})
        progress.step(3)
        matrix = _fitted(table, inner, rotation)
        progress.step(1)
        return project(inner, matrix, element=element)


_SIZES = {"f16": 2, "f32": 4}


def _pq(values: Values, options: dict[str, Any]) -> Table:
    source = dense(np.ascontiguousarray(values, np.float32))
    result: Table = _core.compress(source, None, "pq", json.dumps(options), None)
    return result


def _learned(table: Table, codes: dict[str, Any], turns: int, progress: _Progress) -> Values:
    """Return the rotation under which product codes of a sample have the least error, (d, d) f32."""
    dimension = table.dimension
    count = min(table.rows, max(SAMPLE_ROWS, 64 << codes["bits"]))
    random = np.random.default_rng(codes["seed"])
    chosen = np.sort(random.choice(table.rows, count, replace=False)) if count < table.rows else np.arange(count)
    sample = _finite(table.lookup(chosen), chosen)
    centered = sample - sample.mean(axis=0, dtype=np.float64).astype(np.float32) if count else sample
    identity = np.eye(dimension, dtype=np.float32)
    if count < 2 or turns == 0:
        return identity
    quick = {**codes, "entry_dtype": "f32", "rounds": 4}

    def tried(rotation: Values) -> tuple[float, Values]:
        rotated = centered @ rotation
        decoded = _pq(rotated, quick).decode()
        return float(np.square(rotated - decoded, dtype=np.float64).sum()), decoded

    starts = [identity, _random_rotation(dimension, random), _allocated(centered, codes["parts"])]
    (error, decoded), rotation = min(((tried(start), start) for start in starts), key=lambda found: found[0][0])
    best, least = rotation, error
    for _ in range(turns):
        left, _, right = np.linalg.svd(centered.T.astype(np.float64) @ decoded)
        rotation = (left @ right).astype(np.float32)
        error, decoded = tried(rotation)
        if error < least:
            best, least = rotation, error
        progress.step()
    return best


def _random_rotation(dimension: int, random: np.random.Generator) -> Values:
    factor, upper = np.linalg.qr(random.standard_normal((dimension, dimension)))
    return (factor * np.sign(np.diag(upper))).astype(np.float32)


def _allocated(centered: Values, parts: int) -> Values:
    """Return the principal directions, each in the part whose product of variances is the smallest so far."""
    dimension = centered.shape[1]
    variances, directions = np.linalg.eigh(centered.T.astype(np.float64) @ centered)
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


def _fitted(table: Table, inner: Table, rotation: Values) -> Values:
    """Return the matrix from codes to rows of the least squared error; the rotation back where codes leave it open."""
    dimension = table.dimension
    gram, cross = np.zeros((dimension, dimension)), np.zeros((dimension, dimension))
    for start, values in _blocks(table):
        decoded = inner.decode(start, start + len(values)).astype(np.float64)
        gram += decoded.T @ decoded
        cross += decoded.T @ (values - decoded.astype(np.float32) @ rotation.T)
    weight = 1e-6 * max(float(np.trace(gram)) / dimension, 1e-30)
    correction = np.linalg.solve(gram + weight * np.eye(dimension), cross)
    return np.asarray(rotation.T + correction, np.float32)


def _blocks(table: Table) -> Any:
    step = max(1, _BLOCK_BYTES // (4 * table.dimension))
    for start in range(0, table.rows, step):
        stop = min(start + step, table.rows)
        yield start, _finite(table.decode(start, stop), np.arange(start, stop))


def _finite(values: Values, rows: Values) -> Values:
    if not np.isfinite(values).all():
        row, column = (int(index) for index in np.argwhere(~np.isfinite(values))[0])
        raise ValueError(f"row {rows[row]} has {values[row, column]} in column {column}; every value must be finite")
    return values


class _Progress:
    """Steps of about equal time, told as rows."""

    def __init__(self, progress: Progress | None, rows: int, steps: int):
        self._progress, self._rows, self._steps, self._done = progress, rows, steps, 0

    def step(self, count: int = 1) -> None:
        self._done = min(self._done + count, self._steps)
        if self._progress and self._progress(self._rows * self._done // self._steps, self._rows) is False:
            raise KeyboardInterrupt


def _integer(options: dict[str, Any], name: str, low: int, high: int) -> int:
    value = options[name]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"opq: {name} must be an integer from {low} to {high}, not {value!r}")
    return value


def _choice(options: dict[str, Any], name: str) -> str:
    value = options[name]
    if value not in _SIZES:
        raise ValueError(f"opq: {name} must be one of 'f16', 'f32', not {value!r}")
    return str(value)
