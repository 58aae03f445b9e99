"""What a training benchmark runs: grids of data, heads, methods, budgets and seeds, from flags or a TOML file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .._labels import label
from .._methods import FULL
from .._reading import read_whole
from .._registry import method_name
from .._toml import toml_values
from ._clicks import SPLITS
from ._lines import key
from ._tuning import Cell, Request, trial

PACKAGED = ("flights", "movielens")
"""Data that needs no definition."""
AFTER = " + "
"""Between the method that trains a table, and the one that compresses it afterwards."""


@dataclass(frozen=True)
class Grid:
    """Every combination of five lists, and how models are trained."""

    data: tuple[str, ...]
    """Of `PACKAGED`, or defined by the configuration."""
    heads: tuple[str, ...] = ("dlrm",)
    methods: tuple[str, ...] = ()
    """All of them if empty. `full`, the uncompressed table, has one cell whatever the budgets are."""
    budgets: tuple[float, ...] = (0.5, 0.1, 0.01)
    """Shares of the f32 size."""
    seeds: tuple[int, ...] = (0,)
    split: str = "random"
    dimension: int = 16
    batch: int = 256
    epochs: int = 1
    """Of each stage of a method. A second epoch over clicks mostly overfits."""
    rate: float = 2e-3
    """Of the head's Adam, and of the tables' where no optimizer is given."""
    dropout: float = 0.0
    evaluations: int = 4
    """On the validation part, in each epoch; the best state of a stage is kept."""
    patience: int = 3
    """Evaluations without a better score after which a stage ends."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of methods, by their name."""
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    """Of the tables: its `name` and its numbers, such as `lr`. `_optimizers` has the names. Adam if empty."""
    trials: tuple[Mapping[str, Any], ...] = ()
    """Optimizers, of which each method has the one at each budget that is best with the first seed. A table's own have
    `otherwise`, the optimizer that methods try which take none of their own."""
    trial_budget: float = 0.0
    """At which trials are run, for all budgets; at each budget for itself if 0. `full` has its own."""
    counts: tuple[str, ...] = ()
    """Methods that are told how often ids are used although they do without; those that need it always are."""
    sparse: bool = False
    """Whether gradients of tables are sparse, where methods allow and the optimizer is one of torch."""
    after: tuple[str, ...] = ()
    """Methods that compress the uncompressed table after it was trained, at each budget."""


@dataclass(frozen=True)
class Config:
    """All grids of a run, and where data that no package carries comes from."""

    grids: tuple[Grid, ...]
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name: the reader, and its settings."""

    def source(self, name: str) -> Mapping[str, Any]:
        """Return the reader of some data, and its settings."""
        return self.data.get(name, {"reader": name})

    def requests(self) -> list[Request]:
        """Return every cell once, as far as it is known before trials have chosen: with those, and no optimizer yet."""
        found = [request for cell in self.cells() for request in (*cell.trials, cell.request)]
        return list({key(request): request for request in found}.values())

    def cells(self) -> list[Cell]:
        """Return every cell once, in order of the grids; within one, seeds outermost, uncompressed tables first."""
        found: dict[str, Cell] = {}
        for grid in self.grids:
            for seed in grid.seeds:
                for data in grid.data:
                    for head in grid.heads:
                        for method, budget in _forms(grid):
                            cell = self._cell(grid, data, head, method, budget, seed)
                            found.setdefault(repr(cell), cell)
        return list(found.values())

    def _cell(self, grid: Grid, data: str, head: str, method: str, budget: float, seed: int) -> Cell:
        settings = ("split", "dimension", "batch", "epochs", "rate", "dropout", "evaluations", "patience")
        request = (
            {"data": data, "head": head, "method": method, "budget": budget, "seed": seed}
            | {name: getattr(grid, name) for name in settings}
            | ({"source": dict(self.data[data])} if data in self.data else {})
            | ({"options": dict(grid.options[trained])} if (trained := method.split(AFTER)[0]) in grid.options else {})
            | ({"counts": True} if trained in grid.counts else {})
            | ({"optimizer": dict(grid.optimizer)} if grid.optimizer else {})
            | ({"sparse": True} if grid.sparse else {})
        )
        # What is compressed afterwards is the table that trials chose for the uncompressed one.
        tried = training_of(request)
        if grid.trial_budget and tried["method"] != FULL:
            tried = tried | {"budget": grid.trial_budget}
        return Cell(request, tuple(trial(tried, one, grid.seeds[0]) for one in _tried(grid.trials, tried)))


def training_of(request: Request) -> Request:
    """Return the request of the training that gives the table of a cell, which may be compressed afterwards."""
    trained, *after = request["method"].split(AFTER)
    return request | {"method": trained, "budget": 1.0} if after else request


def _forms(grid: Grid) -> Iterator[tuple[str, float]]:
    """Yield methods with their budgets."""
    from ..training import methods

    for method in grid.methods or [method.name for method in methods()]:
        if method != FULL:
            yield from ((method, budget) for budget in grid.budgets)
            continue
        yield method, 1.0
        yield from ((method + AFTER + after, budget) for after in grid.after for budget in grid.budgets)


def _tried(trials: Sequence[Mapping[str, Any]], request: Request) -> list[Mapping[str, Any]]:
    """Return the optimizers that a method with its options tries."""
    takes = bool(trials) and _takes_own(request["method"], request.get("options", {}))
    found = []
    for one in trials:
        own = {name: value for name, value in one.items() if name != "otherwise"}
        found.append(one["otherwise"] if "otherwise" in one and not takes else own)
    return found


def _takes_own(method: str, options: Mapping[str, Any]) -> bool:
    """Return whether a method with options takes an optimizer of its own: with arrays in codes it does not."""
    from ..training._registry import class_of

    kind = class_of(method)
    in_codes = kind.takes_bits and options.get("bits") is not None
    return kind.takes_optimizer and not in_codes


def read(path: Path) -> Config:
    """Return what a TOML file says: an array of tables `grid`, and tables `data.NAME`.

    Raises:
        ValueError: it is not TOML, or says something that can't be; the message names the file and the place.
    """
    try:
        found = toml_values(read_whole(path))
        unknown = [name for name in found if name not in ("grid", "data")]
        if unknown:
            raise ValueError(f"unknown table {unknown[0]!r}: there are grid and data")
        data = found.get("data", {})
        if not isinstance(data, dict) or not all(isinstance(one, dict) for one in data.values()):
            raise ValueError("data is not a set of tables, such as [data.mine]")
        grids = found.get("grid")
        if not isinstance(grids, list) or not grids or not all(isinstance(one, dict) for one in grids):
            raise ValueError("there is no [[grid]]")
        return checked(Config(tuple(grid(one, f"grid {place}") for place, one in enumerate(grids, 1)), data))
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from None


def grid(values: Mapping[str, Any], place: str) -> Grid:
    """Return a grid from its fields by name.

    Raises:
        ValueError: a field is unknown, missing, or of another kind.
    """
    known = {one.name: one for one in fields(Grid)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{place}: unknown setting {name!r}; there are {', '.join(known)}")
        if not _KINDS[str(known[name].type)](value):
            raise ValueError(f"{place}: {name} is {value!r}, not {_EXPECTED[str(known[name].type)]}")
    missing = [name for name, one in known.items()
               if one.default is MISSING and one.default_factory is MISSING and name not in values]  # fmt: skip
    if missing:
        raise ValueError(f"{place}: {missing[0]} is missing")
    found: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Grid(**found)


def checked(config: Config) -> Config:
    """Return a configuration, all of whose names exist and whose numbers can be.

    Raises:
        ValueError: some do not; before anything has run.
    """
    from ..training._registry import METHODS, class_of
    from . import _data
    from ._generated_clicks import READER
    from ._heads import HEADS

    for name, source in config.data.items():
        if name in PACKAGED:
            raise ValueError(f"data {name!r} comes from a package: give yours another name")
        _data.check(name, source)

    def spelling(method: str) -> str:
        return class_of(method).method.name

    grids = [_spelled(place, one, spelling) for place, one in enumerate(config.grids, 1)]
    for place, one in enumerate(grids, 1):
        _known(place, "data", one.data, [*PACKAGED, *config.data])
        _known(place, "heads", one.heads, list(HEADS))
        _known(place, "split", [one.split], SPLITS)
        _known(place, "counts", one.counts, [kind.method.name for kind in METHODS.values() if kind.uses_counts])
        for name in one.data:
            if config.source(name)["reader"] == READER:
                _check_generated(name, config.source(name), one.split)
        for budget in one.budgets:
            if not 0 < budget <= 1:
                raise ValueError(
                    f"grid {place}: a budget is a share of the f32 size, above 0 and up to 1, not {budget}"
                )
        for name in ("dimension", "batch", "epochs", "evaluations", "patience", "rate"):
            if getattr(one, name) <= 0:
                raise ValueError(f"grid {place}: {name} must be above 0, not {getattr(one, name)}")
        if one.trial_budget and not one.trials:
            raise ValueError(f"grid {place}: trial_budget has no effect without trials")
        if one.trial_budget and not 0 < one.trial_budget <= 1:
            raise ValueError(
                f"grid {place}: trial_budget is a share of the f32 size, above 0 and up to 1, not {one.trial_budget}"
            )
        if one.optimizer and one.trials:
            raise ValueError(f"grid {place}: optimizer can't be given beside trials")
        if one.optimizer:
            _check_optimizer(f"grid {place}: optimizer", one.optimizer, one)
        for number, values in enumerate(one.trials, 1):
            _check_trial(f"grid {place}: trial {number}", values, one)
        if one.after and one.methods and FULL not in one.methods:
            raise ValueError(f"grid {place}: after: {FULL} is not among the methods")
        if not 0 <= one.dropout < 1:
            raise ValueError(f"grid {place}: dropout must be at least 0 and below 1, not {one.dropout}")
    return replace(config, grids=tuple(grids))


def _check_generated(name: str, source: Mapping[str, Any], split: str) -> None:
    from . import _data

    try:
        _data.read(source, split)
    except ValueError as error:
        raise ValueError(f"data {name!r}: {error}") from None


def _check_optimizer(place: str, values: Mapping[str, Any], one: Grid) -> None:
    from ._optimizers import check, is_own

    try:
        check(values, sparse=one.sparse)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from None
    if not is_own(values):
        return
    if not one.methods:
        raise ValueError(f"{place}: not all methods take one of their own: list those that do")
    for method in one.methods:
        options = one.options.get(method, {})
        if not _takes_own(method, options):
            raise ValueError(f"{place}: {label(method, options)} takes none of its own")


def _check_trial(place: str, values: Mapping[str, Any], one: Grid) -> None:
    from ._optimizers import check, is_own

    if "otherwise" not in values:
        _check_optimizer(place, values, one)
        return
    first = {name: value for name, value in values.items() if name != "otherwise"}
    if not is_own(first):
        raise ValueError(f"{place}: every method takes {first.get('name')}: there is no otherwise")
    try:
        check(first, sparse=one.sparse)
        if not isinstance(values["otherwise"], dict) or is_own(values["otherwise"]):
            raise ValueError("otherwise must be an optimizer of torch, which every method takes")
        check(values["otherwise"], sparse=one.sparse)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from None


def _spelled(place: int, one: Grid, name: Callable[[str], str]) -> Grid:
    """Return a grid with the catalogue's names of methods, which may be spelled as in the papers."""
    try:
        options = {name(method): values for method, values in one.options.items()}
        after = tuple(map(method_name, one.after))
        counts = tuple(map(name, one.counts))
        return replace(one, methods=tuple(map(name, one.methods)), options=options, counts=counts, after=after)
    except ValueError as error:
        raise ValueError(f"grid {place}: methods: {error}") from None


def _known(place: int, name: str, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise ValueError(f"grid {place}: {name}: {value!r} is none of {', '.join(known)}")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _whole(value) or isinstance(value, float)


_KINDS: dict[str, Any] = {
    "tuple[str, ...]": lambda value: isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value),
    "tuple[float, ...]": lambda value: isinstance(value, (list, tuple)) and all(map(_number, value)),
    "tuple[int, ...]": lambda value: isinstance(value, (list, tuple)) and all(map(_whole, value)),
    "str": lambda value: isinstance(value, str),
    "int": _whole,
    "float": _number,
    "bool": lambda value: isinstance(value, bool),
    "Mapping[str, Any]": lambda value: isinstance(value, dict),
    "tuple[Mapping[str, Any], ...]": lambda value: (
        isinstance(value, (list, tuple)) and all(isinstance(one, dict) for one in value)
    ),
    "Mapping[str, Mapping[str, Any]]": lambda value: (
        isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())
    ),
}
_EXPECTED = {
    "tuple[str, ...]": "a list of names",
    "tuple[float, ...]": "a list of numbers",
    "tuple[int, ...]": "a list of whole numbers",
    "str": "a name",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "Mapping[str, Any]": "a table",
    "tuple[Mapping[str, Any], ...]": "a list of tables",
    "Mapping[str, Mapping[str, Any]]": "a table of tables",
}
