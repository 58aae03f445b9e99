"""`save_pretrained` and `from_pretrained` of models with tables, and all that people do with a model between them."""

import copy
import json
import os
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers_models import MODELS, batch, make, result, transformers

import embedcompress as ec
from embedcompress import nn
from embedcompress.nn._compressed import Compressed
from embedcompress.transformers import EmbedCompressConfig, EmbedCompressQuantizer

transformers.logging.disable_progress_bar()


def compressed(name, **options):
    model = make(name)
    return model, nn.compress_model_(model, **{"bits": 8, **options})


def reload(model, path, **options):
    model.save_pretrained(path)
    loaded, info = type(model).from_pretrained(path, output_loading_info=True, **options)
    assert not any(info.values()), info
    return loaded


def tensor_bytes(path):
    data = path.read_bytes()
    return len(data) - 8 - int.from_bytes(data[:8], "little")


@pytest.mark.parametrize("name", MODELS)
def test_it_comes_back(name, tmp_path):
    model, report = compressed(name)
    expected = result(model, name)
    loaded = reload(model, tmp_path)
    assert torch.equal(result(loaded, name), expected) and not loaded.training
    assert report.bytes_after == tensor_bytes(tmp_path / "model.safetensors")
    assert json.loads((tmp_path / "config.json").read_text())["quantization_config"]["quant_method"] == "embedcompress"
    names = [{key for key, m in one.named_modules() if isinstance(m, Compressed)} for one in (model, loaded)]
    assert names[0] == names[1]
    tables = {id(module.parts) for module in loaded.modules() if isinstance(module, Compressed)}
    assert len(tables) == sum(layer.status == "compressed" for layer in report)


def test_it_comes_back_twice_in_shards_and_by_auto_classes(tmp_path):
    model, _ = compressed("llama")
    expected = result(model, "llama")
    model.save_pretrained(tmp_path / "one", max_shard_size="3KB")
    assert len(list((tmp_path / "one").glob("model-*.safetensors"))) > 2
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    assert torch.equal(result(again, "llama"), expected)
    assert torch.equal(result(reload(again, tmp_path / "two"), "llama"), expected)
    base = transformers.AutoModel.from_pretrained(tmp_path / "two")
    with torch.no_grad():
        states = base(**batch("llama")).last_hidden_state
        assert torch.equal(states, model.model(**batch("llama")).last_hidden_state)
    # The base alone, and what is built on it.
    base.save_pretrained(tmp_path / "base")
    whole = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        assert torch.equal(whole.model(**batch("llama")).last_hidden_state, states)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bart", "bert"])
@pytest.mark.filterwarnings("ignore:.*is not compressed")
def test_a_tied_head_gets_the_table_of_a_base_that_was_saved_alone(name, tmp_path):
    model, _ = compressed(name)
    model.base_model.save_pretrained(tmp_path / "base")
    again, info = type(model).from_pretrained(tmp_path / "base", output_loading_info=True)
    head = again.get_output_embeddings()
    assert not any(key.endswith("weight") and "LayerNorm" not in key and "dense" not in key
                   for key in info["missing_keys"]), info  # fmt: skip
    assert isinstance(head, Compressed) and head.parts is again.get_input_embeddings().parts
    x = torch.randn(2, 32)
    bias = getattr(head, "bias", None)
    expected = x @ torch.from_numpy(head.table.decode()).T + (0 if bias is None else bias)
    torch.testing.assert_close(head(x), expected)
    if name != "bert":
        # Nothing else of these is a head's own.
        assert torch.equal(result(again, name), result(model, name))
    loaded = reload(again, tmp_path / "whole")
    assert torch.equal(result(loaded, name), result(again, name))


def test_a_dense_head_beside_a_table_stays(tmp_path):
    model = make("llama")
    dense = model.lm_head.weight.detach().clone()
    nn.compress_model_(model, bits=4, tied="untie")
    loaded = reload(model, tmp_path)
    assert type(loaded.lm_head) is torch.nn.Linear and torch.equal(loaded.lm_head.weight, dense)
    assert torch.equal(result(loaded, "llama"), result(model, "llama"))


def test_linear_layers_and_activations_come_back(tmp_path):
    model = make("bert")
    nn.prepare(model, 4, unsupported="keep")
    result(model, "bert")
    report = nn.convert(model)
    loaded = reload(model, tmp_path)
    assert torch.equal(result(loaded, "bert"), result(model, "bert"))
    assert report.bytes_after == tensor_bytes(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3n"])
def test_a_dense_folder_is_compressed_while_it_loads(name, tmp_path):
    dense = make(name)
    dense.save_pretrained(tmp_path / "dense")
    names = ["*.h.0" if name == "gpt2" else "*.layers.0"]
    config = EmbedCompressConfig(bits=8, embedding_bits=6, linear=True, modules_to_not_convert=names)
    model = type(dense).from_pretrained(tmp_path / "dense", quantization_config=config, device_map="cpu")
    report, linear = model.hf_quantizer.report, model.hf_quantizer.linear_report
    assert [layer.status for layer in report][:2] == ["compressed", "shared"]
    kinds = {key: module for key, module in model.named_modules() if isinstance(module, Compressed)}
    assert any(".1." in key for key in kinds) and not any(".0." in key for key in kinds)
    loaded = reload(model, tmp_path / "small")
    assert torch.equal(result(loaded, name), result(model, name))
    assert linear.bytes_after == tensor_bytes(tmp_path / "small" / "model.safetensors")
    assert loaded.config.quantization_config.embedding_bits == 6
    byhand = make(name)
    nn.compress_model_(byhand, bits=6)
    words = model.get_input_embeddings().table.decode()
    assert (words == byhand.get_input_embeddings().table.decode()).all()


LOADING = """
import gc, sys, torch, transformers
from embedcompress.transformers import EmbedCompressConfig

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
warm, path = sys.argv[1:]
config = EmbedCompressConfig(bits=4, linear=True)
transformers.AutoModelForCausalLM.from_pretrained(warm, quantization_config=config)
gc.collect()
before = anonymous()
model = transformers.AutoModelForCausalLM.from_pretrained(path, quantization_config=config)
with open("/proc/self/maps") as file:
    print(anonymous() - before, model.hf_quantizer.linear_report.bytes_after, path in file.read())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is told by /proc")
def test_memory_grows_by_the_tables_while_a_dense_folder_loads(tmp_path, run_python):
    """Dense weights are mapped and compressed one by one, and their files are let go of."""
    sizes = {"num_attention_heads": 4, "vocab_size": 4000, "num_hidden_layers": 6}
    for name, width in (("warm", 64), ("dense", 512)):
        config = transformers.LlamaConfig(hidden_size=width, intermediate_size=4 * width, **sizes)
        model = transformers.LlamaForCausalLM(config).bfloat16()
        model.save_pretrained(tmp_path / name, max_shard_size="10MB")
    grown, tables, is_mapped = run_python(LOADING, tmp_path / "warm", tmp_path / "dense").split()[-3:]
    assert is_mapped == "False"
    # In f32 the model takes 117 MB, in bf16 58.
    assert int(tables) < 20e6 and int(grown) < int(tables) + 40e6


@pytest.mark.parametrize("linear", [False, True])
def test_layers_that_are_not_to_be_converted_stay_dense(linear, tmp_path):
    dense = make("llama")
    dense.save_pretrained(tmp_path)

    def load(**options):
        config = EmbedCompressConfig(linear=linear, **options)
        return type(dense).from_pretrained(tmp_path, quantization_config=config)

    with pytest.warns(UserWarning, match="filter_fn leaves lm_head out"):
        model = load(modules_to_not_convert=["lm_head"])
    assert type(model.lm_head) is torch.nn.Linear and model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.lm_head.weight, dense.lm_head.weight)
    assert [(layer.name, layer.status) for layer in model.hf_quantizer.report] == [("model.embed_tokens", "skipped")]
    assert isinstance(model.model.layers[0].mlp.up_proj, Compressed) == linear
    model = load(modules_to_not_convert=["lm_head"], tied="untie")
    assert isinstance(model.model.embed_tokens, Compressed) and type(model.lm_head) is torch.nn.Linear
    with pytest.raises(ValueError, match=r"modules_to_not_convert has 'layers\.0', but the model has no layer"):
        load(modules_to_not_convert=["lm_head", "layers.0"])


def test_dtypes(tmp_path):
    make("llama").save_pretrained(tmp_path / "dense")
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.bfloat16)
    nn.compress_model_(model, bits=8)
    loaded = reload(model, tmp_path)
    assert loaded.dtype is loaded.get_input_embeddings().dtype is torch.bfloat16
    assert torch.equal(result(loaded, "llama"), result(model, "llama"))
    loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert loaded.get_input_embeddings().weight.dtype is torch.float32
    assert result(loaded, "llama").dtype is torch.float32


def test_generation(tmp_path):
    model, _ = compressed("gpt2")
    loaded = reload(model, tmp_path)
    ids = batch("gpt2")["input_ids"]
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    written = loaded.generate(ids, **options)
    assert written.shape == (2, 12) and torch.equal(written, model.generate(ids, **options))


def test_tables_are_mapped_and_never_written_to(tmp_path):
    model, _ = compressed("llama")
    loaded = reload(model, tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    for buffer in loaded.get_input_embeddings().parts.arrays():
        buffer.zero_()
    assert (loaded.get_input_embeddings().table.decode(0, 50) == 0).all()
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_memory_and_time_do_not_depend_on_the_size(tmp_path, run_python):
    """A quarter of a GB of codes, of which no more is read than lookups need; see docs/transformers.md for 1 GB."""
    program = """
import sys, time, torch, transformers, numpy as np, embedcompress as ec
from embedcompress import nn
import embedcompress.transformers
transformers.logging.disable_progress_bar()
config = transformers.LlamaConfig(vocab_size=120, hidden_size=1024, num_hidden_layers=1, num_attention_heads=8,
    intermediate_size=64, tie_word_embeddings=True)
def held():
    lines = open("/proc/self/status").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile", "RssShmem"))) / 1024
path = sys.argv[1]
if sys.argv[2] == "save":
    model = transformers.LlamaForCausalLM(config)
    nn.compress_model_(model, bits=8)
    rows = 250_000
    arrays = {"rows": ("u8", np.zeros((rows, 1028), np.uint8))}
    tree, _ = model.model.embed_tokens.table.parts()
    tree.update(rows=rows, bytes=rows * 1028)
    model.model.embed_tokens.parts.replace(ec.Table.from_parts(tree, arrays))
    model.config.vocab_size = rows
    model.save_pretrained(path)
else:
    transformers.LlamaForCausalLM(config)
    before, start = held(), time.process_time()
    model = transformers.AutoModelForCausalLM.from_pretrained(path)
    ids = torch.arange(5)[None]
    model.model(ids)
    print(held() - before, time.process_time() - start)
"""
    run_python(program, tmp_path, "save", timeout=300)
    grown, seconds = map(float, run_python(program, tmp_path, "load", timeout=300).split())
    assert grown < 100 and seconds < 10


def test_copies_and_pickles_can_be_saved(tmp_path):
    model, _ = compressed("bart")
    for index, again in enumerate((copy.deepcopy(model), pickle.loads(pickle.dumps(model)))):
        assert isinstance(again.hf_quantizer, EmbedCompressQuantizer)
        assert torch.equal(result(reload(again, tmp_path / str(index)), "bart"), result(model, "bart"))


def test_a_grown_vocabulary_comes_back(tmp_path):
    model, _ = compressed("bert")
    model.resize_token_embeddings(130)
    loaded = reload(model, tmp_path)
    assert loaded.config.vocab_size == 130
    assert torch.equal(result(loaded, "bert"), result(model, "bert"))


def test_load_compressed_and_save_pretrained_go_together(tmp_path):
    model, _ = compressed("gemma3n")
    nn.save_compressed(tmp_path / "file.safetensors", model)
    loaded = nn.load_compressed(tmp_path / "file.safetensors")
    assert torch.equal(result(reload(loaded, tmp_path / "folder"), "gemma3n"), result(model, "gemma3n"))


class Adapter(torch.nn.Module):
    """Low-rank updates on top of a layer, as PEFT has them."""

    def __init__(self, layer, rank=2):
        super().__init__()
        self.layer = layer
        rows, columns = layer.weight.shape
        self.down = torch.nn.Linear(columns, rank, bias=False, dtype=layer.weight.dtype)
        self.up = torch.nn.Linear(rank, rows, bias=False, dtype=layer.weight.dtype)
        torch.nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.layer(x) + self.up(self.down(x))


def test_adapters_train_on_top():
    model, _ = compressed("llama")
    expected = result(model, "llama")
    model.requires_grad_(False)
    adapter = model.lm_head = Adapter(model.lm_head)
    assert torch.equal(result(model, "llama"), expected)
    ids = batch("llama")["input_ids"]
    loss = model(ids, labels=ids).loss
    loss.backward()
    assert adapter.up.weight.grad.abs().sum() > 0


def test_adapters_of_peft_are_merged():
    peft = pytest.importorskip("peft")
    model, _ = compressed("llama")
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)).eval()
    expected = result(adapted, "llama")
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(result(merged, "llama"), expected)
    assert merged.lm_head.parts is merged.model.embed_tokens.parts


class Lines(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        ids = (torch.arange(6) * (index + 3)) % 100
        return {"input_ids": ids, "labels": ids}


def test_the_trainer_trains_what_is_dense(tmp_path):
    pytest.importorskip("accelerate")
    model, _ = compressed("llama")
    words = model.get_input_embeddings().table.decode()
    norm = model.model.norm.weight.detach().clone()
    arguments = transformers.TrainingArguments(
        output_dir=tmp_path, max_steps=2, learning_rate=1e-2, per_device_train_batch_size=4, save_steps=2,
        use_cpu=True, report_to=[], disable_tqdm=True,
    )  # fmt: skip
    transformers.Trainer(model, arguments, train_dataset=Lines()).train()
    assert not torch.equal(model.model.norm.weight, norm)
    assert (model.get_input_embeddings().table.decode() == words).all()
    loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    assert torch.equal(result(loaded, "llama"), result(model.eval(), "llama"))


def test_without_this_library_loading_fails_loudly(tmp_path, run_python):
    model, _ = compressed("llama")
    model.save_pretrained(tmp_path)
    program = """
import sys, transformers
try:
    transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])
except RuntimeError as error:
    print("refused")
"""
    assert "refused" in run_python(program, tmp_path, timeout=300)


def test_other_devices_are_refused(tmp_path):
    model, _ = compressed("llama")
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="device_map must be 'cpu', not 'cuda'"):
        transformers.LlamaForCausalLM.from_pretrained(tmp_path, device_map={"": "cuda"})


def test_a_model_of_another_quantizer_is_not_saved(tmp_path):
    model = make("llama")

    class Other:
        quantization_config = type("Config", (), {"quant_method": "other"})

    model.hf_quantizer = Other()
    nn.compress_model_(model, bits=4)
    with pytest.raises(ValueError, match="was quantized by other before"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with pytest.raises(ValueError, match="was quantized by other before"):
            again.save_pretrained(tmp_path)


def test_reports_are_copied_with_a_model(tmp_path):
    make("llama").save_pretrained(tmp_path)
    config = EmbedCompressConfig(bits=8, linear=True)
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path, quantization_config=config)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        before, after = model.hf_quantizer, again.hf_quantizer
        assert str(after.report) == str(before.report) and len(after.report) == 2
        assert str(after.linear_report) == str(before.linear_report)
        assert after.quantization_config.to_dict() == config.to_dict()


def test_parts_of_a_model_keep_their_own_quantizers(tmp_path):
    make("llama").save_pretrained(tmp_path)
    config = EmbedCompressConfig(bits=8, embedding_bits=6)
    loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path, quantization_config=config)
    before = loaded.hf_quantizer
    other, same = make("bert"), make("gpt2")
    both = torch.nn.ModuleList([other, loaded, same])
    nn.compress_model_(both, bits=8)
    assert loaded.hf_quantizer is before and loaded.config.quantization_config is config
    assert isinstance(other.hf_quantizer, EmbedCompressQuantizer) and other.hf_quantizer is same.hf_quantizer


def test_files_that_break_rules_are_refused(tmp_path):
    model, _ = compressed("llama")
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    good = json.loads(metadata["embedcompress"])
    layer = good["layers"][0]
    cases = [
        ({"version": 2}, {}, ec.FormatError, "version 2"),
        ({"layers": 3}, {}, ec.FormatError, "can't be read: TypeError"),
        ({"dtype": "int8"}, {}, ec.FormatError, "can't be read: KeyError"),
        ({"tables": ["{"]}, {}, ec.FormatError, "can't be read"),
        ({"layers": [{**layer, "dtype": "u8"}]}, {}, ec.FormatError, "is not described"),
        ({"layers": [{**layer, "name": "x"}]}, {}, ValueError, "none of the layers"),
        ({"layers": [{**layer, "name": "model.norm"}]}, {}, ValueError, "LlamaRMSNorm of"),
        ({}, {"embedcompress.0.rows": None}, ec.FormatError, "lacks the array 'rows'"),
        ({}, {"embedcompress.0.rows": torch.zeros(3, dtype=torch.uint8)}, ec.FormatError, "rows"),
        ({}, {"embedcompress.0.rows": torch.zeros(120, 36)}, ec.FormatError, "must be of torch.uint8"),
    ]
    for change, others, kind, message in cases:
        held = {key: value for key, value in {**tensors, **others}.items() if value is not None}
        save_file(held, path, {**metadata, "embedcompress": json.dumps({**good, **change})})
        with pytest.raises(kind, match=message):
            transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ec.FormatError, match="has no tables"):
        transformers.LlamaForCausalLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 17}, "bits must be from 1 to 16"),
        ({"embedding_bits": 0}, "embedding_bits must be from 1 to 16"),
        ({"bits": None, "linear": True}, "linear=True needs bits"),
        ({"tied": "so"}, "tied must be"),
        ({"bits": 4, "linear": True, "block": 0}, "block"),
        ({"block": -3}, "block"),
        ({"block": "a"}, "block"),
        ({"method": "nonsense"}, "nonsense"),
        ({"method": 3}, "method must be"),
        ({"method": "prune"}, "bits"),
        ({"linear": 1}, "linear must be"),
        ({"minimum_rows": "a"}, "minimum_rows must be an integer"),
        ({"minimum_rows": -1}, "minimum_rows must be at least 0"),
        ({"minimum_bytes": 1.5}, "minimum_bytes must be an integer"),
        ({"modules_to_not_convert": "lm_head"}, "must be a list of names, not the text 'lm_head'"),
        ({"modules_to_not_convert": [3]}, "modules_to_not_convert must be a list of names"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        EmbedCompressConfig(**options)


def test_settings_of_a_dictionary():
    settings = EmbedCompressConfig(3, method="greedy", modules_to_not_convert=["a"]).to_dict()
    assert EmbedCompressConfig.from_dict(settings).to_dict() == settings
    assert EmbedCompressConfig.from_dict(settings, bits=2).to_dict() == {**settings, "bits": 2}
    config, unused = EmbedCompressConfig.from_dict(settings, return_unused_kwargs=True, bits=2, other=1)
    assert config.bits == 2 and unused == {"other": 1}
    with pytest.raises(TypeError, match="other"):
        EmbedCompressConfig.from_dict(settings, other=1)
