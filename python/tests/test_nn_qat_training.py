"""Fake quantization: what is rounded, straight-through gradients, moving averages, and `prepare`."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import embedcompress as ec
from embedcompress import nn
from embedcompress._groups import KINDS

sizes = st.sampled_from([1, 2, 7, 8, 17, 33])


def original(module, name="weight"):
    return module.parametrizations[name].original


def fake(module, name="weight"):
    return module.parametrizations[name][0]


@given(
    rows=sizes,
    columns=sizes,
    bits=st.integers(1, 8),
    kind=st.sampled_from(KINDS),
    ranges=st.sampled_from(["min_max", "moving_average", "least_squares"]),
    scale_dtype=st.sampled_from(["f16", "f32"]),
    seed=st.integers(0, 1000),
)
def test_the_weight_is_what_its_table_will_say(rows, columns, bits, kind, ranges, scale_dtype, seed):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    settings = nn.Quantization(bits, kind, 3, 8, ranges, scale_dtype=scale_dtype)
    quantizer = nn.FakeQuantizedWeight(settings, rows, columns)
    rounded, table = quantizer(weight), quantizer.table(weight)
    np.testing.assert_allclose(table.decode(), rounded.numpy(), rtol=1e-6, atol=1e-6)
    assert table.stored_bytes == settings.stored_bytes(rows, columns)
    if ranges != "moving_average":
        packed = ec.group_quantize(weight, bits, group=kind, groups=3, block=8, ranges=ranges, scale_dtype=scale_dtype)
        np.testing.assert_array_equal(packed.decode(), table.decode())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_straight_through(kind):
    torch.manual_seed(0)
    weight, vector = torch.randn(12, 16, requires_grad=True), torch.randn(12, 16)
    (nn.FakeQuantizedWeight(nn.Quantization(2, kind, 4, 8), 12, 16)(weight) * vector).sum().backward()
    assert torch.equal(weight.grad, vector)


def test_gradients_are_zero_where_a_value_is_clipped():
    torch.manual_seed(0)
    quantizer = nn.FakeQuantizedActivation(2, momentum=0.0)
    quantizer(torch.tensor([0.0, 3.0]))
    quantizer.eval()
    input = torch.tensor([-4.0, -0.51, -0.49, 0.4, 1.5, 3.4, 3.6], requires_grad=True)
    result = quantizer(input)
    assert result.tolist() == [0, 0, 0, 0, 2, 3, 3]
    vector = torch.randn(7)
    (result * vector).sum().backward()
    assert torch.equal(input.grad, vector * torch.tensor([0, 0, 1, 1, 1, 1, 0]))


def test_a_moving_average_counts_each_step_once():
    torch.manual_seed(0)
    model = torch.nn.ModuleList([torch.nn.Embedding(10, 8), torch.nn.Linear(8, 10, bias=False)])
    model[1].weight = model[0].weight
    settings = nn.Quantization(8, "tensor", ranges="moving_average", momentum=0.75)
    nn.prepare(model, settings, embeddings=settings, activations=None)
    quantizer, weight = fake(model[0]), original(model[0])
    assert quantizer is fake(model[1]) and weight is original(model[1])
    low = weight.min().item()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    for _ in range(3):
        for _ in range(2):
            model[1](model[0](torch.arange(10))).square().mean().backward()
        assert quantizer.low.item() == pytest.approx(low)
        optimizer.step()
        low = 0.75 * low + 0.25 * weight.min().item()
        model[0](torch.arange(3))
        assert quantizer.low.item() == pytest.approx(low)
    model.eval()
    with torch.no_grad():
        weight.mul_(2)
    model[0](torch.arange(3))
    assert quantizer.low.item() == pytest.approx(low)


def test_least_squares_follows_the_weight():
    torch.manual_seed(0)
    weight = torch.randn(16, 16)
    quantizer = nn.FakeQuantizedWeight(nn.Quantization(3, "rows", 4, ranges="least_squares"), 16, 16)
    before = quantizer(weight)
    assert torch.equal(quantizer(weight), before)
    weight.data.mul_(4)
    torch.testing.assert_close(quantizer(weight), 4 * before, rtol=0.01, atol=0.01)
    ranges = nn.FakeQuantizedWeight(nn.Quantization(3, "rows", 4), 16, 16)(weight)
    assert (quantizer(weight) - weight).norm() < (ranges - weight).norm()


def test_activations_have_the_range_of_the_first_batch_and_then_an_average():
    quantizer = nn.FakeQuantizedActivation(8, momentum=0.5).eval()
    assert not quantizer.has_range
    quantizer(torch.tensor([0.0, 1.0]))
    quantizer(torch.tensor([-9.0, 9.0]))
    assert (quantizer.low.item(), quantizer.high.item()) == (0, 1)
    quantizer.train()(torch.tensor([-1.0, 3.0]))
    assert (quantizer.low.item(), quantizer.high.item()) == (-0.5, 2)
    quantizer.frozen = True
    quantizer(torch.tensor([-9.0, 9.0]))
    assert (quantizer.low.item(), quantizer.high.item()) == (-0.5, 2)
    ids = torch.arange(3)
    assert quantizer(ids) is ids


def test_inputs_are_rounded_however_they_are_given():
    torch.manual_seed(0)
    model = torch.nn.ModuleList([torch.nn.Linear(8, 4), torch.nn.MultiheadAttention(8, 2)])
    nn.prepare(model, 8, activations=2)
    linear, attention = model.eval()
    input, other = torch.randn(5, 8), torch.randn(6, 8)
    result = linear(input)
    assert torch.equal(linear(input=input), result)
    assert len(torch.unique(linear.input_quantizer(input))) <= 4
    plain = torch.nn.functional.linear(linear.input_quantizer(input), linear.weight, linear.bias)
    assert torch.equal(result, plain)
    expected = attention(input, other, other)[0]
    assert torch.equal(attention(input, value=other, key=other)[0], expected)
    assert torch.equal(attention(query=input, value=other, key=other, need_weights=True)[0], expected)


def small_model():
    torch.manual_seed(0)
    return torch.nn.ModuleDict(
        {
            "words": torch.nn.Embedding(30, 16, padding_idx=0),
            "bags": torch.nn.EmbeddingBag(20, 16, mode="sum"),
            "layers": torch.nn.Sequential(torch.nn.Linear(16, 24), torch.nn.GELU(), torch.nn.Linear(24, 16)),
            "head": torch.nn.Linear(16, 3),
        }
    )


def run(model, ids):
    return model["head"](model["layers"](model["words"](ids).mean(1) + model["bags"](ids)))


def test_settings_by_name_and_the_report():
    model = small_model()
    report = nn.prepare(
        model,
        nn.Quantization(4, "blocks", block=8),
        embeddings=6,
        by_name={"layers.0": 2, "layers": nn.Quantization(3, "tensor"), "head": None, "bag*": 32},
    )
    found = {entry.name: entry.settings and (entry.settings.bits, entry.settings.group) for entry in report}
    assert found == {
        "words.weight": (6, "columns"),
        "bags.weight": None,
        "layers.0.weight": (2, "blocks"),
        "layers.0.bias": None,
        "layers.2.weight": (3, "tensor"),
        "layers.2.bias": None,
        "head.weight": None,
        "head.bias": None,
    }
    assert report.named("head.weight").reason == "by_name leaves it as it is"
    assert report.named("layers.0.weight").bytes_after == 24 * (4 + 2 * 4)
    assert report.bytes_before == sum(p.numel() * 4 for p in small_model().parameters())
    assert not hasattr(model["head"], "input_quantizer") and hasattr(model["layers"][0], "input_quantizer")
    lines = str(report).splitlines()
    assert len(lines) == len(report) + 2 and "kept: a vector, not a matrix" in str(report)


def test_an_ordinary_loop_trains_the_same_parameters():
    model = small_model()
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    nn.prepare(model, 2)
    assert original(model["words"]) is parameters["words.weight"]
    ids, target = torch.randint(1, 20, (64, 5)), torch.randint(0, 3, (64,))
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(run(model, ids), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert len(torch.unique(model["layers"][0].weight[:, 0])) <= 4
    copied = copy.deepcopy(model)
    other = small_model()
    nn.prepare(other, 2)
    other.load_state_dict(model.state_dict())
    model.eval(), copied.eval(), other.eval()
    expected = run(model, ids)
    assert torch.equal(run(copied, ids), expected) and torch.equal(run(other, ids), expected)
    assert not torch.equal(expected, run(small_model(), ids))


def test_what_is_not_meant_is_refused():
    with pytest.raises(ValueError, match="no layer of that name"):
        nn.prepare(small_model(), by_name={"layer.0": 2})
    with pytest.raises(ValueError, match="bits must be an integer from 1 to 8, not 9"):
        nn.prepare(small_model(), 9)
    with pytest.raises(ValueError, match="bits must be an integer from 1 to 8, not 16"):
        nn.prepare(small_model(), activations=16)
    with pytest.raises(ValueError, match="momentum"):
        nn.Quantization(momentum=1.0)
    with pytest.raises(ValueError, match="unsupported must be"):
        nn.prepare(small_model(), unsupported="ignore")
    model = small_model()
    nn.prepare(model)
    with pytest.raises(ValueError, match="prepared already"):
        nn.prepare(model)
