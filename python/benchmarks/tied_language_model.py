"""A small language model whose tied table has few bits: perplexity on held-out text, beside the model in f32.

No package carries the weights of a decoder, so a Llama of two layers is trained first, on Python's documentation as
Python itself carries it (PSF licence): the texts of `help()` and the docstrings of the standard library. One topic or
module in 16 is held out. The embedding is tied to the head, and both use one table, compressed by each method. Figures
go to docs/results/tied_language_model.json and docs/transformers.md. Some six minutes on one thread.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import math
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from _pages import DOCS, RESULTS, described_machine, fill, machine_text, write_json
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

import embedcompress.transformers  # noqa: F401 - opens what was saved
from embedcompress import nn
from embedcompress._report import markdown_table

END = "<|end|>"
BITS = (8, 4, 3, 2)
METHODS = ("least_squares", "greedy", "asym", "eden", "kmeans")
"""Those that are told bits."""
BUDGETED: dict[str, tuple[str, dict[str, Any], str]] = {
    "pq": ("pq", {}, ""),
    "opq": ("opq", {}, ""),
    "pq, weights": ("pq", {}, "weights"),
    "hot_cold of eden, counts": ("hot_cold", {"hot": "eden", "cold": "eden"}, "counts"),
}
"""Those that are told bytes, as many as least squares takes: the method, options, and the one that gets how often each
token is in the text that the model was trained on."""
LEFT_OUT = {("kmeans", 8)}
"""256 values for each row of 128 are more bytes than the row has."""


@dataclass(frozen=True)
class Settings:
    """The model, and how it is trained. `documents` is the most topics and modules that are read."""

    documents: int = 100_000
    vocabulary: int = 6144
    dimension: int = 128
    intermediate: int = 384
    layers: int = 2
    heads: int = 4
    context: int = 128
    batch: int = 8
    epochs: int = 3
    rate: float = 3e-3
    seed: int = 0


QUICK = Settings(documents=8, vocabulary=400, dimension=32, intermediate=48, layers=1, context=32, batch=8, epochs=1)


@dataclass(frozen=True)
class Trained:
    """What training left.

    Attributes:
        held_out: Token ids of held-out text, (windows, context).
        counts: How often each token is in the other text, (vocabulary,).
        text: Its size.
    """

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    held_out: torch.Tensor
    counts: torch.Tensor
    text: Mapping[str, Any]


def documents() -> Iterator[str]:
    """Return the topics of `help()`, and of each module of the standard library its docstrings, each once."""
    yield from topics.values()
    folder = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    for path in sorted(folder.rglob("*.py")):
        if {"site-packages", "dist-packages", "test", "tests", "lib2to3", "pydoc_data"} & set(
            path.relative_to(folder).parts
        ):
            continue
        found = []
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text and text not in seen:
                    seen.add(text)
                    found.append(text)
        if found:
            yield "\n\n".join(found)


def word_pieces(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of `size` pieces of bytes, as GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)


def windows(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], length: int) -> torch.Tensor:
    """Return the token ids of all texts, one after the other, (windows, length)."""
    ids = [id for text in texts for id in (*tokenizer(text)["input_ids"], tokenizer.eos_token_id)]
    return torch.tensor(ids[: len(ids) // length * length]).view(-1, length)


def train(settings: Settings) -> Trained:
    """Train a model, on the threads that torch has."""
    texts = list(islice(documents(), settings.documents))
    kept = [text for place, text in enumerate(texts) if place % 16 != 7]
    apart = texts[7::16]
    tokenizer = word_pieces(kept, settings.vocabulary)
    ids = windows(tokenizer, kept, settings.context)
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.dimension,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1, betas=(0.9, 0.95))
    steps = settings.epochs * (len(ids) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, steps, pct_start=0.05)
    for step in range(steps):
        place = step % (len(ids) // settings.batch)
        if place == 0:
            order = torch.randperm(len(ids))
        batch = ids[order[place * settings.batch : (place + 1) * settings.batch]]
        loss = model(batch, labels=batch, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    held_out = windows(tokenizer, apart, settings.context)
    described = {
        "characters": sum(map(len, kept)),
        "characters_held_out": sum(map(len, apart)),
        "tokens": ids.numel(),
        "tokens_held_out": held_out.numel(),
        "sha256": hashlib.sha256("\0".join(texts).encode()).hexdigest(),
    }
    return Trained(model.eval(), tokenizer, held_out, ids.flatten().bincount(minlength=len(tokenizer)), described)


def compressed(model: LlamaForCausalLM, method: str, **options: Any) -> tuple[LlamaForCausalLM, nn.Report]:
    """Return a copy whose embedding and head share a compressed table, and the report."""
    small = copy.deepcopy(model)
    return small, nn.compress_model_(small, method, **options)


def file_bytes(model: LlamaForCausalLM, prompt: torch.Tensor) -> int:
    """Return the bytes of the weights as saved, once the folder has given the same logits."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = AutoModelForCausalLM.from_pretrained(folder)
        assert torch.equal(again(prompt).logits, model(prompt).logits)
        return sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))


def compare(
    model: LlamaForCausalLM, others: Sequence[LlamaForCausalLM], ids: torch.Tensor, batch: int = 8
) -> list[dict[str, float]]:
    """Return the figures of a model, and of others beside it, on the same text.

    Args:
        model: The one to compare with.
        others: Those that approximate it.
        ids: (windows, context) of int64, two windows or more. The first token of a window is not predicted.
        batch: Windows of a step.

    Returns:
        `perplexity` of a token; `error`, the standard error, over windows, of how far it is from the model's; `kl`, the
        mean divergence from the model in nats; `agreement`, the share of places with the same most probable token.
    """
    parts = []
    for part in ids.split(batch):
        wanted = model(part).logits[:, :-1].log_softmax(-1)
        figures = []
        for place, other in enumerate((model, *others)):
            found = other(part).logits[:, :-1].log_softmax(-1) if place else wanted
            loss = -found.gather(2, part[:, 1:, None])[:, :, 0]
            kl = (wanted.exp() * (wanted - found)).sum(-1)
            same = (found.argmax(-1) == wanted.argmax(-1)).float()
            figures.append(torch.stack([loss, kl, same], -1).double().mean(1))
        parts.append(torch.stack(figures))
    # (models, windows, 3)
    every = torch.cat(parts, 1)
    apart = (every[:, :, 0] - every[0, :, 0]).std(1) / math.sqrt(len(ids))
    means = every.mean(1).tolist()
    return [
        {"perplexity": math.exp(loss), "error": math.exp(loss) * error, "kl": kl, "agreement": same}
        for (loss, kl, same), error in zip(means, apart.tolist(), strict=True)
    ]


def ranks(trained: Trained) -> list[dict[str, float]]:
    """Return for four parts of the tokens, by frequency: share of held-out text, and how far rows are from the mean."""
    rows = trained.model.get_input_embeddings().weight
    far = (rows - rows.mean(0)).norm(dim=1)
    found = trained.held_out.flatten().bincount(minlength=len(rows)) / trained.held_out.numel()
    order = trained.counts.argsort(descending=True, stable=True)
    parts = order.tensor_split([64, 512, 2048])
    return [{"tokens": len(part), "share": found[part].sum().item(), "far": far[part].mean().item()} for part in parts]


@torch.inference_mode()
def measure(trained: Trained) -> dict[str, Any]:
    """Return the bytes of the model, and a cell for each method and width; the first is the model in f32."""
    model, prompt = trained.model, trained.held_out[:1]
    table = model.get_input_embeddings().weight
    cells: list[dict[str, Any]] = [
        {"method": "f32", "bits": 32, "table": table.nbytes, "file": file_bytes(model, prompt), "normalized_l2": 0.0}
    ]
    others = []
    for bits in BITS:
        budget = compressed(model, "least_squares", bits=bits)[1][0].bytes_after
        asked = {name: (name, {"bits": bits}) for name in METHODS if (name, bits) not in LEFT_OUT}
        for name, (method, options, option) in BUDGETED.items():
            given = {option: trained.counts} if option else {}
            asked[name] = (method, {"budget": budget, **options, **given})
        for name, (method, options) in asked.items():
            other, report = compressed(model, method, **options)
            layer, head = report
            assert (layer.status, head.status) == ("compressed", "shared")
            others.append(other)
            cells.append(
                {
                    "method": name,
                    "bits": bits,
                    "table": layer.bytes_after,
                    "file": file_bytes(other, prompt),
                    "normalized_l2": layer.normalized_l2,
                }
            )
    for cell, figures in zip(cells, compare(model, others, trained.held_out), strict=True):
        cell |= figures
        print(cell, flush=True)
    whole = sum(value.nbytes for value in model.parameters())
    return {"model_bytes": whole, "ranks": ranks(trained), "cells": cells}


def sentence(found: Mapping[str, Any]) -> str:
    """Return what the model is, and what its table takes of it."""
    settings, text, table = found["settings"], found["text"], found["cells"][0]["table"]
    return (
        f"{settings['vocabulary']:,} word pieces, d = {settings['dimension']}, {settings['layers']} layers; trained on "
        f"{text['tokens']:,} tokens, {settings['epochs']} times; {text['tokens_held_out']:,} held out. The tied table "
        f"is {table / 1e6:.2f} of {found['model_bytes'] / 1e6:.2f} MB in f32, "
        f"{100 * table / found['model_bytes']:.0f} %."
    )


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the page."""
    rows = [
        (
            cell["method"],
            f"as {cell['bits']}" if cell["method"] in BUDGETED else str(cell["bits"]),
            f"{cell['table'] / 1e3:,.0f}",
            f"{cell['file'] / 1e6:.2f}",
            f"{cell['normalized_l2']:.3f}",
            f"{cell['perplexity']:.2f}" + (f" ± {cell['error']:.2f}" if cell["error"] else ""),
            f"{cell['kl']:.4f}",
            f"{100 * cell['agreement']:.1f} %",
        )
        for cell in cells
    ]
    names = ("tied table", "bits", "table, kB", "file, MB", "norm. l2", "perplexity", "KL, nats", "same best token")
    return markdown_table(names, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure all cells, and write the figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny model, trained for seconds: to see that it runs")
    parser.add_argument("--json", type=Path, default=RESULTS / "tied_language_model.json", help="the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "transformers.md", help="the page with the table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    settings = QUICK if options.quick else Settings()
    machine = described_machine("torch", "transformers", "tokenizers")
    trained = train(settings)
    found = {"machine": machine, "settings": asdict(settings), "text": trained.text, **measure(trained)}
    write_json(options.json, found)
    fill(
        options.page,
        {"tied language model": f"{sentence(found)}\n\n{machine_text(machine)}\n\n{table(found['cells'])}"},
    )


if __name__ == "__main__":
    main()
