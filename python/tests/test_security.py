"""Short runs of the machines that look for what brings the library down, and their own tests."""

import argparse
import mmap
import random

import fuzz_corpus
import hostile_calls
import hostile_commands
import mutation
import pytest
import supervised
from every_table import every_table
from supervised import Finding

import embedcompress as ec
from embedcompress import cli


def no_findings(outcome):
    assert not outcome.findings, "\n".join(f"{one}" for one in outcome.findings)


def test_mutated_files_are_opened_or_refused():
    outcome = supervised.run(mutation.cases, seed=1, total=4000)
    no_findings(outcome)
    assert outcome.counts["mutated"] == outcome.cases == 4000
    # What is refused at once tries little.
    assert outcome.counts["opened"] > 800


def test_hostile_calls_get_documented_errors(tmp_path):
    count = len(hostile_calls.functions(tmp_path))
    outcome = supervised.run(hostile_calls.cases, seed=1, total=40 * count)
    no_findings(outcome)
    assert outcome.counts["calls"] == 40 * count
    assert outcome.counts["succeeded"] < outcome.counts["ValueError"] + outcome.counts["TypeError"]


def test_hostile_commands_end_in_a_line():
    outcome = supervised.run(hostile_commands.cases, seed=1, total=340)
    no_findings(outcome)
    assert outcome.counts["exit 0"] > 30
    assert outcome.counts["exit 1"] > 50


def test_commands_are_right_before_they_are_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile_commands.files(tmp_path)
    for words in hostile_commands.commands():
        hostile_commands.remove(tmp_path / "out")
        assert cli.main(words) == 0, words


def test_every_command_is_called():
    called = {tuple(words[: 1 + (words[0] == "bench")]) for words in hostile_commands.commands()}
    known = set()
    for name, command in subcommands(cli.parser()).items():
        inner = subcommands(command)
        known |= {(name, one) for one in inner} or {(name,)}
    # What is timed takes seconds at the least.
    assert known - called == {("bench", "lookup")}


def subcommands(parser):
    actions = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    return actions[0].choices if actions else {}


def test_every_public_function_is_called(tmp_path):
    called = {name.partition(" ")[0] for name in hostile_calls.functions(tmp_path)}
    functions = {name for name in ec.__all__ if callable(getattr(ec, name)) and not isinstance(getattr(ec, name), type)}
    methods = {f"Table.{name}" for name in vars(ec.Table) | vars(ec.Table.__mro__[1]) if not name.startswith("_")}
    plain = {"Table.parts", "Table.row_layouts"}
    methods = {name for name in methods if callable(getattr(ec.Table, name.partition(".")[2]))} - plain
    assert functions | methods <= called


def test_mutations_are_the_same_again_and_differ():
    raw = fuzz_corpus_file("uniform")
    source = mutation.Draft.read(raw)
    made = [mutation.mutated(source, random.Random(number)) for number in range(200)]
    assert made == [mutation.mutated(source, random.Random(number)) for number in range(200)]
    assert len(set(made)) > 150
    # The source itself is left alone.
    members, data = source.header()
    assert data == mutation.Draft.read(raw).header()[1]
    assert members == mutation.Draft.read(raw).header()[0]


def fuzz_corpus_file(name):
    return next(data for path, data in fuzz_corpus.cases() if path == f"file/{name}")


def test_the_corpus_is_every_table_and_small():
    packed = fuzz_corpus.packed()
    assert len(packed) < 200_000
    assert fuzz_corpus.CORPUS.stat().st_size < 2 << 20
    names = {path for path, _ in fuzz_corpus.cases()}
    for name in every_table():
        assert {f"file/{name}", f"tree/{name}", f"json/plan_{name}"} <= names


@pytest.mark.skipif(not mutation.Memory.STATUS.exists(), reason="memory is read from /proc")
def test_memory_out_of_proportion_is_found():
    memory = mutation.Memory()
    memory.check(0)
    # Pages of its own: other memory may be some that an earlier test has given back.
    with mmap.mmap(-1, 150 << 20) as held:
        held.write(b"1" * len(held))
        with pytest.raises(Finding, match="memory"):
            memory.check(0)
        memory.check(len(held) // 2)
