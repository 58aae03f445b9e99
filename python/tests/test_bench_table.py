"""`embedcompress bench table` on small tables, and the page of what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest

import embedcompress as ec
from embedcompress import _samples, cli
from embedcompress.bench import _calls, _lines, _measured, _report_cells, _report_tables, table

DOCS = Path(__file__).resolve().parents[2] / "docs"
SOME = ["--methods", "asym", "pq", "svd(eden)", "int8", "--budgets", "0.5", "5%", "--queries", "8"]


def bench(capsys, *arguments):
    """Run `embedcompress bench table`; return the exit code, stdout and stderr."""
    code = cli.main(["bench", "table", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "small.npy"
    np.save(path, np.random.default_rng(0).standard_normal((200, 24), np.float32))
    return path


@pytest.fixture(scope="module")
def measured(saved):
    """The lines of every method, and where they are."""
    out = saved.with_name("all.jsonl")
    calls = list(_calls.calls(_calls.contenders(), (0.5, 0.1)))
    weight = ec.dense(np.load(saved))
    return table.run("small", weight, calls, out, recommend=(0.5, 0.1), queries=8), out


def test_every_method_is_measured_or_refuses(measured):
    lines, out = measured
    assert _lines.read(out) == lines
    cells = _report_cells.cells(lines)
    methods = ec.methods()
    assert {line["request"]["method"] for line in cells} == {method.name for method in methods}
    assert {"svd(eden)", "least_squares(group=32)", "trellis", "trellis(rotation=partial)"} <= {
        _calls.label(line["request"]) for line in cells
    }
    size = 4 * 200 * 24
    for line in cells:
        budget = line["request"]["budget"]
        if "refused" in line:
            assert budget is None or line["floor"] is None or line["floor"] > budget * size
            continue
        figures = line["figures"]
        assert budget is None or figures["stored_bytes"] <= budget * size
        assert 0 <= figures["normalized_l2"] < 10
        assert 0 <= figures["recall_at_10"] <= 1
        assert all(figures[name] > 0 for name in ("lookup_ns_per_row", "compress_seconds"))
        # The processors' clock may be too coarse for a table as small as this.
        assert figures["compress_cpu_seconds"] >= 0
    apart = _report_tables.against_best(lines)
    assert [line["request"]["recommend"] for line, _, _ in apart] == [0.5, 0.1]
    assert all(share < 0.02 for _, _, share in apart)


def test_figures_are_those_of_evaluate(measured, saved):
    lines, _ = measured
    weight = np.load(saved)
    line = next(one for one in lines if one["request"].get("method") == "greedy" and "figures" in one)
    made = ec.compress(weight, "greedy", **line["request"]["options"])
    quality = ec.evaluate(made, weight, queries=8)
    figures = line["figures"]
    assert figures["stored_bytes"] == quality.stored_bytes
    assert figures["normalized_l2"] == pytest.approx(quality.normalized_l2)
    assert figures["mean_cosine"] == pytest.approx(quality.mean_cosine)
    assert figures["recall_at_10"] == pytest.approx(quality.recall_at_10)


def test_budgets_of_ranges_are_those_that_compressing_gives(measured, saved):
    """They are not compressed again, and have the figures of the bits that the budget chooses."""
    weight = np.load(saved)
    for line in measured[0]:
        request = line["request"]
        if request.get("method") in ("sym", "greedy") and request["budget"] is not None and "figures" in line:
            made = ec.compress(weight, request["method"], budget=request["budget"])
            assert made.stored_bytes == line["figures"]["stored_bytes"]


def test_a_run_gives_the_same_lines_again_and_measures_nothing(saved, tmp_path, capsys, monkeypatch):
    out = tmp_path / "table.jsonl"
    code, text, _ = bench(capsys, saved, *SOME, "--out", out, "--recommend", "0.5")
    assert code == 0
    assert "least error" in text
    before = out.read_bytes()
    monkeypatch.setattr(ec, "compress", None)
    monkeypatch.setattr(ec, "recommend", None)
    code, text, _ = bench(capsys, saved, *SOME, "--out", out, "--recommend", "0.5", "--json")
    assert code == 0
    assert out.read_bytes() == before
    document = json.loads(text)
    assert document["table"] == "small.npy"
    assert document["lines"] == _lines.read(out)


def test_an_interrupted_run_goes_on(saved, tmp_path, capsys, monkeypatch):
    out = tmp_path / "table.jsonl"
    compress, done = ec.compress, []

    def interrupted(*arguments, **options):
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(options)
        return compress(*arguments, **options)

    monkeypatch.setattr(ec, "compress", interrupted)
    code, _, err = bench(capsys, saved, *SOME, "--out", out)
    assert (code, err) == (130, "embedcompress: interrupted\n")
    kept = _lines.read(out)
    assert len(kept) == 7
    with out.open("ab") as file:
        file.write(b'{"bench": "tab')
    monkeypatch.setattr(ec, "compress", compress)
    assert bench(capsys, saved, *SOME, "--out", out)[0] == 0
    whole = tmp_path / "whole.jsonl"
    assert bench(capsys, saved, *SOME, "--out", whole)[0] == 0
    found = _lines.read(out)
    assert found[:7] == kept
    assert [outcome(line) for line in found] == [outcome(line) for line in _lines.read(whole)]


def outcome(line):
    """A line without what depends on the clock."""
    figures = {name: value for name, value in line.get("figures", {}).items() if "seconds" not in name}
    return line["request"], line.get("refused"), figures | {"lookup_ns_per_row": None}


def test_what_takes_too_long_is_stopped_and_tried_again_with_more_time(saved, tmp_path, monkeypatch):
    def slow(*_, **__):
        while True:
            pass

    weight, out = ec.dense(np.load(saved)), tmp_path / "table.jsonl"
    calls = [_calls.Call("asym", {"bits": 4}), _calls.Call("asym", {}, 0.2)]
    with monkeypatch.context() as patch:
        patch.setattr(ec, "compress", slow)
        lines = _report_cells.cells(table.run("small", weight, calls, out, queries=8, limit=0.05))
        # What the budget would choose may be what was stopped.
        assert [(line["stopped"], line["limit_seconds"]) for line in lines] == [("> 0.05 s", 0.05)] * 2
        assert _report_cells.cells(table.run("small", weight, calls, out, queries=8, limit=0.04)) == lines
    again = table.run("small", weight, calls, out, queries=8, limit=30)
    assert [line["figures"]["expression"] for line in _report_cells.cells(again)] == [
        "uniform(bits=4)",
        "uniform(bits=5)",
    ]
    assert _lines.read(out) == again
    assert _report_cells.outcome_text(lines[0]) == "> 0.05 s"


def test_other_values_are_another_table(rng):
    weight = rng.standard_normal((70, 3)).astype(np.float32)
    changed = weight.copy()
    changed[69, 2] += 1
    one = _measured.digest(ec.dense(weight))
    assert one == _measured.digest(ec.dense(weight.copy()))
    assert one != _measured.digest(ec.dense(changed))
    assert one != _measured.digest(ec.dense(weight.reshape(35, 6)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.npy"], "none.npy"),
        (["small.npy", "--methods", "nothing"], "there is no method 'nothing' to measure; there are table,"),
        (["small.npy", "--out", "none/table.jsonl"], "the folder 'none' does not exist"),
        (["glove", "--tensor", "x"], "--tensor and --axis are for a file"),
        (["small.npy", "--tensor", "x"], "no table 'x': it has weight"),
    ],
)
def test_errors_of_use_in_one_line(saved, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(saved.parent)
    code, out, err = bench(capsys, "--out", "errors.jsonl", *arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budgets", "1.5"], "'1.5' is neither a share"),
        (["--budgets", "0"], "'0' is not a share"),
        (["--budgets", "100"], "'100' is not a share"),
        (["--limit", "0"], "'0' is not a number of seconds"),
        (["--queries", "-1"], "'-1' is not a number"),
        (["--recommend", "2MB"], "'2MB' is not a share"),
    ],
)
def test_arguments_that_make_no_sense(saved, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "table", str(saved), "--out", "none.jsonl", *arguments])
    assert message in capsys.readouterr().err


def test_lines_of_something_else_are_refused(saved, tmp_path, capsys):
    out = tmp_path / "table.jsonl"
    out.write_text('{"bench": "train", "request": {}, "machine": {}, "figures": {}}\n')
    code, _, err = bench(capsys, saved, *SOME, "--out", out)
    assert code == 1
    assert "line 1: a result of bench train, not of bench table" in err


# The report


def test_the_report_has_every_budget_and_the_front(measured, tmp_path):
    pytest.importorskip("matplotlib")
    lines, _ = measured
    text = "\n\n".join([*_report_tables.heading(lines), *_report_tables.parts(lines)])
    assert text.startswith("## small, ")
    assert "| method | 50 % | 10 % |" in text
    assert "**" in text
    assert "≥" in text
    assert "What `recommend` puts first" in text
    front = _report_tables.best(lines)
    sizes = [line["figures"]["stored_bytes"] for line in front]
    errors = [line["figures"]["normalized_l2"] for line in front]
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    for line in _report_cells.made(lines):
        assert any(
            size <= line["figures"]["stored_bytes"] and error <= line["figures"]["normalized_l2"]
            for size, error in zip(sizes, errors, strict=True)
        )
    distances = {
        _calls.label(line["request"]): line["figures"][_report_tables.BOUND_DECIBELS]
        for line in _report_cells.made(_report_tables.with_distances(lines))
        if line["request"]["budget"] == 0.1
    }
    assert distances["trellis"] > 0 and f" {distances['trellis']:.2f} |" in text
    assert min(distances.values()) > 0 and f" **{min(distances.values()):.2f}** |" in text
    assert "How far these are from the bound" in text and "from the bound, dB" in text
    drawing = _report_tables.plot(lines)
    assert "bound of the spectrum" in [one.get_label() for one in drawing.axes[0].get_lines()]
    drawing.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_lines_without_a_spectrum_are_reported_without_the_bound(measured):
    pytest.importorskip("matplotlib")
    lines = [line for line in measured[0] if "spectrum" not in line["request"]]
    text = "\n\n".join(_report_tables.parts(lines))
    assert "How far these are from the bound" not in text
    assert "bound of the spectrum" not in [one.get_label() for one in _report_tables.plot(lines).axes[0].get_lines()]


def test_the_committed_figures_are_of_all_tables():
    lines = _lines.read(DOCS / "results" / "table.jsonl")
    assert list(_report_tables.by_table(lines)) == list(_samples.SAMPLES)
    assert len(_report_cells.cells(lines)) == 1287


def test_recommend_is_near_the_best_committed_cells():
    lines = _lines.read(DOCS / "results" / "table.jsonl")
    found = [
        share for part in _report_tables.by_table(lines).values() for _, _, share in _report_tables.against_best(part)
    ]
    assert len(found) >= 2
    assert max(found) < 0.05
