"""Embeddings of torch.ao.nn.quantized, taken over by `from_module` and `compress_model_`."""

import copy
import warnings

import numpy as np
import pytest
import reference
import torch
from torch.ao.nn import quantized
from torch.ao.quantization import (
    float_qparams_weight_only_qconfig,
    float_qparams_weight_only_qconfig_4bit,
    quantize_dynamic,
)

import embedcompress as ec
from embedcompress import nn

pytestmark = pytest.mark.filterwarnings("ignore:torch.quant", "ignore:torch.ao", "ignore::DeprecationWarning")

DTYPES = {8: torch.quint8, 4: torch.quint4x2}
QCONFIGS = {8: float_qparams_weight_only_qconfig, 4: float_qparams_weight_only_qconfig_4bit}
ROW = {8: torch.ops.quantized.embedding_byte, 4: torch.ops.quantized.embedding_4bit}
both_widths = pytest.mark.parametrize("bits", [8, 4])


def make(
    kind=quantized.Embedding, rows=30, dimension=16, bits=8, weight=None, scales=None, zero_points=None, **options
):
    """A quantized module with any codes, scales and zero points."""
    generator = torch.Generator().manual_seed(rows * dimension + bits)
    scales = torch.rand(rows, generator=generator) + 0.01 if scales is None else scales
    zero_points = torch.randn(rows, generator=generator) * 2**bits / 2 if zero_points is None else zero_points
    if weight is None:
        codes = torch.randint(0, 2**bits, (rows, dimension), generator=generator)
        weight = (codes - zero_points[:, None]) * scales[:, None]
    packed = torch.quantize_per_channel(weight, scales, zero_points, 0, DTYPES[bits])
    return kind(rows, dimension, _weight=packed, dtype=DTYPES[bits], **options)


def dynamic(bits, **embeddings):
    """A model whose embeddings quantize_dynamic has quantized."""
    model = torch.nn.ModuleDict(embeddings).eval()
    return quantize_dynamic(model, {type(module): QCONFIGS[bits] for module in embeddings.values()})


def assert_rows_are_torch_s(table, rows, bits):
    """Equal at 4 bits; at 8 with f32 scales torch rounds once, and the table the product and the sum."""
    rows = rows.numpy()
    if bits == 4:
        np.testing.assert_array_equal(table.decode(), rows)
    else:
        assert (np.abs(table.decode() - rows) <= 2**-23 * reference.rows(table).magnitude.max()).all()


# Rows


@both_widths
@pytest.mark.parametrize("dimension", [2, 4, 16, 34, 300])
def test_rows_are_those_that_torch_looks_up(bits, dimension):
    module = make(bits=bits, dimension=dimension)
    new = nn.CompressedEmbedding.from_module(module)
    table = new.table
    assert table.shape == (30, dimension)
    assert table.stored_bytes == 30 * (dimension * bits // 8 + (8 if bits == 8 else 4))
    ids = torch.arange(30)
    assert_rows_are_torch_s(table, module(ids), bits)
    tree, arrays = table.parts()
    packed = arrays[tree["tensors"]["rows"]].values
    weight = module.weight()
    np.testing.assert_array_equal(packed[:, : dimension * bits // 8].ravel(), weight.int_repr().numpy().ravel())


@both_widths
def test_scales_and_biases_are_those_that_torch_packed(bits):
    """A code of 0 gives the bias alone, and a bias of 0 gives codes times the scale."""
    rows, dimension = 200, 4
    generator = torch.Generator().manual_seed(bits)
    scales = torch.rand(rows, generator=generator) * 0.2 + 1e-3
    zero_points = torch.randn(rows, generator=generator) * 100
    lowest = torch.full((rows, dimension), -1e6)
    module = make(bits=bits, rows=rows, dimension=dimension, weight=lowest, scales=scales, zero_points=zero_points)
    assert not module.weight().int_repr().any()
    table = nn.CompressedEmbedding.from_module(module).table
    np.testing.assert_array_equal(table.decode(), module(torch.arange(rows)).numpy())
    # The largest code, and no bias.
    options = {"scales": scales, "zero_points": torch.zeros(rows)}
    module = make(bits=bits, rows=rows, dimension=dimension, weight=-lowest, **options)
    table = nn.CompressedEmbedding.from_module(module).table
    np.testing.assert_array_equal(table.decode(), module(torch.arange(rows)).numpy())


def test_eight_bit_rows_are_those_of_the_prepack_operator(rng):
    """Of the same scales as the operator on tensors packs, the table has the same scales, and codes next to them."""
    weight = torch.from_numpy(rng.standard_normal((20, 16)).astype(np.float32))
    rows = torch.ops.quantized.embedding_bag_byte_prepack(weight)
    ours = ec.from_fused_rows(rows, 16, bits=8)
    scales, biases = rows[:, 16:].contiguous().view(torch.float32).T
    module = make(rows=20, weight=weight, scales=scales.contiguous(), zero_points=-biases / scales)
    taken = nn.CompressedEmbedding.from_module(module).table
    np.testing.assert_allclose(taken.decode(), ours.decode(), atol=1e-6 + float(scales.max()))
    np.testing.assert_array_equal(ec.to_fused_rows(taken)[:, 16:20], rows[:, 16:20].numpy())


@both_widths
def test_bags_sum_as_torch_s(bits):
    ids = torch.randint(0, 30, (50,), generator=torch.Generator().manual_seed(1))
    offsets = torch.tensor([0, 3, 3, 20, 50])
    weights = torch.rand(50)
    for last in (False, True):
        module = make(quantized.EmbeddingBag, bits=bits, include_last_offset=last)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            new = nn.CompressedEmbeddingBag.from_module(module)
        assert (new.mode, new.padding_idx, new.include_last_offset) == ("sum", None, last)
        for some in (None, weights):
            theirs = module(ids, offsets, per_sample_weights=some)
            torch.testing.assert_close(new(ids, offsets, per_sample_weights=some), theirs, rtol=1e-5, atol=1e-2)


def test_a_module_that_was_saved_and_loaded():
    module, other = make(bits=4), make(bits=4, scales=torch.ones(30))
    other.load_state_dict(module.state_dict())
    new = nn.CompressedEmbedding.from_module(other)
    assert_rows_are_torch_s(new.table, module(torch.arange(30)), 4)
    again = nn.CompressedEmbedding(ec.compress(np.ones((30, 16), np.float32)))
    again.load_state_dict(new.state_dict())
    np.testing.assert_array_equal(again.table.decode(), new.table.decode())


def test_a_module_without_rows():
    assert nn.CompressedEmbedding.from_module(quantized.Embedding(0, 8)).table.shape == (0, 8)


# What torch's modules ignore


@both_widths
@pytest.mark.parametrize("mode", ["mean", "max"])
def test_the_mode_is_heeded(bits, mode):
    module = make(quantized.EmbeddingBag, bits=bits, mode=mode)
    with pytest.warns(UserWarning, match=f"sums in spite of mode='{mode}'") as caught:
        new = nn.CompressedEmbeddingBag.from_module(module)
    assert caught[0].filename == __file__
    ids, offsets = torch.tensor([1, 2, 3, 3, 9]), torch.tensor([0, 2])
    weight = torch.from_numpy(new.table.decode())
    expected = torch.nn.functional.embedding_bag(ids, weight, offsets, mode=mode)
    torch.testing.assert_close(new(ids, offsets), expected, rtol=1e-5, atol=1e-4)
    # As the docstring has it for those who want torch's sums.
    module.mode = "sum"
    sums = nn.CompressedEmbeddingBag.from_module(module)(ids, offsets)
    torch.testing.assert_close(sums, module(ids, offsets), rtol=1e-5, atol=1e-3)


def test_a_padding_idx_is_heeded():
    module = make(quantized.EmbeddingBag)
    module.padding_idx = 3
    with pytest.warns(UserWarning, match="pools the rows of padding_idx=3"):
        new = nn.CompressedEmbeddingBag.from_module(module)
    ids = torch.tensor([[1, 3, 2]])
    torch.testing.assert_close(new(ids), new(torch.tensor([[1, 2]])))
    embedding = make()
    embedding.padding_idx = 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nn.CompressedEmbedding.from_module(embedding).padding_idx == 3


def test_four_bit_embeddings_of_quantize_dynamic_are_mended():
    """torch reads their codes as 8-bit ones; the rows are right all the same."""
    source = torch.nn.Embedding(30, 16)
    (module,) = dynamic(4, tokens=source).values()
    ids = torch.arange(30)
    assert module(ids).shape != (30, 16)
    with pytest.warns(UserWarning, match="reads its 4-bit codes as 8-bit ones"):
        new = nn.CompressedEmbedding.from_module(module)
    assert_rows_are_torch_s(new.table, ROW[4](module._packed_params._packed_weight, ids), 4)
    assert ec.evaluate(new.table, source.weight.detach(), queries=0).normalized_l2 < 0.15


# What is refused


def odd():
    return make(bits=4, dimension=15)


def pruned():
    module = make(quantized.EmbeddingBag)
    module.pruned_weights = True
    return module


class Positions(quantized.Embedding):
    def forward(self, indices):
        return super().forward(indices + 2)


@pytest.mark.parametrize(
    ("module", "reason"),
    [(odd, "odd number of 4-bit codes"), (pruned, "pruned"), (lambda: make(Positions), "forward of its own")],
)
def test_what_cannot_be_taken_over_is_named(module, reason):
    module = module()
    new = nn.CompressedEmbeddingBag if isinstance(module, quantized.EmbeddingBag) else nn.CompressedEmbedding
    with pytest.raises(ValueError, match=f"can't be taken over: .*{reason}"):
        new.from_module(module)
    model = torch.nn.Sequential(module, make())
    with pytest.warns(UserWarning, match=f"0 is not compressed: .*{reason}"):
        report = nn.compress_model_(model)
    assert [layer.status for layer in report] == ["skipped", "imported"] and model[0] is module
    assert report[0].bytes_before == report[0].bytes_after > 0


def test_torch_packs_odd_rows_of_four_bits_wrongly():
    """Why they are refused: torch's own lookups are not the rows that were packed."""
    weight = torch.linspace(-1, 1, 75).reshape(5, 15)
    scales = (weight.amax(1) - weight.amin(1)) / 15
    packed = torch.quantize_per_channel(weight, scales, -weight.amin(1) / scales, 0, torch.quint4x2)
    theirs = ROW[4](torch.ops.quantized.embedding_bag_prepack(packed), torch.arange(5))
    assert theirs.shape == (5, 16) and (theirs[1:, :15] - weight[1:]).abs().max() > 2 * scales.max()


def test_hooks_are_not_lost():
    model = torch.nn.Sequential(make())
    model[0].register_forward_hook(lambda *_: None)
    with pytest.warns(UserWarning, match="hooks"):
        assert nn.compress_model_(model)[0].status == "skipped"


def test_scales_past_f16_are_refused():
    zero_points = torch.zeros(30)
    zero_points[7] = 1e6
    module = make(bits=4, scales=torch.ones(30), zero_points=zero_points, weight=torch.zeros(30, 16))
    with pytest.raises(ValueError, match=r"row 7 has the scale 1\.0 and the bias -1000000\.0, which f16 does not hold"):
        nn.CompressedEmbedding.from_module(module)
    model = torch.nn.ModuleDict({"fine": make(), "wide": module})
    kept = list(model.modules())
    with pytest.raises(ValueError, match="row 7") as caught:
        nn.compress_model_(model)
    assert any("wide" in note for note in caught.value.__notes__)
    assert list(model.modules()) == kept


def test_an_embedding_is_no_bag():
    with pytest.raises(TypeError, match="does not pool"):
        nn.CompressedEmbeddingBag.from_module(make())
    with pytest.raises(ValueError, match="itself an embedding"):
        nn.compress_model_(make())


# Models


@both_widths
def test_a_quantized_model_is_taken_over(bits):
    torch.manual_seed(0)
    fields = torch.nn.EmbeddingBag(30, 16, mode="sum")
    model = dynamic(bits, fields=fields)
    model["dense"] = torch.nn.Embedding(20, 8)
    before = copy.deepcopy(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = nn.compress_model_(model, "asym", minimum_rows=1, bits=2)
    layer, dense = report
    size = 30 * (16 + 8 if bits == 8 else 8 + 4)
    assert (layer.name, layer.status, layer.method) == ("fields", "imported", None)
    assert (layer.rows, layer.dimension, layer.bytes_before, layer.bytes_after) == (30, 16, size, size)
    assert (layer.normalized_l2, layer.mean_cosine) == (None, None)
    assert layer.reason == f"its {bits}-bit codes, scales and biases are taken over as they are"
    assert (dense.status, dense.method) == ("compressed", "asym")
    assert report.bytes_before == size + 20 * 8 * 4
    assert report.bytes_after == size + dense.bytes_after
    assert "imported: its" in str(report) and "2 of 2 layers" in repr(report)
    new = model["fields"]
    assert isinstance(new, nn.CompressedEmbeddingBag) and new.mode == "sum"
    assert new.training == before["fields"].training
    ids, offsets = torch.arange(30), torch.tensor([0, 10, 15])
    torch.testing.assert_close(new(ids, offsets), before["fields"](ids, offsets), rtol=1e-5, atol=1e-4)


def test_what_changes_is_warned_of_and_reported():
    model = dynamic(4, tokens=torch.nn.Embedding(9, 4), fields=torch.nn.EmbeddingBag(9, 4))
    with pytest.warns(UserWarning) as caught:
        report = nn.compress_model_(model)
    assert sorted(str(warning.message).partition(":")[0] for warning in caught) == [
        "fields changes its results",
        "tokens changes its results",
    ]
    assert all(warning.filename == __file__ for warning in caught)
    reasons = {layer.name: layer.reason for layer in report}
    assert "as 8-bit ones" in reasons["tokens"] and "mode='mean'" in reasons["fields"]


def test_shared_modules_share_a_table():
    one, other = make(), make()
    other._packed_params = one._packed_params
    model = torch.nn.ModuleDict({"a": one, "alias": one, "b": other, "c": make()})
    report = nn.compress_model_(model)
    assert [layer.status for layer in report] == ["imported", "shared", "shared", "imported"]
    assert [layer.reason for layer in report][1:3] == ["the same module as a", "the table of a"]
    assert model["a"] is model["alias"] and model["a"].parts is model["b"].parts is not model["c"].parts
    assert report.bytes_after == 2 * model["a"].table.stored_bytes


@pytest.mark.parametrize("left_out", ["alias", "b"])
def test_what_stays_keeps_its_weight(left_out):
    one, other = make(), make()
    other._packed_params = one._packed_params
    model = torch.nn.ModuleDict({"a": one, "alias": one, "b": other})

    def chosen(name, _):
        return name != left_out

    with pytest.warns(UserWarning, match=f"is not compressed: its weight is tied to {left_out}") as caught:
        report = nn.compress_model_(model, filter_fn=chosen)
    assert {layer.status for layer in report} == {"skipped"} and model["a"] is one
    assert len(caught) == 2
    report = nn.compress_model_(model, filter_fn=chosen, tied="untie")
    assert f"untied from {left_out}, which keeps the packed weight" in report[0].reason
    assert isinstance(model["a"], nn.CompressedEmbedding) and model[left_out] in (one, other)


def test_progress_counts_rows_that_are_taken_over():
    model = torch.nn.ModuleDict({"a": make(rows=30), "b": torch.nn.Embedding(20, 4), "c": make(rows=10)})
    calls = []
    nn.compress_model_(copy.deepcopy(model), minimum_rows=1, progress=lambda done, total: calls.append((done, total)))
    assert {total for _, total in calls} == {60} and calls[-1] == (60, 60)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    modules = list(model.modules())
    with pytest.raises(KeyboardInterrupt):
        nn.compress_model_(model, minimum_rows=1, progress=lambda done, total: done < 60)
    assert list(model.modules()) == modules


def test_the_new_model_is_exported():
    """As that of torch is not, whose packed weight is an opaque object."""
    model = torch.nn.Sequential(make(), torch.nn.Linear(16, 2)).eval()
    nn.compress_model_(model)
    ids = torch.tensor([[1, 2, 3]])
    program = torch.export.export(model, (ids,))
    torch.testing.assert_close(program.module()(ids), model(ids))
