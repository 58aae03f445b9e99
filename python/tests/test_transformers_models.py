"""`compress_model_` of every kind of language model: heads share tables, forwards stay, the report is the file's."""

import pytest
import torch
from transformers_models import MODELS, make, result, transformers

from embedcompress import nn
from embedcompress.nn._compressed import Compressed

EMBEDDINGS = {
    "llama": ["model.embed_tokens", "lm_head"],
    "gpt2": ["transformer.wte", "lm_head", "transformer.wpe"],
    "opt": ["model.decoder.embed_tokens", "lm_head", "model.decoder.embed_positions"],
    "t5": ["shared", "lm_head", "encoder.embed_tokens", "decoder.embed_tokens"],
    "bart": ["model.shared", "lm_head", "model.encoder.embed_tokens", "model.encoder.embed_positions",
             "model.decoder.embed_tokens", "model.decoder.embed_positions"],
    "whisper": ["model.encoder.embed_positions", "model.decoder.embed_tokens", "proj_out",
                "model.decoder.embed_positions"],
    "gemma": ["model.embed_tokens", "lm_head"],
    "gemma2": ["model.embed_tokens", "lm_head"],
    "gemma3": ["model.embed_tokens", "lm_head"],
    "gemma3n": ["model.embed_tokens", "lm_head", "model.embed_tokens_per_layer"],
    "gemma4": ["model.embed_tokens", "lm_head", "model.embed_tokens_per_layer"],
    "clip": ["embeddings.token_embedding", "embeddings.position_embedding"],
    "bert": ["bert.embeddings.word_embeddings", "cls.predictions.decoder", "bert.embeddings.position_embeddings"],
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_compress_save_load(name, tmp_path):
    model = make(name)
    dense = make(name)
    report = nn.compress_model_(model, bits=8)
    in_tables = [layer.name for layer in report if layer.status != "skipped"]
    assert [entry.removeprefix("text_model.") for entry in in_tables] == EMBEDDINGS[name]
    compressed = {key for key, module in model.named_modules(remove_duplicate=False) if isinstance(module, Compressed)}
    assert compressed == set(in_tables)
    path = tmp_path / "model.safetensors"
    stored = nn.save_compressed(path, model)
    data = path.read_bytes()
    assert report.bytes_after == stored == len(data) - 8 - int.from_bytes(data[:8], "little")
    assert report.bytes_after < report.bytes_before == nn._state.stored_bytes(dense)
    expected = result(model, name)
    loaded = nn.load_compressed(path)
    assert torch.equal(result(loaded, name), expected)
    tables = {id(module.parts) for module in loaded.modules() if isinstance(module, Compressed)}
    assert len(tables) == sum(layer.status == "compressed" for layer in report)
    # It computes what a dense model of the same rows does: nothing is lost but the table's own error.
    with torch.no_grad():
        for layer in report:
            if layer.status == "compressed":
                table = model.get_submodule(layer.name).table
                dense.get_submodule(layer.name).weight.copy_(torch.from_numpy(table.decode()))
    torch.testing.assert_close(result(dense, name), expected, rtol=1e-4, atol=1e-4)


def test_what_stays_dense_is_listed():
    report = nn.compress_model_(make("bert"), bits=4)
    assert [layer.name for layer in report if layer.status == "skipped"] == ["bert.embeddings.token_type_embeddings"]
    report = nn.compress_model_(make("t5"), bits=4)
    skipped = [layer for layer in report if layer.status == "skipped"]
    assert {layer.name.rpartition(".")[2] for layer in skipped} == {"relative_attention_bias"}
    assert all("minimum_rows is 64" in layer.reason for layer in skipped)


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "whisper", "bert"])
def test_prepare_and_convert_take_every_layer(name, tmp_path):
    model = make(name)
    nn.prepare(model, 8, activations=None, unsupported="keep")
    expected = result(model, name)
    report = nn.convert(model)
    torch.testing.assert_close(result(model, name), expected, rtol=1e-4, atol=1e-4)
    kept = [entry for entry in report if entry.status == "kept" and not entry.name.endswith("bias")]
    assert all("conv" in entry.name or entry.reason in ("a vector", "a buffer") for entry in kept), kept
    assert nn.save_compressed(tmp_path / "model.safetensors", model) == report.bytes_after
    assert torch.equal(result(nn.load_compressed(tmp_path / "model.safetensors"), name), result(model, name))


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "gemma"])
@pytest.mark.parametrize("mean_resizing", [True, False])
def test_vocabularies_grow_and_shrink(name, mean_resizing):
    model = make(name)
    nn.compress_model_(model, bits=8)
    words = model.get_input_embeddings()
    before = words.table.decode()
    for tokens in (131, 110):
        model.resize_token_embeddings(tokens, mean_resizing=mean_resizing)
        assert model.get_input_embeddings() is words and words.table.shape == (tokens, 32)
        assert (words.table.decode()[:110] == before[:110]).all()
        assert model.get_output_embeddings().parts is words.parts
        assert result(model, name).shape[-1] == tokens == model.config.vocab_size
    assert words.table.stored_bytes < before.nbytes / 2


def test_heads_of_their_own_grow_too():
    config = MODELS["llama"][1]()
    config.tie_word_embeddings = False
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    nn.prepare(model, 8, activations=None)
    nn.convert(model)
    head = model.lm_head
    model.resize_token_embeddings(131)
    assert model.get_input_embeddings().table.rows == 131 and model.lm_head.weight.shape == (131, 32)
    assert result(model, "llama").shape[-1] == 131
    assert isinstance(model.lm_head, torch.nn.Linear) and model.lm_head is not head
