"""Slow and obvious: what tables mean, in NumPy and float64, and random tables to try it on.

Nothing here calls the core, except to build the tables.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

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
    """Rows in float64, and how large the numbers were that each value was summed from."""

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
    return np.packbits(digits.reshape(len(codes), -1).astype(np.uint8), axis=1, bitorder="little")


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


def rotation(seed, dimension):
    """The matrix whose product with a column is the rotated column."""
    window = 1 << (dimension.bit_length() - 1)
    last = dimension - window
    hadamard = np.ones((1, 1))
    while len(hadamard) < window:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]]) / np.sqrt(2)
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
        matrix[start : start + window] = hadamard @ matrix[start : start + window]
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
    assert tree["kind"] in ("remap", "rotate")
    inner = rows_of_parts(tree["children"]["inner"], arrays)
    if tree["kind"] == "rotate":
        matrix = rotation(tree["seed"], dimension)
        values = inner.values @ (matrix.T if tree.get("direction") == "forward" else matrix)
        magnitude = np.linalg.norm(inner.magnitude, axis=1, keepdims=True) * np.ones(dimension)
        if "offset" in tree.get("tensors", {}):
            offset = arrays[tree["tensors"]["offset"]].values.astype(np.float64)
            values, magnitude = values + offset, magnitude + np.abs(offset)
        return Rows(values, magnitude)
    ids = np.arange(tree["rows"])
    match tree["function"]:
        case "modulo":
            target = (ids + tree["offset"]) % tree["modulus"]
        case "quotient":
            target = (ids + tree["offset"]) // tree["divisor"]
        case _:
            target = arrays[tree["tensors"]["map"]].values.astype(np.int64)
    # Row -1 is the row of zeros.
    zeros = np.zeros((1, dimension))
    return Rows(np.concatenate([inner.values, zeros])[target], np.concatenate([inner.magnitude, zeros])[target])


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


def assert_rows(found, wanted):
    """Decoded rows: a product and a sum in f32."""
    assert found.dtype == np.float32
    assert found.shape == wanted.values.shape
    assert ulps(found, wanted.values, wanted.magnitude) <= 1.5


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
    return quantize(row, row.min(), row.max(), last, scale_type)


def quantize(row, low, high, last, scale_type):
    bias = round_scale(low, scale_type)
    with np.errstate(divide="ignore", over="ignore"):
        scale = round_scale((np.float32(high) - bias) / last, scale_type)
        if scale <= 0 or not np.isfinite(np.float32(1) / scale):
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


# Random tables


def random_dense(rng, rows, dimension, element="f32"):
    values = rng.standard_normal((rows, dimension)).astype(np.float32)
    stored = {"f32": lambda: values, "f16": lambda: values.astype(np.float16), "bf16": lambda: bfloat16(values)}[
        element
    ]()
    tree = {"kind": "dense", "rows": rows, "dimension": dimension, "element": element, "tensors": {"rows": "w"}}
    return ec.Table.from_parts(tree, {"w": (element, stored)})


def random_uniform(rng, rows, dimension, bits=4, group=None, scale_type="f16", scope="row"):
    """Any codes and any scales, which no quantizer need ever choose."""
    if scope == "table":
        tree = {"kind": "uniform", "rows": rows, "dimension": dimension, "bits": bits, "group": dimension}
        tree |= {"scale": "f32", "scope": "table", "tensors": {"rows": "codes", "parameters": "both"}}
        packed = pack(rng.integers(0, 2**bits, (rows, dimension)), bits)
        both = rng.standard_normal(2).astype(np.float32)
        return ec.Table.from_parts(tree, {"codes": ("u8", packed), "both": ("f32", both)})
    width = min(group or dimension, dimension)
    groups = -(-dimension // width)
    codes = rng.integers(0, 2**bits, (rows, dimension))
    number = {"f16": "<f2", "f32": "<f4"}[scale_type]
    scales = rng.standard_normal((rows, 2 * groups)).astype(number)
    packed = np.concatenate([pack(codes, bits), scales.view(np.uint8).reshape(rows, -1)], axis=1)
    tree = {
        "kind": "uniform",
        "rows": rows,
        "dimension": dimension,
        "bits": bits,
        "group": width,
        "scale": scale_type,
        "tensors": {"rows": "codes"},
    }
    return ec.Table.from_parts(tree, {"codes": ("u8", packed)})


def random_codebook(rng, rows, dimension, bits=4, entry_type="f16", scope="row", clusters=5):
    """Any codes, entries and clusters; the scope "scaled" is that of the table with scales of rows."""
    number = {"f16": "<f2", "f32": "<f4"}[entry_type]
    parts = [pack(rng.integers(0, 2**bits, (rows, dimension)), bits)]
    tree = {"kind": "codebook", "rows": rows, "dimension": dimension, "bits": bits, "entries": entry_type}
    tree |= {"scope": scope, "tensors": {"rows": "codes"}}
    arrays = {}
    if scope == "row":
        parts.append(rng.standard_normal((rows, 2**bits)).astype(number).view(np.uint8).reshape(rows, -1))
    elif scope == "scaled":
        tree |= {"scope": "table", "row_scale": entry_type}
        parts.append(rng.standard_normal((rows, 1)).astype(number).view(np.uint8).reshape(rows, -1))
        arrays["books"] = (entry_type, rng.standard_normal((1, 2**bits)).astype(number))
        tree["tensors"]["codebooks"] = "books"
    else:
        count = clusters if scope == "cluster" else 1
        arrays["books"] = (entry_type, rng.standard_normal((count, 2**bits)).astype(number))
        tree["tensors"]["codebooks"] = "books"
    if scope == "cluster":
        tree["clusters"] = clusters
        index = rng.integers(0, clusters, rows).astype("<u4").view(np.uint8).reshape(rows, 4)
        parts.append(index[:, : next(n for n in (1, 2, 3, 4) if clusters <= 256**n)])
    arrays["codes"] = ("u8", np.concatenate(parts, axis=1))
    return ec.Table.from_parts(tree, arrays)


def with_padding(rng, table, alignment):
    """The store with rows that start at multiples of an alignment, and anything between them."""
    tree, arrays = table.parts()
    name = tree["tensors"]["rows"]
    dtype, values = arrays[name]
    width = row_bytes(tree)
    padded = rng.integers(0, 256, (table.rows, -(-width // alignment) * alignment), dtype=np.uint8)
    padded[:, :width] = np.ascontiguousarray(values).view(np.uint8).reshape(table.rows, width)
    arrays[name] = (dtype, padded.view(values.dtype))
    return ec.Table.from_parts(tree | {"row_alignment": alignment}, arrays)


def random_remap(rng, inner, function):
    count = inner.rows
    if function == "modulo":
        return ec.remap(inner, rows=3 * count + 1, modulo=int(rng.integers(1, count + 1)))
    if function == "divisor":
        return ec.remap(inner, rows=3 * count, divisor=3)
    return ec.remap(inner, map=rng.integers(-1, count, 2 * count + 1))


def random_rotate(rng, inner):
    """Either way, and with an offset or not where there may be one."""
    seed = int(rng.integers(0, 2**63 - 1))
    if rng.integers(2):
        return ec.rotated(inner, seed)
    return ec.rotate(inner, seed, offset=rng.standard_normal(inner.dimension) if rng.integers(2) else None)


@st.composite
def tables(draw, max_rows=40, max_depth=3):
    """A table of any kind."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32), label="seed"))
    rows = draw(st.integers(1, max_rows), label="rows")
    dimension = draw(st.sampled_from(DIMENSIONS), label="dimension")
    element = draw(st.sampled_from(["f32", "f16", "bf16", *BITS, *BITS, *BITS]), label="element or bits")
    scope = draw(st.sampled_from([None, "row", "cluster", "table", "scaled"]), label="scope")
    kind = draw(st.sampled_from(["f16", "f32"]), label="type of parameters")
    if isinstance(element, str):
        table = random_dense(rng, rows, dimension, element)
    elif scope is None:
        table = random_uniform(rng, rows, dimension, element, scope="table")
    elif element <= 8 and draw(st.booleans(), label="is a codebook"):
        table = random_codebook(rng, rows, dimension, element, kind, scope, draw(st.sampled_from([1, 5, 300])))
    else:
        group = draw(st.sampled_from([None, 8, 32]), label="group")
        table = random_uniform(rng, rows, dimension, element, group, kind)
    alignment = draw(st.sampled_from([None, None, *ALIGNMENTS]), label="alignment")
    if alignment is not None:
        table = with_padding(rng, table, alignment)
    routes = ["modulo", "divisor", "map", "rotate"]
    for function in draw(st.lists(st.sampled_from(routes), max_size=max_depth), label="routes"):
        if table.rows > 2000:
            break
        table = random_rotate(rng, table) if function == "rotate" else random_remap(rng, table, function)
    return table


id_types = st.sampled_from([np.int32, np.int64])
