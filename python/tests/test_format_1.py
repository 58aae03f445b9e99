"""Files that version 0.1.0 wrote, in format version 1, open for ever and say what they said then.

`tables.safetensors` has every store, every route, and what every method of 0.1.0 made; `rows.npz` has the rows that
0.1.0 decoded. `model.safetensors` is a model that 0.1.0's `nn.save_compressed` wrote, and `model_output.npy` what it
computed.
"""

from pathlib import Path

import numpy as np
import pytest

import embedcompress as ec

FOLDER = Path(__file__).parent / "data" / "format_1"
ROWS = dict(np.load(FOLDER / "rows.npz"))


def test_every_table_is_listed():
    assert ec.contents(FOLDER / "tables.safetensors").tables == tuple(ROWS)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("name", ROWS)
def test_a_table_opens_with_its_rows(name, mmap):
    table = ec.load(FOLDER / "tables.safetensors", name, mmap=mmap)
    # Levels of instruction sets differ in the last places.
    largest = np.abs(ROWS[name]).max(initial=1)
    np.testing.assert_allclose(table.decode(), ROWS[name], rtol=0, atol=2e-6 * largest)


@pytest.mark.parametrize("name", ROWS)
def test_a_table_is_written_again_as_it_was(name, tmp_path):
    table = ec.load(FOLDER / "tables.safetensors", name)
    table.save(tmp_path / "again.safetensors", name=name)
    again = ec.load(tmp_path / "again.safetensors", name)
    np.testing.assert_array_equal(again.decode(), table.decode())
    assert again.stored_bytes == table.stored_bytes
    assert str(again) == str(table)


def test_a_model_opens_and_computes_what_it_did():
    torch = pytest.importorskip("torch")
    from embedcompress import nn

    layer = torch.nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
    plain = torch.nn.Sequential(
        torch.nn.Embedding(30, 16), torch.nn.TransformerEncoder(layer, 1), torch.nn.Linear(16, 2)
    )
    model = nn.load_compressed(FOLDER / "model.safetensors", plain)
    with torch.no_grad():
        output = model(torch.arange(30).reshape(3, 10))
    np.testing.assert_allclose(output.numpy(), np.load(FOLDER / "model_output.npy"), rtol=0, atol=1e-5)
