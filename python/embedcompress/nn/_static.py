"""The StaticEmbedding of sentence-transformers over a table: its own `save` and `load` know dense weights only.

Its class is made of theirs when it is there, so that importing embedcompress.nn does not import it.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ._compressed import Compressed
from ._load import load_compressed
from ._save import save_compressed
from ._ties import LISTENERS

_FILE = "model.safetensors"


_DESCRIPTION = """The mean of the rows of a text's tokens, of a compressed table.

    `SentenceTransformer.save_pretrained` writes it as a file of `save_compressed`, which is also a table file.
    `SentenceTransformer(path, trust_remote_code=True)` opens that: sentence-transformers wants this said for every
    class that is not its own.
    """


def _save(self: Any, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
    """Write the table and the tokenizer into a folder.

    Raises:
        ValueError: not safe_serialization: tables are in safetensors files.
    """
    if not safe_serialization:
        raise ValueError("compressed tables are saved as safetensors: leave safe_serialization as it is")
    shape = [self.num_embeddings, self.embedding_dim]
    save_compressed(os.path.join(output_path, _FILE), self, config={"shape": shape})
    self.tokenizer.save(str(Path(output_path) / "tokenizer.json"))


def _load(cls: Any, /, model_name_or_path: str, **options: Any) -> Any:
    """Open what `save` wrote, with the table mapped from the file.

    Args:
        cls: The class.
        model_name_or_path: A folder, or a name on the hub.
        **options: subfolder, token, cache_folder, revision and local_files_only, as sentence-transformers has them.

    Raises:
        FormatError, OSError: as `load_compressed`.
    """
    from tokenizers import Tokenizer

    names = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
    given = {name: options[name] for name in names if name in options}
    tokenizer = Tokenizer.from_file(cls.load_file_path(model_name_or_path, filename="tokenizer.json", **given))

    def make(config: dict[str, Any]) -> nn.Module:
        module: nn.Module = cls(tokenizer, embedding_weights=torch.empty(*config["shape"], device="meta"))
        return module

    return load_compressed(cls.load_file_path(model_name_or_path, filename=_FILE, **given), make)


@cache
def registered() -> tuple[Any, Any]:
    """Return the class of sentence-transformers, and that of the same over a table."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    # Its only base is theirs, and it adds methods alone, so that a module can become one where it is.
    names = {
        "__module__": "embedcompress.sentence_transformers",
        "__doc__": _DESCRIPTION,
        "save": _save,
        "load": classmethod(_load),
    }
    return StaticEmbedding, type("CompressedStaticEmbedding", (StaticEmbedding,), names)


def attach(model: nn.Module) -> None:
    """Give every StaticEmbedding of a model whose weight is a table the class that saves it."""
    if "sentence_transformers" not in sys.modules:
        return
    dense, compressed = registered()
    for module in model.modules():
        if type(module) is dense and isinstance(module._modules["embedding"], Compressed):
            module.__class__ = compressed


LISTENERS.append(attach)
