"""What `qbert.py` compares: how weights and embeddings are quantized, and the rules that choose their bits.

Names are those of Q-BERT (Shen et al., AAAI 2020, arXiv 1909.05840). DirectQ has one range for a matrix; Q-BERT 128
groups of columns, as its authors' code; ours blocks of 128 columns within a row, with ranges of least squares. Inputs
of linear layers have 8 bits everywhere. The output layer and the token-type embedding, of two rows, stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

ACTIVATION_BITS = 8
BLOCK = 128
DENSE = 32
"""Bits of what stays as it is."""


@dataclass(frozen=True)
class Coding:
    """What shares a range, and how the range is found."""

    group: Literal["tensor", "rows", "columns", "blocks"]
    groups: int = 128
    ranges: Literal["min_max", "least_squares"] = "min_max"


DIRECT = Coding("tensor", 1)
QBERT = Coding("columns")
OURS = Coding("blocks", ranges="least_squares")


@dataclass(frozen=True)
class Ranked:
    """The half of the layers with the highest Ω has `high` bits, the others `low`."""

    low: int
    high: int
    lowest_first: bool = False
    """The control: the half with the lowest Ω has `high` bits."""


@dataclass(frozen=True)
class Allocated:
    """`hessian.allocate` chooses bits of layers, word and position embeddings."""

    budget: str
    """Of the whole model: "2/3" or "2/4" are the bytes of Q-BERT with such bits, "1/10" is a share of f32."""
    counts: bool
    """Whether errors of rows count as often as their tokens and positions occur in the training sentences."""


@dataclass(frozen=True)
class Tokens:
    """Word embeddings alone, in the bytes that `bits` for all tokens would take; more for some if errors say so."""

    bits: int
    counts: bool
    """Whether errors of rows count as often as their tokens occur in the training sentences."""


@dataclass(frozen=True)
class Setting:
    """A way to quantize a whole model."""

    name: str
    title: str
    weights: Coding | None
    """None leaves the model as it is."""
    embeddings: Coding | None
    bits: int | Ranked | Allocated
    """Of the encoder's layers."""
    word: int = 8
    position: int = 8
    tokens: Tokens | None = None
    """Instead of all else."""

    @property
    def needs_omega(self) -> bool:
        """Whether bits depend on the curvature of a fine-tuned model."""
        return not isinstance(self.bits, int)

    def request(self) -> dict[str, Any]:
        """Return all that decides the result; settings of other names may be the same."""
        found = {key: value for key, value in asdict(self).items() if key not in ("name", "title")}
        if isinstance(self.bits, Allocated):
            del found["word"], found["position"]
        return {**found, "activations": ACTIVATION_BITS, "block": BLOCK}


def _main() -> Iterator[Setting]:
    yield Setting("f32", "f32", None, None, DENSE, DENSE, DENSE)
    for bits in (8, 4, 3, 2):
        yield Setting(f"directq-{bits}", "DirectQ", DIRECT, DIRECT, bits)
        yield Setting(f"qbert-{bits}", "Q-BERT", QBERT, QBERT, bits)
    for high in (3, 4):
        yield Setting(f"qbert-2-{high}", "Q-BERT MP", QBERT, QBERT, Ranked(2, high))
        yield Setting(f"qbert-2-{high}-reversed", "Q-BERT MP, reversed", QBERT, QBERT, Ranked(2, high, True))
    for bits in (4, 3):
        for word in (8, 4, 3, 2):
            yield Setting(f"ours-{bits}-word-{word}", "ours", OURS, OURS, bits, word)
    for budget in ("2/3", "2/4", "1/10"):
        for counts in (False, True):
            rule = Allocated(budget, counts)
            name = f"ours-{budget.replace('/', '-')}{'-counts' if counts else ''}"
            title = f"ours, allocated {budget}{', by counts' if counts else ''}"
            yield Setting(name, title, OURS, OURS, rule)


def _groups() -> Iterator[Setting]:
    kinds: tuple[Literal["rows", "columns"], ...] = ("rows", "columns")
    yield Setting("groups-1", "the matrix", DIRECT, QBERT, 4)
    for kind in kinds:
        for groups, text in ((12, "12"), (128, "128"), (2**20, "all")):
            yield Setting(f"groups-{kind}-{text}", f"{text} {kind}", Coding(kind, groups), QBERT, 4)
    yield Setting("groups-blocks", f"blocks of {BLOCK}", Coding("blocks"), QBERT, 4)
    yield Setting("groups-ours", f"blocks of {BLOCK}, least squares", OURS, QBERT, 4)


def _embeddings() -> Iterator[Setting]:
    for kind, coding in (("tensor", DIRECT), ("columns", QBERT), ("blocks", OURS)):
        for word, position in ((DENSE, DENSE), (8, 8), (4, 8), (8, 4), (4, 4), (2, 8)):
            if word == DENSE and kind != "tensor":
                continue
            title = "f32" if word == DENSE else {"tensor": "the table", "columns": "128 columns"}.get(kind, "ours")
            name = f"embeddings-{kind}-{word}-{position}"
            yield Setting(name, title, QBERT, None if word == DENSE else coding, 8, word, position)


def _tokens() -> Iterator[Setting]:
    for bits in (3, 2, 1):
        # Nothing can be given to frequent tokens where all have the fewest bits.
        for counts in (False, True)[: 1 + (bits > 1)]:
            title = f"{bits} bit{'s' * (bits > 1)}, {'by counts' if counts else 'all alike'}"
            rule = Tokens(bits, counts)
            yield Setting(f"tokens-{bits}{'-counts' * counts}", title, None, None, DENSE, bits, DENSE, rule)


MAIN = tuple(_main())
TRAINED = tuple(one for one in MAIN if one.name not in ("directq-8", "ours-3-word-8", "ours-3-word-4"))
"""Not DirectQ at 8 bits, which the paper's table does not have, nor two of ours that lie between others."""
GROUP_STUDY = tuple(_groups())
"""After Table 2 of the paper, with 4-bit weights and 8-bit embeddings."""
EMBEDDING_STUDY = tuple(_embeddings())
"""After Table 3, with 8-bit weights."""
TOKEN_STUDY = tuple(_tokens())
"""Word embeddings with bits by how often tokens occur, beside the same bytes with the same bits for all."""
ALL = (*MAIN, *GROUP_STUDY, *EMBEDDING_STUDY, *TOKEN_STUDY)
BY_NAME = {setting.name: setting for setting in ALL}
