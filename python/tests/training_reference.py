"""Rows of learned tables, written naively: an id at a time, in float64, from a module's parameters by name."""

import torch


def field_of(sizes, x):
    """The field of an id, and its number there."""
    for field, size in enumerate(sizes):
        if x < size:
            return field, x
        x -= size
    raise IndexError(x)


def full(module, parameters, x):
    return parameters["weight"][x]


def hash_row(module, parameters, x):
    field, local = field_of(module.spec.sizes, x)
    counts = module.planned.knobs["rows"]
    return parameters["weight"][sum(counts[:field]) + local % counts[field]]


def compo(module, parameters, x):
    field, local = field_of(module.spec.sizes, x)
    divisors = module.planned.knobs["k"]
    quotients = [-(-size // k) for size, k in zip(module.spec.sizes, divisors, strict=True)]
    remainders = [0 if k == 1 else k for k in divisors]
    k = divisors[field]
    left = parameters["quotient"][sum(quotients[:field]) + local // k]
    if k == 1:
        return left
    right = parameters["remainder"][sum(remainders[:field]) + local % k]
    return left * right if module.operation == "product" else left + right


def dpq(module, parameters, x):
    """Of "vq": the query's gradient is that of the row; of "sx": the softmax's."""
    query = parameters["query"][x].reshape(module.parts, module.width)
    rows = []
    for part in range(module.parts):
        books = parameters["centroids"][part]
        if module.method.name == "mgqe" and module.is_rare[x]:
            books = books[: len(books) // 4]
        if module.kind == "vq":
            code = int((books - query[part]).square().sum(1).argmin())
            rows.append(query[part] + (books[code] - query[part]).detach())
        else:
            scores = books @ query[part]
            soft = scores.softmax(0) @ parameters["values"][part][: len(scores)]
            hard = parameters["values"][part][int(scores.argmax())]
            rows.append(hard + soft - soft.detach())
    return torch.cat(rows)


BATCH = 10
"""How many ids the test of gradients looks up: gradients of ALPT's scales depend on it."""


def alpt(module, parameters, x):
    """The gradient of the row passes through; that of the scale is LSQ's, made smaller."""
    row, scale = parameters["weight"][x], parameters["log_scale"][x].exp()
    high = 2 ** (module.bits - 1) - 1
    small = (BATCH * len(row) * high) ** -0.5
    exact = (row / scale).detach()
    codes = exact.round().clamp(-high - 1, high)
    inside = (exact >= -high - 1) & (exact <= high)
    rounded = row + (codes * scale - row).detach()
    return rounded + (scale - scale.detach()) * small * torch.where(inside, codes - exact, codes)


def hash_of(x, rows, seed):
    """As docs/format.md has it."""
    bits = 2**64 - 1
    h = (seed + (x + 1) * 0x9E3779B97F4A7C15) & bits
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & bits
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & bits
    return (((h ^ (h >> 31)) >> 32) * rows) >> 32


def cafe(module, parameters, x):
    place = int(module.place[x])
    return parameters["weight"][place if place >= 0 else module.hot + hash_of(x, module.shared, module.seed)]


def cce(module, parameters, x):
    field, local = field_of(module.spec.sizes, x)
    counts, sizes = module.counts, module.spec.sizes
    if counts[field] == 0:
        return parameters["plain"][local + sum(s for s, k in zip(sizes[:field], counts, strict=False) if k == 0)]
    chunks = []
    for chunk in range(module.chunks):
        first = 2 * chunk * sum(counts) + sum(counts[:field])
        second = first + sum(counts) + hash_of(local, counts[field], int(module.seeds[chunk, field]))
        chunks.append(parameters["tables"][first + int(module.map[chunk, x])] + parameters["tables"][second])
    return torch.cat(chunks)


ROWS = {
    "full": full,
    "hash": hash_row,
    "compo": compo,
    "dpq": dpq,
    "int8": full,
    "int16": full,
    "alpt": alpt,
    "mgqe": dpq,
    "dedup": full,
    "cafe": cafe,
    "cce": cce,
}
"""By method: the row of id x in training mode, from float64 parameters."""
