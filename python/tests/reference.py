"""Slow and obvious: what tables mean, in NumPy and float64, and how closely results must agree with it.

Nothing here calls the core.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from store_reference import STORES

import embedcompress as ec

DIMENSIONS = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 300, 768]
BITS = [1, 2, 3, 4, 5, 6, 7, 8, 16]
ALIGNMENTS = [1, 2, 4, 8, 16, 32, 64]


def widths(name):
    """The bits that a method takes."""
    (method,) = (method for method in ec.methods() if method.name == name)
    (bits,) = (option.values for option in method.options if option.name == "bits")
    return [width for width in BITS if str(width) in re.findall(r"\d+", bits)]


@dataclass
class Rows:
    """Rows in float64, and how large the numbers were that each value was summed from.

    The magnitude of what routes compute grows with the roundings on the way, so that one bound holds for all.
    """

    values: np.ndarray
    magnitude: np.ndarray


def bfloat16(values):
    """The bits of float32 values cut to bfloat16."""
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def from_bfloat16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


# Meaning of an expression


def unpack(packed, dimension, bits):
    """Codes of rows of packed bytes: element j takes bits j * bits to (j + 1) * bits, low bits first."""
    stream = np.unpackbits(packed, axis=1, bitorder="little")[:, : dimension * bits]
    digits = stream.reshape(len(packed), dimension, bits).astype(np.int64)
    return (digits << np.arange(bits)).sum(axis=2)


def pack(codes, bits):
    digits = (codes[:, :, None] >> np.arange(bits)) & 1
    return np.packbits(digits.reshape(len(codes), codes.shape[1] * bits).astype(np.uint8), axis=1, bitorder="little")


def uniform_fields(packed, dimension, bits, group, scale_type):
    """Codes, and the scale and bias of each group, of rows as `Uniform` lays them out."""
    code_bytes = (dimension * bits + 7) // 8
    codes = unpack(packed[:, :code_bytes], dimension, bits)
    both = np.ascontiguousarray(packed[:, code_bytes:]).view({"f16": "<f2", "f32": "<f4"}[scale_type])
    return codes, both[:, 0::2].astype(np.float64), both[:, 1::2].astype(np.float64)


def row_bytes(tree):
    """Bytes of a row of a store, without padding."""
    if tree["kind"] == "dense":
        return tree["dimension"] * {"f32": 4, "f16": 2, "bf16": 2}[tree["element"]]
    codes, scope = (tree["dimension"] * tree["bits"] + 7) // 8, tree.get("scope", "row")
    if tree["kind"] == "uniform":
        groups = -(-tree["dimension"] // tree["group"])
        return codes + (groups * 2 * {"f16": 2, "f32": 4}[tree["scale"]] if scope == "row" else 0)
    if scope == "row":
        return codes + {"f16": 2, "f32": 4}[tree["entries"]] * 2 ** tree["bits"]
    if scope == "table":
        return codes + {None: 0, "f16": 2, "f32": 4}[tree.get("row_scale")]
    return codes + next(n for n in (1, 2, 3, 4) if tree["clusters"] <= 256**n)


def random_signs(seed, count):
    """The bits of SplitMix64's numbers, low bits first, as signs: 1 for 0, and -1 for 1."""
    state, signs = seed % 2**64, []
    while len(signs) < count:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        value = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
        value ^= value >> 31
        signs += [1 - 2 * (value >> bit & 1) for bit in range(64)]
    return np.array(signs[:count], np.float64)


def hadamard(size):
    """The orthogonal matrix of the Walsh-Hadamard transform."""
    bits = np.arange(size)[:, None] & np.arange(size)
    signs = 1 - 2 * (sum(bits >> place for place in range(20)) & 1)
    return signs / np.sqrt(size)


def rotation(seed, dimension):
    """The matrix whose product with a column is the rotated column."""
    window = 1 << (dimension.bit_length() - 1)
    last = dimension - window
    transform = hadamard(window)
    matrix = np.eye(dimension)
    starts = [0, 0] if last == 0 else [0, last, 0, last]
    words = -(-dimension // 64) * 64
    signs = random_signs(seed, words * len(starts)).reshape(len(starts), words)[:, :dimension]
    for step, start in enumerate(starts):
        if step == 2:
            half = dimension // 2
            left, right = matrix[:half].copy(), matrix[dimension - half :].copy()
            matrix[:half], matrix[dimension - half :] = (left + right) / np.sqrt(2), (left - right) / np.sqrt(2)
        matrix = signs[step][:, None] * matrix
        matrix[start : start + window] = transform @ matrix[start : start + window]
    return matrix


def rows_of_parts(tree, arrays):
    """Every row of the expression that `Table.parts` describes."""
    dimension = tree["dimension"]
    if tree["kind"] == "dense":
        stored = arrays[tree["tensors"]["rows"]].values[:, :dimension]
        values = from_bfloat16(stored) if tree["element"] == "bf16" else stored
        values = values.astype(np.float64)
        return Rows(values, np.abs(values))
    if tree["kind"] == "uniform":
        packed = arrays[tree["tensors"]["rows"]].values[:, : row_bytes(tree)]
        if tree.get("scope", "row") == "table":
            scale, bias = np.asarray(arrays[tree["tensors"]["parameters"]].values, np.float64)
            scaled = unpack(packed, dimension, tree["bits"]) * scale
            return Rows(scaled + bias, np.abs(scaled) + np.abs(bias))
        codes, scale, bias = uniform_fields(packed, dimension, tree["bits"], tree["group"], tree["scale"])
        column_group = np.arange(dimension) // tree["group"]
        scaled, biases = codes * scale[:, column_group], bias[:, column_group]
        return Rows(scaled + biases, np.abs(scaled) + np.abs(biases))
    if tree["kind"] == "codebook":
        packed = arrays[tree["tensors"]["rows"]].values[:, : row_bytes(tree)]
        codes = unpack(packed, dimension, tree["bits"])
        rest = np.ascontiguousarray(packed[:, (dimension * tree["bits"] + 7) // 8 :])
        if "row_scale" in tree:
            scale = rest.view({"f16": "<f2", "f32": "<f4"}[tree["row_scale"]]).astype(np.float64)
            values = scale * arrays[tree["tensors"]["codebooks"]].values.astype(np.float64)[0][codes]
            return Rows(values, np.abs(values))
        if tree["scope"] == "row":
            books = rest.view({"f16": "<f2", "f32": "<f4"}[tree["entries"]])
        else:
            shared = arrays[tree["tensors"]["codebooks"]].values
            # No index for the table's codebook: a sum over no bytes is 0.
            books = shared[(rest.astype(np.int64) << 8 * np.arange(rest.shape[1])).sum(axis=1)]
        values = np.take_along_axis(books.astype(np.float64), codes, axis=1)
        return Rows(values, np.abs(values))
    if tree["kind"] in STORES:
        return Rows(*STORES[tree["kind"]](tree, arrays))
    return ROUTES[tree["kind"]](tree, arrays)


def hashed(ids, seed, rows):
    """The formula of docs/format.md."""
    with np.errstate(over="ignore"):
        h = np.uint64(seed) + (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    h = (h ^ (h >> np.uint64(31))) >> np.uint64(32)
    return ((h * np.uint64(rows)) >> np.uint64(32)).astype(np.int64)


def remap_rows(tree, arrays):
    inner = rows_of_parts(tree["children"]["inner"], arrays)
    count = tree["children"]["inner"]["rows"]
    ids = np.arange(tree["rows"]) + tree["offset"]
    match tree["function"]:
        case "modulo":
            target = ids % tree["modulus"]
        case "quotient":
            target = ids // tree["divisor"]
        case "hash":
            target = hashed(ids, tree["seed"], count)
        case "map":
            bits, block_rows = tree["bits"], tree["block_rows"]
            entries = -(-(len(ids) + tree["offset"]) // block_rows)
            stream = np.unpackbits(arrays[tree["tensors"]["map"]].values, bitorder="little")[tree["shift"] :]
            digits = stream[: entries * bits].reshape(entries, bits).astype(np.int64)
            block = (digits << np.arange(bits)).sum(axis=1)[ids // block_rows]
            target = np.where(block == -(-count // block_rows), -1, block * block_rows + ids % block_rows)
    # Row -1 is the row of zeros.
    zeros = np.zeros((1, tree["dimension"]))
    return Rows(np.concatenate([inner.values, zeros])[target], np.concatenate([inner.magnitude, zeros])[target])


def parts_rows(tree, arrays):
    children = tree["children"]
    return [rows_of_parts(children[str(index)], arrays) for index in range(len(children))]


def combine_rows(tree, arrays):
    operate = {"sum": np.add, "product": np.multiply}[tree["operation"]]
    parts = parts_rows(tree, arrays)
    values, magnitude = parts[0].values, parts[0].magnitude
    for part in parts[1:]:
        values, magnitude = operate(values, part.values), operate(magnitude, part.magnitude)
    return Rows(values, magnitude * (1 + len(parts)))


def columns_rows(tree, arrays):
    parts = parts_rows(tree, arrays)
    return Rows(
        np.concatenate([part.values for part in parts], axis=1),
        np.concatenate([part.magnitude for part in parts], axis=1),
    )


def partition_rows(tree, arrays):
    parts = parts_rows(tree, arrays)
    if tree["by"] == "assignment":
        ranks = arrays[tree["tensors"]["ranks"]].values
        planes = ranks[:, 4 * len(parts) :].reshape(len(ranks), (len(parts) - 1).bit_length(), 64)
        bits = np.unpackbits(planes, axis=2, bitorder="little").astype(np.int64)
        part = (bits << np.arange(bits.shape[1])[:, None]).sum(axis=1).ravel()
        part = part[tree["offset"] : tree["offset"] + tree["rows"]]
        order = np.argsort(np.argsort(part, kind="stable"))
    else:
        order = np.arange(tree["rows"])
    return Rows(
        np.concatenate([part.values for part in parts])[order],
        np.concatenate([part.magnitude for part in parts])[order],
    )


def project_rows(tree, arrays):
    inner = rows_of_parts(tree["children"]["inner"], arrays)
    matrix = arrays[tree["tensors"]["matrix"]].values.astype(np.float64)
    bias = np.zeros(tree["dimension"])
    if "bias" in tree["tensors"]:
        bias = arrays[tree["tensors"]["bias"]].values.astype(np.float64)
    magnitude = inner.magnitude @ np.abs(matrix) + np.abs(bias)
    return Rows(inner.values @ matrix + bias, magnitude * (2 + np.sqrt(len(matrix)) / 2))


def reflections(vectors):
    """The product of the reflections at the planes that are orthogonal to some vectors."""
    matrix = np.eye(vectors.shape[1])
    for number, vector in enumerate(vectors):
        vector = np.concatenate([np.zeros(number), [1], vector[number + 1 :]])
        matrix -= 2 / (vector @ vector) * np.outer(vector, vector @ matrix)
    return matrix


def rotate_rows(tree, arrays):
    inner = rows_of_parts(tree["children"]["inner"], arrays)
    if "seed" in tree:
        matrix = rotation(tree["seed"], tree["dimension"])
    else:
        matrix = reflections(rows_of_parts(tree["children"]["vectors"], arrays).values)
    values = inner.values @ (matrix.T if tree.get("direction") == "forward" else matrix)
    # Each of up to four transforms rounds.
    magnitude = 4 * np.linalg.norm(inner.magnitude, axis=1, keepdims=True) * np.ones(tree["dimension"])
    if "offset" in tree.get("tensors", {}):
        offset = arrays[tree["tensors"]["offset"]].values.astype(np.float64)
        values, magnitude = values + offset, magnitude + np.abs(offset)
    return Rows(values, magnitude)


def normalize_rows(tree, arrays):
    inner = rows_of_parts(tree["children"]["inner"], arrays)
    norms = np.linalg.norm(inner.values, axis=1, keepdims=True)
    errors = np.linalg.norm(inner.magnitude, axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where(norms > 0, inner.values / norms, 0)
        # An error of the inner row counts in its own column, and through the norm in all. Where a row is nothing but
        # its errors, its direction may be any.
        magnitude = (inner.magnitude + np.abs(values) * errors) / norms + np.abs(values)
    return Rows(values, np.where(norms > 0, magnitude, np.where(errors > 0, 2.0**24, 0)))


ROUTES = {
    "remap": remap_rows,
    "combine": combine_rows,
    "columns": columns_rows,
    "partition": partition_rows,
    "project": project_rows,
    "rotate": rotate_rows,
    "normalize": normalize_rows,
}


def rows(table):
    return rows_of_parts(*table.parts())


# Pooling


def bag(rows, ids, offsets, mode="sum", weights=None, include_last_offset=False, padding_idx=None):
    """What torch.nn.EmbeddingBag means, one bag at a time; and the magnitude that its sums went through."""
    ends = list(offsets) if include_last_offset else [*offsets, len(ids)]
    values, magnitude = [], []
    for start, end in pairwise(ends):
        chosen = np.asarray(ids[start:end], np.int64)
        weight = np.ones(len(chosen)) if weights is None else np.asarray(weights[start:end], np.float64)
        if padding_idx is not None:
            weight, chosen = weight[chosen != padding_idx], chosen[chosen != padding_idx]
        if len(chosen) == 0:
            values.append(np.zeros(rows.values.shape[1]))
            magnitude.append(np.zeros(rows.values.shape[1]))
            continue
        x, m = rows.values[chosen], rows.magnitude[chosen]
        if mode == "max":
            values.append(x.max(axis=0))
            magnitude.append(m.max(axis=0))
        else:
            divisor = len(chosen) if mode == "mean" else 1
            values.append((weight[:, None] * x).sum(axis=0) / divisor)
            magnitude.append((np.abs(weight)[:, None] * m).sum(axis=0) / divisor)
    shape = (len(ends) - 1, rows.values.shape[1])
    return Rows(np.reshape(values, shape), np.reshape(magnitude, shape))


def ulps(found, wanted, magnitude):
    """The largest difference, in units in the last place of the magnitude."""
    spacing = np.spacing(np.maximum(magnitude, np.finfo(np.float32).tiny).astype(np.float32)).astype(np.float64)
    difference = np.abs(np.asarray(found, np.float64) - wanted) / spacing
    assert not np.isnan(difference).any()
    return float(difference.max(initial=0))


def assert_rows(found, wanted, slack=1):
    """Decoded rows: a product and a sum in f32, or `slack` times as many."""
    assert found.dtype == np.float32
    assert found.shape == wanted.values.shape
    assert ulps(found, wanted.values, wanted.magnitude) <= 1.5 * slack


def assert_pooled(found, wanted, terms, repeated=False):
    """Sums of up to `terms` products in f32.

    Roundings add up like a random walk; where ids repeat they can all go the same way, and half of the additions are
    to partial sums of the last one's magnitude.
    """
    assert found.dtype == np.float32
    assert found.shape == wanted.values.shape
    assert ulps(found, wanted.values, wanted.magnitude) <= 4 + (terms / 3 if repeated else np.sqrt(terms) / 2)


# Quantizers


def round_scale(value, scale_type):
    return np.asarray(value, np.float32).astype({"f16": np.float16, "f32": np.float32}[scale_type]).astype(np.float32)


def min_max(row, bits, scale_type="f16"):
    """Codes, scale and bias of a row (or a group of its columns) from its smallest to its largest value."""
    last = np.float32(2**bits - 1)
    row = np.asarray(row, np.float32)
    return best_neighbour(row, *quantize(row, row.min(), row.max(), last, scale_type), last, scale_type)


def best_neighbour(row, codes, scale, bias, last, scale_type):
    """The f16 scale of least error, with its codes: a coarse one, the next larger or the next smaller."""
    step = np.float32(2**-24)
    if scale_type == "f32" or scale >= min(np.float32(2**-14), last * step / 2):
        return codes, scale, bias

    def attempt(other):
        other = other if other > 0 else np.float32(1)
        codes = np.rint(np.clip((row - bias) * (np.float32(1) / other), np.float32(0), last))
        left = (row - (codes * other + bias)) * (np.float32(1) / scale)
        # One after the other in f32, in runs of 256.
        runs = [np.cumsum(run * run, dtype=np.float32)[-1] for run in np.split(left, range(256, len(left), 256))]
        return np.cumsum(runs, dtype=np.float32)[-1], (codes.astype(np.int64), other, bias)

    return min((attempt(other) for other in (scale, scale + step, scale - step)), key=lambda found: found[0])[1]


def quantize(row, low, high, last, scale_type):
    bias = round_scale(low, scale_type)
    with np.errstate(divide="ignore", over="ignore"):
        exact = (np.float32(high) - bias) / last
        scale = round_scale(exact, scale_type)
        if scale_type == "f16" and exact < 2**-14 and (exact - scale) * last > scale:
            # The nearest scale would leave the end of the range more than a step away from the last code.
            scale += np.float32(2**-24)
        least = np.float32(2**-126)
        if scale_type == "f32" and scale < least and high > low:
            # Multiples of the smallest scale.
            scale = least
            if abs(bias / least) < 2**22:
                bias = np.rint(bias / least) * least
        if scale <= 0:
            scale = np.float32(1)
        inverse = np.float32(1) / scale
    codes = np.rint(np.clip((row - bias) * inverse, np.float32(0), last)).astype(np.int64)
    return codes, scale, bias


def squared_error(row, codes, scale, bias):
    restored = codes * np.float64(scale) + np.float64(bias)
    return float(((np.asarray(row, np.float64) - restored) ** 2).sum())


def greedy(row, bits, b=200, r=0.16, scale_type="f16"):
    """Algorithm 1 of Guan et al. 2019, word for word, with errors in float64."""
    last = np.float32(2**bits - 1)
    row = np.asarray(row, np.float32)
    low, high = row.min(), row.max()

    def error(low, high):
        return squared_error(row, *quantize(row, low, high, last, scale_type))

    best, best_error = (low, high), error(low, high)
    step = (high - low) / np.float32(b)
    least = np.float32(b) * np.float32(1 - r) * step
    for _ in range(b):
        if not low + least < high:
            break
        left, right = error(low + step, high), error(low, high - step)
        if left < right:
            low = low + step
            if left < best_error:
                best, best_error = (low, high), left
        else:
            high = high - step
            if right < best_error:
                best, best_error = (low, high), right
    return quantize(row, *best, last, scale_type)
