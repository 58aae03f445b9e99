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
        if module.kind == "vq":
            code = int((books - query[part]).square().sum(1).argmin())
            rows.append(query[part] + (books[code] - query[part]).detach())
        else:
            scores = books @ query[part]
            soft = scores.softmax(0) @ parameters["values"][part]
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
    """The first stage, where alpha is fixed."""
    rank = (-module.spec.counts).argsort(kind="stable").tolist().index(x)
    group = rank * module.options["groups"] // module.num_embeddings
    return parameters["weight"][x] * parameters["alpha"][group].detach()


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
    name = module.method.name
    if name in BATCHES:
        return BATCHES[name](module, parameters, ids)
    return torch.stack([ROWS[name](module, parameters, int(x)) for x in ids])


BATCHES = {"optembed": optembed, "autodim": autodim}
"""By method: the rows of a batch, where they depend on the batch, or on what was drawn for it."""
ROWS = {
    "full": full,
    "hash": hash_row,
    "compo": compo,
    "dpq": dpq,
    "deeplight": full,
    "pep": pep,
    "autosrh": autosrh,
}
"""By method: the row of id x in training mode, from float64 parameters."""
