"""SentenceTransformer models with tables: saved and opened by its own calls."""

import pytest
import torch

from embedcompress import nn

transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")

import embedcompress.sentence_transformers as ours  # noqa: E402

WORDS = [f"w{index}" for index in range(120)]
TEXTS = ["w1 w2 w3", "w4", "w119 w5 w5"]


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(["[UNK]", "[PAD]", *WORDS])}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def cosines(one, other):
    return torch.nn.functional.cosine_similarity(*(torch.from_numpy(m.encode(TEXTS)) for m in (one, other)))


def test_an_encoder(tmp_path):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=122, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer(), pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(tmp_path / "bert")
    dense = sentence_transformers.SentenceTransformer(str(tmp_path / "bert"), device="cpu")
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "bert"), device="cpu")
    nn.compress_model_(model, bits=8)
    assert cosines(model, dense).min() > 0.999
    model.save_pretrained(str(tmp_path / "small"))
    again = sentence_transformers.SentenceTransformer(str(tmp_path / "small"), device="cpu")
    assert (again.encode(TEXTS) == model.encode(TEXTS)).all()
    size = (tmp_path / "small" / "model.safetensors").stat().st_size
    assert size < (tmp_path / "bert" / "model.safetensors").stat().st_size


def test_a_static_embedding(tmp_path):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    torch.manual_seed(0)
    dense = sentence_transformers.SentenceTransformer(modules=[StaticEmbedding(tokenizer(), embedding_dim=64)])
    expected = dense.encode(TEXTS)
    nn.compress_model_(dense, bits=8)
    assert type(dense[0]) is ours.CompressedStaticEmbedding
    assert abs(dense.encode(TEXTS) - expected).max() < 0.05
    dense.save_pretrained(str(tmp_path))
    again = sentence_transformers.SentenceTransformer(str(tmp_path), trust_remote_code=True)
    assert (again.encode(TEXTS) == dense.encode(TEXTS)).all()
    assert isinstance(again[0].embedding, nn.CompressedEmbeddingBag)
    with pytest.raises(ValueError, match="safetensors"):
        dense.save_pretrained(str(tmp_path), safe_serialization=False)
