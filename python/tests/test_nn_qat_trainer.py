"""The Trainer of Hugging Face trains a prepared model as it trains any other, checkpoints included."""

import pytest
import torch
from test_nn_qat_models import bert, logits

from embedcompress import nn

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")


class Sentences(torch.utils.data.Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        ids = (torch.arange(6) * (index + 3)) % 50
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": index % 2}


def train(model, folder, steps, resume=False):
    arguments = transformers.TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        per_device_train_batch_size=4,
        save_steps=2,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        seed=0,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=Sentences())
    return trainer.train(resume_from_checkpoint=resume)


def prepared():
    model = bert()
    nn.prepare(model, nn.Quantization(4, "blocks", block=8), embeddings=nn.Quantization(4, "blocks", block=8))
    return model


def test_trains_and_converts(tmp_path):
    model = prepared()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    assert train(model, tmp_path, 4).training_loss > 0
    assert all(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True) if pair[0].dim() == 2)
    model.eval()
    with torch.no_grad():
        expected = logits(model)
        nn.convert(model)
        torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-4)


def test_goes_on_from_a_checkpoint(tmp_path):
    whole, stopped, resumed = prepared(), prepared(), prepared()
    train(whole, tmp_path / "whole", 4)
    train(stopped, tmp_path / "parts", 2)
    train(resumed, tmp_path / "parts", 4, resume=True)
    for one, other in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        torch.testing.assert_close(other[1], one[1], msg=one[0])
    for model in (whole, resumed):
        model.eval()
    torch.testing.assert_close(logits(resumed), logits(whole))
