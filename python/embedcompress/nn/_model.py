"""`compress_model_`: every embedding of a model, in place."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from .. import compress, evaluate
from .._checks import check_type, checked_integer
from .._progress import Progress, ProgressOption, reporting
from .._table import dense
from ._compressed import Compressed, compressed
from ._modules import CompressedEmbedding, CompressedEmbeddingBag
from ._parts import Parts
from ._places import (
    ALREADY,
    Place,
    Weight,
    bytes_of,
    find,
    gather,
    heed_ties,
    is_embedding,
    obstacle,
    packed_key,
)
from ._quantized import Packed, is_quantized, is_quantized_bag
from ._report import Layer, Report
from ._state import same_memory, stored_bytes
from ._ties import settle

MINIMUM_ROWS = 64
"""Tables of fewer rows stay dense by default: token types, relative positions of attentions, small categories."""


def compress_model_(
    model: nn.Module,
    method: str = "least_squares",
    *,
    filter_fn: Callable[[str, nn.Module], bool] | None = None,
    tied: Literal["share", "skip", "untie"] = "share",
    minimum_rows: int = MINIMUM_ROWS,
    minimum_bytes: int = 0,
    progress: ProgressOption = None,
    **options: Any,
) -> Report:
    """Put a compressed embedding in the place of every embedding of a model.

    That is every module of torch.nn.Embedding or EmbeddingBag, of a class derived from them, or of any class whose
    forward looks rows of its own `weight` up. A class with a forward of its own keeps it, as do those of Gemma (which
    scale rows) and of OPT and Whisper (which shift ids): the new module is of a class derived from it.

    Embeddings that share a weight share one table, and one module at two names stays one. The heads of language models
    share it too, unless `tied` says otherwise: logits are computed from the codes. Whatever is left as it is stands in
    the report with the reason, and in a warning unless it was asked for or is small. The new modules return rows in the
    dtype of the old weights, and need the CPU.

    Those of torch.ao.nn.quantized are taken over with the codes, scales and biases that they have, whatever the method,
    and count as "imported" in the report. torch's own ignore their mode and always sum, and read 4-bit codes as 8-bit
    ones in an Embedding that `quantize_dynamic` made; the new ones do what they are told, and what changes by it stands
    in the report and in a warning. `CompressedEmbeddingBag.from_module` says how sums are kept.

    Args:
        model: It is changed only after everything has been compressed: if anything fails, it is as it was.
        method: A name from `embedcompress.methods()`. Not used for quantized modules, nor are the options.
        filter_fn: Called as filter_fn(name, module) for each embedding, and for each head that would share its table;
            those for which it is false are left out, and with a head the embedding whose weight it has.
        tied: What to do with an embedding whose weight is used elsewhere too. "share" gives its table to linear layers
            that have the whole weight, and leaves it as it is if anything else has; "skip" leaves it; "untie"
            compresses it and leaves the dense weight to the others, so that the model becomes larger, and the two
            differ by the compression's error.
        minimum_rows: Embeddings of fewer rows stay dense.
        minimum_bytes: Embeddings whose weights have fewer bytes stay dense.
        progress: Told of rows; see `embedcompress.compress`.
        **options: The method's own, and budget, for each table; see `embedcompress.compress`.

    Returns:
        A row for each embedding and each head that shares a table, with its bytes and error; and the bytes of the whole
        model, which are those that `save_compressed` writes.

    Raises:
        ValueError: the model is itself an embedding, which can't be changed in place; or as `embedcompress.compress`
            has it, or a quantized module has a scale or a bias that is not finite, with a note that names the layer.
    """
    check_type(model, nn.Module, "model", "a torch.nn.Module")
    if tied not in ("share", "skip", "untie"):
        raise ValueError(f"tied must be 'share', 'skip' or 'untie', not {tied!r}")
    least = checked_integer(minimum_rows, "minimum_rows"), checked_integer(minimum_bytes, "minimum_bytes")
    if is_embedding(model):
        raise ValueError("the model is itself an embedding; use CompressedEmbedding.from_module(model) or its like")
    is_wanted = filter_fn or (lambda name, module: True)
    places = find(model)
    for place in places:
        place.reason = obstacle(place)
        if not is_wanted(place.name, place.module):
            place.reason, place.is_asked_for = "filter_fn leaves it out", True
    before = _model_bytes(model)
    weights = gather(places)
    for weight in weights:
        _heed_size(weight, *least)
        if not weight.places[0].reason:
            heed_ties(model, weight, tied, is_wanted)
    weights = [weight for weight in weights if not weight.places[0].reason]
    with reporting(progress, "compress", "rows") as report:
        _compress(weights, method, report, options)
    _swap(model, weights)
    for place in places:
        if place.reason not in ("", ALREADY) and not place.is_asked_for:
            warnings.warn(f"{place.name} is not compressed: {place.reason}", UserWarning, stacklevel=2)
        for note in place.packed.notes() if place.packed is not None and not place.reason else ():
            warnings.warn(f"{place.name} changes its results: {note}", UserWarning, stacklevel=2)
    if not places:
        warnings.warn("the model has no torch.nn.Embedding or EmbeddingBag", UserWarning, stacklevel=2)
    return Report(_layers(places, weights, method), before, _model_bytes(model))


def _heed_size(weight: Weight, minimum_rows: int, minimum_bytes: int) -> None:
    """Leave small weights as they are."""
    rows, size, reason = weight.shape[0], weight.stored_bytes, ""
    if isinstance(weight.source, Tensor) and rows < minimum_rows:
        reason = f"it has {rows} rows, and minimum_rows is {minimum_rows}"
    elif isinstance(weight.source, Tensor) and size < minimum_bytes:
        reason = f"it has {size:,} bytes, and minimum_bytes is {minimum_bytes:,}"
    for place in weight.places if reason else ():
        place.reason, place.is_asked_for = reason, True


def _model_bytes(model: nn.Module) -> int:
    """Return the bytes of a model, those of torch's quantized embeddings as they are packed."""
    packed = {packed_key(place.module): Packed.of(place.module) for place in find(model) if is_quantized(place.module)}
    return stored_bytes(model) + sum(held.packed_bytes for held in packed.values())


def _compress(weights: list[Weight], method: str, progress: Progress | None, options: dict[str, Any]) -> None:
    total = sum(weight.shape[0] for weight in weights)
    before = 0
    for weight in weights:
        rows = weight.shape[0]
        try:
            if isinstance(weight.source, Packed):
                table = weight.source.take_over()
                if progress is not None and progress(before + rows, total) is False:
                    raise KeyboardInterrupt
            else:
                source = dense(weight.source)
                step = None if progress is None else _step(progress, before, rows, total)
                table = compress(source, method, progress=step, **options)
                weight.evaluation = evaluate(table, source, queries=0)
        except (ValueError, TypeError) as error:
            error.add_note(f"in the layer {weight.places[0].name}; the model is as it was")
            raise
        weight.parts = Parts(table)
        before += rows


def _step(progress: Progress, before: int, rows: int, total: int) -> Progress:
    return lambda done, of: progress(before + done * rows // max(of, 1), total)


def _swap(model: nn.Module, weights: list[Weight]) -> None:
    """Replace the modules. Nothing here can fail, so the model never stays half changed."""
    pairs = []
    made: dict[int, nn.Module] = {}
    for weight in weights:
        for place in (*weight.places, *weight.heads):
            if id(place.module) not in made:
                made[id(place.module)] = _replacement(place.module, weight)
            pairs.append((place, made[id(place.module)]))
    for place, module in pairs:
        place.parent._modules[place.attribute] = module
    settle(model)


def _replacement(module: nn.Module, weight: Weight) -> nn.Module:
    assert weight.parts is not None
    if isinstance(weight.source, Tensor):
        return compressed(module, weight.parts, weight.source.dtype)
    quantized: Any = module
    padding_idx = getattr(quantized, "padding_idx", None)
    new: CompressedEmbedding | CompressedEmbeddingBag
    if is_quantized_bag(module):
        new = CompressedEmbeddingBag(weight.parts, quantized.mode, padding_idx, quantized.include_last_offset)
    else:
        new = CompressedEmbedding(weight.parts, padding_idx)
    return new.train(module.training)


def _layers(places: list[Place], weights: list[Weight], method: str) -> list[Layer]:
    """Return the entries of embeddings, in the model's order, each with the heads that share its table behind it."""
    weight_of = {id(place): weight for weight in weights for place in weight.places}
    layers, seen = [], set[object]()
    for place in places:
        weight = weight_of.get(id(place))
        layers.append(_skipped(place, seen) if weight is None else _replaced(place, weight, method))
        if weight is not None and place is weight.places[0]:
            layers += [_replaced(head, weight, method) for head in weight.heads]
    return layers


def _skipped(place: Place, seen: set[object]) -> Layer:
    """Describe a place that is as it was; what has been seen before has no bytes."""
    module, size = place.module, 0
    held: object = place.packed or getattr(module, "weight", None)
    key: object = id(held)
    if isinstance(module, Compressed):
        key, size = id(module.parts), module.table.stored_bytes
    elif isinstance(held, Packed):
        key, size = packed_key(module), held.packed_bytes
    elif isinstance(held, Tensor):
        key, size = same_memory(held), bytes_of(held)
    size = 0 if key in seen else size
    seen.add(key)
    rows, dimension = (int(getattr(module, name, 0)) for name in ("num_embeddings", "embedding_dim"))
    return Layer(place.name, rows, dimension, None, "skipped", place.reason, size, size, None, None)


def _replaced(place: Place, weight: Weight, method: str) -> Layer:
    rows, dimension = weight.shape
    errors: tuple[float | None, float | None] = None, None
    status: Literal["compressed", "imported"] = "imported"
    used: str | None = None
    notes = [] if place.packed is None else place.packed.notes()
    if weight.evaluation is not None:
        errors = weight.evaluation.normalized_l2, weight.evaluation.mean_cosine
        status, used = "compressed", method
    first = weight.places[0]
    if place is not first:
        same = "the same module as" if place.module is first.module else "the table of"
        reason = "; ".join([f"{same} {first.name}", *notes])
        return Layer(place.name, rows, dimension, used, "shared", reason, 0, 0, *errors)
    if place.packed is not None:
        notes.insert(0, f"its {place.packed.bits}-bit codes, scales and biases are taken over as they are")
    reason = "; ".join([*notes, *place.notes])
    assert weight.parts is not None
    before, after = 0 if weight.stays else weight.stored_bytes, weight.parts.table().stored_bytes
    return Layer(place.name, rows, dimension, used, status, reason, before, after, *errors)
