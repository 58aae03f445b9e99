"""Generated clicks as a data set of the training benchmark: what a part has, memory, and what is said of it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from sklearn.metrics import roc_auc_score  # noqa: E402

from embedcompress import cli  # noqa: E402
from embedcompress.bench import _data, _lines, _train_cell, _train_config, report  # noqa: E402
from embedcompress.bench._generated_clicks import BLOCK, GeneratedPart, generated  # noqa: E402

SMALL = generated(500, 2 * BLOCK + 100, 300, 1000)
TOML = """
[data.generated]
reader = "generated"
rows = {rows}
samples = {samples}
validation_samples = 1000
test_samples = 5000

[[grid]]
data = ["generated"]
heads = ["wdl"]
methods = ["hash"]
budgets = [{budget}]
dimension = 4
batch = 4096
evaluations = 1
"""


def whole(part, size=BLOCK, random=None):
    return [np.concatenate(column) for column in zip(*part.batches(size, random), strict=True)]


@pytest.mark.parametrize("size", [1000, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK])
def test_rows_do_not_depend_on_the_size_of_batches(size):
    found = list(SMALL.train.batches(size))
    assert [len(labels) for _, _, labels in found[:-1]] == [size] * (len(found) - 1)
    assert 0 < len(found[-1][2]) <= size
    for one, other in zip(whole(SMALL.train), whole(SMALL.train, size), strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)
    ids, numbers, labels = whole(SMALL.train)
    assert (ids.shape, numbers.shape, labels.shape) == ((len(SMALL.train), 26), (len(SMALL.train), 0), (len(ids),))


def test_a_smaller_part_is_the_beginning_of_a_larger():
    ids, _, labels = whole(GeneratedPart(SMALL.stream, "train", BLOCK + 5))
    more_ids, _, more_labels = whole(SMALL.train)
    assert np.array_equal(ids, more_ids[: BLOCK + 5]) and np.array_equal(labels, more_labels[: BLOCK + 5])


def test_an_order_has_every_row_once():
    ids, _, labels = whole(SMALL.train)
    first = whole(SMALL.train, 1000, np.random.default_rng((3, 0)))
    again = whole(SMALL.train, 1000, np.random.default_rng((3, 0)))
    other = whole(SMALL.train, 1000, np.random.default_rng((3, 1)))
    assert np.array_equal(first[0], again[0]) and not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0][:BLOCK], ids[:BLOCK])
    for found in (first, other):
        rows = [sorted(map(tuple, np.column_stack([one[0], one[2]]))) for one in (found, [ids, None, labels])]
        assert rows[0] == rows[1]


@pytest.mark.parametrize("data", [SMALL, generated(500, 1000, skew=1), generated(500, 1000, skew=0.5)])
def test_uses_are_the_expected_counts(data):
    ids = np.arange(500)
    field = np.searchsorted(np.cumsum(data.sizes), ids, side="right")
    table = np.tile(np.cumsum(data.sizes) - data.sizes, (500, 1))
    table[ids, field] = ids
    np.testing.assert_allclose(data.uses(table)[ids, field], data.counts, rtol=1e-9)
    assert data.counts.sum() == pytest.approx(26 * len(data.train))


def test_a_cell_has_the_best_auc_beside_its_own():
    request = {"method": "full", "budget": 1.0, "dimension": 4, "seed": 0, "head": "wdl", "dropout": 0.0, "epochs": 1,
               "batch": 256, "rate": 1e-2, "evaluations": 2, "patience": 3}  # fmt: skip
    figures = _train_cell.run(request, SMALL)["figures"]
    labels, chances = SMALL.test.truth()
    assert np.array_equal(labels, whole(SMALL.test)[2])
    assert figures["bayes_auc"] == pytest.approx(roc_auc_score(labels, chances))
    assert 0.6 < figures["auc"] < figures["bayes_auc"]
    assert figures["steps"] == -(-len(SMALL.train) // 256)


@pytest.mark.parametrize("data", [SMALL, generated(500, 1000, skew=0.5)])
def test_it_is_kept_for_other_processes(tmp_path, data):
    _data.save(data, tmp_path)
    assert _data.load(tmp_path) == data
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1000


def written(folder, **values):
    path = folder / "generated.toml"
    path.write_text(TOML.format(**{"rows": 2000, "samples": 10_000, "budget": 0.3} | values))
    return path


def test_the_command_runs_it(tmp_path, capsys):
    out = tmp_path / "generated.jsonl"
    assert cli.main(["bench", "train", "--config", str(written(tmp_path)), "--out", str(out), "--json"]) in (0, None)
    (line,) = json.loads(capsys.readouterr().out)
    assert line["request"]["data"] == line["request"]["source"]["reader"] == "generated"
    assert line["figures"]["auc"] < line["figures"]["bayes_auc"]
    assert _lines.read(out) == [line]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[data.generated]", "[data.clicks]", "'clicks': data of the reader generated, and no other, has a name that"),
        ('reader = "generated"', 'reader = "flights"', "'generated': data of the reader generated, and no other"),
        ("rows = 2000", "", "the reader generated needs 'rows'"),
        ("rows = 2000", "rows = 2000\npath = 'x'", "'path' is no setting of the reader generated, which has rows,"),
        ("samples = 10000", "samples = 10000\nskew = 5", "data 'generated': skew must be a number from 0 to 4, not 5"),
        ("samples = 10000", "samples = 0", "data 'generated': samples must be a whole number from 1, not 0"),
        ("batch = 4096", 'batch = 4096\nsplit = "temporal"', "generated clicks have no time: split must be random"),
    ],
)
def test_configurations_that_can_not_be(tmp_path, old, new, message):
    path = written(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        _train_config.read(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows = 2000", "rows = 20", "rows must be at least 52"),
        ("rows = 2000", "rows = true", "rows must be a whole number from 1, not True"),
        ("samples = 1000\n", "samples = 1e4\n", "samples must be a whole number from 1, not 10000.0"),
        ("batch = 4096", 'batch = 4096\nsplit = "temporal"', "generated clicks have no time: split must be random"),
        ('["wdl"]', '["mf"]', "matrix factorisation has two fields"),
    ],
)
def test_what_is_said_before_anything_runs(tmp_path, capsys, old, new, message):
    path = written(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    assert cli.main(["bench", "train", "--config", str(path), "--out", str(tmp_path / "out.jsonl")]) == 1
    error = capsys.readouterr().err
    assert message in error and "data 'generated'" in error


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read where Linux tells it")
def test_memory_does_not_grow_with_the_samples(tmp_path):
    """Rows of 600,000 samples would take 125 MB as they are made; the uncompressed table takes 540 MB."""
    peaks = []
    for samples in (20_000, 600_000):
        path, out = written(tmp_path, rows=33_762_577, samples=samples, budget=0.01), tmp_path / f"{samples}.jsonl"
        cli.main(["bench", "train", "--config", str(path), "--out", str(out), "--json"])
        peaks.append(_lines.read(out)[0]["figures"]["peak_bytes"])
    assert peaks[1] < 1e9
    assert peaks[1] - peaks[0] < 60e6


def test_its_report_has_the_cells_and_the_best_there_can_be():
    root = Path(__file__).resolve().parents[2]
    lines = _lines.read(root / "docs" / "results" / "generated.jsonl")
    text = report.text(report.report(lines, ["generated.jsonl"]))
    assert "No data set was run at several budgets" in text
    assert "### generated, DCN: at 1 %" in text
    assert '<a id="generated-dcn-compo-0_01"></a>compo' in text
    assert "The best AUC that there can be is 0.8258." in text


def test_the_committed_run_is_that_of_its_configuration():
    root = Path(__file__).resolve().parents[2]
    lines = _lines.read(root / "docs" / "results" / "generated.jsonl")
    config = _train_config.read(root / "python" / "benchmarks" / "generated.toml")
    assert [line["request"] for line in lines] == [json.loads(json.dumps(one)) for one in config.requests()]
    for line in lines:
        assert line["figures"]["peak_bytes"] < 3e9
        assert line["figures"]["auc"] < line["figures"]["bayes_auc"]
