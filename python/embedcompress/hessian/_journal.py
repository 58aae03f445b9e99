"""What a measurement has finished, in a file that it goes on from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from .._atomic import exists, write_text
from .._reading import json_value, read_whole

_FORMAT = "embedcompress.hessian 1"


class Journal:
    """Results by key, written to a JSON file whenever one is added; without a path, in memory."""

    def __init__(self, path: str | PathLike[str] | None, settings: Mapping[str, Any]):
        """Open a journal, going on from the file if there is one.

        Raises:
            ValueError: the file is no journal, or one of other settings; the message says which.
        """
        self.path = None if path is None else Path(path)
        self.settings = {"format": _FORMAT, **settings}
        self.results: dict[str, Any] = {}
        if self.path is not None and exists(self.path):
            self.results = self._read(self.path)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            document = json_value(read_whole(path))
            settings, results = document["settings"], document["results"]
            valid = isinstance(settings, dict) and isinstance(results, dict) and settings["format"] == _FORMAT
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a checkpoint of hessian.sensitivity: {error}") from None
        if not valid:
            raise ValueError(f"{path} is not a checkpoint of hessian.sensitivity of this version")
        for name, value in json.loads(json.dumps(self.settings)).items():
            if settings.get(name) != value:
                raise ValueError(f"{path} is a checkpoint of another measurement: {name} differs")
        found: dict[str, Any] = results
        return found

    def add(self, key: str, result: Any) -> None:
        """Keep a result."""
        self.results[key] = result
        if self.path is not None:
            write_text(self.path, json.dumps({"settings": self.settings, "results": self.results}, indent=1))


def digest(model: nn.Module, blocks: Mapping[str, Iterable[Tensor]]) -> dict[str, Any]:
    """Return what tells models and blocks apart, for a journal's settings."""
    whole = hashlib.sha256()
    names = {}
    for name, parameter in model.named_parameters():
        names[id(parameter)] = name
        whole.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        whole.update(np.ascontiguousarray(parameter.detach().cpu().numpy()).data)
    return {
        "model": whole.hexdigest(),
        "blocks": {name: [names[id(parameter)] for parameter in parameters] for name, parameters in blocks.items()},
    }
