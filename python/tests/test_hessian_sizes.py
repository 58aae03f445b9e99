"""Sizes of BERT against the paper's Table 1 and a model's own parameters."""

import json

import pytest

from embedcompress import hessian

CONFIG = {
    "vocab_size": 50,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
}


@pytest.mark.parametrize(
    ("setting", "whole", "encoder"),
    [
        ((32, 32), 415.4, 324.5),
        ((8, 8), 103.9, 81.2),
        ((4, 8), 63.4, 40.6),
        ((3, 8), 53.2, 30.5),
        ((2, 8), 43.1, 20.4),
        (([2, 2, 2, 3, 3, 3, 3, 3, 3, 2, 2, 2], 8), 48.1, 25.4),
    ],
)
def test_the_paper_s_sizes(setting, whole, encoder):
    """As reported by Shen et al. 2020, Table 1a."""
    (size,) = hessian.sizes("bert-base-uncased", [setting])
    assert size == pytest.approx(whole, abs=0.1)
    assert size.encoder == pytest.approx(encoder, abs=0.1)
    assert size == pytest.approx(size.encoder + size.embedding)


def test_the_default_settings_are_the_paper_s():
    assert [round(size, 1) for size in hessian.sizes("bert-base-uncased")] == [415.4, 103.9, 63.4, 53.2, 43.1]
    assert hessian.sizes("bert-base-cased")[0] == pytest.approx(410.9, abs=0.1)


def test_the_formula_counts_a_model_s_parameters():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(**CONFIG, num_attention_heads=2)
    model = transformers.BertModel(config, add_pooling_layer=False)
    (size,) = hessian.sizes(config, [(32, 32)])
    assert size * 2**20 == 4 * model.num_parameters()
    assert size.embedding * 2**20 == 4 * sum(parameter.numel() for parameter in model.embeddings.parameters())


def test_a_configuration_may_be_a_mapping_or_a_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**CONFIG, "model_type": "bert"}))
    sizes = hessian.sizes(CONFIG, [(4, 8)])
    assert hessian.sizes(path, [(4, 8)]) == hessian.sizes(str(path), [(4, 8)]) == sizes
    layer = 4 * (8 * 8 + 8) + 2 * 8 * 16 + 16 + 8 + 4 * 8
    assert sizes[0] * 2**20 == 2 * layer * 4 / 8 + 12 * 128 * 8 + (50 + 12 + 2 + 2) * 8
    assert hessian.sizes(CONFIG, [(4, 8)], groups=1)[0] < sizes[0]


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        ("bert-tiny", [(8, 8)], "'bert-tiny' is neither a file nor one of bert-base-uncased"),
        ({**CONFIG, "model_type": "gpt2"}, [(8, 8)], "model_type 'gpt2'"),
        ({**CONFIG, "hidden_size": None}, [(8, 8)], "hidden_size must be a positive integer"),
        (CONFIG, [(0, 8)], "bits must be from 1 to 32, not 0"),
        (CONFIG, [(8, 64)], "bits must be from 1 to 32, not 64"),
        (CONFIG, [([8], 8)], "bits for 1 layers, and the model has 2"),
        (3, [(8, 8)], "config must be a name"),
    ],
)
def test_what_makes_no_sense_is_refused(config, settings, message):
    with pytest.raises(ValueError, match=message):
        hessian.sizes(config, settings)
