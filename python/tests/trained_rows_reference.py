"""Steps of rows that are trained as they are stored, written down slowly: one row after the other, in NumPy's f32."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

BITS = {"f32": 32, "bf16": 16, "f16": 16, "int16": 16, "int8": 8, "int4": 4}
OPTIMIZERS = ("sgd", "adagrad", "rowwise_adagrad", "rowwise_adam")
F = np.float32


def mixed(number):
    mask = 2**64 - 1
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & mask
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & mask
    return number ^ (number >> 31)


def random_bits(seed, step, row, columns):
    """Return the 32 random bits of each column of a row, as RandomBits.swift says."""
    rise, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    key = mixed((mixed((mixed(seed & mask) + step * rise) & mask) + (row + 1) * rise) & mask)
    x = (np.arange(columns, dtype=np.uint64) * 0x9E3779B9 + (key & 0xFFFFFFFF)) & 0xFFFFFFFF
    x ^= x >> 16
    x = x * 0x7FEB352D & 0xFFFFFFFF
    x ^= x >> 15
    x ^= key >> 32
    x = x * 0x846CA68B & 0xFFFFFFFF
    return x ^ (x >> 16)


def unpacked(elements, format, dimension):
    """Return rows of bytes as numbers, (rows, dimension) f32, without their scales."""
    if format == "f32":
        return elements.view(F).copy()
    if format == "bf16":
        return (elements.view(np.uint16).astype(np.uint32) << 16).view(F)
    if format == "f16":
        return elements.view(np.float16).astype(F)
    if format == "int16":
        return elements.view(np.int16).astype(F)
    if format == "int8":
        return elements.view(np.int8).astype(F)
    pairs = np.stack([elements & 15, elements >> 4], axis=2).reshape(len(elements), 2 * elements.shape[1])
    return pairs[:, :dimension].astype(F) - F(8)


def packed(values, format):
    """Return numbers that a format has as rows of bytes."""
    values = np.ascontiguousarray(values, F)
    if format == "f32":
        return values.view(np.uint8)
    if format == "bf16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    if format == "f16":
        return values.astype(np.float16).view(np.uint8)
    if format == "int16":
        return values.astype(np.int16).view(np.uint8)
    if format == "int8":
        return values.astype(np.int8).view(np.uint8)
    codes = (values + 8).astype(np.uint8)
    if codes.shape[1] % 2:
        codes = np.pad(codes, ((0, 0), (0, 1)))
    return np.ascontiguousarray(codes[:, ::2] | codes[:, 1::2] << 4)


def rounded(values, format, bits):
    """Return values as a format has them: to the nearest, or by random bits."""
    if format == "f32":
        return values
    if format == "bf16":
        whole = values.view(np.uint32).astype(np.uint64)
        add = ((whole >> 16) & 1) + 0x7FFF if bits is None else bits >> 16
        return ((whole + add) & 0xFFFF0000).astype(np.uint32).view(F)
    if format == "f16" and bits is None:
        return values.astype(np.float16).astype(F)
    if format == "f16":
        size = np.abs(values)
        large = ((size.view(np.uint32).astype(np.uint64) + (bits >> 19)) & 0xFFFFE000).astype(np.uint32).view(F)
        small = at_random(size * F(2**24), bits) * F(2**-24)
        return np.copysign(np.where(size < F(2**-14), small, large), values)
    limit = F(1 << (BITS[format] - 1))
    clamped = np.minimum(np.maximum(values, -limit), limit - 1)
    return np.rint(clamped) if bits is None else at_random(clamped, bits)


def at_random(values, bits):
    below = np.floor(values)
    return below + ((bits >> 8).astype(F) * F(2**-24) < values - below)


@dataclass
class Rows:
    """A table in the arrays that the core takes."""

    format: str
    dimension: int
    elements: np.ndarray
    scales: np.ndarray | None
    element_state: np.ndarray
    row_state: np.ndarray

    @staticmethod
    def random(rng, format, rows, dimension):
        row_bytes = (dimension * BITS[format] + 7) // 8
        scales = None
        if format.startswith("int"):
            elements = rng.integers(0, 256, (rows, row_bytes), dtype=np.uint8)
            if format == "int4" and dimension % 2:
                elements[:, -1] &= 15
            # 8 significant bits
            scales = (rng.integers(128, 256, rows) * 2.0 ** -(BITS[format] + 8)).astype(F)
        else:
            values = rng.standard_normal((rows, dimension)).astype(F)
            elements = packed(rounded(values, format, None), format).copy()
        states = rng.random((rows, dimension)).astype(F), rng.random(rows).astype(F)
        return Rows(format, dimension, elements, scales, *states)

    def copy(self):
        scales = None if self.scales is None else self.scales.copy()
        states = self.element_state.copy(), self.row_state.copy()
        return Rows(self.format, self.dimension, self.elements.copy(), scales, *states)

    @property
    def table(self):
        return self.format, self.dimension, self.elements, self.scales, self.element_state, self.row_state

    @property
    def arrays(self):
        found = [self.elements, self.element_state, self.row_state]
        return found if self.scales is None else [*found, self.scales]

    @property
    def values(self):
        codes = unpacked(self.elements, self.format, self.dimension)
        return codes if self.scales is None else codes * self.scales[:, None]


@dataclass
class Step:
    """The numbers of a step, as the core takes them."""

    optimizer: str
    rounding: str = "stochastic"
    learning_rate: float = 0.1
    eps: float = 1e-8
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0
    seed: int = 0
    step: int = 1
    arguments: tuple = field(init=False)

    def __post_init__(self):
        numbers = self.learning_rate, self.eps, self.beta1, self.beta2, self.weight_decay
        self.arguments = (self.optimizer, self.rounding, *numbers, self.seed, self.step)


def fitting_scale(w, limit):
    """Return the least scale of 8 significant bits that a row fits in."""
    least = max(max(w.max(), F(0)) / (limit - 1), max(-w.min(), F(0)) / limit)
    return ((least.view(np.uint32) + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000)).view(F)


def mean_square(gradient):
    """Sixteen sums of squares, whose halves are added until one is left."""
    squares = np.zeros(16, F)
    for start in range(0, len(gradient), 16):
        part = gradient[start : start + 16]
        squares[: len(part)] += part * part
    return halved(squares) / F(len(gradient))


def halved(lanes):
    """Return the sum of sixteen numbers, whose halves are added until one is left."""
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return lanes[0]


def moved(rows, row, w, g, step):
    """Return a row after its step; changes its state."""
    lr, eps, decay = F(step.learning_rate), F(step.eps), F(step.weight_decay)
    if decay and step.optimizer != "rowwise_adam":
        g = g + w * decay
    if step.optimizer == "sgd":
        return w - g * lr
    if step.optimizer == "adagrad":
        rows.element_state[row] += g * g
        return w - g * lr / (np.sqrt(rows.element_state[row]) + eps)
    if step.optimizer == "rowwise_adagrad":
        rows.row_state[row] += mean_square(g)
        return w - g * (lr / (np.sqrt(rows.row_state[row]) + eps))
    second = rows.row_state[row] * F(step.beta2) + mean_square(g) * F(1 - step.beta2)
    rows.row_state[row] = second
    divisor = np.sqrt(second / F(1 - step.beta2**step.step)) + eps
    first = rows.element_state[row] * F(step.beta1) + g * F(1 - step.beta1)
    rows.element_state[row] = first
    return w - (first / F(1 - step.beta1**step.step) / divisor + w * decay) * lr


def take_step(rows, ids, gradients, step):
    """Step rows in place."""
    values = rows.values
    for row in np.unique(ids):
        g = np.zeros(rows.dimension, F)
        for number, position in enumerate(np.flatnonzero(ids == row)):
            g = gradients[position].copy() if number == 0 else g + gradients[position]
        w = moved(rows, row, values[row], g, step)
        if rows.scales is not None:
            limit = F(1 << (BITS[rows.format] - 1))
            if rows.format == "int4":
                fitting = fitting_scale(w, limit)
                if fitting > rows.scales[row] or 0 < fitting < rows.scales[row] / 2:
                    rows.scales[row] = fitting
            else:
                while w.max() / rows.scales[row] > limit - 1 or -w.min() / rows.scales[row] > limit:
                    rows.scales[row] *= 2
            w = w / rows.scales[row]
        bits = random_bits(step.seed, step.step, int(row), rows.dimension) if step.rounding == "stochastic" else None
        rows.elements[row] = packed(rounded(w, rows.format, bits)[None], rows.format)[0]


def scale_after(scale, w, g, format, rate):
    """Return the scale of a row of values w once slopes g have moved it, as TrainedRows+Write.swift says."""
    limit = F(1 << (BITS[format] - 1))
    fitting = fitting_scale(w, limit)
    if fitting > scale * 2 or 0 < fitting < scale / 2:
        scale = fitting
    exact = w / scale
    inside = np.minimum(np.maximum(exact, -limit), limit - 1)
    change = np.rint(inside) - np.where(inside == exact, exact, F(0))
    products, squares = np.zeros(16, F), np.zeros(16, F)
    for start in range(0, len(w), 16):
        part = slice(start, start + 16)
        size = len(w[part])
        products[:size] += g[part] * change[part]
        squares[:size] += g[part] * g[part]
    with np.errstate(all="ignore"):
        relative = F(rate) * halved(products) / np.sqrt(halved(squares))
    if not np.isfinite(relative):
        return scale
    return scale * min(max(F(1) - relative, F(0.5)), F(2))


def write_rows(rows, ids, values, slopes, rounding="stochastic", scale_rate=0.0, seed=0, step=1):
    """Write rows in place."""
    for position, row in enumerate(ids):
        w = values[position]
        if rows.scales is not None:
            if slopes is not None:
                rows.scales[row] = scale_after(rows.scales[row], w, slopes[position], rows.format, scale_rate)
            w = w / rows.scales[row]
        bits = random_bits(seed, step, int(row), rows.dimension) if rounding == "stochastic" else None
        rows.elements[row] = packed(rounded(w, rows.format, bits)[None], rows.format)[0]
