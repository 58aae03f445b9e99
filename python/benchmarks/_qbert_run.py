"""The cells of `qbert.py`: what each part measures, and the files that it goes on from."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _qbert_data as data
import _qbert_model as models
import _qbert_tokens as tokens
import numpy as np
import torch
from _qbert_settings import BY_NAME, TRAINED, Allocated, Setting
from scipy.stats import spearmanr
from tqdm import tqdm

from embedcompress import BudgetError, hessian, nn
from embedcompress._atomic import write_file
from embedcompress.bench._lines import Line, Lines, key, refusal

BENCH = "qbert"
PARTS = ("finetune", "similarity", "ptq", "hessian", "surface", "qat")
SECONDS = {"finetune": 740.0, "similarity": 25.0, "ptq": 25.0, "hessian": 570.0, "surface": 260.0, "qat": 350.0}
"""Seconds of a processor of a cell, as guessed before a line says better."""
LAYERS = {"all-MiniLM-L6-v2": 6, "tiny": 2}
SAME_LOSS = 1e-4
"""What the loss on held-out sentences may differ by, as a share, between two processors' models of a seed: they round
differently. Models of different seeds are more than ten times as far apart."""
MAKERS = {"all-MiniLM-L6-v2": models.minilm, "tiny": models.tiny}
Figures = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """What is measured at once."""

    part: str
    seed: int
    requests: tuple[dict[str, Any], ...]
    """One for each line."""
    setting: Setting | None = None

    @property
    def title(self) -> str:
        """Return what is printed when it ends."""
        what = self.setting.name if self.setting else self.requests[0].get("block") if len(self.requests) == 1 else None
        return f"{self.part}, seed {self.seed}{f', {what}' if what else ''}"


def plan(
    model: str, source: data.Data, parts: Sequence[str], seeds: Sequence[int], settings: Sequence[Setting]
) -> list[Cell]:
    """Return the cells, cheap ones first: a setting that needs curvature comes after it, and training at the end."""
    base = {"model": model, **source.request()}
    recipe = {"rate": models.RATE, "batch": models.BATCH}
    found: list[Cell] = []

    def add(part: str, seed: int, setting: Setting | None = None, **more: Any) -> None:
        request = {**base, "part": part, "seed": seed, **more}
        if setting is not None:
            request["setting"] = setting.request()
        if all(key(request) != key(other) for cell in found for other in cell.requests):
            found.append(Cell(part, seed, (request,), setting))

    for seed in seeds:
        add("finetune", seed, epochs=models.EPOCHS, **recipe)
    for needs_omega in (False, True):
        for seed in seeds if needs_omega else ():
            blocks = [f"layer {number}" for number in range(LAYERS[model])] + ["word", "position"]
            requests = tuple({**base, "part": "hessian", "seed": seed, "runs": 10, "block": one} for one in blocks)
            found.append(Cell("hessian", seed, requests))
        # It has no seed but in its bits, which then are those of the first seed's model.
        for setting in settings if 0 in seeds else ():
            if setting.needs_omega is needs_omega:
                add("similarity", 0, setting)
        for seed in seeds:
            for setting in settings:
                if setting.needs_omega is needs_omega:
                    add("ptq", seed, setting)
    # Of one seed, as it is only drawn: the loss around the first layer and around the last.
    for number in (0, LAYERS[model] - 1) if 0 in seeds else ():
        add("surface", 0, block=f"layer {number}", extent=models.EXTENT, points=models.POINTS)
    for seed in seeds:
        for setting in settings:
            if setting in TRAINED:
                add("qat", seed, setting, epochs=1, **recipe)
    needed = {"finetune"} if set(parts) - {"similarity"} else set()
    return [cell for cell in found if cell.part in {*parts, *needed}]


def wanted(cells: Sequence[Cell], lines: Mapping[str, Line]) -> list[Cell]:
    """Return the cells that have not all their lines."""
    return [cell for cell in cells if any(key(request) not in lines for request in cell.requests)]


def estimate(cells: Sequence[Cell], lines: Mapping[str, Line]) -> float:
    """Return seconds of a processor, by the medians of lines of the same part where there are some."""
    total = 0.0
    names = {cell.requests[0]["model"] for cell in cells}
    for part in PARTS:
        seconds = [
            line["figures"]["processor_seconds"]
            for line in lines.values()
            if "figures" in line and line["request"]["part"] == part and line["request"]["model"] in names
        ]
        each = statistics.median(seconds) if seconds else SECONDS[part]
        total += each * sum(cell.part == part for cell in cells)
    return total


class Runner:
    """Measures cells.

    Attributes:
        lines: The file of results.
    """

    def __init__(self, model: str, source: data.Data, work: Path, lines: Lines) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.model, self.source, self.work, self.lines = model, source, work, lines
        self._exact: tuple[data.Array, data.Array | None] | None = None
        self._checked: set[int] = set()

    def measure(self, cell: Cell) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Yield requests of a cell, each with figures or the refusal of a budget.

        Raises:
            ValueError: curvature is needed and not measured yet, or a checkpoint is not that of the lines.
        """
        start = time.process_time()
        if cell.part == "hessian":
            found = self._curvature(cell.seed)
            for request in cell.requests:
                one = found[request["block"]]
                figures: Figures = {"omega": one.omega, "mean": one.mean, "std": one.std, "runs": one.runs}
                figures |= {"parameters": one.parameters, "products": one.iterations, "settled": one.converged}
                yield request, {"figures": {**figures, "processor_seconds": time.process_time() - start}}
            return
        try:
            figures = self._measured(cell)
        except BudgetError as error:
            yield cell.requests[0], refusal(error)
            return
        yield cell.requests[0], {"figures": {**figures, "processor_seconds": time.process_time() - start}}

    def _measured(self, cell: Cell) -> Figures:
        if cell.part == "finetune":
            return self._fine_tune(cell.seed)
        if cell.part == "surface":
            chosen, _ = self.source.split(cell.seed)
            return models.surface(self.tuned(cell.seed), self.source, chosen, cell.requests[0]["block"])
        if cell.setting is None:
            raise ValueError(f"{cell.title} has no setting")
        if cell.part == "similarity":
            return self._similarity(cell.setting)
        if cell.part == "qat" and (known := self._known(cell, cell.setting)) is not None:
            return known
        return self._quantized(cell.setting, cell.seed, cell.part == "qat")

    def ready(self, cell: Cell) -> bool:
        """Return whether the curvature that bits are chosen by has been measured, where it is needed."""
        return cell.setting is None or not cell.setting.needs_omega or self._omegas(cell.seed) is not None

    def _path(self, seed: int) -> Path:
        return self.work / f"{self.model}-{self.source.request()['digest']}-{seed}.pt"

    def _fine_tune(self, seed: int) -> Figures:
        chosen, held_out = self.source.split(seed)
        model = MAKERS[self.model](seed)
        losses = models.train(model, self.source, chosen, seed, models.EPOCHS)
        write_file(self._path(seed), lambda file: torch.save(model.state_dict(), file))
        measured = models.accuracy(model, self.source, held_out)
        return {**measured, "training_losses": losses, "digest": _digest(model)}

    def tuned(self, seed: int) -> models.Classifier:
        """Return the fine-tuned model of a seed; it is trained again where its checkpoint is not in the folder.

        Raises:
            ValueError: it is not the model that there are lines of, nor that of another processor.
        """
        line = next((one for one in self.lines.found.values() if _is(one, "finetune", seed, self.model)), None)
        if not self._path(seed).exists():
            self._fine_tune(seed)
        model = MAKERS[self.model](seed)
        model.load_state_dict(torch.load(self._path(seed), weights_only=True))
        if line is not None and seed not in self._checked:
            self._check(model, seed, line["figures"])
        return model.eval()

    def _check(self, model: models.Classifier, seed: int, figures: Figures) -> None:
        if figures["digest"] != _digest(model):
            loss = models.accuracy(model, self.source, self.source.split(seed)[1])["loss"]
            if abs(loss - figures["loss"]) > SAME_LOSS * figures["loss"]:
                raise ValueError(
                    f"'{self._path(seed)}' is not the model that '{self.lines.path}' has lines of, its loss is "
                    f"{loss:g} and theirs {figures['loss']:g}: remove the lines of seed {seed}, or give the folder of "
                    "their checkpoint"
                )
        self._checked.add(seed)

    def _curvature(self, seed: int) -> hessian.Sensitivities:
        checkpoint = self.work / f"{self._path(seed).stem}-curvature.json"
        chosen, _ = self.source.split(seed)
        with tqdm(desc=f"curvature, seed {seed}", unit=" results", disable=None) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            return models.curvature(self.tuned(seed), self.source, chosen, seed, checkpoint, progress)

    def _omegas(self, seed: int) -> dict[str, float] | None:
        lines = [line for line in self.lines.found.values() if _is(line, "hessian", seed, self.model)]
        found = {line["request"]["block"]: line["figures"]["omega"] for line in lines}
        return found if len(found) == LAYERS[self.model] + 2 else None

    def _quantized(self, setting: Setting, seed: int, train: bool) -> Figures:
        chosen, held_out = self.source.split(seed)
        model = self.tuned(seed)
        figures, report = self._packed(model, setting, seed, self._omegas(seed), chosen, train)
        return {**models.accuracy(model, self.source, held_out), **figures, **models.sizes(model, report)}

    def _packed(
        self,
        model: models.Classifier,
        setting: Setting,
        seed: int,
        omegas: Mapping[str, float] | None,
        chosen: data.Array,
        train: bool,
    ) -> tuple[Figures, nn.ParameterReport | None]:
        """Quantize a model in place, after training if it is wanted; return its bits and the report."""
        config = model.bert.config
        counts = self.source.counts(chosen, config.vocab_size, config.max_position_embeddings)
        if setting.tokens is not None:
            words = model.bert.embeddings.word_embeddings
            table, each = tokens.table(words.weight, counts["word"], setting.tokens, models.block_of(model))
            model.bert.embeddings.word_embeddings = nn.CompressedEmbedding(table, words.padding_idx)
            return {"bits_of_classes": each, "word_bytes": table.stored_bytes}, None
        if setting.weights is None:
            losses = models.train(model, self.source, chosen, seed + 1) if train else []
            return {"training_losses": losses}, None
        bits = models.choose_bits(model, setting, omegas, counts)
        models.prepare(model, setting, bits)
        losses = []
        if train:
            # Another order of the sentences than in the first epochs.
            losses = models.train(model, self.source, chosen, seed + 1)
        else:
            models.calibrate(model, self.source, chosen)
        report = nn.convert(model)
        layers = [count for name, count in bits.items() if name.startswith("layer ")]
        return {"bits": bits, "mean_bits": statistics.fmean(layers), "training_losses": losses}, report

    def _known(self, cell: Cell, setting: Setting) -> Figures | None:
        """Return what training must give again: counting tokens chose the same bits as not counting them."""
        if not (isinstance(setting.bits, Allocated) and setting.bits.counts):
            return None
        alike = BY_NAME[setting.name.removesuffix("-counts")]
        trained = self._line(alike, cell.requests[0])
        untrained = {name: cell.requests[0][name] for name in cell.requests[0].keys() - {"epochs", "rate", "batch"}}
        own, other = (self._line(one, {**untrained, "part": "ptq"}) for one in (setting, alike))
        if trained is None or own is None or other is None or own["bits"] != other["bits"]:
            return None
        return {**trained, "same_bits_as": alike.name}

    def _line(self, setting: Setting, request: Mapping[str, Any]) -> Figures | None:
        """Return the figures of a request with another setting."""
        line = self.lines.found.get(key({**request, "setting": setting.request()}), {})
        return line.get("figures")

    def _similarity(self, setting: Setting) -> Figures:
        """Compare vectors of the model before any fine-tuning, quantized without training, with the exact ones."""
        chosen, held_out = self.source.split(0)
        model = MAKERS[self.model](0)
        if self._exact is None:
            self._exact = self._vectors(model, held_out)
        figures, report = self._packed(model, setting, 0, self._omegas(0), chosen, False)
        vectors, documents = self._vectors(model, held_out)
        cosines = (vectors * self._exact[0]).sum(axis=1)
        result = {"mean_cosine": float(cosines.mean()), "least_cosine": float(cosines.min())}
        lee = self.source.documents
        if lee is not None and documents is not None:
            pairs = np.triu_indices(len(documents), 1)
            result["lee_spearman"] = float(spearmanr((documents @ documents.T)[pairs], lee.similarities[pairs])[0])
        return {**result, **figures, **models.sizes(model, report)}

    def _vectors(self, model: models.Classifier, held_out: data.Array) -> tuple[data.Array, data.Array | None]:
        lee = self.source.documents
        sentences = models.sentence_vectors(model, [self.source.tokens[index] for index in held_out])
        return sentences, None if lee is None else models.sentence_vectors(model, lee.tokens)


def _is(line: Line, part: str, seed: int, model: str) -> bool:
    request = line["request"]
    return bool((request["part"], request["seed"], request["model"]) == (part, seed, model))


def _digest(model: torch.nn.Module) -> str:
    found = hashlib.sha256()
    for tensor in model.state_dict().values():
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
