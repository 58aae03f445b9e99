"""Rows of learned tables, written naively: an id at a time, in float64, from a module's parameters by name."""

import math

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


def pep(module, parameters, x):
    """The first stage."""
    value = parameters["weight"][x]
    threshold = parameters["threshold"]
    threshold = threshold[x if len(threshold) == module.num_embeddings else 0]
    cut = 1 / (1 + torch.exp(-threshold))
    return torch.where(value.abs() > cut, value - value.sign() * cut, 0)


def autosrh(module, parameters, x):
    """The first stage: alpha is fixed, unless that searches already."""
    rank = (-module.spec.counts).argsort(kind="stable").tolist().index(x)
    group = rank * module.options["groups"] // module.num_embeddings
    alpha = parameters["alpha"][group]
    return parameters["weight"][x] * (alpha if module.stage == "search" else alpha.detach())


def optembed(module, parameters, ids):
    """The first stage. A step's gradient is that of a line with the slope that it has at the place."""
    widths = module.widths(module.draws - 1, len(ids))
    rows = []
    for x, width in zip(ids.tolist(), widths.tolist(), strict=True):
        row = parameters["weight"][x]
        over = row.abs().sum() - parameters["threshold"][field_of(module.spec.sizes, x)[0]]
        distance = abs(over.item())
        slope = 2 - 4 * distance if distance <= 0.4 else 0.4 if distance <= 1 else 0.0
        kept = (over > 0).double() + slope * (over - over.detach())
        rows.append(row * kept * (torch.arange(len(row)) < width))
    return torch.stack(rows)


def autodim(module, parameters, ids):
    """The first stage: means and variances are those of the batch's rows of the field, for each candidate."""
    owners = [field_of(module.spec.sizes, x)[0] for x in ids.tolist()]
    scores = parameters["alpha"].log_softmax(1) + module.noise(module.draws - 1)
    weights = (scores / module.temperature).softmax(1)
    total = [0] * len(ids)
    first = 0
    for candidate, width in enumerate(module.candidates):
        start = 0 if module.is_shared else first
        products = [
            parameters["table"][x, start : start + width] @ parameters["matrix"][field, first : first + width]
            for x, field in zip(ids.tolist(), owners, strict=True)
        ]
        first += width
        for place, field in enumerate(owners):
            same = torch.stack([row for row, owner in zip(products, owners, strict=True) if owner == field])
            normed = (products[place] - same.mean(0)) / (same.var(0, correction=0) + 1e-5).sqrt()
            total[place] = total[place] + weights[field, candidate] * normed
    return torch.stack(total)


def rows(module, parameters, ids):
    """Rows of a batch of ids in training mode, from float64 parameters."""
    parameters = {key.removesuffix(".elements"): value for key, value in parameters.items()}
    name = module.method.name
    if name in BATCHES:
        return BATCHES[name](module, parameters, ids)
    return torch.stack([ROWS[name](module, parameters, int(x)) for x in ids])


BATCHES = {"optembed": optembed, "autodim": autodim}
"""By method: the rows of a batch, where they depend on the batch, or on what was drawn for it."""


def plain_row(module, parameters, field, local):
    """A row of a field that stays as it is."""
    return parameters["plain.weight"][sum(module.plain.counts[:field]) + local]


def tt(module, parameters, x):
    field, local = field_of(module.spec.sizes, x)
    if module.planned.knobs["plain"][field]:
        return plain_row(module, parameters, field, local)
    (d0, d1, d2), rank = module.columns, module.rank
    n0, n1, _ = (counts[field] for counts in module.slices)
    i0, i1, i2 = (
        sum(counts[:field]) + digit
        for counts, digit in zip(module.slices, (local % n0, local // n0 % n1, local // n0 // n1), strict=True)
    )
    first = parameters["core0"][i0].reshape(d0, rank)
    second = parameters["core1"][i1].reshape(rank, d1, rank)
    third = parameters["core2"][i2].reshape(rank, d2)
    return torch.einsum("pr,rqs,st->pqt", first, second, third).flatten()


def robe(module, parameters, x):
    """With Python's integers, which have no end."""
    field, local = field_of(module.spec.sizes, x)
    owned = module.planned.knobs.get("own", [0] * len(module.spec.sizes))
    if owned[field]:
        return parameters["own_rows"][sum(owned[:field]) + local]
    array = parameters["array"].flatten()[: module.count]
    runs = -(-module.embedding_dim // module.block)
    found = []
    for column in range(module.embedding_dim):
        number = x * runs + column // module.block + 1
        h = (module.spec.seed + number * 0x9E3779B97F4A7C15) % 2**64
        h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        h = (h ^ (h >> 27)) * 0x94D049BB133111EB % 2**64
        h ^= h >> 31
        place = ((h >> 32) * len(array) >> 32) + column % module.block
        sign = -1 if module.signs and h & 1 else 1
        found.append(sign * array[place % len(array)])
    return torch.stack(found)


def mde(module, parameters, x):
    field, local = field_of(module.spec.sizes, x)
    found, sizes = module.planned.knobs["widths"], module.spec.sizes
    width = found[field]
    if width == module.embedding_dim:
        return plain_row(module, parameters, field, local)
    before = [index for index in range(field) if found[index] == width]
    group = sorted(set(found) - {module.embedding_dim}).index(width)
    narrow = parameters[f"tables.{group}"][sum(sizes[index] for index in before) + local]
    return narrow @ parameters[f"matrices.{group}"][len(before)].reshape(width, module.embedding_dim)


def adapt(module, parameters, x):
    field, local = field_of(module.spec.sizes, x)
    hots, shareds = module.planned.knobs["hot"], module.planned.knobs["shared"]
    first = sum(hots[:field]) + sum(shareds[:field])
    counts = module.spec.counts_of(field)
    frequent = sorted(range(len(counts)), key=lambda other: (-counts[other], other))[: hots[field]]
    if local in frequent:
        return parameters["weight"][first + sorted(frequent).index(local)]
    rare = sorted(set(range(local)) - set(frequent))
    return parameters["weight"][first + hots[field] + len(rare) % shareds[field]]


def dhe(module, parameters, x):
    """In eval mode, where batch norm does not depend on the batch."""
    field, local = field_of(module.spec.sizes, x)
    if module.planned.knobs["plain"][field]:
        return plain_row(module, parameters, field, local)
    index = module.planned.knobs["plain"][:field].count(False)
    constants = zip(module.factors.tolist(), module.summands.tolist(), module.moduli.tolist(), strict=True)
    hashes = [(a * local + b) % p % 10**6 for a, b, p in constants]
    values = torch.tensor([2 * h / (10**6 - 1) - 1 for h in hashes], dtype=torch.float64)
    if module.encoding == "normal":
        radii = [math.sqrt(-2 * math.log((h + 1) / 10**6)) for h in hashes[::2]]
        angles = [2 * math.pi * h / 10**6 for h in hashes[1::2]]
        pairs = zip(radii, angles, strict=True)
        values = torch.tensor([r * turn(t) for r, t in pairs for turn in (math.cos, math.sin)], dtype=torch.float64)
    named = {key.removeprefix(f"networks.{index}."): value for key, value in parameters.items()}
    network = module.networks[index]
    for layer in range(5):
        values = values @ named[f"weights.{layer}"]
        values = (values - network.means[layer].double()) / (network.variances[layer].double() + 1e-5).sqrt()
        values = values * named["scales"][layer] + named["shifts"][layer]
        values = values * torch.tanh(torch.log1p(values.exp()))
    return values @ named["weights.5"] + named["bias"]


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
    place = int(module.tracked.places(torch.tensor([x])))
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
    "deeplight": full,
    "gmp": full,
    "pep": pep,
    "autosrh": autosrh,
    "tt": tt,
    "robe": robe,
    "mde": mde,
    "adapt": adapt,
    "dhe": dhe,
    "int8": full,
    "int16": full,
    "int4": full,
    "alpt": alpt,
    "mgqe": dpq,
    "dedup": full,
    "cafe": cafe,
    "cce": cce,
}
"""By method: the row of id x in training mode, from float64 parameters."""
