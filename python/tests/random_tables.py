"""Random tables of every kind to try things on: any codes, scales and entries, which no method need ever choose."""

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from reference import ALIGNMENTS, BITS, DIMENSIONS, bfloat16, pack, row_bytes

import embedcompress as ec


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
    packed = np.concatenate([pack(codes, bits), scales.view(np.uint8)], axis=1)
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
        parts.append(rng.standard_normal((rows, 2**bits)).astype(number).view(np.uint8))
    elif scope == "scaled":
        tree |= {"scope": "table", "row_scale": entry_type}
        parts.append(rng.standard_normal((rows, 1)).astype(number).view(np.uint8))
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
    if function == "hash":
        return ec.remap(inner, rows=2 * count + 3, hash=int(rng.integers(2**62)))
    if function == "block":
        block = int(rng.integers(1, 5))
        rows = 2 * count + 1
        return ec.remap(inner, rows=rows, map=rng.integers(-1, count // block, -(-rows // block)), block=block)
    return ec.remap(inner, map=rng.integers(-1, count, 2 * count + 1))


def random_rotate(rng, inner):
    """By a seed either way, and with an offset or not where there may be one."""
    seed = int(rng.integers(0, 2**63 - 1))
    if rng.integers(2):
        return ec.rotated(inner, seed)
    return ec.rotate(inner, seed, offset=rng.standard_normal(inner.dimension) if rng.integers(2) else None)


def random_reflection(rng, inner):
    """By vectors, which are a table beside the inner one."""
    vectors = rng.standard_normal((int(rng.integers(1, inner.dimension + 1)), inner.dimension)).astype(np.float32)
    offset = rng.standard_normal(inner.dimension) if rng.integers(2) else None
    return ec.rotate(inner, vectors=ec.dense(vectors), offset=offset)


def random_route(rng, inner, route):
    """A route over a table and, where it takes more than one, random tables beside it."""
    rows, dimension = inner.shape
    if route in ("sum", "product"):
        others = [random_dense(rng, rows, dimension), random_uniform(rng, rows, dimension, 4)]
        return ec.combine([inner, *others[: rng.integers(1, 3)]], route)
    if route == "columns":
        return ec.columns([random_dense(rng, rows, int(rng.integers(1, 20))), inner, random_uniform(rng, rows, 17, 3)])
    if route == "ranges":
        return ec.partition([random_dense(rng, 7, dimension), inner, random_uniform(rng, 3, dimension, 8)])
    if route == "assignment":
        tables = [inner, random_dense(rng, 9, dimension), random_uniform(rng, 4, dimension, 2)][: rng.integers(1, 4)]
        return ec.partition(
            tables, rng.permutation(np.repeat(np.arange(len(tables)), [table.rows for table in tables]))
        )
    if route == "project":
        matrix = rng.standard_normal((dimension, int(rng.integers(1, 70))), np.float32)
        bias = rng.standard_normal(matrix.shape[1], np.float32) if rng.integers(2) else None
        return ec.project(inner, matrix, bias, element=str(rng.choice(["f32", "f16"])))
    if route == "normalize":
        return ec.normalize(inner)
    return random_rotate(rng, inner) if route == "rotate" else random_remap(rng, inner, route)


ROUTE_NAMES = [
    *["modulo", "divisor", "hash", "map", "block"],
    *["sum", "product", "columns", "ranges", "assignment", "project", "rotate", "normalize"],
]

CHAINS = ["modulo", "divisor", "hash", "map", "block", "project", "rotate", "normalize"]
"""Routes over one table, called "inner"."""


@st.composite
def tables(draw, max_rows=40, max_depth=3, routes=ROUTE_NAMES):
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
    for route in draw(st.lists(st.sampled_from(routes), max_size=max_depth), label="routes"):
        if table.rows > 2000:
            break
        table = random_route(rng, table, route)
    return table


# Stores of a given shape, and any expression


def random_product(rng, rows, dimension):
    mode = str(rng.choice(["concatenate", "sum"]))
    parts = int(rng.integers(1, min(dimension, 9) + 1)) if mode == "concatenate" else int(rng.integers(1, 5))
    bits = int(rng.integers(1, 9))
    widths = [len(part) for part in np.array_split(np.arange(dimension), parts)]
    books = [
        rng.standard_normal((1 << bits, width if mode == "concatenate" else dimension)).astype(np.float16)
        for width in widths
    ]
    return ec.product(rng.integers(0, 1 << bits, (rows, parts)), books, bits=bits, mode=mode)


def random_sparse(rng, rows, dimension):
    matrix = np.where(rng.random((rows, dimension)) < rng.random(), rng.standard_normal((rows, dimension)), 0)
    return ec.sparse(
        matrix.astype(rng.choice([np.float16, np.float32])), layout=str(rng.choice(["auto", "csr", "coo"]))
    )


def random_shared_array(rng, rows, dimension, of_table=None):
    """Of numbers, or of the rows of a table; of either if that is not said."""
    array = rng.standard_normal(int(rng.integers(1, 300))).astype(rng.choice([np.float16, np.float32]))
    if rng.integers(2) if of_table is None else of_table:
        array = random_uniform(rng, int(rng.integers(1, 30)), int(rng.integers(1, 65)), int(rng.choice(BITS)))
    block, seed = int(rng.integers(1, 2 * dimension + 1)), int(rng.integers(-(2**63), 2**63 - 1))
    return ec.shared_array(array, rows=rows, dimension=dimension, block=block, seed=seed, signs=bool(rng.integers(2)))


def random_tensor_train(rng, rows, dimension, of_tables=None):
    """Of numbers, or of three tables; of either if that is not said."""
    columns = [1, 1, 1]
    left = dimension
    for place in (0, 1):
        columns[place] = int(rng.choice([f for f in range(1, left + 1) if left % f == 0]))
        left //= columns[place]
    columns[2] = left
    ranks = rng.integers(1, 12, 2)
    sizes = [int(rng.integers(1, 6)), int(rng.integers(1, 6))]
    sizes.append(-(-rows // (sizes[0] * sizes[1])) or 1)
    element = rng.choice([np.float16, np.float32])
    cores = [
        rng.standard_normal((sizes[0], columns[0], ranks[0])).astype(element),
        rng.standard_normal((sizes[1], ranks[0], columns[1], ranks[1])).astype(element),
        rng.standard_normal((sizes[2], ranks[1], columns[2])).astype(element),
    ]
    if rng.integers(2) if of_tables is None else of_tables:
        shapes = [(len(core), core[0].size) for core in cores]
        tables = [random_uniform(rng, *shape, int(rng.choice(BITS))) for shape in shapes]
        return ec.tensor_train(tables, rows=rows, columns=columns, ranks=ranks)
    return ec.tensor_train(cores, rows=rows)


def random_hash_network(rng, rows, dimension, of_tables=None):
    """Of numbers, or of tables of codes; of either if that is not said."""
    hashes = 2 * int(rng.integers(1, 20))
    widths = [hashes, *rng.integers(1, 40, rng.integers(0, 3)).tolist(), dimension]
    weights = [rng.standard_normal(pair).astype(np.float32) / np.sqrt(pair[0]) for pair in pairwise(widths)]
    if rng.integers(2) if of_tables is None else of_tables:
        weights = [random_uniform(rng, *layer.shape, int(rng.choice(BITS))) for layer in weights]
    return ec.hash_network(
        factors=rng.integers(1, 2**31, hashes),
        summands=rng.integers(0, 2**31, hashes),
        moduli=rng.integers(2**20, 2**31, hashes),
        buckets=int(rng.integers(2, 10**6)),
        weights=weights,
        biases=[rng.standard_normal(width).astype(np.float32) for width in widths[1:]],
        rows=rows,
        encoding=str(rng.choice(["uniform", "normal"])),
    )


def trellis_bits(rng, dimension, states):
    """Bits of columns that a trellis can have: at most 3 zeros in a row, whole bytes, a state at least; or None."""
    most = min(8, states - 4)
    if dimension * most < states:
        return None
    bits = rng.integers(0, most + 1, dimension)
    bits[3::4] = np.maximum(bits[3::4], 1)
    bits[-1] = max(bits[-1], 1)
    total = max(-(-int(bits.sum()) // 8) * 8, -(-states // 8) * 8)
    if total > dimension * most:
        total = dimension * most // 8 * 8
        if total < states:
            return None
    while bits.sum() != total:
        column = rng.integers(dimension)
        step = 1 if bits.sum() < total else -1
        if 1 <= bits[column] + step <= most:
            bits[column] += step
    return bits


def random_trellis(rng, rows, dimension, states=None):
    """Rows of any bits; of too few columns for a state, uniform codes."""
    states = int(rng.integers(8, 17)) if states is None else states
    bits = trellis_bits(rng, dimension, states)
    if bits is None:
        return random_uniform(rng, rows, dimension, 4)
    scales = np.append(0, (1 + rng.integers(0, 2**13, 255) / 2**13) / 512).astype(np.float32)
    return ec.trellis(
        rng.integers(0, 2**bits, (rows, dimension)),
        rng.integers(0, 256, rows),
        bits=bits,
        scales=scales,
        factors=rng.standard_normal(dimension).astype(np.float32),
        states=states,
        multiplier=int(rng.integers(2**32)),
    )


def random_packed_floats(rng, rows, dimension):
    """Of mantissas of some bits, with exceptions or without."""
    exponent_bits = int(rng.integers(1, 9)) if rows else 8
    dropped = int(rng.integers(2, 16))
    values = (rng.standard_normal((rows, dimension)) * 2.0 ** rng.integers(-9, 9, (rows, 1))).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = 0
    # One has all bits that are not dropped, so that mantissas are not too short.
    values[:1, :1] = 2 - 2.0 ** (dropped - 23)
    values = (values.view(np.uint32) >> dropped << dropped).view(np.float32)
    return ec.packed_floats(values, exponent_bits=exponent_bits)


def random_leaf(rng, rows, dimension):
    """Any store."""
    stores = [random_product, random_sparse, random_shared_array, random_tensor_train, random_hash_network]
    stores += [random_trellis, random_packed_floats]
    choice = int(rng.integers(11))
    if choice < len(stores):
        return stores[choice](rng, rows, dimension)
    if choice == 7:
        return random_dense(rng, rows, dimension, str(rng.choice(["f32", "f16", "bf16"])))
    if choice == 8:
        return random_uniform(rng, rows, dimension, int(rng.choice(BITS)), scope=str(rng.choice(["row", "table"])))
    if choice == 9:
        return random_uniform(rng, rows, dimension, int(rng.choice(BITS)), group=8)
    scope = str(rng.choice(["row", "cluster", "table", "scaled"]))
    return random_codebook(rng, rows, dimension, int(rng.integers(1, 9)), scope=scope)


def random_expression(rng, rows, dimension, depth):
    """Any expression of that shape, at most so many nodes deep."""
    if depth == 1 or rng.random() < 0.15:
        return random_leaf(rng, rows, dimension)

    def inner(rows=rows, dimension=dimension):
        return random_expression(rng, rows, dimension, depth - 1)

    count = int(rng.integers(1, 50))
    match ROUTE_NAMES[rng.integers(len(ROUTE_NAMES))]:
        case "modulo":
            return ec.remap(inner(count), rows=rows, modulo=int(rng.integers(1, count + 1)))
        case "divisor":
            divisor = int(rng.integers(1, 5))
            return ec.remap(inner(-(-rows // divisor) + count), rows=rows, divisor=divisor)
        case "hash":
            return ec.remap(inner(count), rows=rows, hash=int(rng.integers(2**62)))
        case "map":
            return ec.remap(inner(count), map=rng.integers(-1, count, rows))
        case "block":
            block = int(rng.integers(1, 5))
            blocks = rng.integers(-1, count, -(-rows // block))
            return ec.remap(inner(count * block), rows=rows, map=blocks, block=block)
        case "sum" | "product" as operation:
            return ec.combine([inner() for _ in range(rng.integers(2, 4))], operation)
        case "columns":
            ends = np.sort(rng.choice(dimension + 1, min(3, dimension + 1), replace=False))
            widths = np.diff([0, *ends, dimension])
            return ec.columns([inner(dimension=int(width)) for width in widths[widths > 0]])
        case "ranges":
            split = int(rng.integers(0, rows + 1))
            return ec.partition([inner(split), inner(rows - split)])
        case "assignment":
            assignment = rng.integers(0, rng.integers(1, 5), rows)
            counts = np.bincount(assignment, minlength=1)
            return ec.partition([inner(int(part)) for part in counts], assignment)
        case "project":
            width = int(rng.integers(1, 70))
            matrix = rng.standard_normal((width, dimension)).astype(np.float32) / np.sqrt(width)
            bias = rng.standard_normal(dimension).astype(np.float32) if rng.integers(2) else None
            return ec.project(inner(dimension=width), matrix, bias, element=str(rng.choice(["f32", "f16"])))
        case "normalize":
            return ec.normalize(inner())
        case _:
            return (random_rotate if rng.integers(2) else random_reflection)(rng, inner())


@st.composite
def expressions(draw, max_rows=700, max_depth=4):
    """Any expression that there is."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32), label="seed"))
    rows, depth = draw(st.integers(1, max_rows), label="rows"), draw(st.integers(1, max_depth), label="depth")
    return random_expression(rng, rows, draw(st.sampled_from(DIMENSIONS[:-1]), label="dimension"), depth)


id_types = st.sampled_from([np.int32, np.int64])
