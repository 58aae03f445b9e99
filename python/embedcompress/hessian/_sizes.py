"""`sizes`: what a BERT of some shape takes at some bits, as the paper counts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from .._checks import checked_integer
from .._reading import json_value

_BERT = {"max_position_embeddings": 512, "type_vocab_size": 2}
_BASE = {**_BERT, "hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
_LARGE = {**_BERT, "hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096}
_KNOWN: dict[str, dict[str, int]] = {
    "bert-base-uncased": {**_BASE, "vocab_size": 30522},
    "bert-base-cased": {**_BASE, "vocab_size": 28996},
    "bert-large-uncased": {**_LARGE, "vocab_size": 30522},
    "bert-large-cased": {**_LARGE, "vocab_size": 28996},
    "all-MiniLM-L6-v2": {
        **_BERT,
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "intermediate_size": 1536,
        "vocab_size": 30522,
    },
}
_FIELDS = tuple(_KNOWN["bert-base-uncased"])
_MATRICES = 6
"""Weight matrices of a layer: query, key, value, the attention's output, and the two of the feed-forward part."""


class Size(float):
    """MiB of embedding and encoder together; `embedding` and `encoder` are MiB of each."""

    embedding: float
    encoder: float

    def __new__(cls, embedding: float, encoder: float) -> Size:
        """Add the two."""
        size = super().__new__(cls, embedding + encoder)
        size.embedding, size.encoder = embedding, encoder
        return size


def sizes(
    config: str | Mapping[str, Any] | PathLike[str] | object,
    settings: Sequence[tuple[int | Sequence[int], int]] = ((32, 32), (8, 8), (4, 8), (3, 8), (2, 8)),
    *,
    groups: int = 128,
) -> list[Size]:
    """Return the size of a BERT in MiB (2^20 bytes) at each setting, as Table 1 of the paper counts it.

    Counted are the embeddings (word, position, token type, LayerNorm) at the embedding's bits and the encoder's layers,
    with biases and LayerNorm, at the weights' bits; for each weight matrix below 32 bits also two f32 limits for each
    group. The pooler and the output layer are not counted, nor are the ranges of embeddings.

    Args:
        config: A name such as "bert-base-uncased", a configuration of Hugging Face's (an object, a mapping, or the path
            of its JSON file) with vocab_size, hidden_size, num_hidden_layers, intermediate_size.
        settings: (bits of weights, bits of embeddings); bits of weights may be one for each layer.
        groups: Groups with a range of their own in each matrix.

    Returns:
        A number for each setting, with `.encoder` and `.embedding` for its parts.

    Raises:
        ValueError: an unknown name, a model that is no BERT, a missing field, bits outside 1 to 32, or
            groups below 1.
    """
    shape, groups = _shape(config), checked_integer(groups, "groups")
    if not 1 <= groups < 2**63:
        raise ValueError(f"groups must be at least 1 and below 2^63, not {groups}")
    hidden, wide = shape["hidden_size"], shape["intermediate_size"]
    rows = shape["vocab_size"] + shape["max_position_embeddings"] + shape["type_vocab_size"]
    # A LayerNorm has two values for each dimension.
    embedding = (rows + 2) * hidden
    layer = 4 * hidden * (hidden + 1) + hidden * (wide + 1) + wide * (hidden + 1) + 4 * hidden
    found = []
    for weight_bits, embedding_bits in settings:
        layers = shape["num_hidden_layers"]
        each = [weight_bits] * layers if isinstance(weight_bits, int) else list(weight_bits)
        if len(each) != layers:
            raise ValueError(f"there are bits for {len(each)} layers, and the model has {layers}")
        for bits in (*each, embedding_bits):
            if not 1 <= bits <= 32:
                raise ValueError(f"bits must be from 1 to 32, not {bits}")
        ranges = sum(bits < 32 for bits in each) * _MATRICES * groups * 2 * 4
        mebi = 8 * 2**20
        found.append(Size(embedding * embedding_bits / mebi, (layer * sum(each) + 8 * ranges) / mebi))
    return found


def _shape(config: object) -> dict[str, int]:
    """Return the fields that sizes depend on."""
    if isinstance(config, str) and config in _KNOWN:
        return _KNOWN[config]
    if isinstance(config, (str, PathLike)):
        path = Path(config)
        if not path.is_file():
            raise ValueError(f"{str(config)!r} is neither a file nor one of {', '.join(_KNOWN)}")
        try:
            config = json_value(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"'{path}' is no configuration in JSON: {error}") from None
    elif not isinstance(config, Mapping) and hasattr(config, "to_dict"):
        config = config.to_dict()
    if not isinstance(config, Mapping):
        raise ValueError(f"config must be a name, a path, a mapping or have to_dict(), not {type(config).__name__}")
    kind = config.get("model_type", "bert")
    if kind != "bert":
        raise ValueError(f"sizes counts BERT's layers, not those of model_type {kind!r}")
    given = {**_BERT, **config}
    for name in _FIELDS:
        if not isinstance(given.get(name), int) or given[name] < 1:
            raise ValueError(f"the configuration's {name} must be a positive integer, not {given.get(name)!r}")
    return {name: given[name] for name in _FIELDS}
