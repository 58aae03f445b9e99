"""The report's section on large tables: figures by ids and method, what is said of them, and pictures."""

import json
import re

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("markdown")

from embedcompress.bench import _report_scale, report

MACHINE = {"cpu": "a cpu", "processors": 2, "isa": "x86-64-v4", "versions": {"embedcompress": "0"}}


def line(method, rows, budget=0.01, seed=0, samples=200_000, milliseconds=100.0, auc=0.7, **bytes_held):
    request = {
        "data": "generated", "rows": rows, "method": method, "budget": budget, "seed": seed, "head": "dlrm",
        "dimension": 16, "batch": 2048, "samples": samples, "test_samples": 5000, "warm_up": 10, "gradients": "sparse",
        "threads": 1,
    }  # fmt: skip
    figures = {
        "step_ms": {"median": 2 * milliseconds}, "step_cpu_ms": {"median": milliseconds},
        "table_bytes": {"parameters": round(64 * rows * budget), "buffers": 0} | bytes_held, "peak_bytes": 500_000_000,
        "auc": auc, "bayes_auc": 0.8,
    }  # fmt: skip
    return {"bench": "scale", "machine": MACHINE, "request": request, "figures": figures}


def refused(method, rows, budget=0.01):
    found = line(method, rows, budget) | {"refused": "cannot", "floor": round(0.25 * 64 * rows)}
    del found["figures"]
    return found


LINES = [
    *(line("full", rows, 1.0, auc=0.75) for rows in (1000, 10_000)),
    *(line("robe", rows, milliseconds=90.0, auc=0.74) for rows in (1000, 10_000)),
    line("hash", 1000, seed=0, auc=0.60), line("hash", 1000, seed=1, auc=0.62), line("hash", 10_000),
    *(refused("int8", rows) for rows in (1000, 10_000)), line("int8", 10_000, 0.3, auc=0.745),
    line("full", 1000, 1.0, samples=800_000, auc=0.77),
]  # fmt: skip


def test_cells_are_compared_that_were_trained_in_one_way():
    first, second = _report_scale.groups(LINES)
    assert (len(first), len(second)) == (len(LINES) - 1, 1)
    assert _report_scale.titles([first, second]) == ["200,000 samples", "800,000 samples"]
    assert "391 steps of 2,048 samples" in _report_scale.described(second)


def test_what_is_said_of_a_size():
    small, large = _report_scale.summary(_report_scale.groups(LINES)[0])
    assert small == (
        "**1,000 ids**: uncompressed, a step takes 100 ms and the table 64 kB in training. At 1 %, a step takes 0.90 "
        "(robe) to 1.00 (hash) times as long, in 640 B (hash) to 640 B (robe); the most is learned by robe, 0.7400 of "
        "0.8000."
    )
    assert "At 30 %, a step takes 1.00 (int8) times as long, in 192 kB (int8); the most is" in large


def test_headings_are_told_apart():
    dense = line("full", 1000, 1.0)
    dense["request"] |= {"gradients": "dense", "threads": 2}
    found = _report_scale.groups([*LINES, dense])
    assert _report_scale.titles(found) == [
        "200,000 samples, gradients sparse, threads 1", "800,000 samples", "200,000 samples, gradients dense, threads 2"
    ]  # fmt: skip


def test_it_is_said_what_is_not_compared():
    (text,) = _report_scale.summary([line("robe", 1000)])
    assert text == ("**1,000 ids**: nothing is compared, as the uncompressed table was not run, or has no figures.")
    lines = [line("full", 1000, 1.0), refused("robe", 90_000)]
    assert "**90,000 ids**: nothing is compared" in _report_scale.summary(lines)[1]
    text = "\n".join(_report_scale.tables(lines))
    assert "nan" not in text and "| *the best there can be* |  | 0.8000 | - |" in text
    assert _report_scale.plots([*lines, line("hash", 1000), line("robe", 1000)])


def test_tables_have_every_cell():
    text = "\n".join(_report_scale.tables(_report_scale.groups(LINES)[0]))
    assert text.count("| full | 100 % |") == len(_report_scale.FIGURES)
    # The median of two seeds; a refusal has the least share.
    assert "| hash | 1 % | 0.6100 | 0.7000 |" in text
    assert "| int8 | 1 % | ≥ 25 % | ≥ 25 % |" in text
    assert "| int8 | 30 % | - | 100 |" in text
    assert "| *the best there can be* |  | 0.8000 | 0.8000 |" in text
    assert "| robe | 1 % | 180 | 180 |" in text and "| robe | 1 % | 90.0 | 90.0 |" in text


def test_pictures_are_of_budgets_with_several_methods_and_sizes():
    first, second = _report_scale.groups(LINES)
    (budget,) = drawn = _report_scale.plots(first)
    assert budget == 0.01
    labels = drawn[budget].axes[-1].get_legend_handles_labels()[1]
    assert labels == ["full", "int8 at 30 %", "hash", "robe", "best there can be"]
    assert _report_scale.plots(second) == {}


def test_the_report_has_the_section(tmp_path):
    path = tmp_path / "scale.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in LINES))
    written = report.make([path], tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert {one.name for one in written} == {"report.md", "report.html", "scale-1.svg"}
    assert re.findall(r"^##+ .*", text, re.MULTILINE) == [
        "## Training large tables", "### After 200,000 samples", "### After 800,000 samples",
    ]  # fmt: skip
    assert "![Large tables at 1 %: time, bytes and quality against ids](scale-1.svg)" in text
    assert "`bench scale`: 11 results" in text and "*generated* clicks" in text
    assert (tmp_path / "out" / "report.html").read_text().count("<svg") == 1
