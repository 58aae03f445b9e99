"""Commands with arguments that make no sense, made from calls that are right.

    python python/tests/hostile_commands.py --calls 10000 --seed 1 --state commands.state

One or two words of a command line are replaced by texts that nobody should write, or by files of another kind; some are
left out, and some are added. The command may do its work, or end with 1 and one line that says what is wrong, or with
what argparse says and 2. It raises nothing, prints no traceback, and leaves devices, folders, links and pipes
what they were.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import stat
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from supervised import Case, Finding, arguments, run_and_tell

import embedcompress as ec
from embedcompress import cli, training

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"
WORDS = (
    *("", " ", "-", "--", "-1", "0", "1", "2", "16", "0.1", "10%", "150%", "-5%", "1KB", "1 TB", "0x10", "1_000", "³"),
    *("nan", "inf", "-inf", "1e400", "1e-400", "9" * 30, "9" * 400, str(2**63 - 1), str(2**63), str(-(2**64))),
    *("=", "a=b", "bits=99", "bits=", "=4", "a=b=c", "{}", "[]", "null", "%s", "{0}", "$HOME", "~", "*", "a b", "a\nb"),
    *("1,2,,3", "1,-5", ",", "1,2,3", "all", "asym", "pq", "hash", "full", "zipf", "é", "\udcff", "\u202e", "x" * 5000),
    *(
        "/dev/null",
        "/dev/zero",
        ".",
        "..",
        "missing",
        "missing/file",
        "folder/file",
        "/proc/self/mem",
        "--json",
        "--help",
    ),
)
"""What words are replaced by, beside the names of files."""
HEAVY = ("--queries", "--sample", "--samples", "--test-samples", "--repetitions", "--limit", "--rows", "--dimension")
"""Options that say how much is to be done: who asks for much gets it, so their values are small or none at all."""


def files(folder: Path) -> list[str]:
    """Write files of every kind that commands read, and return their names."""
    weight = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    np.save(folder / "weight.npy", weight)
    np.save(folder / "vectors.npy", np.random.default_rng(1).standard_normal((150, 8)).astype(np.float32))
    np.save(folder / "counts.npy", np.arange(40))
    np.save(folder / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    np.save(folder / "words.npy", np.array(["a", "b"]))
    ec.save(folder / "table", {"a": ec.compress(weight, "asym"), "b": ec.dense(weight)})
    save_file({"emb.weight": weight}, folder / "model.safetensors")
    (folder / "empty").touch()
    (folder / "noise").write_bytes(random.Random(0).randbytes(3000))
    (folder / "text").write_text("a sentence\nand another one\n" * 20, encoding="utf-8")
    (folder / "truncated.npy").write_bytes((folder / "weight.npy").read_bytes()[:200])
    (folder / "list.json").write_text("[1, 2]", encoding="utf-8")
    (folder / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    (folder / "config.toml").write_text('[[grid]]\ndata = ["flights"]\nmethods = ["hash"]\n', encoding="utf-8")
    (folder / "deep.toml").write_text("grid = " + "[" * 100_000, encoding="utf-8")
    (folder / "bad.toml").write_text("[[grid]]\ndata = 3\n", encoding="utf-8")
    lines = (RESULTS / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "train.jsonl").write_text("".join(lines[:40]), encoding="utf-8")
    (folder / "half.jsonl").write_text(lines[0][: len(lines[0]) // 2], encoding="utf-8")
    (folder / "other.jsonl").write_text(json.dumps({"bench": "train", "request": 3}) + "\n", encoding="utf-8")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("missing target")
    os.mkfifo(folder / "pipe")
    names = sorted(path.name for path in folder.iterdir())
    # Reading a pipe that nobody writes to waits, as it should.
    return [name for name in names if name != "pipe"]


def commands() -> list[list[str]]:
    """Command lines that are right; what they write is called out."""
    few = ["--methods", "asym", "--budgets", "0.3"]
    learned = ["--fields", "300,40", "--dim", "8", "--budget", "20%"]
    return [
        ["compress", "weight.npy", "out", "--method", "asym", "--bits", "4", "--threads", "1"],
        ["compress", "weight.npy", "out", "--method", "prune", "--budget", "0.5", "--option", "value_dtype=f16"],
        ["compress", "model.safetensors", "out", "--method", "pq", "--tensor", "emb.weight", "--counts", "counts.npy"],
        ["convert", "table", "out.safetensors", "--tensor", "a"],
        ["decompress", "table", "out.npy", "--tensor", "a"],
        ["inspect", "table", "--verify", "--json"],
        ["verify", "table", "table"],
        ["evaluate", "table", "weight.npy", "--table", "a", "--queries", "4", "--json"],
        ["recommend", "weight.npy", "--budget", "0.3", "--metric", "l2", "--sample", "8", "--seed", "1", "--json"],
        ["recommend", "--task", "ctr", *learned, "--train-memory", "3MB", "--latency", "400", "--cold"],
        ["plan", "--method", "compo", *learned, "--option", "operation=sum", "--json"],
        ["methods", "--stage", "all", "--json"],
        ["bench", "report", "train.jsonl", "--out", "out"],
        ["bench", "fit", "train.jsonl", "--out", "out"],
        ["bench", "scale", "--rows", "1000", "--methods", "hash", "--budgets", "0.1", "--out", "out", "--list"],
        ["bench", "train", "--config", "config.toml", "--out", "out", "--list"],
        ["bench", "train", "--data", "flights", "--methods", "hash", "--seeds", "0", "--out", "out", "--list"],
        ["bench", "table", "weight.npy", *few, "--queries", "2", "--out", "out"],
        ["bench", "retrieval", "--corpus", "vectors.npy", "--queries", "weight.npy", *few, "--out", "out"],
    ]


def changed(right: list[str], names: list[str], rng: random.Random) -> list[str]:
    """Return a command line with a word or two replaced, left out, doubled or added."""
    words = list(right)
    start = 2 if words[0] == "bench" else 1
    for _ in range(rng.choice([1, 1, 1, 2])):
        values = [at for at in range(start, len(words)) if not words[at].startswith("--")]
        everything = list(range(start, len(words)))
        at = rng.choice((values if rng.random() < 0.8 else everything) or [start])
        word = rng.choice(names) if rng.random() < 0.3 else rng.choice(WORDS)
        what = rng.random()
        key, equals, _ = words[at].partition("=") if at < len(words) else ("", "", "")
        if equals and what < 0.4:
            words[at] = f"{key}={word}"
        elif what < 0.75 and at < len(words):
            words[at] = word
        elif what < 0.85 and at < len(words):
            del words[at]
        elif what < 0.95:
            words.insert(at, word)
        else:
            words = words[:start] + words[start:] * 2
    if "--list" in right and words.count("--list") == 0:
        # These train in processes of their own, and not for a moment only.
        words.append("--list")
    for at, word in enumerate(words[1:], 1):
        if words[at - 1] in HEAVY and word.isdecimal() and int(word) > 1000:
            words[at] = "-3"
    return words


def special_files() -> dict[str, int | None]:
    """The kinds of files that are not regular, which commands must leave as they are; None for one that is gone."""
    paths = ("/dev/null", "/dev/zero", "folder", "link", "pipe")
    return {path: stat.S_IFMT(os.lstat(path).st_mode) if os.path.lexists(path) else None for path in paths}


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of a folder's files."""
    found = {path.name: path.lstat() for path in folder.iterdir()}
    return {name: (status.st_size, status.st_mtime_ns) for name, status in found.items()}


def cases(seed: int, folder: Path) -> Case:
    """The cases of a seed; the commands take turns."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    ec.set_num_threads(1)
    training.methods()
    # Nested, as some commands are told to write to the folder above.
    folder = folder / "inner"
    folder.mkdir()
    os.chdir(folder)
    names = files(folder)
    before, fresh = special_files(), state(folder)
    right = commands()

    def case(index: int) -> list[str]:
        nonlocal fresh
        words = changed(right[index % len(right)], names, random.Random((seed << 40) + index))
        try:
            return tried(words)
        finally:
            # A case depends on its number alone: it finds the files as they were made.
            ec.set_num_threads(1)
            if state(folder) != fresh:
                remove_new(folder, names)
                fresh = state(folder)

    def tried(words: list[str]) -> list[str]:
        output, errors = io.StringIO(), io.StringIO()
        code: object
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                code = cli.main(words)
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            kind = f"{' '.join(words[:2])}: {type(error).__name__}"
            raise Finding(kind, f"{words} {''.join(traceback.format_exception(error))[-700:]}") from error
        said = errors.getvalue()
        if code not in (0, 1, 2):
            raise Finding(f"exit code {code}", str(words))
        if "Traceback" in said:
            raise Finding("traceback", f"{words} {said[-700:]}")
        if code == 1 and not said.rstrip("\n").rpartition("\n")[2].startswith("embedcompress: error: "):
            raise Finding("no error line", f"{words} {said[-300:]}")
        if special_files() != before:
            raise Finding("replaced", str(words))
        return ["commands", f"exit {code}"]

    return case


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_new(folder: Path, names: list[str]) -> None:
    """Make the files of `names` anew, and remove all others."""
    for path in folder.iterdir():
        remove(path)
    assert files(folder) == names


def main(given: list[str] | None = None) -> int:
    parser = arguments(__doc__ or "", 0)
    parser.add_argument("--calls", type=int, default=100, help="of each command line; --total is how many in all")
    options = parser.parse_args(given)
    if options.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            print(cases(options.seed, Path(folder))(options.case))
            return 0
    count = len(commands())
    total = options.total or options.calls * count
    return run_and_tell(cases, options, total, f"{count} command lines, {total:,} calls", command_lines=count)


if __name__ == "__main__":
    sys.exit(main())
