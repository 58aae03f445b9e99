"""Whole models: transformers, embeddings and bags of every kind, ties, blocks by default, cost, and what is refused."""

import gc
import statistics
import time

import pytest
import torch
from curvature_reference import cross_entropy, dense_hessian, top
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from embedcompress import hessian
from embedcompress.hessian._products import Products
from embedcompress.hessian._twice import twice_differentiable


def transformers():
    return pytest.importorskip("transformers", reason="transformers is not installed: BERT is not tried")


class Encoder(nn.Module):
    """Words and positions, layers of torch's own, and a head."""

    def __init__(self, dimension=8, layers=2, rows=11, length=5, wide=12):
        super().__init__()
        self.words = nn.Embedding(rows, dimension)
        self.positions = nn.Embedding(length, dimension)
        layer = nn.TransformerEncoderLayer(dimension, 2, wide, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(dimension, 2)

    def forward(self, ids):
        found = self.words(ids) + self.positions(torch.arange(ids.shape[1]))
        return self.head(self.encoder(found).mean(1))


def encoder(seed=0, **shape):
    torch.manual_seed(seed)
    model = Encoder(**shape)
    rows, length = model.words.num_embeddings, model.positions.num_embeddings
    return model, [(torch.randint(0, rows, (8, length)), torch.randint(0, 2, (8,))) for _ in range(2)]


# Transformers


def test_a_transformer_encoder_of_torch():
    """Its fused attention can't be differentiated twice; torch's settings are as they were afterwards."""
    model, batches = encoder()
    fast, flash = torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()
    found = hessian.sensitivity(model, cross_entropy, batches, runs=1)
    assert list(found) == ["words", "positions", "encoder.layers.0", "encoder.layers.1"]
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()) == (fast, flash)
    for name in ("words", "encoder.layers.1.self_attn.out_proj"):
        part = model.get_submodule(name)
        one = hessian.sensitivity(model, cross_entropy, batches[:1], {name: part}, runs=1)[name]
        names = [f"{name}.{inner}" for inner, _ in part.named_parameters()]
        assert one.mean == pytest.approx(top(dense_hessian(model, cross_entropy, batches[:1], names)), rel=0.01)


def test_a_whole_transformer_of_torch():
    torch.manual_seed(0)
    model = nn.Transformer(8, 2, 2, 1, 16, batch_first=True)
    batch = (torch.randn(3, 5, 8), torch.randn(3, 4, 8))
    found = hessian.sensitivity(model, lambda model, batch: model(*batch).pow(4).mean(), [batch], runs=2)
    assert list(found) == ["encoder.layers.0", "encoder.layers.1", "decoder.layers.0"]
    assert all(one.omega > 0 for one in found.values())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_bert_of_hugging_face(attention):
    library = transformers()
    config = library.BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=10,
        attn_implementation=attention,
    )
    torch.manual_seed(0)
    model = library.BertForSequenceClassification(config)
    ids = torch.randint(0, 30, (6, 7))
    batch = {"input_ids": ids, "attention_mask": (ids > 3).long(), "labels": torch.randint(0, 2, (6,))}
    found = hessian.sensitivity(model, lambda model, batch: model(**batch).loss, [batch], runs=2)
    names = ["word_embeddings", "position_embeddings", "token_type_embeddings"]
    assert list(found) == [
        *(f"bert.embeddings.{name}" for name in names),
        *(f"bert.encoder.layer.{number}" for number in range(2)),
    ]
    assert all(one.omega > 0 for one in found.values())
    if attention == "sdpa":
        eager = library.BertForSequenceClassification._from_config(config, attn_implementation="eager")
        eager.load_state_dict(model.state_dict())
        other = hessian.sensitivity(eager, lambda model, batch: model(**batch).loss, [batch], runs=2)
        for name, one in found.items():
            assert one.mean == pytest.approx(other[name].mean, rel=2e-3)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["words", "encoder.layers.1"])
def test_a_product_costs_at_most_three_passes(name):
    """A gradient with its graph and one product, beside forward and backward: the median of ratios of processor times.

    Each is of two measurements in a row, as the processor's speed may change by more than what is allowed.
    """
    model, batches = encoder(dimension=64, layers=3, rows=500, length=24, wide=256)
    block = list(model.get_submodule(name).parameters())

    def plain():
        model.zero_grad()
        cross_entropy(model, batches[0]).backward()

    def product():
        products = Products(model, cross_entropy, batches[:1], {"block": block}, 0)
        products({"block": torch.ones(products.size("block"))})

    def seconds(work):
        start = time.process_time()
        for _ in range(3):
            work()
        return time.process_time() - start

    model.eval()
    gc.collect()
    ratios = []
    for work in (plain, product):
        with twice_differentiable("cpu"):
            work()
    for _ in range(7):
        passes = seconds(plain)
        with twice_differentiable("cpu"):
            ratios.append(seconds(product) / passes)
    assert statistics.median(ratios) <= 3


def test_blocks_share_the_pass_of_a_batch():
    model, batches = encoder()
    passes = []

    def loss(model, batch):
        passes.append(1)
        return cross_entropy(model, batch)

    found = hessian.sensitivity(model, loss, batches, runs=2, share=0.5)
    assert len(found) == 4
    # A single batch for each run: one pass, for all blocks and iterations.
    assert len(passes) == 2


def test_a_compiled_model_runs_uncompiled():
    model, batches = encoder()
    if not hasattr(torch.compiler, "set_stance"):
        pytest.skip("this torch can't run a compiled model uncompiled")
    compiled = torch.compile(model, backend="aot_eager")
    found = hessian.sensitivity(compiled, cross_entropy, batches, {"layer": model.encoder.layers[0]}, runs=1)
    plain = hessian.sensitivity(model, cross_entropy, batches, {"layer": model.encoder.layers[0]}, runs=1)
    assert found["layer"] == plain["layer"]


# Embeddings


@pytest.mark.parametrize("options", [{"sparse": True}, {"scale_grad_by_freq": True}, {"padding_idx": 2}])
def test_embeddings_with_unusual_gradients(options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4, **options), nn.Flatten(), nn.Linear(12, 3))
    batch = (torch.randint(0, 9, (16, 3)), torch.randint(0, 3, (16,)))
    found = hessian.sensitivity(model, cross_entropy, [batch], {"words": model[0]}, runs=1)["words"]
    plain = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    plain.load_state_dict(model.state_dict())
    matrix = dense_hessian(plain, cross_entropy, [batch], ["0.weight"])
    if "padding_idx" in options:
        # A padding row has no gradient.
        kept = torch.arange(36) // 4 != options["padding_idx"]
        matrix = matrix[kept][:, kept]
    assert found.mean == pytest.approx(top(matrix), rel=0.01)
    assert getattr(model[0], next(iter(options)))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("padding_idx", [None, 3, -1])
@pytest.mark.parametrize("last", [False, True])
def test_bags_are_those_of_torch(mode, flat, padding_idx, last):
    torch.manual_seed(0)
    bag = nn.EmbeddingBag(
        9, 4, mode=mode, padding_idx=padding_idx, include_last_offset=last and flat, sparse=mode != "max"
    )
    ids = torch.randint(0, 9, (24,))
    offsets = torch.tensor([0, 3, 3, 10, 18, *([24] if last else [])])
    weights = torch.rand(24) if mode == "sum" else None
    arguments = (
        (ids, offsets, weights) if flat else (ids.view(6, 4), None, weights if weights is None else weights.view(6, 4))
    )
    expected = bag(*arguments)
    with twice_differentiable("cpu"):
        found = bag(*arguments)
    torch.testing.assert_close(found, expected)


def test_a_bag_without_ids_is_zero():
    bag = nn.EmbeddingBag(9, 4, mode="max")
    with twice_differentiable("cpu"):
        assert torch.equal(bag(torch.zeros(0, dtype=torch.int64), torch.tensor([0, 0])), torch.zeros(2, 4))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_a_bag_s_curvature(mode):
    torch.manual_seed(0)
    model = nn.Sequential(nn.EmbeddingBag(9, 4, mode=mode), nn.Tanh(), nn.Linear(4, 3))
    batch = (torch.randint(0, 9, (16, 3)), torch.randint(0, 3, (16,)))
    found = hessian.sensitivity(model, cross_entropy, [batch], {"bag": model[0]}, runs=1)["bag"]

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(model[0].weight.detach().clone())
            self.rest = model[1:]

        def forward(self, ids):
            rows = functional.embedding(ids, self.weight)
            return self.rest({"sum": rows.sum, "mean": rows.mean, "max": rows.amax}[mode](1))

    assert found.mean == pytest.approx(top(dense_hessian(Plain(), cross_entropy, [batch], ["weight"])), rel=0.01)


# Blocks


def test_a_layer_that_is_used_twice_counts_once():
    torch.manual_seed(0)
    layer = nn.Linear(6, 6)
    model = nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(6, 3))
    batch = (torch.randn(16, 6), torch.randint(0, 3, (16,)))
    found = hessian.sensitivity(model, cross_entropy, [batch], {"both": [model[0], model[2]]}, runs=1)["both"]
    assert found.parameters == 42
    exact = top(dense_hessian(model, cross_entropy, [batch], ["0.weight", "0.bias"]))
    assert found.mean == pytest.approx(exact, rel=0.01)
    assert list(hessian.sensitivity(model, cross_entropy, [batch], runs=1)) == ["0", "3"]


def tied():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 4), nn.Tanh(), nn.Linear(4, 7, bias=False))
    model[2].weight = model[0].weight
    ids = torch.randint(0, 7, (16,))
    return model, (ids, ids.roll(1))


def test_a_tied_weight_counts_with_both_uses():
    model, batch = tied()
    found = hessian.sensitivity(model, cross_entropy, [batch], runs=1)
    assert list(found) == ["0"]
    exact = top(dense_hessian(model, cross_entropy, [batch], ["0.weight"]))
    assert found["0"].mean == pytest.approx(exact, rel=0.01)


def test_a_weight_in_two_blocks_is_refused():
    model, batch = tied()
    with pytest.raises(ValueError, match=r"parameter 0.weight lies in two blocks, 'words' and 'head': name it in one"):
        hessian.sensitivity(model, cross_entropy, [batch], {"words": model[0], "head": model[2]})
    model[2].weight = nn.Parameter(model[0].weight.data)
    with pytest.raises(ValueError, match=r"parameters 0.weight and 2.weight lie on the same memory"):
        hessian.sensitivity(model, cross_entropy, [batch])


def test_blocks_by_default_without_layers_or_matrices():
    with pytest.raises(ValueError, match="no layers, embeddings or weight matrices"):
        hessian.sensitivity(nn.LayerNorm(3), cross_entropy, [0])
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(9, 2))
    batch = (torch.randn(5, 2, 4), torch.randint(0, 2, (5,)))
    assert list(hessian.sensitivity(model, cross_entropy, [batch], runs=1)) == ["0", "3"]


# Refusals


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_by_name(dtype):
    model, batches = encoder()
    model.head.to(dtype)
    with pytest.raises(
        ValueError, match=rf"parameter head.weight is of {str(dtype)[6:]}, too coarse .* model.float\(\)"
    ):
        hessian.sensitivity(model, cross_entropy, batches)


def test_autocast_of_the_caller_is_off():
    model, batches = encoder()
    plain = hessian.sensitivity(model, cross_entropy, batches, runs=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert hessian.sensitivity(model, cross_entropy, batches, runs=1) == plain


def test_it_works_where_the_caller_wants_no_gradients():
    model, batches = encoder()
    plain = hessian.sensitivity(model, cross_entropy, batches, runs=1)
    for quiet in (torch.no_grad, torch.inference_mode):
        with quiet():
            assert hessian.sensitivity(model, cross_entropy, batches, runs=1) == plain


def test_a_fused_attention_that_the_loss_insists_on_is_named():
    model, batches = encoder()

    def loss(model, batch):
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return cross_entropy(model, batch)

    with pytest.raises(ValueError, match=r"scaled_dot_product_flash_attention.* can't differentiate twice; choose"):
        hessian.sensitivity(model, loss, batches)


def test_an_operator_without_a_second_derivative_is_named():
    model = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="_cdist_backward, which torch can't differentiate twice"):
        hessian.sensitivity(model, lambda model, batch: torch.cdist(model(batch), batch).sum(), [torch.randn(4, 3)])


def test_max_norm_is_refused_before_it_changes_the_weight():
    model = nn.Sequential(nn.Embedding(9, 4, max_norm=0.1), nn.Flatten(), nn.Linear(12, 3))
    before = model[0].weight.detach().clone()
    batch = (torch.randint(0, 9, (16, 3)), torch.randint(0, 3, (16,)))
    with pytest.raises(ValueError, match="embedding of 9 x 4 has max_norm"):
        hessian.sensitivity(model, cross_entropy, [batch])
    assert torch.equal(model[0].weight, before)


def test_blocks_of_unlike_parameters_are_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    with pytest.raises(ValueError, match=r"block 'all' has parameters of torch.float32 and torch.float64"):
        hessian.sensitivity(model, cross_entropy, [0], {"all": model})


def test_other_errors_are_left_alone():
    model, batches = encoder()
    with pytest.raises(RuntimeError, match="of the user's own"):
        hessian.sensitivity(
            model, lambda model, batch: (_ for _ in ()).throw(RuntimeError("of the user's own")), batches
        )


def test_activations_that_are_computed_again():
    """torch.utils.checkpoint, in its form that can be differentiated twice."""
    model, batches = encoder()

    def loss(model, batch):
        ids, targets = batch
        found = checkpoint(model.encoder, model.words(ids), use_reentrant=False)
        return functional.cross_entropy(model.head(found.mean(1)), targets)

    blocks = {"layer": model.encoder.layers[0]}
    found = hessian.sensitivity(model, loss, batches, blocks, runs=1)
    assert found["layer"].omega > 0
