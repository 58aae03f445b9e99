"""`save_compressed` and `load_compressed`."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from test_nn_qat_models import IDS, bert, converted, logits, trained, transformer
from test_nn_qat_training import run, small_model

import embedcompress as ec
from embedcompress import nn


def packed(model, **options):
    nn.prepare(model, **options)
    report = converted(trained(model))[2]
    return model, report


def result(model):
    with torch.no_grad():
        return logits(model)


def test_a_bert_comes_back_from_its_file_alone(tmp_path):
    model, report = packed(bert(num_labels=3), by_name={"classifier": None})
    stored = nn.save_compressed(model, tmp_path / "bert.safetensors")
    data = (tmp_path / "bert.safetensors").read_bytes()
    header = int.from_bytes(data[:8], "little")
    assert stored == report.bytes_after == len(data) - 8 - header
    assert [path.name for path in tmp_path.iterdir()] == ["bert.safetensors"]
    for mmap in (True, False):
        loaded = nn.load_compressed(tmp_path / "bert.safetensors", mmap=mmap)
        assert type(loaded) is type(model) and loaded.config.num_labels == 3 and not loaded.training
        assert torch.equal(result(loaded), result(model))
    layer = "bert.encoder.layer.1.output.dense"
    table = ec.load(tmp_path / "bert.safetensors", f"{layer}.weight")
    assert (table.decode() == model.get_submodule(layer).table.decode()).all()
    assert ec.contents(tmp_path / "bert.safetensors").is_table_file


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path):
    model, report = packed(bert("BertForMaskedLM", tie_word_embeddings=True))
    assert nn.save_compressed(model, tmp_path / "model.safetensors") == report.bytes_after
    loaded = nn.load_compressed(tmp_path / "model.safetensors")
    assert torch.equal(result(loaded), result(model))
    words, decoder = loaded.bert.embeddings.word_embeddings, loaded.cls.predictions.decoder
    assert words.parts is decoder.parts and decoder.bias is loaded.cls.predictions.bias


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_any_model_with_a_function_that_makes_it(tmp_path, device):
    model, report = packed(transformer(), weights=nn.Quantization(3, "rows", 4), activations=None)
    path = tmp_path / "model.safetensors"
    assert nn.save_compressed(model, path, config={"width": 16}) == report.bytes_after

    def make(config):
        assert config == {"width": 16}
        with torch.device(device):
            return transformer()

    assert torch.equal(result(nn.load_compressed(path, make)), result(model))
    given = transformer()
    assert nn.load_compressed(path, given) is given
    assert torch.equal(result(given), result(model))
    # A model that was loaded can be saved again.
    assert nn.save_compressed(given, tmp_path / "again.safetensors", config={"width": 16}) == report.bytes_after
    with pytest.raises(ValueError, match="give a model of that kind, or a function"):
        nn.load_compressed(path)


def test_shared_layers_dtypes_and_other_methods(tmp_path):
    torch.manual_seed(0)
    model = small_model().half()
    model["layers"].append(model["layers"][0])
    nn.compress_model_(model, "pq", bits=4)
    nn.prepare(model, by_name={"head": None}, activations=None)
    nn.convert(model)
    nn.save_compressed(model, tmp_path / "model.safetensors")
    fresh = small_model()
    fresh["layers"].append(fresh["layers"][0])
    loaded = nn.load_compressed(tmp_path / "model.safetensors", fresh)
    assert loaded["layers"][0] is loaded["layers"][3] and loaded["words"].dtype is torch.float16
    assert loaded["head"].weight.dtype is torch.float16
    del model["layers"][3], loaded["layers"][3]
    with torch.no_grad():
        assert torch.equal(run(loaded, IDS), run(model.eval(), IDS))


def test_what_a_file_can_not_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no compressed layer"):
        nn.save_compressed(small_model(), tmp_path / "model")
    model = small_model()
    nn.prepare(model, activations=None)
    with pytest.raises(ValueError, match="call convert"):
        nn.save_compressed(model, tmp_path / "model")
    nn.convert(model)
    with pytest.raises(ValueError, match="can't be written as JSON"):
        nn.save_compressed(model, tmp_path / "model", config={"a": object()})
    model["set"] = nn.CompressedEmbeddingBagCollection([model["words"].table])
    with pytest.raises(ValueError, match="set is a CompressedEmbeddingBagCollection"):
        nn.save_compressed(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_another_model_is_refused(tmp_path):
    model = small_model()
    nn.prepare(model, activations=None)
    nn.convert(model)
    path = tmp_path / "model.safetensors"
    nn.save_compressed(model, path)
    other = small_model()
    other["head"] = torch.nn.Linear(16, 4)
    with pytest.raises(ValueError, match="the layer 'head', but the model has Linear of"):
        nn.load_compressed(path, other)
    other = small_model()
    del other["head"]
    with pytest.raises(ValueError, match="the layer 'head', but the model has no such layer"):
        nn.load_compressed(path, other)
    other = small_model()
    other["more"] = torch.nn.LayerNorm(3)
    with pytest.raises(ValueError, match=r"the file lacks \['more.bias', 'more.weight'\]"):
        nn.load_compressed(path, other)


def test_files_that_are_not_of_models_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    ec.compress(torch.zeros(4, 8)).save(path)
    with pytest.raises(ec.FormatError, match="holds no model"):
        nn.load_compressed(path, small_model())
    model = small_model()
    nn.prepare(model, activations=None)
    nn.convert(model)
    nn.save_compressed(model, path)
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    good = json.loads(metadata["model"])
    for change, message in (
        ({"version": 2}, "version 2"),
        ({"layers": [{"name": "head"}]}, "can't be read: KeyError"),
        ({"layers": 3}, "can't be read: TypeError"),
        ({"layers": [{**good["layers"][0], "dtype": "int8"}]}, "'words' is not described"),
        ({"aliases": {"a": "b"}}, "'a' stands for 'b', which is not in the file"),
    ):
        save_file(tensors, path, {**metadata, "model": json.dumps({**good, **change})})
        with pytest.raises(ec.FormatError, match=message):
            nn.load_compressed(path, small_model())
    save_file(tensors, path, {**metadata, "model": json.dumps({**good, "class": "transformers.os", "config": {}})})
    with pytest.raises(ValueError, match="give a model of that kind"):
        nn.load_compressed(path)
