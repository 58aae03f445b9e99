"""The methods that learn a compressed table, and the constructor of their modules.

Adding one here is an entry in the core's catalogue, a file in `methods` with a subclass of `LearnedEmbedding`, and a
line in `METHODS`. Other packages call `register`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, TypeVar

from .. import Method
from .._methods import WHILE_TRAINING
from .._registry import add, checked_options, listed, method_name
from .._registry import methods as catalogued
from ._embedding import LearnedEmbedding
from ._row_optimizers import RowOptimizer
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
from .methods.gmp import GMP
from .methods.hash import Hash
from .methods.mde import MDE
from .methods.mgqe import MGQE
from .methods.optembed import OptEmbed
from .methods.pep import PEP
from .methods.quantize import Int4, Int8, Int16
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
        GMP,
        PEP,
        AutoSrh,
        OptEmbed,
        AutoDim,
        TTRec,
        ROBE,
        MDE,
        Adaptive,
        DHE,
        Int4,
        Int8,
        Int16,
        ALPT,
        MGQE,
        Dedup,
        CAFE,
        CCE,
    )
}


ENTRY_POINTS = "embedcompress.methods"
"""The group in which other packages name modules that register methods."""

Kind = TypeVar("Kind", bound=type[LearnedEmbedding])


def methods() -> list[Method]:
    """Return every method that learns a table, with its paper, options and costs; the list prints as a table."""
    return listed(method for method in catalogued(WHILE_TRAINING) if method.name in METHODS)


def register(cls: Kind) -> Kind:
    """Add a method of your own, which then is taken wherever a method's name is. Use it as a decorator.

    An installed package whose metadata names the module, as an entry point of the group "embedcompress.methods", has it
    registered whenever `embedcompress.training` is imported, in the command line as well.

    Args:
        cls: A subclass of `LearnedEmbedding` that has `plan`, `rows` and `_frozen`, and as `method` an entry of the
            stage "while training": an `embedcompress.Method`.

    Returns:
        The class; its `method` is what the catalogue has.

    Raises:
        TypeError: it is no such class.
        ValueError: the entry is not complete, or its name or title is taken.
    """
    if not isinstance(cls, type) or not issubclass(cls, LearnedEmbedding):
        raise TypeError(f"register takes a subclass of LearnedEmbedding, not {cls!r}")
    for name in ("plan", "rows", "_frozen"):
        if getattr(getattr(cls, name), "__isabstractmethod__", False):
            raise TypeError(f"{cls.__name__} has no {name}, which a method needs")
    if not isinstance(getattr(cls, "method", None), Method):
        raise TypeError(f"{cls.__name__}.method must be an embedcompress.Method")
    if not cls.stages or not all(isinstance(stage, str) for stage in cls.stages):
        raise TypeError(f"{cls.__name__}.stages must be the names of one stage or more, not {cls.stages!r}")
    cls.method = add(cls.method)
    METHODS[cls.method.name] = cls
    return cls


def import_registered() -> None:
    """Import the modules that installed packages name; they register their methods.

    Raises:
        ImportError: one can't be imported, or registers what can't be.
    """
    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:
            package = point.dist.name if point.dist else point.value
            raise ImportError(f"{package} has methods in {point.value}, which can't be imported: {error}") from error


def embedding(
    method: str,
    num_embeddings: int,
    embedding_dim: int,
    *,
    budget: int | float | str,
    counts: object | None = None,
    fields: Sequence[int] | None = None,
    mode: str | None = None,
    seed: int = 0,
    sparse: bool = False,
    optimizer: RowOptimizer | None = None,
    bits: int | str | None = None,
    **options: Any,
) -> LearnedEmbedding:
    """Return a module that is trained in compressed form, in place of torch.nn.Embedding or EmbeddingBag.

    Args:
        method: A name from `methods()`, in any spelling that the papers have.
        num_embeddings: ids are 0 to num_embeddings - 1.
        embedding_dim: The length of a row.
        budget: The most bytes of the frozen table: an int is bytes, a float up to 1 a ratio of the f32 size,
            and text says either, as "10%" or "6MB".
        counts: (num_embeddings,), how often each id is used; some methods need it.
        fields: The sizes of categorical fields that share the module, one field's ids after the other's. One budget is
            solved over all of them.
        mode: "sum", "mean" or "max" to pool like EmbeddingBag; None for rows.
        seed: Of initial values and hashes.
        sparse: Whether gradients are sparse where the method allows, for optimizers such as torch.optim.SparseAdam.
        optimizer: The table's own, such as `training.RowwiseAdagrad(0.05)`, for methods that are made of rows alone:
            full, hash, adapt, dedup, compo, mde, tt, robe, cafe, cce, and int16, int8, int4 and alpt, which are then
            held as they are stored. Rows move during backward, and the table has no parameters; see docs/training.md.
        bits: Of the codes that the arrays of full, hash, adapt, compo, mde, tt, robe, cce and cafe have, and weights of
            dhe, 2 to 8: they are rounded in every forward pass, gradients pass through that, and the budget is that of
            the codes. "auto" takes 8 if the whole table fits the budget in codes of 8 bits, and else 4. None for f32.
            Of alpt, dpq and mgqe it is an option; centroids of dpq and mgqe are codes with the option centroid_bits.
        **options: The method's own.

    Raises:
        BudgetError: the method can't meet the budget; the message has the least bytes.
        ValueError: arguments that the method does not take, or that do not agree.
    """
    kind, values, bits = _checked(method, options, optimizer, bits)
    spec = Spec.of(num_embeddings, embedding_dim, budget, counts, fields, seed, sparse, optimizer, bits)
    return kind(_with_counts(kind, spec), mode, **values)


def plan(
    method: str,
    num_embeddings: int,
    embedding_dim: int,
    *,
    budget: int | float | str,
    counts: object | None = None,
    fields: Sequence[int] | None = None,
    optimizer: RowOptimizer | None = None,
    bits: int | str | None = None,
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
        optimizer: The table's own: some methods plan another form for it.
        bits: Of the codes of the table's arrays.
        **options: The method's own.

    Raises:
        BudgetError: the method can't meet the budget; the message has the least bytes.
        ValueError: arguments that the method does not take, or that do not agree.
    """
    kind, values, bits = _checked(method, options, optimizer, bits)
    spec = Spec.of(num_embeddings, embedding_dim, budget, counts, fields, optimizer=optimizer, bits=bits)
    return kind.plan(_with_counts(kind, spec), **values)


def class_of(method: str) -> type[LearnedEmbedding]:
    """Return the class of a method, in any spelling of its name; ValueError if there is none."""
    return METHODS[method_name(method, WHILE_TRAINING)]


def _checked(
    method: str, options: dict[str, Any], optimizer: RowOptimizer | None, bits: int | str | None
) -> tuple[type[LearnedEmbedding], dict[str, Any], int | str | None]:
    """Return the method's class, its options with those that were not given, and the bits of the table's arrays."""
    if optimizer is not None:
        options = {**_own_options(method), **options}
    kind = class_of(method)
    if bits is not None and any(option.name == "bits" for option in kind.method.options):
        options, bits = {**options, "bits": bits}, None
    if bits is not None and not kind.takes_bits:
        raise ValueError(f"{kind.method.name} takes no bits; the methods that do are {_taking('takes_bits')}")
    return kind, checked_options(kind.method.name, WHILE_TRAINING, options), bits


def _own_options(method: str) -> Mapping[str, Any]:
    """Return the options that differ for a table with an optimizer of its own; ValueError if the method has none."""
    kind = class_of(method)
    if not kind.takes_optimizer:
        taking = _taking("takes_optimizer")
        raise ValueError(f"{kind.method.name} takes no optimizer; the methods that do are {taking}")
    return kind.own_options


def _taking(name: str) -> str:
    """Return the names of the methods of which a class variable holds."""
    return ", ".join(sorted(method for method, kind in METHODS.items() if getattr(kind, name)))


def _with_counts(kind: type[LearnedEmbedding], spec: Spec) -> Spec:
    if kind.needs_counts and spec.counts is None:
        raise ValueError(f"{kind.method.name} needs counts: how often each id is used")
    return spec
