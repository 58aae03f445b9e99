"""Small random models of transformers, of every kind of embedding and head, and a batch for each."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

_SIZES = dict(vocab_size=120, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
_DECODER = dict(**_SIZES, num_key_value_heads=1, head_dim=16, max_position_embeddings=80, pad_token_id=0)
_SEQUENCES = dict(
    vocab_size=120, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
    decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    decoder_start_token_id=1, forced_eos_token_id=None,
)  # fmt: skip
_GEMMA3N = dict(
    vocab_size_per_layer_input=100, hidden_size_per_layer_input=8, laurel_rank=4, num_kv_shared_layers=0,
    activation_sparsity_pattern=[0.0, 0.0], layer_types=["sliding_attention", "full_attention"],
)  # fmt: skip
_GEMMA4 = dict(
    vocab_size_per_layer_input=100, hidden_size_per_layer_input=8, num_kv_shared_layers=0,
    layer_types=["sliding_attention", "full_attention"], global_head_dim=16,
)  # fmt: skip


def _config(name, **options):
    return lambda: getattr(transformers, name)(**options)


TIED = {"tie_word_embeddings": True}
MODELS = {
    "llama": ("LlamaForCausalLM", _config("LlamaConfig", **_DECODER, **TIED)),
    "gpt2": ("GPT2LMHeadModel", _config("GPT2Config", vocab_size=120, n_embd=32, n_layer=2, n_head=2, n_positions=80)),
    "opt": (
        "OPTForCausalLM",
        _config("OPTConfig", **{**_SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 80}),
    ),
    "t5": (
        "T5ForConditionalGeneration",
        _config("T5Config", vocab_size=120, d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, pad_token_id=0,
                decoder_start_token_id=0),
    ),
    "bart": (
        "BartForConditionalGeneration",
        _config("BartConfig", **_SEQUENCES, scale_embedding=True, max_position_embeddings=80),
    ),
    "whisper": (
        "WhisperForConditionalGeneration",
        _config("WhisperConfig", **_SEQUENCES, num_mel_bins=8, max_source_positions=70, max_target_positions=80),
    ),
    "gemma": ("GemmaForCausalLM", _config("GemmaConfig", **_DECODER)),
    "gemma2": ("Gemma2ForCausalLM", _config("Gemma2Config", **_DECODER)),
    "gemma3": ("Gemma3ForCausalLM", _config("Gemma3TextConfig", **_DECODER)),
    "gemma3n": ("Gemma3nForCausalLM", _config("Gemma3nTextConfig", **_DECODER, **_GEMMA3N)),
    "gemma4": ("Gemma4ForCausalLM", _config("Gemma4TextConfig", **_DECODER, **_GEMMA4)),
    "clip": (
        "CLIPTextModel",
        _config("CLIPTextConfig", **_SIZES, max_position_embeddings=70, eos_token_id=2, bos_token_id=1, pad_token_id=0),
    ),
    "bert": ("BertForMaskedLM", _config("BertConfig", **_SIZES, max_position_embeddings=70)),
}  # fmt: skip
"""By a name: the class of the model, and a function that makes its configuration."""


def make(name):
    """Return a model of random weights, in eval mode."""
    kind, config = MODELS[name]
    torch.manual_seed(0)
    return getattr(transformers, kind)(config()).eval()


def batch(name):
    """Return what the model is called with."""
    ids = torch.randint(3, 100, (2, 7), generator=torch.Generator().manual_seed(0))
    if name == "whisper":
        features = torch.randn(2, 8, 140, generator=torch.Generator().manual_seed(0))
        return {"input_features": features, "decoder_input_ids": ids}
    return {"input_ids": ids, "decoder_input_ids": ids} if name in ("t5", "bart") else {"input_ids": ids}


@torch.no_grad()
def result(model, name):
    """Return the model's logits, or its states where it has no head."""
    output = model(**batch(name))
    return output.logits if "logits" in output else output.last_hidden_state
