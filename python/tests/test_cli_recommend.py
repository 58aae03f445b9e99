"""`embedcompress recommend`, and the counts that `embedcompress compress` takes."""

import json
import re
import shlex

import numpy as np
import pytest

import embedcompress as ec
from embedcompress import cli


@pytest.fixture
def array(tmp_path):
    path = tmp_path / "weight.npy"
    np.save(path, np.random.default_rng(0).standard_normal((400, 16), dtype=np.float32))
    return path


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "counts.npy"
    np.save(path, 1000 // np.arange(1, 401))
    return path


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_it_ranks_and_says_why(capsys, array):
    code, out, err = run(capsys, "recommend", array, "--budget", "20%")
    assert (code, err) == (0, "")
    found = ec.recommend(np.load(array), 0.2)
    lines = out.splitlines()
    assert lines[1].split()[:2] == ["1", found[0].method]
    for place, one in enumerate(found, 1):
        assert f"{place}. {one.expression}" in lines
        # Times differ from run to run.
        assert re.split(", but|[.] It took", one.reason)[0].rstrip(".") in out


def test_its_json(capsys, array):
    code, out, err = run(capsys, "recommend", array, "--budget", "1kB", "--metric", "cosine", "--sample", 200, "--json")
    if code:
        pytest.fail(err)
    report = json.loads(out)
    assert (report["table"], report["rows"], report["metric"], report["budget"]) == ("weight", 400, "cosine", 1000)
    found = ec.recommend(np.load(array), 1000, metric="cosine", sample=200)
    for one, other in zip(report["recommendations"], found, strict=True):
        assert one["expression"] == other.expression
        assert one["mean_cosine"] == other.mean_cosine
        assert one["stored_bytes"] <= 1000


def test_what_it_says_to_call_works(capsys, array, counts, tmp_path):
    for extra in ((), ("--counts", counts)):
        code, out, _ = run(capsys, "recommend", array, "--budget", "0.15", *extra)
        assert code == 0
        call = shlex.split(re.search(r"The first one: embedcompress (.*)$", out, re.MULTILINE)[1])
        call[call.index("OUTPUT")] = str(tmp_path / "out.safetensors")
        assert run(capsys, *call)[0] == 0
        expression = re.search(r"^1\. (.*)$", out, re.MULTILINE)[1]
        assert run(capsys, *call, "--json")[1].count(f'"expression": "{expression}"') == 1


def test_its_plot(capsys, array, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "plot.png"
    assert run(capsys, "recommend", array, "--budget", "0.2", "--sample", 100, "--plot", path)[0] == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib(capsys, array, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    code, out, err = run(capsys, "recommend", array, "--budget", "0.2", "--plot", tmp_path / "plot.png")
    assert (code, out) == (1, "")
    assert "--plot needs matplotlib: pip install matplotlib" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "3"], "no method can meet a budget of 3 bytes"),
        (["--budget", "0.2", "--tensor", "none"], "no table 'none': it has weight"),
        (["--budget", "0.2", "--plot", "no/such/folder.png"], "the plot's folder 'no/such' does not exist"),
        (["--budget", "0.2", "--counts", "none.npy"], "none.npy"),
        (["--budget", "0.2", "--sample", "0"], "sample must be at least 1"),
    ],
)
def test_how_it_fails(capsys, array, arguments, message):
    pytest.importorskip("matplotlib")
    code, out, err = run(capsys, "recommend", array, *arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


def test_compress_takes_counts(capsys, array, counts, tmp_path):
    output = tmp_path / "out.safetensors"
    code, out, err = run(
        capsys, "compress", array, output, "--method", "hot_cold", "--budget", "0.2", "--counts", counts
    )
    assert (code, err) == (0, "")
    weight, uses = np.load(array), np.load(counts)
    wanted = ec.compress(weight, "hot_cold", budget=0.2, counts=uses)
    np.testing.assert_array_equal(ec.load(output).decode(), wanted.decode())
    assert re.search(r"^weight: partition\(", out, re.MULTILINE)
    assert run(capsys, "compress", array, output, "--method", "kmeans_cls", "--counts", counts)[0] == 0
    wanted = ec.compress(weight, "kmeans_cls", weights=uses)
    np.testing.assert_array_equal(ec.load(output).decode(), wanted.decode())
    code, _, err = run(capsys, "compress", array, output, "--method", "asym", "--counts", counts)
    assert code == 1
    assert "takes no weights" in err


def test_compress_says_what_the_knob_was(capsys, array, tmp_path):
    output = tmp_path / "out.safetensors"
    arguments = ("compress", array, output, "--method", "svd", "--budget", "0.3", "--option", "inner=least_squares")
    _, out, _ = run(capsys, *arguments)
    expression = re.search(r"^weight: (project\(rank=\d+, uniform\(bits=\d\)\))$", out, re.MULTILINE)[1]
    report = json.loads(run(capsys, *arguments, "--json")[1])
    assert report["tables"][0]["expression"] == expression
