"""The methods that learn a compressed table, and the constructor of their modules.

Adding one is a file in `methods` with a subclass of `LearnedEmbedding`, and a line in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import Method
from ._embedding import LearnedEmbedding
from ._spec import Plan, Spec
from .methods.adapt import Adaptive
from .methods.alpt import ALPT
from .methods.autodim import AutoDim
from .methods.autosrh import AutoSrh
from .methods.cafe import CAFE
from .methods.cce import CCE
from .methods.compo import Compositional
from .methods.dedup import Dedup
from .methods.deeplight import DeepLight
from .methods.dhe import DHE
from .methods.dpq import DPQ
from .methods.full import Full
from .methods.hash import Hash
from .methods.mde import MDE
from .methods.mgqe import MGQE
from .methods.optembed import OptEmbed
from .methods.pep import PEP
from .methods.quantize import Int8, Int16
from .methods.robe import ROBE
from .methods.tt import TTRec

METHODS: dict[str, type[LearnedEmbedding]] = {
    kind.method.name: kind
    for kind in (
        Full,
        Hash,
        Compositional,
        DPQ,
        DeepLight,
        PEP,
        AutoSrh,
        OptEmbed,
        AutoDim,
        TTRec,
        ROBE,
        MDE,
        Adaptive,
        DHE,
        Int8,
        Int16,
        ALPT,
        MGQE,
        Dedup,
        CAFE,
        CCE,
    )
}


def methods() -> list[Method]:
    """Return every method that learns a table, with its paper, options and costs."""
    return [kind.method for kind in METHODS.values()]


def embedding(
    method: str,
    num_embeddings: int,
    embedding_dim: int,
    *,
    budget: int | float,
    counts: object | None = None,
    fields: Sequence[int] | None = None,
    mode: str | None = None,
    seed: int = 0,
    sparse: bool = False,
    **options: Any,
) -> LearnedEmbedding:
    """Return a module that is trained in compressed form, in place of torch.nn.Embedding or EmbeddingBag.

    Args:
        method: A name from `methods()`.
        num_embeddings: ids are 0 to num_embeddings - 1.
        embedding_dim: The length of a row.
        budget: The most bytes of the frozen table: an int is bytes, a float up to 1 a ratio of the f32 size.
        counts: (num_embeddings,), how often each id is used; some methods need it.
        fields: The sizes of categorical fields that share the module, one field's ids after the other's. One budget is
            solved over all of them.
        mode: "sum", "mean" or "max" to pool like EmbeddingBag; None for rows.
        seed: Of initial values and hashes.
        sparse: Whether gradients are sparse where the method allows, for optimizers such as torch.optim.SparseAdam.
        **options: The method's own.

    Raises:
        BudgetError: the method can't meet the budget; the message has the least bytes.
        ValueError: arguments that the method does not take, or that do not agree.
    """
    kind, values = _checked(method, options)
    spec = Spec.of(num_embeddings, embedding_dim, budget, counts, fields, seed, sparse)
    return kind(_with_counts(kind, spec), mode, **values)


def plan(
    method: str,
    num_embeddings: int,
    embedding_dim: int,
    *,
    budget: int | float,
    counts: object | None = None,
    fields: Sequence[int] | None = None,
    **options: Any,
) -> Plan:
    """Return what a method makes of a budget, without allocating the table.

    Args:
        method: As for `embedding`, like all the others.
        num_embeddings: Ids of all fields.
        embedding_dim: The length of a row.
        budget: Bytes, or a ratio.
        counts: How often each id is used.
        fields: Sizes of fields.
        **options: The method's own.

    Raises:
        BudgetError: the method can't meet the budget; the message has the least bytes.
        ValueError: arguments that the method does not take, or that do not agree.
    """
    kind, values = _checked(method, options)
    spec = Spec.of(num_embeddings, embedding_dim, budget, counts, fields)
    return kind.plan(_with_counts(kind, spec), **values)


def _checked(method: str, options: dict[str, Any]) -> tuple[type[LearnedEmbedding], dict[str, Any]]:
    """Return the method's class, and its options with those that were not given."""
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r} to train; the methods are {', '.join(METHODS)}")
    kind = METHODS[method]
    known = {option.name: option.default for option in kind.method.options}
    if unknown := set(options) - set(known):
        takes = f"; its options are {', '.join(sorted(known))}" if known else ""
        raise ValueError(f"{method} has no option '{min(unknown)}'{takes}")
    return kind, known | options


def _with_counts(kind: type[LearnedEmbedding], spec: Spec) -> Spec:
    if kind.needs_counts and spec.counts is None:
        raise ValueError(f"{kind.method.name} needs counts: how often each id is used")
    return spec
