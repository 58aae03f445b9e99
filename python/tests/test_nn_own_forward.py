"""Modules with a forward of their own keep it, over a table; `CompressedWeight` stands for the dense weight."""

import copy
import io
import pickle

import pytest
import torch
from torch.nn import functional as F

import embedcompress as ec
from embedcompress import nn

E = torch.nn.Embedding
IDS = torch.tensor([[1, 2, 3], [4, 4, 69]])


class Scaled(E):
    """As Gemma and BART have it."""

    def __init__(self, rows, columns, scale=3.0):
        super().__init__(rows, columns)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, ids):
        return super().forward(ids) * self.scale.to(self.weight.dtype)


class Shifted(E):
    """As OPT's positions."""

    def forward(self, ids, past=0):
        return super().forward(ids.clamp(max=67) + 2 + past)


class Indexed(E):
    """As Whisper's positions."""

    def forward(self, ids):
        return self.weight[1 : 1 + ids.shape[1]] + self.weight[ids] + self.weight[3] + self.weight[-ids]


class Decoded(E):
    """As CLIP's positions, and others that take the whole matrix."""

    def forward(self, ids):
        return super().forward(ids) + self.weight.unsqueeze(0).mean((0, 1)) + self.weight.T[:, 0]


class Functional(torch.nn.Module):
    """No torch.nn.Embedding, but it looks rows up."""

    def __init__(self, rows, columns):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(rows, columns))

    def forward(self, ids):
        return F.embedding(ids, self.weight) + F.embedding_bag(ids, self.weight).mean()


KINDS = (Scaled, Shifted, Indexed, Decoded, Functional)
kinds = pytest.mark.parametrize("kind", KINDS)


def models(kind, dtype=torch.float32):
    """Return a compressed model, and a dense one of the same rows."""
    torch.manual_seed(0)
    dense = torch.nn.ModuleDict({"words": kind(70, 16)}).to(dtype)
    model = copy.deepcopy(dense)
    report = nn.compress_model_(model, bits=8)
    assert report[0].status == "compressed"
    with torch.no_grad():
        dense["words"].weight.copy_(torch.from_numpy(model["words"].table.decode()))
    return model, dense


@kinds
def test_a_class_keeps_its_forward(kind):
    model, dense = models(kind)
    words = model["words"]
    assert isinstance(words, kind) and type(words).__name__ == f"Compressed{kind.__name__}"
    assert not list(model.parameters()) and set(vars(words)["_modules"]) == {"parts"}
    torch.testing.assert_close(words(IDS), dense["words"](IDS), rtol=0, atol=1e-5)


@kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_dtypes(kind, dtype):
    model, dense = models(kind, dtype)
    assert model["words"].weight.dtype is dtype
    torch.testing.assert_close(model["words"](IDS), dense["words"](IDS), rtol=0, atol=0.1)
    # A cast changes what comes out, and not the table.
    before = model["words"].table.decode()
    result = model.float()["words"](IDS)
    assert result.dtype is torch.float32 and (model["words"].table.decode() == before).all()


@kinds
def test_copies_pickles_and_states(kind, tmp_path):
    model, _ = models(kind)
    expected = model["words"](IDS)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(again["words"]) is type(model["words"])
        assert torch.equal(again["words"](IDS), expected)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)["words"](IDS), expected)
    other, _ = models(kind)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other["words"](IDS), expected)
    nn.save_compressed(tmp_path / "model.safetensors", model)
    loaded = nn.load_compressed(tmp_path / "model.safetensors", torch.nn.ModuleDict({"words": kind(70, 16)}))
    assert torch.equal(loaded["words"](IDS), expected)


@kinds
def test_prepare_and_convert_keep_it_too(kind, tmp_path):
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"words": kind(70, 16), "head": torch.nn.Linear(16, 2)})
    nn.prepare(model, 4, embeddings=nn.Quantization(3, "blocks"), activations=None)
    loss = model["head"](model["words"](IDS)).square().mean()
    loss.backward()
    with torch.no_grad():
        expected = model["head"](model["words"](IDS))
        report = nn.convert(model)
        assert isinstance(model["words"], kind)
        torch.testing.assert_close(model["head"](model["words"](IDS)), expected, rtol=0, atol=1e-5)
    assert nn.save_compressed(tmp_path / "model.safetensors", model) == report.bytes_after


def test_it_can_be_compiled():
    for kind in KINDS:
        words = models(kind)[0]["words"]
        expected = words(IDS)
        assert torch.equal(torch.compile(words, backend="eager", fullgraph=True)(IDS), expected)
        for strict in (True, False):
            program = torch.export.export(words, (IDS,), strict=strict)
            torch.testing.assert_close(program.module()(IDS), expected)


class TestWeight:
    """Of a `CompressedWeight`."""

    embedding = nn.CompressedEmbedding(
        ec.compress(torch.randn(70, 16, generator=torch.Generator().manual_seed(1)), bits=4)
    )
    dense = torch.from_numpy(embedding.table.decode())

    @property
    def weight(self):
        return self.embedding.weight

    def test_what_is_asked_about_a_tensor(self):
        weight = self.weight
        assert weight.shape == weight.size() == (70, 16) and len(weight) == 70 and weight.numel() == 1120
        assert (weight.dtype, weight.device.type, weight.requires_grad) == (torch.float32, "cpu", False)
        assert isinstance(weight, torch.nn.Parameter) and weight.data.shape == (70, 16) and weight.grad is None
        assert repr(weight) == "CompressedWeight(70 x 16, torch.float32)"
        assert self.embedding.get_parameter("weight").shape == (70, 16)
        assert nn.CompressedLinear(self.embedding.parts, dtype=torch.float16).weight.dtype is torch.float16
        assert copy.deepcopy(weight).parts is weight.parts

    @pytest.mark.parametrize(
        "index",
        [3, -1, slice(2, 9), slice(None), slice(9, 2), slice(1, 9, 3), slice(-3, None), IDS, -IDS, IDS[0, 0],
         (slice(2, 9), slice(3)), (slice(2, 9), 4), (IDS, 3), (2, 3), None, ..., torch.arange(70) > 60, [1, 2]],
        ids=repr,
    )  # fmt: skip
    def test_indexing(self, index):
        assert torch.equal(self.weight[index], self.dense[index])

    def test_products(self):
        x = torch.randn(2, 5, 16, requires_grad=True)
        bias = torch.randn(70)
        product = F.linear(x, self.weight, bias)
        torch.testing.assert_close(product, F.linear(x, self.dense, bias))
        (gradient,) = torch.autograd.grad(product.sum(), x)
        torch.testing.assert_close(gradient, self.dense.sum(0).expand(2, 5, 16))
        y, bias = torch.randn(3, 70, requires_grad=True), torch.randn(16)
        product = torch.addmm(bias, y, self.weight)
        torch.testing.assert_close(product, bias + y @ self.dense)
        (gradient,) = torch.autograd.grad(product.sum(), y)
        torch.testing.assert_close(gradient, self.dense.sum(1).expand(3, 70))
        torch.testing.assert_close(torch.addmm(bias, y, self.weight, alpha=2), bias + 2 * y @ self.dense)
        torch.testing.assert_close(x @ self.weight.T, x @ self.dense.T)
        torch.testing.assert_close(F.linear(self.weight, self.weight), self.dense @ self.dense.T)
        with pytest.raises(RuntimeError, match="last axis must be 70"):
            torch.addmm(bias, torch.randn(3, 16), self.weight)

    def test_lookups(self):
        assert torch.equal(F.embedding(IDS, self.weight), self.dense[IDS])
        for mode in ("sum", "mean", "max"):
            pooled = F.embedding_bag(IDS, self.weight, mode=mode), F.embedding_bag(IDS, self.dense, mode=mode)
            torch.testing.assert_close(*pooled)
        with pytest.raises(IndexError):
            F.embedding(torch.tensor([70]), self.weight)
        with pytest.raises(NotImplementedError, match="max_norm=1"):
            F.embedding(IDS, self.weight, max_norm=1.0)

    def test_other_uses_decode(self):
        assert torch.equal(self.weight + 1, self.dense + 1)
        assert torch.equal(torch.cat([self.weight, self.weight]), torch.cat([self.dense, self.dense]))
        assert self.weight.to(torch.float16).dtype is torch.float16
        assert torch.equal(self.dense.clone().copy_(self.weight), self.dense)
        assert torch.equal(torch.nn.functional.normalize(self.weight), torch.nn.functional.normalize(self.dense))

    @pytest.mark.parametrize(
        ("write", "message"),
        [
            (lambda w: w.zero_(), "zero_"),
            (lambda w: torch.nn.init.normal_(w), "normal_"),
            (lambda w: w.__setitem__(0, 1.0), "__setitem__"),
            (lambda w: w.add_(1), "add_"),
            (lambda w: torch.add(w, 1, out=w), "add"),
            (lambda w: w.requires_grad_(), "no gradient"),
            (lambda w: setattr(w, "requires_grad", True), "no gradient"),
            (lambda w: w.untyped_storage(), "no memory"),
        ],
    )
    def test_writes_are_refused(self, write, message):
        with torch.no_grad(), pytest.raises(RuntimeError, match=message):
            write(self.weight)
        assert torch.equal(torch.from_numpy(self.embedding.table.decode()), self.dense)

    def test_rows_can_be_added_and_taken_away(self):
        embedding = copy.deepcopy(self.embedding)
        head = nn.CompressedLinear(embedding.parts)
        more = torch.randn(3, 16)
        embedding.weight.data = torch.cat([self.dense, more])
        assert embedding.weight.shape == head.weight.shape == (73, 16)
        assert torch.equal(embedding.weight[:70], self.dense)
        torch.testing.assert_close(embedding.weight[70:], more, rtol=0, atol=0.5)
        assert head(torch.randn(2, 16)).shape == (2, 73)
        # As many bits as the other rows have.
        assert embedding.table.stored_bytes == self.embedding.table.stored_bytes // 70 * 73
        embedding.weight.data = self.dense[:50]
        assert torch.equal(embedding.weight[:], self.dense[:50]) and head.weight.shape == (50, 16)
        # And so have those of the next time.
        embedding.weight.data = torch.cat([self.dense[:50], more])
        embedding.weight.data = torch.cat([embedding.weight[:], more])
        assert embedding.table.stored_bytes == self.embedding.table.stored_bytes // 70 * 56
        embedding.weight.data = self.dense[:50]
        with pytest.raises(ValueError, match="can't be written to"):
            embedding.weight.data = self.dense[:50] + 1
        with pytest.raises(ValueError, match="can't become"):
            embedding.weight.data = torch.zeros(50, 3)

    @pytest.mark.parametrize(
        ("method", "options", "bits"),
        [
            ("asym", {"bits": 3}, 3),
            ("eden", {"bits": 2}, 2),
            ("asym", {"bits": 16}, 8),
            ("pq", {"bits": 4}, 8),
            ("svd", {}, 8),
            ("svd", {"inner": "asym", "bits": 5}, 5),
            ("hot_cold", {}, 2),
        ],
    )
    def test_bits_of_added_rows(self, method, options, bits):
        embedding = nn.CompressedEmbedding(ec.compress(self.dense.numpy(), method, **options))
        more = torch.randn(20, 16)
        for _ in range(2):
            before = embedding.table.stored_bytes
            embedding.weight.data = torch.cat([embedding.weight[:], more])
            assert embedding.table.stored_bytes - before == ec.compress(more.numpy(), bits=bits).stored_bytes

    def test_the_type_is_told_and_a_cast_decodes(self):
        assert self.weight.type() == "torch.FloatTensor"
        for kind in (torch.float16, "torch.HalfTensor"):
            assert type(self.weight.type(kind)) is torch.Tensor
            assert torch.equal(self.weight.type(kind), self.dense.half())

    def test_addresses_tell_ties(self):
        other = nn.CompressedEmbedding(ec.compress(self.dense.numpy(), bits=4))
        head = nn.CompressedLinear(self.embedding.parts)
        assert self.weight.data_ptr() == head.weight.data_ptr() != other.weight.data_ptr() != 0

    def test_ties_are_made_by_assignment(self):
        head = nn.CompressedLinear(ec.compress(torch.randn(70, 16), bits=4))
        head.weight = self.weight
        assert head.parts is self.embedding.parts
        with pytest.raises(TypeError, match="the weight of a CompressedLinear is a table"):
            head.weight = torch.nn.Parameter(self.dense)


class Head(torch.nn.Module):
    """Multiplies with a weight of its own what its child, which is called as torch's function, looks up."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(100, 8)
        self.weight = torch.nn.Parameter(torch.randn(90, 8))

    def forward(self, ids):
        return torch.nn.functional.linear(self.embedding(ids).mean(1), self.weight)


def test_a_child_named_embedding_makes_no_embedding_of_its_parent():
    model = Head()
    before = model.weight
    report = nn.compress_model_(model)
    assert [layer.name for layer in report] == ["embedding"]
    assert model.weight is before
    assert isinstance(model.embedding, nn.CompressedEmbedding)


def test_normalizations_with_matrices_are_no_layers():
    model = torch.nn.Sequential(torch.nn.RMSNorm((16, 32)), torch.nn.LayerNorm((16, 32), bias=False))
    report = nn.prepare(model, 2, unsupported="keep")
    assert {entry.status for entry in report} == {"kept"}
    assert all(type(layer) in (torch.nn.RMSNorm, torch.nn.LayerNorm) for layer in model)
