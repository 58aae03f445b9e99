"""`compress_model_`."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch

import embedcompress as ec
from embedcompress import nn

E = torch.nn.Embedding
compress_model_ = partial(nn.compress_model_, minimum_rows=1)
IDS = torch.tensor([[1, 2, 3]])


class Model(torch.nn.Module):
    """Plain, nested, and bagged embeddings, one of them at two names."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = E(50, 16, padding_idx=-1)
        self.fields = torch.nn.ModuleList([torch.nn.EmbeddingBag(30, 8, mode="max"), E(20, 4)])
        self.alias = self.tokens
        self.head = torch.nn.Linear(16, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        rest = self.fields[0](ids).sum() + self.fields[1](ids).sum()
        return self.head(self.tokens(ids) + self.alias(ids)) + rest


class Tied(torch.nn.Module):
    """An encoder and a decoder with one weight, and a language model's head with that of another embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = E(50, 16, padding_idx=0), E(50, 16)
        self.decoder.weight = self.encoder.weight
        self.tokens, self.head = E(40, 16), torch.nn.Linear(16, 40, bias=False)
        self.head.weight = self.tokens.weight


def kinds(report: nn.Report) -> dict[str, str]:
    return {layer.name: layer.status for layer in report}


def test_every_embedding_is_swapped_in_place():
    torch.manual_seed(0)
    model = Model().eval()
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    expected = model(IDS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = compress_model_(model, "asym", bits=8)
    assert kinds(report) == {
        "tokens": "compressed",
        "alias": "shared",
        "fields.0": "compressed",
        "fields.1": "compressed",
    }
    assert model.tokens is model.alias and isinstance(model.tokens, nn.CompressedEmbedding)
    assert model.tokens.padding_idx == 49 and not model.tokens.training
    assert isinstance(model.fields[0], nn.CompressedEmbeddingBag) and model.fields[0].mode == "max"
    torch.testing.assert_close(model(IDS), expected, atol=0.2, rtol=0)
    layer = next(layer for layer in report if layer.name == "fields.0")
    evaluation = ec.evaluate(model.fields[0].table, weights["fields.0.weight"], queries=0)
    assert layer.bytes_before == 30 * 8 * 4 and layer.bytes_after == model.fields[0].table.stored_bytes
    assert (layer.rows, layer.dimension, layer.method, layer.reason) == (30, 8, "asym", "")
    assert (layer.normalized_l2, layer.mean_cosine) == (evaluation.normalized_l2, evaluation.mean_cosine)
    assert report.dense_bytes == 4 * (16 * 3 + 3)
    assert report.bytes_before == 4 * (50 * 16 + 30 * 8 + 20 * 4) + report.dense_bytes
    tables = sum(m.table.stored_bytes for m in (model.tokens, *model.fields))
    assert report.bytes_after == tables + report.dense_bytes
    assert [name for name, _ in model.named_parameters()] == ["head.weight", "head.bias"]


def test_report_prints_as_a_table():
    report = compress_model_(Model(), bits=4)
    lines = str(report).splitlines()
    assert lines[0].split()[:3] == ["layer", "rows", "dim"] and lines[-1].startswith("total")
    assert len(lines) == len(report) + 3 and lines[-2].startswith("the rest")
    assert f"{report.bytes_after:,}" in lines[-1]
    assert "4 of 4 layers" in repr(report)
    assert report[0].as_dict()["name"] == "tokens" and len(report[:2]) == 2


def test_embeddings_that_share_a_weight_share_a_table():
    model = Tied()
    with pytest.warns(UserWarning, match=r"tokens is not compressed: its weight is tied to head\.weight"):
        report = compress_model_(model, "asym", bits=4, tied="skip")
    assert kinds(report) == {"encoder": "compressed", "decoder": "shared", "tokens": "skipped"}
    assert model.encoder is not model.decoder and model.encoder.parts is model.decoder.parts
    assert (model.encoder.padding_idx, model.decoder.padding_idx) == (0, None)
    assert report.bytes_before == 4 * (50 * 16 + 40 * 16)
    assert report.bytes_after == model.encoder.table.stored_bytes + 4 * 40 * 16
    assert model.tokens.weight is model.head.weight
    # Loading reaches both, as it does with a shared weight.
    other = Tied()
    compress_model_(other, "asym", bits=8, filter_fn=lambda name, _: name != "tokens")
    model.load_state_dict({k: v for k, v in other.state_dict().items() if not k.startswith("decoder")}, strict=False)
    assert torch.equal(model.decoder(IDS), other.encoder(IDS))


def test_tied_heads_can_be_untied():
    model = Tied()
    dense = model.head.weight.detach().clone()
    report = compress_model_(model, "asym", bits=4, tied="untie")
    assert kinds(report)["tokens"] == "compressed" and "head.weight" in report[2].reason
    assert torch.equal(model.head.weight, dense)
    assert isinstance(model.tokens, nn.CompressedEmbedding)
    # It takes more bytes than before.
    assert report[2].bytes_before == 0 and report.dense_bytes == dense.numel() * 4
    assert report.bytes_after == report.dense_bytes + report[0].bytes_after + report[2].bytes_after


def test_tied_heads_share_the_table(tmp_path):
    torch.manual_seed(0)
    model = Tied().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = compress_model_(model, "asym", bits=4)
    assert kinds(report)["head"] == "shared" and report[3].reason == "the table of tokens"
    assert isinstance(model.head, nn.CompressedLinear) and model.head.parts is model.tokens.parts
    x = torch.randn(3, 16)
    torch.testing.assert_close(model.head(x), x @ torch.from_numpy(model.tokens.table.decode()).T)
    assert report.dense_bytes == 0
    assert report.bytes_after == nn.save_compressed(tmp_path / "model.safetensors", model)


class OwnHead(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, x):
        return x @ self.weight.T


def test_heads_of_any_class_share_the_table_and_other_holders_do_not():
    tokens = E(70, 8)
    model = torch.nn.ModuleDict({"tokens": tokens, "head": OwnHead(tokens.weight)})
    x = torch.randn(2, 8)
    report = nn.compress_model_(model, bits=8)
    assert kinds(report) == {"tokens": "compressed", "head": "shared"}
    assert isinstance(model["head"], OwnHead) and model["head"].parts is model["tokens"].parts
    torch.testing.assert_close(model["head"](x), x @ torch.from_numpy(model["tokens"].table.decode()).T)
    tokens = E(70, 8)
    bare = torch.nn.ParameterList([tokens.weight])
    model = torch.nn.ModuleDict({"tokens": tokens, "head": OwnHead(tokens.weight), "bare": bare})
    with pytest.warns(UserWarning, match=r"tied to head\.weight, bare\.0"):
        assert kinds(nn.compress_model_(model)) == {"tokens": "skipped"}


def test_a_head_that_the_filter_leaves_out_stays_dense():
    model = Tied()
    with pytest.warns(UserWarning, match=r"tied to head\.weight, and filter_fn leaves head out"):
        report = compress_model_(model, filter_fn=lambda name, _: name != "head")
    assert kinds(report) == {"encoder": "compressed", "decoder": "shared", "tokens": "skipped"}
    assert type(model.head) is torch.nn.Linear and model.head.weight is model.tokens.weight
    report = compress_model_(model, filter_fn=lambda name, _: name != "head", tied="untie")
    assert kinds(report)["tokens"] == "compressed" and type(model.head) is torch.nn.Linear


class Doubled(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def test_a_head_with_another_parametrization_keeps_it():
    model = torch.nn.ModuleDict({"tokens": E(40, 16), "head": torch.nn.Linear(16, 40)})
    model["head"].weight = model["tokens"].weight
    torch.nn.utils.parametrize.register_parametrization(model["head"], "bias", Doubled())
    x = torch.randn(2, 16)
    expected = model["head"](x)
    with pytest.warns(UserWarning, match=r"tokens is not compressed: its weight is tied to head\.weight"):
        compress_model_(model)
    assert torch.equal(model["head"](x), expected)
    with pytest.raises(ValueError, match=r"head\.weight: its bias has a parametrization, which would be lost"):
        nn.prepare(model)


@pytest.mark.parametrize("first", [True, False])
def test_convert_refuses_other_parametrizations(first):
    model = torch.nn.Sequential(torch.nn.Linear(16, 40))
    nn.prepare(model, activations=None)
    torch.nn.utils.parametrize.register_parametrization(model[0], "bias", Doubled())
    if first:
        lists = model[0].parametrizations
        lists._modules = dict(reversed(lists._modules.items()))
    with pytest.raises(ValueError, match="bias has another parametrization beside that of prepare"):
        nn.convert(model)


def test_small_tables_stay_dense():
    model = torch.nn.ModuleDict({"tokens": E(100, 16), "types": E(2, 16), "bias": E(64, 1)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = nn.compress_model_(model, bits=4)
    assert kinds(report) == {"tokens": "compressed", "types": "skipped", "bias": "compressed"}
    assert report[1].reason == "it has 2 rows, and minimum_rows is 64"
    assert (report[1].bytes_before, report[1].bytes_after) == (128, 128) and report.dense_bytes == 128
    model = torch.nn.ModuleDict({"tokens": E(100, 16), "bias": E(64, 1)})
    report = nn.compress_model_(model, minimum_bytes=257, bits=4)
    assert kinds(report) == {"tokens": "compressed", "bias": "skipped"}
    assert report[1].reason == "it has 256 bytes, and minimum_bytes is 257"
    with pytest.raises(TypeError, match="minimum_rows"):
        nn.compress_model_(model, minimum_rows="many")


def test_ties_through_memory_are_found():
    base = torch.randn(30, 8)
    model = torch.nn.ModuleDict({"all": E.from_pretrained(base), "some": E.from_pretrained(base[5:9])})
    with pytest.warns(UserWarning, match="tied"):
        assert set(kinds(compress_model_(model)).values()) == {"skipped"}
    model = torch.nn.ModuleDict({"low": E.from_pretrained(base[:10]), "high": E.from_pretrained(base[10:])})
    assert set(kinds(compress_model_(model)).values()) == {"compressed"}
    model = torch.nn.ModuleDict({"a": E.from_pretrained(base), "b": E.from_pretrained(base)})
    assert set(kinds(compress_model_(model)).values()) == {"compressed", "shared"}
    assert model["a"].parts is model["b"].parts


def test_filter():
    model = Model()
    report = compress_model_(model, filter_fn=lambda name, module: isinstance(module, torch.nn.EmbeddingBag))
    assert kinds(report) == {"tokens": "skipped", "alias": "skipped", "fields.0": "compressed", "fields.1": "skipped"}
    assert isinstance(model.tokens, E) and isinstance(model.fields[1], E)
    # A module that stays at one of its names keeps its weight.
    with pytest.warns(UserWarning, match=r"tokens is not compressed: its weight is tied to alias\.weight"):
        compress_model_(model, filter_fn=lambda name, _: name != "alias")
    assert model.tokens is model.alias
    compress_model_(model, filter_fn=lambda name, _: name != "alias", tied="untie")
    assert isinstance(model.tokens, nn.CompressedEmbedding) and isinstance(model.alias, E)


def hooked() -> E:
    module = E(9, 4)
    module.register_forward_hook(lambda *_: None)
    return module


def patched() -> E:
    module = E(9, 4)
    module.forward = lambda ids: ids
    return module


class Named(E):
    parts = 3


class WithTable(E):
    def __init__(self):
        super().__init__(9, 4)
        self.table = torch.nn.Parameter(torch.ones(4))

    def forward(self, ids):
        return super().forward(ids) * self.table


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (lambda: E(9, 4, max_norm=1.0), "max_norm"),
        (lambda: torch.nn.EmbeddingBag(9, 4, max_norm=1.0), "max_norm"),
        (patched, "not that of its class"),
        (lambda: Named(9, 4), "attribute 'parts' of its own"),
        (WithTable, "attribute 'table' of its own"),
        (hooked, "hooks"),
        (lambda: E(9, 4, device="meta"), "meta"),
        (lambda: torch.nn.utils.parametrizations.weight_norm(E(9, 4)), "computed"),
        (lambda: type("Embedding", (torch.nn.Module,), {})(), "not a torch.nn.Embedding"),
    ],
)
def test_what_cannot_be_compressed_is_named(module, reason):
    model = torch.nn.Sequential(module(), E(9, 4))
    kept = model[0]
    with pytest.warns(UserWarning, match=f"0 is not compressed: .*{reason}"):
        report = compress_model_(model)
    assert report[0].status == "skipped" and reason in report[0].reason and report[1].status == "compressed"
    assert model[0] is kept


def test_a_second_time_changes_nothing():
    model = Model()
    compress_model_(model)
    modules = list(model.modules())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = compress_model_(model)
    assert {layer.reason for layer in report} == {"it is compressed already"}
    assert list(model.modules()) == modules
    assert report.bytes_before == report.bytes_after and "skipped" in str(report)


def test_a_model_stays_whole_if_anything_fails():
    model = Model()
    with torch.no_grad():
        model.fields[1].weight[7, 2] = float("nan")
    modules = list(model.modules())
    with pytest.raises(ValueError, match="row 7") as caught:
        compress_model_(model)
    assert any("fields.1" in note for note in caught.value.__notes__)
    with pytest.raises(ValueError):
        compress_model_(model, "no such method")
    with torch.no_grad():
        model.fields[1].weight[7, 2] = 0
    with pytest.raises(KeyboardInterrupt):
        compress_model_(model, progress=lambda done, total: done < 60)
    assert list(model.modules()) == modules


def test_progress_counts_the_rows_of_all_layers():
    calls = []
    compress_model_(Model(), progress=lambda done, total: calls.append((done, total)))
    assert {total for _, total in calls} == {100}
    assert [done for done, _ in calls] == sorted(done for done, _ in calls) and calls[-1] == (100, 100)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="itself an embedding"):
        compress_model_(E(9, 4))
    with pytest.raises(ValueError, match="tied"):
        compress_model_(Model(), tied="maybe")
    with pytest.warns(UserWarning, match="no torch"):
        assert len(compress_model_(torch.nn.Linear(2, 2))) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_other_dtypes_still_run(dtype):
    model = torch.nn.Sequential(E(20, 8), torch.nn.Linear(8, 2)).to(dtype)
    expected = model(IDS)
    report = compress_model_(model, "asym", bits=8)
    assert report.bytes_before == (20 * 8 + 8 * 2 + 2) * dtype.itemsize
    torch.testing.assert_close(model(IDS), expected, atol=0.1, rtol=0)


def test_budget_is_of_each_table():
    model = Model()
    report = compress_model_(model, "asym", budget=0.5)
    assert all(layer.bytes_after <= 0.5 * layer.bytes_before for layer in report if layer.status == "compressed")


def test_bert():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    torch.manual_seed(0)
    model = transformers.BertModel(config).eval()
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 300, (2, 7)))
    with torch.no_grad():
        expected = model(ids).last_hidden_state
        report = compress_model_(model, "greedy", bits=8)
        torch.testing.assert_close(model(ids).last_hidden_state, expected, atol=0.2, rtol=0)
    assert [layer.name for layer in report] == [
        f"embeddings.{name}_embeddings" for name in ("word", "position", "token_type")
    ]
    tied = transformers.BertForMaskedLM(config).eval()
    report = compress_model_(tied, bits=4)
    assert [layer.status for layer in report] == ["compressed", "shared", "compressed", "compressed"]
    assert tied(ids).logits.shape == (2, 7, 300)
