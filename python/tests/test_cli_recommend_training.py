"""`embedcompress recommend --task ctr`."""

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from training_results import CRITEO, FIELDS, FULL, ROWS, labels, rules_of, three

from embedcompress import cli, training
from embedcompress.training._rules import committed_rules


def run(capsys, *arguments):
    code = cli.main(["recommend", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


CTR = ("--task", "ctr", "--fields", "9000,900,100", "--dim", 16)


@pytest.fixture
def files(tmp_path):
    lines = [*FULL, *three("robe", 0.1, 0.79), *three("hash", 0.1, 0.70), *three("mgqe", 0.1, 0.799)]
    rules_of(tmp_path, lines)
    np.save(tmp_path / "counts.npy", np.arange(ROWS))
    return tmp_path


def test_the_command_ranks_and_says_why(capsys, files):
    code, out, err = run(capsys, *CTR, "--budget", "10%", "--rules", files / "rules.json")
    assert (code, err) == (0, "")
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=training.read_rules(files / "rules.json"))
    assert labels(choice) == ["robe", "hash"]
    for one in choice:
        assert f"{one.rank}. {one.method}: {one.reason}" in out
        assert "; ".join(one.cells) in out
    assert "int8 needs" in out
    call = re.search(r"The first one: (.*)$", out, re.MULTILINE)[1]
    assert eval(call).stored_bytes == choice[0].stored_bytes


def test_options_are_in_the_table_the_reasons_and_the_call(capsys, tmp_path):
    options = {"bits": 4, "block": 4}
    rules_of(tmp_path, [*FULL, *three("robe", 0.1, 0.77), *three("robe", 0.1, 0.79, options=options)])
    code, out, _ = run(capsys, *CTR, "--budget", "10%", "--rules", tmp_path / "rules.json")
    assert code == 0
    assert re.search(r"^ *1  robe\(bits=4, block=4\) ", out, re.MULTILINE)
    assert "1. robe(bits=4, block=4): Expected to lose 0.0100" in out
    call = re.search(r"The first one: (.*)$", out, re.MULTILINE)[1]
    assert call.endswith("fields=[9000, 900, 100], bits=4, block=4)")
    choice = training.recommend(FIELDS, 16, budget=0.1, rules=training.read_rules(tmp_path / "rules.json"))
    assert eval(call).stored_bytes == choice[0].stored_bytes
    _, out, _ = run(capsys, *CTR, "--budget", "10%", "--rules", tmp_path / "rules.json", "--json")
    assert [one["options"] for one in json.loads(out)["advice"]] == [options, {}]


def test_its_json(capsys, files):
    arguments = ("--budget", "64kB", "--rules", files / "rules.json", "--counts", files / "counts.npy", "--cold")
    code, out, _ = run(capsys, *CTR, *arguments, "--train-memory", "1MB", "--latency", "20", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["task"], document["train_memory"], document["latency"]) == ("ctr", 1_000_000, 20)
    assert document["cold"] is True
    assert document["measured_on"] == "one/dlrm"
    assert [one["method"] for one in document["advice"]] == ["mgqe", "robe", "hash"]
    names = {field.name for field in dataclasses.fields(training.Advice)}
    names.add("extrapolated")
    assert document["growth"] is None
    assert all(one.keys() == names and one["stored_bytes"] <= 64_000 for one in document["advice"])
    floors = {one["method"]: one["floor"] for one in document["refused"]}
    assert floors["int8"] > 64_000


def test_the_committed_rules_are_taken_by_default(capsys):
    code, out, _ = run(capsys, *CTR, "--budget", "0.1", "--json")
    assert code == 0
    assert json.loads(out)["results"] == committed_rules().results


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0.1", "--cold"], "--cold belongs to --task ctr, not to --task table"),
        (["table.npy", "--budget", "0.1", "--train-memory", "2GB"], "--train-memory belongs to --task ctr"),
        (["--budget", "0.1"], "--task table needs FILE"),
        ([*CTR, "--budget", "0.1", "--metric", "l2"], "--metric belongs to --task table, not to --task ctr"),
        ([*CTR, "--budget", "0.1", "table.npy"], "FILE belongs to --task table, not to --task ctr"),
        (["--task", "ctr", "--dim", "16", "--budget", "0.1"], "--task ctr needs --fields"),
        (["--task", "ctr", "--fields", "5", "--budget", "0.1"], "--task ctr needs --dim"),
        ([*CTR, "--budget", "3"], "no method can meet a budget of 3 bytes"),
        ([*CTR, "--budget", "0.1", "--latency", "0.001"], "is within the limits: the fastest lookup took"),
        ([*CTR, "--budget", "0.1", "--rules", "none.json"], "none.json"),
    ],
)
def test_how_the_command_fails(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


def test_memory_is_bytes(capsys):
    with pytest.raises(SystemExit):
        run(capsys, *CTR, "--budget", "0.1", "--train-memory", "0.5")
    assert "is not a number of bytes, such as 2GB" in capsys.readouterr().err


def test_it_takes_no_more_than_a_few_seconds():
    """Nothing is trained, and nothing large is imported beside torch."""
    program = (
        "import sys, time; from embedcompress import cli; import embedcompress.training; start = time.process_time(); "
        f"code = cli.main(['recommend', '--task', 'ctr', '--fields', '{','.join(map(str, CRITEO))}', '--dim', '16', "
        "'--budget', '0.1']); sys.exit(code or time.process_time() - start > 1 or 'sklearn' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
