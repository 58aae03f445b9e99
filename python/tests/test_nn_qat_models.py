"""`prepare` and `convert` of whole models: the same logits, the formula's bytes, nothing left out in silence."""

import copy

import pytest
import torch
from test_nn_qat_training import original, run, small_model

from embedcompress import nn
from embedcompress._groups import KINDS
from embedcompress.nn._convert import convert_at_once

IDS = torch.arange(24).reshape(4, 6) % 19


def bert(kind="BertForSequenceClassification", **options):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=12,
        **options,
    )
    return getattr(transformers, kind)(config)


def transformer():
    torch.manual_seed(0)
    return torch.nn.ModuleDict(
        {"words": torch.nn.Embedding(50, 16), "net": torch.nn.Transformer(16, 2, 2, 2, 32, batch_first=True)}
    )


def logits(model):
    if "words" not in dict(model.named_children()):
        return model(IDS).logits
    padding = IDS == 5
    return model["net"](model["words"](IDS), model["words"](IDS + 20), src_key_padding_mask=padding)


def trained(model, steps=3):
    """Train a prepared model a little, and set it to eval mode."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        logits(model).square().mean().backward()
        optimizer.step()
    return model.eval()


def converted(model):
    """Return the logits of a prepared model before and after it is converted, and both reports."""
    with torch.no_grad():
        before = logits(model)
        report = nn.convert(model)
        return before, logits(model), report


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranges", ["min_max", "moving_average", "least_squares"])
@pytest.mark.parametrize("make", [bert, transformer], ids=["bert", "transformer"])
def test_the_packed_model_has_the_same_logits(make, kind, ranges):
    model = make()
    settings = nn.Quantization(3, kind, 4, 8, ranges)
    planned = nn.prepare(model, settings, embeddings=nn.Quantization(8, kind, 4, 8, ranges))
    before, after, report = converted(trained(model))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)
    for entry in planned:
        if entry.status == "quantized":
            assert report.named(entry.name).bytes_after == entry.bytes_after
    assert not [p for p in model.parameters() if sum(size > 1 for size in p.shape) > 1]
    state = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    texts = sum(tensor.numel() for name, tensor in model.state_dict().items() if name.endswith(".expression"))
    assert report.bytes_after == sum(t.numel() * t.element_size() for t in state.values()) - texts


def test_bits_make_a_difference():
    errors = []
    for bits in (8, 4, 2):
        model = bert().eval()
        with torch.no_grad():
            exact = logits(model)
        nn.prepare(model, bits, activations=None)
        _, after, _ = converted(model)
        errors.append((after - exact).norm().item())
    assert 0 < errors[0] < errors[1] < errors[2]


def test_the_packed_model_in_training_mode_keeps_its_ranges():
    model = bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    nn.prepare(model)
    trained(model)
    nn.convert(model)
    ranges = [module.low.item() for module in model.modules() if isinstance(module, nn.FakeQuantizedActivation)]
    model.train()
    logits(model)
    assert ranges == [module.low.item() for module in model.modules() if isinstance(module, nn.FakeQuantizedActivation)]


def test_a_transformer_encoder_takes_no_fast_path():
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2)
    nn.prepare(model, 8, activations=None, by_name={"layers.0.self_attn": None})
    model.eval()
    input, padding = torch.randn(3, 5, 16), torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = True
    with torch.no_grad():
        before = model(input, src_key_padding_mask=padding)
        nn.convert(model)
        after = model(input, src_key_padding_mask=padding)
    torch.testing.assert_close(after[~padding], before[~padding], rtol=0, atol=1e-4)


def test_tied_embeddings_share_one_table():
    model = bert("BertForMaskedLM", tie_word_embeddings=True)
    words, decoder = "bert.embeddings.word_embeddings", "cls.predictions.decoder"
    report = nn.prepare(model, 4, embeddings=7)
    assert report.named(f"{decoder}.weight").status == "shared"
    assert report.named(f"{decoder}.weight").settings.bits == 7
    assert original(model.get_submodule(words)) is original(model.get_submodule(decoder))
    before, after, report = converted(trained(model))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)
    assert model.get_submodule(words).parts is model.get_submodule(decoder).parts
    assert report.named(f"{decoder}.weight").bytes_after == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("kind", ["blocks", "columns", "rows"])
def test_tables_made_at_once_are_those_of_prepare(dtype, kind):
    torch.manual_seed(0)
    layers = {
        "words": torch.nn.Embedding(70, 24),
        "attention": torch.nn.MultiheadAttention(24, 3),
        "up": torch.nn.Linear(24, 40),
        "left": torch.nn.Linear(40, 24),
        "head": torch.nn.Linear(24, 70, bias=False),
        "odd": torch.nn.Conv1d(3, 4, 2),
    }
    layers["head"].weight = layers["words"].weight
    layers["again"] = layers["up"]
    model = torch.nn.ModuleDict(layers).to(dtype)
    other = copy.deepcopy(model)
    settings = nn.Quantization(4, kind, groups=4, block=8, ranges="least_squares")
    nn.prepare(other, settings, embeddings=settings, by_name={"left": None}, activations=None, unsupported="keep")
    expected, found = nn.convert(other), convert_at_once(model, settings, {"left": None})
    assert str(found) == str(expected)
    assert model["again"] is model["up"] and type(model["left"]) is torch.nn.Linear
    assert model["head"].parts is model["words"].parts
    one, two = model.state_dict(), other.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_two_settings_for_a_tied_weight_are_refused():
    model = bert("BertForMaskedLM", tie_word_embeddings=True)
    with pytest.raises(ValueError, match=r"word_embeddings\.weight and cls.*decoder\.weight are one tied weight"):
        nn.prepare(model, by_name={"*.word_embeddings": 4, "*.decoder": 8})
    nn.prepare(model, by_name={"*.decoder": 3})
    assert model.get_submodule("bert.embeddings.word_embeddings").parametrizations.weight[0].settings.bits == 3


def test_a_layer_used_twice_stays_one():
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 8)
    model = torch.nn.Sequential(layer, torch.nn.ReLU(), layer, torch.nn.Sequential(layer))
    report = nn.prepare(model, 4)
    assert [entry.name for entry in report] == ["0.weight", "0.bias"]
    input = torch.randn(5, 8)
    model(input)
    model.eval()
    with torch.no_grad():
        before = model(input)
        nn.convert(model)
        torch.testing.assert_close(model(input), before, rtol=0, atol=1e-4)
    assert model[0] is model[2] is model[3][0] and isinstance(model[0], nn.CompressedLinear)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats(dtype):
    model = small_model().to(dtype)
    nn.prepare(model, nn.Quantization(8, "blocks"), activations=None)
    assert model["head"].weight.dtype is dtype
    with torch.no_grad():
        before = run(model.eval(), IDS)
        nn.convert(model)
        after = run(model, IDS)
    assert after.dtype is before.dtype is dtype
    # The packed model multiplies in f32, torch in the dtype.
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float64: 1e-5}[dtype]
    torch.testing.assert_close(after, before, rtol=0, atol=tolerance)


class Odd(torch.nn.Module):
    """What can't be packed, beside what can."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(8, 8)
        self.convolution = torch.nn.Conv1d(8, 8, 3)
        self.recurrent = torch.nn.LSTM(8, 8)
        self.bare = torch.nn.Parameter(torch.randn(4, 8))
        self.limited = torch.nn.Embedding(9, 8, max_norm=1.0)
        self.thin = torch.nn.Embedding(9, 8, sparse=True)
        self.own = torch.nn.Linear(8, 8)
        self.own.forward = lambda input: input
        self.normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(8, 8))
        self.part = torch.nn.Linear(8, 4, bias=False)
        self.part.weight = torch.nn.Parameter(self.first.weight.detach()[:4])


def test_unsupported_layers_are_refused_by_name():
    model = Odd()
    before = dict(model.named_parameters())
    with pytest.raises(ValueError, match="some matrices can't be quantized") as caught:
        nn.prepare(model)
    for name in ("bare", "convolution.weight", "recurrent.weight_ih_l0", "recurrent.weight_hh_l0", "limited.weight"):
        assert f"\n  {name}: " in str(caught.value)
    for words in (
        "Conv1d",
        "LSTM",
        "max_norm=1.0",
        "sparse=True",
        "is not that of its class",
        "parametrization already",
    ):
        assert words in str(caught.value)
    assert "first.weight: its memory is part of that of part.weight" in str(caught.value)
    assert dict(model.named_parameters()).keys() == before.keys()
    report = nn.prepare(model, unsupported="keep")
    assert {entry.name for entry in report} >= before.keys()
    assert all(entry.status == "kept" for entry in report)
    assert "Conv1d" in report.named("convolution.weight").reason


def test_weights_tied_to_what_is_unsupported():
    model = torch.nn.ModuleDict({"words": torch.nn.Embedding(6, 8), "table": torch.nn.ParameterList()})
    model["table"].append(model["words"].weight)
    with pytest.raises(ValueError, match=r"words\.weight: its weight is tied to table\.0, which can't be quantized"):
        nn.prepare(model)
    assert {entry.status for entry in nn.prepare(model, unsupported="keep")} == {"kept"}


def test_an_attention_is_quantized_as_a_whole():
    model = transformer()
    with pytest.raises(ValueError, match=r"net\.encoder\.layers\.0\.self_attn: either all weights"):
        nn.prepare(model, by_name={"net.encoder.layers.0.self_attn.out_proj": None})
    report = nn.prepare(model, by_name={"net.encoder.layers.0.self_attn": None})
    assert report.named("net.encoder.layers.0.self_attn.in_proj_weight").status == "kept"


def test_convert_refuses_by_name_and_changes_nothing():
    with pytest.raises(ValueError, match="no layer that prepare"):
        nn.convert(small_model())
    layer = torch.nn.Linear(4, 4)
    nn.prepare(layer, activations=None)
    with pytest.raises(ValueError, match="itself a layer"):
        nn.convert(layer)
    model = small_model()
    nn.prepare(model)
    with pytest.raises(ValueError, match=r"layers\.0: no activations have been seen"):
        nn.convert(model)
    run(model, IDS)
    hook = model["head"].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="head has hooks"):
        nn.convert(model)
    hook.remove()
    with torch.no_grad():
        original(model["head"])[1, 2] = torch.nan
    with pytest.raises(ValueError, match="row 1 has a value that is not finite") as caught:
        nn.convert(model)
    assert caught.value.__notes__ == ["in the layer head; the model is as it was"]
    assert isinstance(model["words"], torch.nn.Embedding)


def test_ranges_that_do_not_fit_f16_are_refused():
    model = small_model()
    with torch.no_grad():
        model["head"].weight[0, 0] = 1e6
    nn.prepare(model, activations=None)
    with pytest.raises(ValueError, match="scale_dtype='f32'"):
        nn.convert(model)
