"""`save_compressed` and `load_compressed`."""

import json
from pathlib import Path

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
    stored = nn.save_compressed(tmp_path / "bert.safetensors", model)
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
    assert nn.save_compressed(tmp_path / "model.safetensors", model) == report.bytes_after
    loaded = nn.load_compressed(tmp_path / "model.safetensors")
    assert torch.equal(result(loaded), result(model))
    words, decoder = loaded.bert.embeddings.word_embeddings, loaded.cls.predictions.decoder
    assert words.parts is decoder.parts and decoder.bias is loaded.cls.predictions.bias


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_any_model_with_a_function_that_makes_it(tmp_path, device):
    model, report = packed(transformer(), weights=nn.Quantization(3, "rows", 4), activations=None)
    path = tmp_path / "model.safetensors"
    assert nn.save_compressed(path, model, config={"width": 16}) == report.bytes_after

    def make(config):
        assert config == {"width": 16}
        with torch.device(device):
            return transformer()

    assert torch.equal(result(nn.load_compressed(path, make)), result(model))
    given = transformer()
    assert nn.load_compressed(path, given) is given
    assert torch.equal(result(given), result(model))
    # A model that was loaded can be saved again.
    assert nn.save_compressed(tmp_path / "again.safetensors", given, config={"width": 16}) == report.bytes_after
    with pytest.raises(ValueError, match="give a model of that kind, or a function"):
        nn.load_compressed(path)


class Words(torch.nn.Module):
    """What data/format_1/model-0.1.0.safetensors holds: columns in 4 groups at 4 bits, and buffers of several types."""

    def __init__(self, seed=1):
        super().__init__()
        torch.manual_seed(seed)
        self.words, self.head, self.norm = torch.nn.Embedding(20, 8), torch.nn.Linear(8, 4), torch.nn.LayerNorm(8)
        self.register_buffer("bf16", torch.arange(3).to(torch.bfloat16))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("steps", torch.tensor(7))

    def forward(self, ids):
        return self.head(self.norm(self.words(ids)))


def test_a_file_of_0_1_0_opens():
    path = Path(__file__).parent / "data" / "format_1" / "model-0.1.0.safetensors"
    loaded = nn.load_compressed(path, lambda config: Words() if config == {"tokens": 20} else None)
    expected = Words(0)
    nn.prepare(expected, activations=None, weights=nn.Quantization(4, "columns", 4))
    nn.convert(expected)
    with torch.no_grad():
        assert torch.equal(loaded(torch.arange(20)), expected(torch.arange(20)))
    for name, value in expected.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(loaded.state_dict()[name], value), name


DTYPES = (
    torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.bool, torch.uint8, torch.int8, torch.uint16,
    torch.int16, torch.uint32, torch.int32, torch.uint64, torch.int64, torch.float8_e4m3fn, torch.float8_e5m2,
)  # fmt: skip


def test_tensors_of_every_type_lie_beside_tables(tmp_path):
    def make():
        model = Words(0)
        generator = torch.Generator().manual_seed(0)
        for index, dtype in enumerate(DTYPES):
            bits = torch.randint(0, 2 if dtype is torch.bool else 100, (3, 8), dtype=torch.uint8, generator=generator)
            model.register_buffer(f"b{index}", bits.view(dtype))
            model.register_buffer(f"none{index}", torch.empty(0, 2, dtype=dtype))
        # Parts of one tensor, and one that does not lie in one piece.
        model.register_buffer("half1", torch.arange(10.0)[5:])
        model.register_buffer("turned", torch.arange(6.0).reshape(2, 3).t())
        return model

    model, path = make(), tmp_path / "model.safetensors"
    nn.prepare(model, activations=None)
    nn.convert(model)
    stored = nn.save_compressed(path, model)
    data = path.read_bytes()
    assert stored == len(data) - 8 - int.from_bytes(data[:8], "little")
    loaded = nn.load_compressed(path, make()).state_dict()
    with safe_open(path, "pt") as file:
        for name, value in make().named_buffers():
            bits = (tensor.reshape(-1).view(torch.uint8) for tensor in (loaded[name], value))
            assert torch.equal(*bits), name
            assert loaded[name].dtype is value.dtype and loaded[name].shape == value.shape
            assert file.get_tensor(name).dtype is value.dtype
    contents = ec.contents(path)
    assert contents.tables == ("words.weight", "head.weight") and "norm.weight" in contents.plain
    assert not any(name.startswith(("words.", "head.weight")) for name in contents.plain)


def test_a_type_that_files_do_not_have_is_refused(tmp_path):
    model = Words(0)
    model.register_buffer("wide", torch.zeros(2, dtype=torch.complex128))
    nn.prepare(model, activations=None)
    nn.convert(model)
    with pytest.raises(ValueError, match=r"wide has the dtype torch.complex128, which the file can't hold"):
        nn.save_compressed(tmp_path / "model.safetensors", model)
    assert not list(tmp_path.iterdir())


def test_shared_layers_dtypes_and_other_methods(tmp_path):
    torch.manual_seed(0)
    model = small_model().half()
    model["layers"].append(model["layers"][0])
    nn.compress_model_(model, "pq", minimum_rows=1, bits=4)
    nn.prepare(model, by_name={"head": None}, activations=None)
    nn.convert(model)
    nn.save_compressed(tmp_path / "model.safetensors", model)
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
        nn.save_compressed(tmp_path / "model", small_model())
    model = small_model()
    nn.prepare(model, activations=None)
    with pytest.raises(ValueError, match="call convert"):
        nn.save_compressed(tmp_path / "model", model)
    nn.convert(model)
    with pytest.raises(ValueError, match="can't be written as JSON"):
        nn.save_compressed(tmp_path / "model", model, config={"a": object()})
    model["set"] = nn.CompressedEmbeddingBagCollection([model["words"].table])
    with pytest.raises(ValueError, match="set is a CompressedEmbeddingBagCollection"):
        nn.save_compressed(tmp_path / "model", model)
    assert not list(tmp_path.iterdir())


def test_another_model_is_refused(tmp_path):
    model = small_model()
    nn.prepare(model, activations=None)
    nn.convert(model)
    path = tmp_path / "model.safetensors"
    nn.save_compressed(path, model)
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
    nn.save_compressed(path, model)
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
