"""Calls of every public function with arguments that make no sense, made from the functions' signatures.

    python python/tests/hostile_calls.py --calls 10000 --seed 1 --state hostile.state

A call starts from one that is right, and has an argument or two in their place that nobody should pass; some have all.
It may succeed. What it raises must be one of `ALLOWED`, or what the argument itself raised: no signal, no hang, and
nothing that says a check is missing, such as AttributeError. Of errors that one argument alone can be the cause of, it
is counted whether the message names it.
"""

from __future__ import annotations

import inspect
import operator
import random
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hostile_values import Provoked, hostile
from supervised import Case, Finding, arguments, run_and_tell

import embedcompress as ec
from embedcompress import hessian, nn, training

ALLOWED = (ValueError, TypeError, IndexError, MemoryError, OSError, KeyboardInterrupt, RuntimeError, Provoked)

WORK = ("runs", "iterations", "probes", "points", "rounds")
"""Arguments that say how much is to be done: who asks for 2^64 runs gets them, so only small numbers are tried."""
MOST_WORK = 64

Call = tuple[Callable[..., Any], Callable[[], dict[str, Any]]]


def weight() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((24, 16)).astype(np.float32)


def functions(folder: Path) -> dict[str, Call]:
    """Every public function by its name, with what makes the arguments of a call that is right."""
    table = ec.compress(weight(), "asym", bits=4)
    dense = ec.dense(weight())
    saved = folder / "saved.safetensors"
    ec.save(saved, {"a": table})
    parts = table.parts()
    fused = ec.to_fused_rows(table)
    codes = np.random.default_rng(1).integers(0, 16, (24, 16))
    book = np.zeros((16, 8), np.float32)
    numbers = np.arange(1, 5)

    def model() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Embedding(24, 16), torch.nn.Linear(16, 4))

    def packed() -> torch.nn.Module:
        made = model()
        nn.compress_model_(made, "asym", minimum_rows=1)
        return made

    def prepared() -> torch.nn.Module:
        made = model()
        nn.prepare(made, activations=None)
        return made

    nn.save_compressed(folder / "model.safetensors", packed())
    batches = [(torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))]

    def loss(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

    trained = model()
    sizes = ("hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings", "type_vocab_size")
    config = dict.fromkeys(sizes, 8) | {"num_hidden_layers": 2}
    target = str(folder / "target")
    learned = {"num_embeddings": 200, "embedding_dim": 16, "budget": 16_000}
    embedding, bag = nn.CompressedEmbedding(table), nn.CompressedEmbeddingBag(table, "sum")
    collection = nn.CompressedEmbeddingBagCollection([table, table])
    linear = nn.CompressedLinear(table)
    ids = torch.tensor([0, 1])
    tables = ec.TableSet([table, dense])

    calls: dict[str, Call] = {
        "calibrate_ranges": (
            ec.calibrate_ranges,
            lambda: {"weight": weight(), "loss": lambda table: float(table.decode().sum()), "method": "asym"},
        ),
        "codebook": (ec.codebook, lambda: {"codes": codes, "codebooks": np.zeros(16, np.float32), "bits": 4}),
        "columns": (ec.columns, lambda: {"tables": [table, dense]}),
        "combine": (ec.combine, lambda: {"tables": [table, dense], "operation": "sum"}),
        "compress": (ec.compress, lambda: {"weight": weight(), "method": "asym"}),
        "compress_to_file": (ec.compress_to_file, lambda: {"path": target, "tables": {"a": dense}, "method": "asym"}),
        "contents": (ec.contents, lambda: {"path": saved}),
        "export": (ec.export, lambda: {"path": target, "tables": {"a": dense}, "kind": "gguf"}),
        "vocabulary": (ec.vocabulary, lambda: {"path": saved, "name": "a"}),
        "verify": (ec.verify, lambda: {"path": saved}),
        "dense": (ec.dense, lambda: {"weight": weight()}),
        "evaluate": (ec.evaluate, lambda: {"table": table, "weight": weight(), "queries": 4}),
        "from_fused_rows": (ec.from_fused_rows, lambda: {"rows": fused, "dimension": 16, "bits": 4}),
        "get_num_threads": (ec.get_num_threads, dict),
        "group_quantize": (ec.group_quantize, lambda: {"weight": weight(), "groups": 2}),
        "hash_network": (
            ec.hash_network,
            lambda: {
                **{"factors": numbers, "summands": numbers, "moduli": numbers + 100, "buckets": 50, "rows": 30},
                **{"weights": [np.ones((4, 6), np.float32)], "biases": [np.ones(6, np.float32)]},
            },
        ),
        "isa": (ec.isa, dict),
        "load": (ec.load, lambda: {"path": saved, "name": "a"}),
        "methods": (ec.methods, dict),
        "normalize": (ec.normalize, lambda: {"table": table}),
        "partition": (ec.partition, lambda: {"tables": [table, dense], "assignment": np.arange(48) % 2}),
        "product": (ec.product, lambda: {"codes": codes[:, :2], "codebooks": [book, book], "bits": 4}),
        "project": (ec.project, lambda: {"table": table, "matrix": np.ones((16, 3)), "bias": np.ones(3)}),
        "recommend": (ec.recommend, lambda: {"weight": weight(), "budget": 0.5, "sample": 8}),
        "remap": (ec.remap, lambda: {"table": table, "map": np.arange(30) % 24}),
        "remap modulo": (ec.remap, lambda: {"table": table, "rows": 90, "modulo": 24}),
        "rotate": (ec.rotate, lambda: {"table": table, "seed": 3, "offset": np.ones(16)}),
        "rotate by vectors": (ec.rotate, lambda: {"table": table, "vectors": dense.slice(0, 4)}),
        "rotated": (ec.rotated, lambda: {"weight": weight(), "seed": 3}),
        "save": (ec.save, lambda: {"path": target, "tables": {"a": table}}),
        "set_num_threads": (ec.set_num_threads, lambda: {"n": 1}),
        "shared_array": (
            ec.shared_array,
            lambda: {"array": np.ones(9, np.float32), "rows": 20, "dimension": 5, "block": 2},
        ),
        "packed_floats": (ec.packed_floats, lambda: {"values": np.eye(8, dtype=np.float32), "exponent_bits": 8}),
        "shared_array of a table": (
            ec.shared_array,
            lambda: {"array": table, "rows": 20, "dimension": 5, "block": 2, "count": 24 * 16 - 3},
        ),
        "sparse": (ec.sparse, lambda: {"matrix": np.eye(5, dtype=np.float32)}),
        "sparse of parts": (
            ec.sparse,
            lambda: {
                **{"data": np.ones(3, np.float32), "indices": np.array([0, 1, 2]), "indptr": np.array([0, 2, 3])},
                "dimension": 4,
            },
        ),
        "tensor_train": (
            ec.tensor_train,
            lambda: {"cores": [np.ones(shape, np.float32) for shape in ((2, 2, 3), (3, 3, 2, 2), (4, 2, 2))]},
        ),
        "trellis": (
            ec.trellis,
            lambda: {
                **{"codes": codes, "scale_codes": np.arange(len(codes)), "bits": np.full(codes.shape[1], 4)},
                **{"scales": np.arange(256, dtype=np.float32), "factors": np.ones(codes.shape[1], np.float32)},
                **{"states": 12, "multiplier": 2**31 + 1},
            },
        ),
        "tensor_train of tables": (
            ec.tensor_train,
            lambda: {"cores": [table] * 3, "rows": 30, "columns": (4, 1, 4), "ranks": (4, 4)},
        ),
        "to_fused_rows": (ec.to_fused_rows, lambda: {"table": table}),
        "uniform": (ec.uniform, lambda: {"codes": codes, "scales": np.ones(24), "biases": np.ones(24), "bits": 4}),
        "Table.aligned": (table.aligned, lambda: {"row_alignment": 64}),
        "Table.bag": (table.bag, lambda: {"ids": [0, 1], "offsets": [0]}),
        "Table.decode": (table.decode, lambda: {"start": 1, "stop": 4}),
        "Table.from_parts": (ec.Table.from_parts, lambda: {"tree": dict(parts[0]), "arrays": dict(parts[1])}),
        "Table.lookup": (table.lookup, lambda: {"ids": [0, 1]}),
        "Table.save": (table.save, lambda: {"path": target}),
        "Table.slice": (table.slice, lambda: {"start": 1, "stop": 4}),
        "Table.warm_up": (table.warm_up, dict),
        "TableSet": (ec.TableSet, lambda: {"tables": [table, dense]}),
        "TableSet.bag": (tables.bag, lambda: {"ids": [0, 1], "offsets": [0, 1, 2]}),
        "nn.CompressedEmbedding": (nn.CompressedEmbedding, lambda: {"table": table}),
        "nn.CompressedEmbedding.from_weight": (nn.CompressedEmbedding.from_weight, lambda: {"weight": weight()}),
        "nn.CompressedEmbedding.from_module": (
            nn.CompressedEmbedding.from_module,
            lambda: {"module": torch.nn.Embedding(24, 16)},
        ),
        "nn.CompressedEmbedding.forward": (embedding.forward, lambda: {"input": ids}),
        "nn.CompressedEmbeddingBag": (nn.CompressedEmbeddingBag, lambda: {"table": table, "mode": "sum"}),
        "nn.CompressedEmbeddingBag.from_module": (
            nn.CompressedEmbeddingBag.from_module,
            lambda: {"module": torch.nn.EmbeddingBag(24, 16)},
        ),
        "nn.CompressedEmbeddingBag.forward": (bag.forward, lambda: {"input": ids, "offsets": ids * 0}),
        "nn.CompressedEmbeddingBagCollection": (
            nn.CompressedEmbeddingBagCollection,
            lambda: {"tables": [table, dense]},
        ),
        "nn.CompressedEmbeddingBagCollection.forward": (
            collection.forward,
            lambda: {"ids": ids, "offsets": torch.tensor([0, 1, 2])},
        ),
        "nn.CompressedLinear": (nn.CompressedLinear, lambda: {"table": table, "bias": torch.zeros(24)}),
        "nn.CompressedLinear.from_module": (
            nn.CompressedLinear.from_module,
            lambda: {"module": torch.nn.Linear(16, 24)},
        ),
        "nn.CompressedLinear.forward": (linear.forward, lambda: {"input": torch.ones(3, 16)}),
        "nn.FakeQuantizedActivation": (nn.FakeQuantizedActivation, dict),
        "nn.FakeQuantizedWeight": (
            nn.FakeQuantizedWeight,
            lambda: {"settings": nn.Quantization(4), "rows": 24, "columns": 16},
        ),
        "nn.Quantization": (nn.Quantization, lambda: {"bits": 4}),
        "nn.compress_model_": (nn.compress_model_, lambda: {"model": model(), "method": "asym", "minimum_rows": 1}),
        "nn.convert": (nn.convert, lambda: {"model": prepared()}),
        "nn.load_compressed": (
            nn.load_compressed,
            lambda: {"path": folder / "model.safetensors", "model": model()},
        ),
        "nn.prepare": (nn.prepare, lambda: {"model": model(), "weights": 4}),
        "nn.decompose_": (nn.decompose_, lambda: {"model": packed()}),
        "nn.save_compressed": (nn.save_compressed, lambda: {"model": packed(), "path": target}),
        "training.Fields": (training.Fields, lambda: {"sizes": [3, 4]}),
        "training.Trainer": (
            training.Trainer,
            lambda: {"model": training.embedding("hash", **learned), "loss": loss},
        ),
        "training.embedding": (training.embedding, lambda: {"method": "hash", **learned}),
        "training.methods": (training.methods, dict),
        "training.plan": (training.plan, lambda: {"method": "hash", **learned}),
        "training.read_rules": (training.read_rules, lambda: {"path": saved}),
        "training.recommend": (
            training.recommend,
            lambda: {"fields": [300, 400], "embedding_dim": 16, "budget": 0.2},
        ),
        "training.register": (training.register, lambda: {"cls": int}),
        "training.second_pass": (training.second_pass, lambda: {"model": model(), "loss": lambda: torch.zeros(1)}),
        "training.squared_gradients": (
            training.squared_gradients,
            lambda: {"model": trained, "table": trained[0], "batches": batches, "loss": loss},
        ),
        "training.SGD": (training.SGD, lambda: {"lr": 0.1}),
        "training.Adagrad": (training.Adagrad, lambda: {"lr": 0.1}),
        "training.RowwiseAdagrad": (training.RowwiseAdagrad, lambda: {"lr": 0.1}),
        "training.RowwiseAdam": (training.RowwiseAdam, lambda: {"lr": 0.1}),
        "hessian.allocate": (
            hessian.allocate,
            lambda: {"sensitivities": {"a": 1.0, "b": 2.0}, "sizes": {"a": (8, 8), "b": (8, 8)}, "budget": 0.2},
        ),
        "hessian.measure": (hessian.measure, lambda: {"model": model(), "choices": (4,)}),
        "hessian.sensitivity": (
            hessian.sensitivity,
            lambda: {"model": model(), "loss_fn": loss, "batches": batches, "runs": 1, "iterations": 2},
        ),
        "hessian.surface": (
            hessian.surface,
            lambda: {
                **{"model": trained, "loss_fn": loss, "batches": batches, "block": trained[1]},
                **{"points": 3, "iterations": 2},
            },
        ),
        "hessian.sizes": (hessian.sizes, lambda: {"config": config, "groups": 2}),
    }
    for method in training.methods():
        calls[f"training.embedding {method.name}"] = (
            training.embedding,
            lambda name=method.name: {"method": name, **learned, "counts": np.arange(200)},
        )
    for name in ("full", "int8", "alpt", "hash", "cafe", "compo", "mde", "tt", "cce", "robe"):
        calls[f"training.embedding {name} with an optimizer"] = (
            training.embedding,
            lambda name=name: {"method": name, **learned, "optimizer": training.RowwiseAdagrad(0.1)},
        )
    for method in ec.methods():
        calls[f"compress {method.name}"] = (
            ec.compress,
            lambda name=method.name: {"weight": weight(), "method": name, "budget": 0.9},
        )
    return calls


def parameters(function: Callable[..., Any]) -> tuple[list[str], bool]:
    """The names that a function takes, and whether it takes any others."""
    found = inspect.signature(function).parameters.values()
    named = [one.name for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return named, any(one.kind is one.VAR_KEYWORD for one in found)


def is_much(value: Any) -> bool:
    """Whether a value is an integer that a function may take for very many."""
    try:
        return operator.index(value) > MOST_WORK
    except Exception:
        return False


def option_names() -> list[str]:
    every = [*ec.methods(), *training.methods()]
    return sorted({option.name for method in every for option in method.options})


def where(error: BaseException) -> str:
    """The library's innermost line in a traceback, which tells findings of one cause from others."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "embedcompress" in frame.filename]
    inner = frames[-1] if frames else None
    return f"{Path(inner.filename).name}:{inner.lineno}" if inner else "the core"


def documented(function: Callable[..., Any], error: BaseException) -> bool:
    """Whether a function says of an error that is none of `ALLOWED` that it raises it, as torch's does."""
    holders = [function, getattr(function, "__self__", None)]
    return any(f"{type(error).__name__}:" in (inspect.getdoc(holder) or "") for holder in holders if holder is not None)


def cases(seed: int, folder: Path) -> Case:
    """The cases of a seed; the functions take turns."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    ec.set_num_threads(1)
    calls = functions(folder)
    names = list(calls)
    known = {name: parameters(calls[name][0]) for name in names}
    options = option_names()

    def case(index: int) -> list[str]:
        rng = random.Random((seed << 40) + index)
        name = names[index % len(names)]
        function, right = calls[name]
        takes, takes_more = known[name]
        given = right()
        places = [*takes, rng.choice(options)] if takes_more else takes
        replaced: list[str] = []
        if places:
            count = len(takes) if rng.random() < 0.1 else rng.choice([1, 1, 1, 2])
            replaced = rng.sample(places, min(count, len(places)))
        for place in replaced:
            given[place] = hostile(rng)
            while place in WORK and is_much(given[place]):
                given[place] = hostile(rng)
        if rng.random() < 0.02:
            given["no_such_argument"] = 1
            replaced.append("no_such_argument")
        words = ["calls"]
        try:
            function(**given)
        except ALLOWED as error:
            words.append(type(error).__name__)
            if len(replaced) == 1 and isinstance(error, (ValueError, TypeError)):
                message = re.sub("[_ ]", "", str(error))
                words.append("named" if re.sub("[_ ]", "", replaced[0]) in message else "not named")
        except BaseException as error:
            if not documented(function, error):
                kind = f"{name}: {type(error).__name__} at {where(error)}"
                said = {place: repr(type(given[place])) for place in replaced}
                raise Finding(kind, f"{said} {''.join(traceback.format_exception(error))[-600:]}") from error
            words.append(type(error).__name__)
        else:
            words.append("succeeded")
        ec.set_num_threads(1)
        return words

    return case


def main(given: list[str] | None = None) -> int:
    parser = arguments(__doc__ or "", 0)
    parser.add_argument("--calls", type=int, default=100, help="of each function; --total is how many in all")
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as folder:
        count = len(functions(Path(folder)))
        if options.case is not None:
            print(cases(options.seed, Path(folder))(options.case))
            return 0
    total = options.total or options.calls * count
    return run_and_tell(cases, options, total, f"{count} functions, {total:,} calls", functions=count)


if __name__ == "__main__":
    sys.exit(main())
