"""DHE: a network for each field makes rows of many hashes of an id; there is no table.

Kang et al., "Learning to Embed Categorical Features without Embedding Tables for Recommendation", KDD 2021 (arXiv
2010.10784). The numbers of an id are k hashes ((a x + b) mod p) mod 10^6, made uniform from -1 to 1, or normal. Five
layers of h, each with batch norm and Mish, and one of d follow. All fields have the same h, as in the VLDB study, and a
field that would not shrink stays as it is. Batch norm sees every id of a batch once, whatever its count.

Primes p are from 2^30 to 2^31, not just above 10^6 as in the study, so that every hash is nearly uniform. Products are
of 64 bits, where the study's overflow.

With bits, what is rounded to codes are weights that have batch norm folded in, as they are stored: of the running
variance, also while batches are normed by their own.

Bytes of a field: 4 ((k + 1) h + 4 h (h + 1) + (h + 1) d), with batch norm folded in, and 24 k + 8 for hashes. With
bits, weights take those of codes of k rows of h, four times h rows of h, and h rows of d. The core decodes them when
the table is made or opened, to at most a MiB for each layer: networks with bits are not wider.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ... import BudgetError, Method, Table, _core, hash_network
from ..._bisection import last_where
from ..._expressions import described, plan_bytes
from ..._methods import WHILE_TRAINING
from ..._registry import entry
from .._coded_rows import coded_table, rounded, straight_through
from .._embedding import LearnedEmbedding, numbers
from .._formats import SHORT, empty
from .._plain import PlainFields
from .._spec import Plan, Spec, largest

BUCKETS = 1_000_000
HIDDEN = 5
"""Layers before the last."""
MOST_WIDTH, MOST_ROWS, MOST_DECODED = 1 << 16, 1 << 32, 1 << 20
"""What the frozen form holds; bytes of weights for each layer that it decodes."""
BLOCK = 1 << 14
"""Ids that go through a network at a time, where they need not go together."""
_MISH_SQUARE = 0.4526
"""The mean square of Mish of normal numbers."""
_MOMENTUM, _EPSILON = 0.1, 1e-5
"""Of batch norm, as torch has them."""


class DHE(LearnedEmbedding):
    """`training.embedding("dhe", …)`."""

    method: ClassVar[Method] = entry("dhe", WHILE_TRAINING)
    takes_bits: ClassVar[bool] = True
    looked_up: ClassVar[tuple[str, ...]] = ("plain",)
    compiles: ClassVar[str] = "ids of a batch are made unique, so shapes depend on them"
    factors: Tensor
    summands: Tensor
    moduli: Tensor

    def __init__(self, spec: Spec, mode: str | None = None, **options: Any) -> None:
        super().__init__(spec, mode, **options)
        self.hashes: int = options["hashes"]
        self.encoding: str = options["encoding"]
        self.width: int = self.planned.knobs["width"]
        is_plain: list[bool] = self.planned.knobs["plain"]
        # They belong to the state: weights mean nothing to other hashes.
        generator = self.generator(1)
        moduli = torch.tensor(primes(self.hashes, generator))
        self.register_buffer("moduli", moduli)
        for name in ("factors", "summands"):
            drawn = torch.randint(0, 2**62, (self.hashes,), generator=generator)
            self.register_buffer(name, drawn % (moduli - 1) + 1)
        self.plain = PlainFields(self, is_plain)
        self.network_of = {
            field: index for index, field in enumerate(field for field, plain in enumerate(is_plain) if not plain)
        }
        bound = (max(spec.sizes) * self.width * _MISH_SQUARE) ** -0.5
        self.networks = nn.ModuleList(
            Network(self.hashes, self.width, spec.dimension, bound, self.generator(field + 2), spec.bits)
            for field in self.network_of
        )

    @classmethod
    def plan(cls, spec: Spec, **options: Any) -> Plan:
        """Take the widest networks that fit."""
        hashes: int = options["hashes"]
        if options["encoding"] == "normal" and hashes % 2:
            raise ValueError(f"hashes must be an even number with the encoding normal, not {hashes}")
        if max(spec.sizes) > MOST_ROWS:
            raise ValueError(f"a field of dhe has at most {MOST_ROWS} rows, not {max(spec.sizes)}")
        d = spec.dimension
        full = [spec.array_bytes(rows) for rows in spec.sizes]

        def network(width: int) -> int:
            widths = {f"width{layer}": width for layer in range(HIDDEN)}
            # With bits, weights are in tables, here one that takes no bytes.
            tables, element = ([], {"element": "f32"}) if spec.bits is None else ([empty(0)], {})
            fields: dict[str, Any] = {"hashes": hashes, "layers": HIDDEN + 1, **element, **widths}
            own = plan_bytes(described("hash_network", spec.rows, d, *tables, **fields))
            if spec.bits is None:
                return own
            shapes = [(hashes, width), *[(width, width)] * (HIDDEN - 1), (width, d)]
            return own + sum(spec.array_bytes(*shape) for shape in shapes)

        def size(width: int) -> int:
            each = network(width)
            return sum(min(rows, each) for rows in full)

        # Where rows of codes are long, what codes of short rows stand for is not stored any more.
        most, rising_from = MOST_WIDTH, 1
        if spec.bits is not None:
            room = (HIDDEN + 1) * MOST_DECODED
            most = last_where(1, most, lambda width: 4 * width * (hashes + (HIDDEN - 1) * width + d) <= room)
            rising_from = SHORT + 1
        width = largest("dhe", spec, 1, most, size, rising_from)
        each = network(width)
        is_plain = [rows <= each for rows in full]
        return Plan(size(width), {"width": width, "plain": is_plain}, _study(spec, hashes))

    def rows(self, ids: Tensor) -> Tensor:
        """Return what networks make of hashes."""
        return self.plain.beside(*self.fields.split(ids), self._made)

    def _made(self, field: Tensor | None, local: Tensor) -> Tensor:
        if field is None:
            return self._of_network(0, local)
        rows = torch.zeros(len(local), self.embedding_dim, device=local.device)
        for number, index in self.network_of.items():
            here = (field == number).nonzero().view(-1)
            if len(here):
                rows = rows.index_copy(0, here, self._of_network(index, local[here]).to(rows.dtype))
        return rows

    def _of_network(self, index: int, local: Tensor) -> Tensor:
        unique, back = torch.unique(local, return_inverse=True)
        blocks = (unique,) if self.training else unique.split(BLOCK)
        return torch.cat([self.networks[index](self.codes(block)) for block in blocks]).index_select(0, back)

    def codes(self, local: Tensor) -> Tensor:
        """Return the numbers of ids within their field that networks are given, (n, k) f32."""
        hashes = self._hashes(local)
        if self.encoding == "uniform":
            return hashes.mul_(2 / (BUCKETS - 1)).sub_(1)
        radius = (-2 * ((hashes[:, ::2] + 1) / BUCKETS).log()).sqrt()
        angle = hashes[:, 1::2] * (2 * math.pi / BUCKETS)
        return torch.stack([radius * angle.cos(), radius * angle.sin()], 2).flatten(1)

    def _hashes(self, local: Tensor) -> Tensor:
        """Return the hashes of ids as floats, which have room for all of their bits, (n, k)."""
        if local.device.type == "cpu":
            hashes = torch.empty(len(local), self.hashes, dtype=torch.float32, device="cpu")
            constants = self.factors.numpy(), self.summands.numpy(), self.moduli.numpy()
            _core.hash_ids(local.contiguous().numpy(), *constants, hashes.numpy(), BUCKETS)
            return hashes
        # Nothing is negative, where fmod is the remainder, and quicker.
        return (local[:, None] * self.factors + self.summands).fmod(self.moduli).fmod(BUCKETS).float()

    def _frozen(self) -> Table:
        def table(field: int, rows: int) -> Table:
            if field not in self.network_of:
                return self.plain.frozen(field)
            network = self.networks[self.network_of[field]]
            assert isinstance(network, Network)
            weights, biases = network.folded()
            return hash_network(
                factors=numbers(self.factors),
                summands=numbers(self.summands),
                moduli=numbers(self.moduli),
                buckets=BUCKETS,
                weights=[numbers(one) if network.bits is None else coded_table(one, network.bits) for one in weights],
                biases=[numbers(bias) for bias in biases],
                rows=rows,
                encoding=self.encoding,
            )

        return self.per_field(table(field, rows) for field, rows in enumerate(self.spec.sizes))


class Network(nn.Module):
    """Five layers with batch norm and Mish, and a last one."""

    means: Tensor
    variances: Tensor

    def __init__(
        self, inputs: int, width: int, outputs: int, bound: float, generator: torch.Generator, bits: int | None
    ) -> None:
        """Draw weights; those of the last layer lie within a bound. With bits, weights are rounded to codes."""
        super().__init__()
        self.bits = bits
        # Batch norm makes up for the scale of layers, and for a bias.
        shapes = [(inputs, width), *[(width, width)] * (HIDDEN - 1), (width, outputs)]
        bounds = [*(math.sqrt(3 / before) for before, _ in shapes[:-1]), bound]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(shape).uniform_(-limit, limit, generator=generator))
            for shape, limit in zip(shapes, bounds, strict=True)
        )
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scales = nn.Parameter(torch.ones(HIDDEN, width))
        self.shifts = nn.Parameter(torch.zeros(HIDDEN, width))
        self.register_buffer("means", torch.zeros(HIDDEN, width))
        self.register_buffer("variances", torch.ones(HIDDEN, width))

    def forward(self, values: Tensor) -> Tensor:
        """Return rows of the numbers of ids."""
        # A single id has no variance: it is normed as in eval mode.
        is_batch = self.training and len(values) > 1
        if self.bits is not None and not self.training:
            return self._as_stored(values)
        for layer in range(HIDDEN):
            values = functional.batch_norm(
                values @ self._weight(layer),
                self.means[layer],
                self.variances[layer],
                self.scales[layer],
                self.shifts[layer],
                is_batch,
                _MOMENTUM,
                _EPSILON,
            )
            values = functional.mish(values)
        rows: Tensor = values @ self._weight(HIDDEN) + self.bias
        return rows

    def _as_stored(self, values: Tensor) -> Tensor:
        """Return the rows of a network whose weights have batch norm folded in, and are rounded."""
        assert self.bits is not None
        weights, biases = self.folded()
        for layer in range(HIDDEN):
            values = functional.mish(values @ rounded(weights[layer], self.bits) + biases[layer])
        rows: Tensor = values @ rounded(weights[HIDDEN], self.bits) + biases[HIDDEN]
        return rows

    def _weight(self, layer: int) -> Tensor:
        """Return the weights of a layer before batch norm; such that they will be codes once it is folded in."""
        weight: Tensor = self.weights[layer]
        if self.bits is None:
            return weight
        with torch.no_grad():
            if layer == HIDDEN:
                values = rounded(weight, self.bits)
            else:
                factors = self._factors()[layer].float()
                # What batch norm makes nothing of stays as it is.
                divisors = torch.where(factors == 0, 1, factors)
                values = torch.where(factors == 0, weight, rounded(weight * factors, self.bits) / divisors)
        return straight_through(weight, values)

    def _factors(self) -> Tensor:
        """Return what batch norm multiplies results by in eval mode, (HIDDEN, width) f64."""
        return self.scales.double() / (self.variances.double() + _EPSILON).sqrt()

    def folded(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return weights and biases of layers that need no batch norm."""
        factors = self._factors()
        biases = self.shifts.double() - self.means.double() * factors
        weights = [(self.weights[layer].double() * factors[layer]).float() for layer in range(HIDDEN)]
        return [*weights, self.weights[HIDDEN]], [*biases.float(), self.bias]


def primes(count: int, generator: torch.Generator) -> list[int]:
    """Return random primes from 2^30 to 2^31."""
    found: list[int] = []
    while len(found) < count:
        drawn = torch.randint(2**30, 2**31 - 1, (16 * count,), generator=generator) | 1
        found += [number for number in drawn.tolist() if is_prime(number)]
    return found[:count]


def is_prime(number: int) -> bool:
    """Return whether an odd number from 9 to 3,215,031,750 is a prime, by the test of Miller and Rabin."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    # No composite number in that range passes for these four.
    for base in (2, 3, 5, 7):
        power = pow(base, odd, number)
        if power not in (1, number - 1) and all(
            (power := power * power % number) != number - 1 for _ in range(twos - 1)
        ):
            return False
    return True


def _study(spec: Spec, hashes: int) -> dict[str, Any]:
    """Return the study's h, whose words are those of layers and batch norm, without hashes."""
    d = spec.dimension

    def network(width: int) -> int:
        return (hashes + 1) * width + 4 * width * (width + 1) + (d + 1) * width + 10 * width

    def size(width: int) -> int:
        return 4 * sum(min(rows * d, network(width)) for rows in spec.sizes)

    try:
        width = largest("dhe", spec, 1, MOST_WIDTH, size)
    except BudgetError:
        return {"width": None, "ratio": size(1) / spec.full_bytes}
    networks = sum(rows * d > network(width) for rows in spec.sizes)
    return {"width": width, "networks": networks, "ratio": size(width) / spec.full_bytes}
