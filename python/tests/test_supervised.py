"""The processes that do numbered cases: what ends one is found, and what was cut off goes on."""

import pytest
import sample_cases
import supervised


def test_what_dies_hangs_or_breaks_a_rule_is_found_and_the_rest_is_done(monkeypatch):
    monkeypatch.setattr(supervised, "HANG_SECONDS", 1.0)
    monkeypatch.setattr(supervised, "WAIT_SECONDS", 2.0)
    outcome = supervised.run(sample_cases.with_findings, seed=5, total=600, workers=2)
    found = {one["kind"]: (one["case"], one["times"]) for one in outcome.findings}
    assert found == {"signal 11": (7, 1), "exit 3": (11, 1), "rule": (13, 1), "no end": (17, 2)}
    assert outcome.cases == 600
    assert outcome.counts == {"done": 595, "even": 300, "odd": 295}


def test_a_run_that_was_cut_off_goes_on(tmp_path):
    state = tmp_path / "state"
    first = supervised.run(sample_cases.plain, seed=2, total=500, state=state)
    assert first.counts == {"even": 250, "odd": 250}
    again = supervised.run(sample_cases.plain, seed=2, total=1250, state=state)
    assert again.cases == 1250
    assert again.counts == {"even": 625, "odd": 625}
    with pytest.raises(SystemExit, match="seed 2, not 3"):
        supervised.run(sample_cases.plain, seed=3, total=500, state=state)
