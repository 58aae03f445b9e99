"""What the stores of `_stores.py` mean, in NumPy and float64, and what every table must agree on."""

import numpy as np

import embedcompress as ec


def halves_or_floats(array, element):
    return array.astype({"f16": np.float16, "f32": np.float32}[element])


def tensor_train_rows(core0, core1, core2, rows):
    """Rows of a tensor train, and of one of its cores' magnitudes."""
    x = np.arange(rows)
    n0, n1 = len(core0), len(core1)
    parts = core0[x % n0], core1[x // n0 % n1], core2[x // n0 // n1]

    def product(a, b, c):
        a, b, c = (part.astype(np.float64) for part in (a, b, c))
        return np.einsum("xpr,xrqs,xst->xpqt", a, b, c, optimize=True).reshape(
            rows, a.shape[1] * b.shape[2] * c.shape[2]
        )

    return product(*parts), product(*(np.abs(part) for part in parts))


def assert_close(found, wanted, magnitude, terms):
    """Sums of `terms` products in f32, of numbers that add up to `magnitude`."""
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    bound = magnitude * (2 + terms) * 2.0**-23 + 1e-37
    assert (np.abs(found - wanted) <= bound).all(), np.abs(found - wanted).max()


def assert_agrees(table, rng, tmp_path=None, is_exact=True):
    """Decode, lookup, bag, slice, parts and files of a table say the same."""
    rows = table.decode()
    same = np.testing.assert_array_equal if is_exact else np.testing.assert_allclose
    if table.rows:
        ids = rng.integers(0, table.rows, 700)
        same(table.lookup(ids), rows[ids])
        same(table.lookup(ids[:1].astype(np.int32)), rows[ids[:1]])
        hidden = np.where(rng.random(700) < 0.2, -5, ids)
        wanted = np.where((hidden < 0)[:, None], np.float32(0), rows[ids])
        same(table.lookup(hidden, on_invalid="zero"), wanted)
        offsets = np.sort(rng.integers(0, 700, 40))
        offsets[0] = 0
        for mode in ("sum", "mean", "max"):
            weights = rng.standard_normal(700).astype(np.float32) if mode == "sum" else None
            plain = ec.dense(np.ascontiguousarray(rows))
            np.testing.assert_allclose(
                table.bag(ids, offsets, mode, per_sample_weights=weights),
                plain.bag(ids, offsets, mode, per_sample_weights=weights),
                rtol=2e-5,
                atol=2e-5 * (np.abs(rows).max() + 1e-30) * 30,
            )
    start, stop = sorted(rng.integers(0, table.rows + 1, 2).tolist())
    part = table.slice(start, stop)
    same(part.decode(), rows[start:stop])
    if stop > start:
        same(part.slice(1, stop - start).decode(), rows[start + 1 : stop])
    tree, arrays = part.parts()
    same(ec.Table.from_parts(tree, arrays).decode(), rows[start:stop])
    same(table.aligned(64).decode(), rows)
    if tmp_path is not None:
        for one in (table, part):
            one.save(tmp_path / "table.safetensors")
            for mmap in (True, False):
                again = ec.load(tmp_path / "table.safetensors", mmap=mmap)
                assert again.stored_bytes == one.stored_bytes
                same(again.decode(), one.decode())


def mix(numbers):
    """The function of SplitMix64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def shared_array_rows(values, rows, dimension, block, seed, signs):
    """Rows of a shared array, exactly."""
    chunks = -(-dimension // block)
    with np.errstate(over="ignore"):
        number = np.arange(rows, dtype=np.uint64)[:, None] * np.uint64(chunks) + np.arange(chunks, dtype=np.uint64)
        hashes = mix(np.uint64(seed % 2**64) + np.uint64(0x9E3779B97F4A7C15) * (number + np.uint64(1)))
        start = (hashes >> np.uint64(32)) * np.uint64(len(values)) >> np.uint64(32)
    column = np.arange(dimension)
    places = (start[:, column // block].astype(np.int64) + column % block) % len(values)
    sign = 1 - 2 * (hashes & np.uint64(1)).astype(np.int64)[:, column // block] if signs else 1
    return sign * values[places].astype(np.float64)


def hash_codes(x, factors, summands, moduli, buckets):
    return (np.asarray(x, np.int64)[:, None] * factors + summands) % moduli % buckets


def mish(x):
    return x * np.tanh(np.logaddexp(0, x))


def hash_network_rows(x, factors, summands, moduli, buckets, weights, biases, encoding="uniform"):
    """Rows of a network of hashes, and a bound of the sums that they went through."""
    codes = hash_codes(x, factors, summands, moduli, buckets)
    if encoding == "uniform":
        values = 2 * codes / (buckets - 1) - 1
    else:
        radius = np.sqrt(-2 * np.log((codes[:, ::2] + 1) / buckets))
        angle = 2 * np.pi * codes[:, 1::2] / buckets
        values = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2).reshape(codes.shape)
    magnitude = np.abs(values)
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if index:
            # Mish changes by at most 1.1 times what its argument does.
            values, magnitude = mish(values), 1.1 * magnitude
        values = values @ weight.astype(np.float64) + bias
        magnitude = magnitude @ np.abs(weight.astype(np.float64)) + np.abs(bias)
    return values, magnitude


# The same from `Table.parts`


def rows_from(table_rows, offset, stop):
    """The last rows of those that a function makes from row 0 on."""
    values, magnitude = table_rows(stop)
    return values[offset:], magnitude[offset:]


def inner_values(tree, arrays, name):
    """The rows of an inner table."""
    inner = tree["children"][name]
    used = {array: arrays[array] for array in _names(inner)}
    return ec.Table.from_parts(inner, used).decode()


def _names(tree):
    found = list(tree.get("tensors", {}).values())
    return found + [name for child in tree.get("children", {}).values() for name in _names(child)]


def tensor_train_parts(tree, arrays):
    if "element" in tree:
        cores = [arrays[tree["tensors"][f"core{index}"]].values for index in range(3)]
    else:
        (d0, d1, d2), (r1, r2) = (tree[f"columns{index}"] for index in range(3)), (tree["rank1"], tree["rank2"])
        shapes = (-1, d0, r1), (-1, r1, d1, r2), (-1, r2, d2)
        cores = [inner_values(tree, arrays, f"core{index}").reshape(shape) for index, shape in enumerate(shapes)]
    values, magnitude = rows_from(
        lambda stop: tensor_train_rows(*cores, stop), tree["offset"], tree["offset"] + tree["rows"]
    )
    return values, magnitude * (2 + np.sqrt(tree["rank1"] * tree["rank2"]) / 2)


def sparse_parts(tree, arrays):
    found = {field: arrays[name].values for field, name in tree["tensors"].items()}
    if tree["layout"] == "csr":
        row = np.repeat(np.arange(tree["rows"]), np.diff(found["pointers"].astype(np.int64)))
    else:
        row = found["rows"].astype(np.int64) - tree["first"]
    values, magnitude = np.zeros((2, tree["rows"], tree["dimension"]))
    np.add.at(values, (row, found["columns"]), found["values"].astype(np.float64))
    np.add.at(magnitude, (row, found["columns"]), np.abs(found["values"].astype(np.float64)))
    return values, magnitude


def shared_array_parts(tree, arrays):
    stop = tree["offset"] + tree["rows"]
    if "element" in tree:
        array = arrays[tree["tensors"]["values"]].values
    else:
        array = inner_values(tree, arrays, "array").reshape(-1)[: tree["count"]]
    values = shared_array_rows(array, stop, tree["dimension"], tree["block"], tree["seed"], tree["signs"])
    return values[tree["offset"] :], np.abs(values[tree["offset"] :])


def hash_network_parts(tree, arrays):
    found = {field: arrays[name].values for field, name in tree["tensors"].items()}
    layers = range(tree["layers"])
    values, magnitude = hash_network_rows(
        np.arange(tree["rows"]) + tree["offset"],
        *(found[name] for name in ("factors", "summands", "moduli")),
        tree["buckets"],
        [
            found[f"weights{layer}"] if "element" in tree else inner_values(tree, arrays, f"weights{layer}")
            for layer in layers
        ],
        [found[f"biases{layer}"] for layer in layers],
        tree["encoding"],
    )
    # Roundings of each layer pass through those after it.
    return values, magnitude * 16 * tree["layers"]


def product_parts(tree, arrays):
    (rows, dimension), parts, bits = (tree["rows"], tree["dimension"]), tree["parts"], tree["bits"]
    packed = arrays[tree["tensors"]["rows"]].values
    stream = np.unpackbits(packed, axis=1, bitorder="little")[:, : parts * bits].reshape(rows, parts, bits)
    codes = (stream.astype(np.int64) << np.arange(bits)).sum(axis=2)
    books = arrays[tree["tensors"]["codebooks"]].values.astype(np.float64)
    if tree["mode"] == "sum":
        entries = books.reshape(parts, 1 << bits, dimension)[np.arange(parts), codes]
        return entries.sum(axis=1), np.abs(entries).sum(axis=1)
    widths = [len(columns) for columns in np.array_split(np.arange(dimension), parts)]
    ends = np.cumsum(widths) << bits
    values = [
        books[end - (width << bits) : end].reshape(1 << bits, width)[codes[:, part]]
        for part, (width, end) in enumerate(zip(widths, ends, strict=True))
    ]
    values = np.concatenate(values, axis=1)
    return values, np.abs(values)


def trellis_parts(tree, arrays):
    found = {field: arrays[name].values for field, name in tree["tensors"].items()}
    (rows, dimension), bits, width = (tree["rows"], tree["dimension"]), found["bits"].astype(int), tree["code_bytes"]
    ring = np.unpackbits(found["rows"][:, :width], axis=1, bitorder="little").astype(np.uint64)
    values, shared = np.zeros((rows, dimension)), 0
    for column, start in enumerate(np.cumsum(bits) - bits):
        places = (start + np.arange(tree["states"])) % (8 * width)
        states = (ring[:, places] << np.arange(tree["states"], dtype=np.uint64)).sum(axis=1)
        multiplier = tree["multiplier"] * 0x9E3779B1**shared % 2**32
        products = states * np.uint64(multiplier) % np.uint64(2**32)
        values[:, column] = products.astype("<u4").view(np.uint8).reshape(rows, 4).astype(int).sum(axis=1) - 510
        shared = shared + 1 if bits[column] == 0 else 0
    scales = found["scales"].astype(np.float64)[found["rows"][:, width]]
    values *= scales[:, None] * found["factors"].astype(np.float64)
    return values, np.abs(values)


def packed_float_parts(tree, arrays):
    """Bit by bit, with integers of any size; zeros stand for exceptions."""
    (rows, dimension), found = (tree["rows"], tree["dimension"]), arrays[tree["tensors"]["rows"]].values
    mantissa_bits, exponent_bits = tree["mantissa_bits"], tree["exponent_bits"]
    low_bytes = (mantissa_bits + exponent_bits) // 8
    code_bits = 1 + mantissa_bits + exponent_bits - 8 * low_bytes
    head = dimension * low_bytes
    codes = head + (2 if "exceptions" in tree.get("children", {}) else 1)
    values = np.zeros((rows, dimension))
    for row in range(rows):
        data = found[row].tobytes()
        stream = int.from_bytes(data[codes:], "little")
        for column in range(dimension):
            low = int.from_bytes(data[column * low_bytes : (column + 1) * low_bytes], "little")
            code = (stream >> column * code_bits) % 2**code_bits
            value = low | code << 8 * low_bytes
            mantissa = value % 2**mantissa_bits / 2**mantissa_bits
            exponent = value >> mantissa_bits & 2**exponent_bits - 1
            lead, power = (0, -126) if exponent == 0 else (1, exponent + data[head] - 127)
            size = (lead + mantissa) * 2.0**power
            values[row, column] = -size if value >> mantissa_bits + exponent_bits else size
    if "exceptions" in tree.get("children", {}):
        exceptions, _ = sparse_parts(tree["children"]["exceptions"], arrays)
        assert (values[exceptions != 0] == 0).all()
        values = np.where(exceptions != 0, exceptions, values)
    return values, np.abs(values)


STORES = {
    "packed_floats": packed_float_parts,
    "product": product_parts,
    "trellis": trellis_parts,
    "sparse": sparse_parts,
    "shared_array": shared_array_parts,
    "tensor_train": tensor_train_parts,
    "hash_network": hash_network_parts,
}
"""What a node and its arrays mean: values, and the magnitudes that they were summed from."""
