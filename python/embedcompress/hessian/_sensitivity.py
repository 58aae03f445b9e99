"""`sensitivity`: how curved the loss is in each block of a model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import checked_integer, checked_number
from .._progress import Progress, ProgressOption, reporting
from ._blocks import BlockLike, find_blocks
from ._journal import Journal, digest
from ._power import PowerIteration, gaussian, signs
from ._products import Loss, Products
from ._result import Sensitivities, Sensitivity
from ._state import measured, seeded
from ._twice import twice_differentiable


def sensitivity(
    model: nn.Module,
    loss_fn: Loss,
    batches: Iterable[Any],
    blocks: Mapping[str, BlockLike] | None = None,
    *,
    runs: int = 10,
    share: float = 0.1,
    iterations: int = 100,
    tolerance: float = 1e-3,
    trace: bool = False,
    probes: int = 10,
    seed: int = 0,
    progress: ProgressOption = None,
    checkpoint: str | PathLike[str] | None = None,
) -> Sensitivities:
    """Measure the curvature of a model's loss in each block of its parameters, as Q-BERT does.

    For each run, the eigenvalue of largest magnitude of each block's own Hessian is found by power iteration on
    Hessian-vector products, over a random share of the batches; runs share none while there are enough. The paper's
    measure is Ω = |mean| + standard deviation over runs (Shen et al. 2020, section 3.1). The model is in evaluation
    mode meanwhile, without dropout, and is left as it was: modes, gradients, buffers, and every bit of its parameters.

    Args:
        model: With parameters in f32 or f64.
        loss_fn: loss_fn(model, batch) -> a scalar tensor, the mean over the batch.
        batches: What loss_fn takes: a sequence, or what can be listed in memory. Each counts the same.
        blocks: By name, a module or a list of modules and parameters; frozen ones count too. None takes each layer of
            stacks of layers, such as those of a transformer's encoder, and each embedding outside them; without such
            layers, each module that has a matrix.
        runs: Repetitions, on other data and from another start.
        share: Of the batches that a run uses; at least one batch. A single batch costs least: its graph is kept.
        iterations: The most products of a block and run; a warning tells if they don't suffice.
        tolerance: Relative error of an eigenvalue, estimated, at which its iteration ends.
        trace: Estimate the trace of each block's Hessian too, by Hutchinson's estimator with `probes` products a run.
        probes: Random vectors of +1 and -1 for the trace.
        seed: Of everything random. Results don't depend on which other blocks are measured.
        progress: Told after every product of results, of a block in a run; see `embedcompress.compress`.
        checkpoint: A JSON file that holds what is finished; if it is there, the measurement goes on from it, to the
            same figures. It is left at the end.

    Returns:
        A `Sensitivity` for each block, by name; the whole prints as a table.

    Raises:
        ValueError: a block that is empty, or shares a parameter with another; parameters in f16 or bf16; an operator
            that can't be differentiated twice; a loss that is not finite or does not depend on a block; a checkpoint
            of another measurement. The message names it.
        KeyboardInterrupt: Ctrl-C, or progress returned False. What was finished is in the checkpoint.
    """
    for what, count in (("runs", runs), ("iterations", iterations), ("probes", probes)):
        checked_integer(count, what)
    share, tolerance = checked_number(share, "share"), checked_number(tolerance, "tolerance")
    if runs < 1 or iterations < 1 or probes < 1:
        raise ValueError(f"runs, iterations and probes must be at least 1, not {runs}, {iterations} and {probes}")
    if not 0 < share <= 1 or not 0 < tolerance < 1:
        raise ValueError(f"share must be in (0, 1] and tolerance in (0, 1), not {share} and {tolerance}")
    listed = batches if isinstance(batches, Sequence) else list(batches)
    if not len(listed):
        raise ValueError("there are no batches")
    parts = find_blocks(model, blocks)
    settings = {"seed": seed, "runs": runs, "share": share, "iterations": iterations, "tolerance": tolerance}
    settings |= {"probes": probes if trace else 0, "batches": len(listed)}
    journal = Journal(checkpoint, {**settings, **digest(model, parts)} if checkpoint is not None else {})
    everything = [parameter for parameters in parts.values() for parameter in parameters]
    with (
        twice_differentiable(everything[0].device.type),
        measured(model, everything),
        reporting(progress, "sensitivity", "results") as report,
    ):
        measurement = _Measurement(journal, report, (2 if trace else 1) * runs * len(parts), iterations, tolerance)
        for run, chosen in enumerate(_choices(len(listed), share, runs, seed)):
            products = Products(model, loss_fn, [listed[index] for index in chosen], parts, seed)
            measurement.eigenvalues(products, run, seed)
            if trace:
                measurement.traces(products, run, seed, probes)
    return _gathered(journal.results, parts, runs, trace)


class _Measurement:
    """Fills a journal with the results of each run and block, and reports progress."""

    def __init__(self, journal: Journal, progress: Progress | None, total: int, limit: int, tolerance: float):
        self.journal, self.progress, self.total = journal, progress, total
        self.limit, self.tolerance = limit, tolerance

    def eigenvalues(self, products: Products, run: int, seed: int) -> None:
        """Iterate all blocks of a run side by side; those that have settled drop out."""
        states = {
            name: PowerIteration(self._start(products, "start", run, name, seed), self.tolerance, self.limit)
            for name in self._missing("eigenvalue", run, products)
        }
        while states:
            found = products({name: state.vector for name, state in states.items()}, self._tick)
            for name, product in found.items():
                states[name].take(product)
                if states[name].done:
                    state = states.pop(name)
                    self.journal.add(_key("eigenvalue", run, name), [state.value, state.iterations, state.converged])
            self._tick()

    def traces(self, products: Products, run: int, seed: int, probes: int) -> None:
        """Average v'Hv over probes, for all blocks of a run."""
        names = self._missing("trace", run, products)
        sums = dict.fromkeys(names, 0.0)
        for probe in range(probes if names else 0):
            vectors = {name: self._start(products, f"probe-{probe}", run, name, seed) for name in names}
            for name, product in products(vectors, self._tick).items():
                sums[name] += float(torch.dot(vectors[name], product))
        for name, total in sums.items():
            self.journal.add(_key("trace", run, name), total / probes)
        self._tick()

    def _missing(self, kind: str, run: int, products: Products) -> list[str]:
        return [name for name in products.blocks if _key(kind, run, name) not in self.journal.results]

    @staticmethod
    def _start(products: Products, kind: str, run: int, name: str, seed: int) -> Tensor:
        draw = gaussian if kind == "start" else signs
        return draw(products.size(name), products.blocks[name][0].detach(), seeded(seed, kind, run, name))

    def _tick(self) -> None:
        if self.progress and self.progress(len(self.journal.results), self.total) is False:
            raise KeyboardInterrupt


def _key(kind: str, run: int, name: str) -> str:
    return f"{kind} {run} {name}"


def _choices(count: int, share: float, runs: int, seed: int) -> Iterator[list[int]]:
    """Yield the batches of each run, from shuffled decks that are used up before a new one is dealt."""
    wanted = max(1, math.floor(share * count + 0.5))
    generator = seeded(seed, "batches")
    deck: list[int] = []
    for _ in range(runs):
        if len(deck) < wanted:
            deck = torch.randperm(count, generator=generator).tolist()
        yield sorted(deck[:wanted])
        deck = deck[wanted:]


def _gathered(
    results: Mapping[str, Any], blocks: Mapping[str, Sequence[Tensor]], runs: int, trace: bool
) -> Sensitivities:
    found = Sensitivities()
    for name, parameters in blocks.items():
        values, iterations, converged = zip(
            *(results[_key("eigenvalue", run, name)] for run in range(runs)), strict=True
        )
        traces = tuple(results[_key("trace", run, name)] for run in range(runs)) if trace else ()
        size = sum(parameter.numel() for parameter in parameters)
        found[name] = Sensitivity(name, size, values, iterations, converged, traces)
        if not all(converged):
            count = converged.count(False)
            warnings.warn(
                f"block {name!r}: {count} of {runs} runs reached {max(iterations)} iterations before they settled",
                UserWarning,
                stacklevel=3,
            )
    return found
