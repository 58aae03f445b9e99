"""The data sets that training is measured on, by name, and what reads or makes them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .._atomic import write_file, write_text
from .._reading import json_value
from ._avazu import avazu
from ._clicks import Clicks, Part
from ._columns import csv_rows, parquet_rows
from ._criteo import criteo
from ._flights import flights
from ._generated_clicks import READER as GENERATED
from ._generated_clicks import GeneratedClicks, generated
from ._movielens import movielens

Data = Clicks | GeneratedClicks

READERS: dict[str, Callable[..., Data]] = {
    "flights": flights,
    "movielens": movielens,
    "criteo": criteo,
    "avazu": avazu,
    "csv": csv_rows,
    "parquet": parquet_rows,
    GENERATED: generated,
}
"""Each takes `by`, the kind of split, and `seed`, of a random one; what else it takes can be set."""


def check(name: str, source: Mapping[str, Any]) -> None:
    """Refuse a source that no reader can take.

    Raises:
        ValueError: it names no reader, or has options that the reader does not, or lacks some; generated clicks are
            not called so, or something else is.
    """
    reader = source.get("reader")
    if reader not in READERS:
        raise ValueError(f"data {name!r}: reader must be one of {', '.join(READERS)}, not {reader!r}")
    if (reader == GENERATED) != name.startswith(GENERATED):
        raise ValueError(
            f"data {name!r}: data of the reader {GENERATED}, and no other, has a name that begins with {GENERATED!r}"
        )
    parameters = {key: one for key, one in inspect.signature(READERS[reader]).parameters.items()
                  if key not in ("by", "seed")}  # fmt: skip
    unknown = [key for key in source if key != "reader" and key not in parameters]
    if unknown:
        known = ", ".join(parameters) or "nothing"
        raise ValueError(f"data {name!r}: {unknown[0]!r} is no setting of the reader {reader}, which has {known}")
    missing = [key for key, one in parameters.items() if one.default is one.empty and key not in source]
    if missing:
        raise ValueError(f"data {name!r}: the reader {reader} needs {missing[0]!r}")


def read(source: Mapping[str, Any], by: str) -> Data:
    """Return what a reader makes of a source."""
    options = {key: value for key, value in source.items() if key != "reader"}
    return READERS[source["reader"]](by=by, **options)


def save(data: Data, folder: Path) -> None:
    """Keep data where other processes map it instead of reading it again."""
    if isinstance(data, GeneratedClicks):
        write_text(folder / "described.json", json.dumps({GENERATED: asdict(data)}))
        return
    for part in ("train", "validation", "test"):
        one: Part = getattr(data, part)
        for field in ("ids", "numbers", "labels"):
            write_file(folder / f"{part}-{field}.npy", partial(np.save, arr=getattr(one, field)))
    described = {name: getattr(data, name) for name in ("name", "fields", "sizes", "numbers", "skipped", "problems")}
    write_text(folder / "described.json", json.dumps(described))


def load(folder: Path) -> Data:
    """Return what `save` kept."""
    described = json_value((folder / "described.json").read_text(encoding="utf-8"))
    if GENERATED in described:
        return GeneratedClicks(**described[GENERATED] | {"numbers": ()})
    train, validation, test = (
        Part(*(np.load(folder / f"{part}-{field}.npy", mmap_mode="r") for field in ("ids", "numbers", "labels")))
        for part in ("train", "validation", "test")
    )
    fields, sizes, numbers, problems = (tuple(described[name]) for name in ("fields", "sizes", "numbers", "problems"))
    return Clicks(described["name"], fields, sizes, numbers, train, validation, test, described["skipped"], problems)
