"""Builds the fuzzer and runs it on each kind of input; ``make fuzz`` runs this.

It goes on past what it finds: inputs that crash, hang or take too much memory are left in ``.build-fuzz/findings``,
and ``.build-fuzz/debug/fuzz PATH``, with FUZZ_KIND as printed, does one again. What it has learnt stays in
``.build-fuzz/corpus``, so that a later run goes on. Needs Swift with libFuzzer and the standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

from toolchain import COMPILER_VARIABLES, ROOT, BuildError, compiler_options, find_swift, wanted_levels

SCRATCH = ROOT / ".build-fuzz"
CORPUS = ROOT / "Tests/Fuzz/corpus.tar.xz"
KINDS = ("file", "json", "text", "tree")
WORDS = ROOT / "Tests/Fuzz/words.dict"
FINDINGS = ("crash", "leak", "timeout", "oom")
MOST_SECONDS = 5
"""Of processor time, for an input."""


def build() -> Path:
    """Build the fuzzer, with AddressSanitizer, and return its path.

    Raises:
        BuildError: there is no Swift, or the compiler failed.
    """
    command = [find_swift(), "build", "--package-path", str(ROOT), "--scratch-path", str(SCRATCH)]
    command += ["--product", "fuzz", "--sanitize", "fuzzer", "--sanitize", "address", "-Xswiftc", "-O"]
    # Of several such options Swift's compiler heeds the last, and SwiftPM gives it one for each.
    command += ["-Xswiftc", "-sanitize=fuzzer,address"]
    for option in compiler_options(wanted_levels("native")[0]):
        command += ["-Xcc", option]
    environment = {key: value for key, value in os.environ.items() if key not in COMPILER_VARIABLES}
    environment["EMBEDCOMPRESS_FUZZ"] = "1"
    if subprocess.run(command, env=environment).returncode != 0:
        raise BuildError("swift build failed; its messages stand above.")
    command.append("--show-bin-path")
    folder = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return Path(folder, "fuzz")


LIMITS = ["-rss_limit_mb=1024", "-malloc_limit_mb=512"]


def environment(kind: str) -> dict[str, str]:
    """Return the environment that the fuzzer runs in."""
    return os.environ | {"FUZZ_KIND": kind, "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}


def is_finding(fuzzer: Path, kind: str, path: Path) -> bool:
    """Whether an input that libFuzzer kept breaks a rule; one that took too long is tried again.

    libFuzzer measures wall-clock time, which other programs take from an input that needs none.
    """
    if not path.name.startswith("timeout"):
        return path.name.startswith(FINDINGS)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(fuzzer), f"-timeout={20 * MOST_SECONDS}", *LIMITS, str(path)]
    answer = subprocess.run(command, env=environment(kind), cwd=SCRATCH, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return answer.returncode != 0 or used > MOST_SECONDS


def run(fuzzer: Path, kind: str, seconds: int, seed: int, jobs: int) -> dict[str, Any]:
    """Fuzz one kind of input and return the figures."""
    corpus, findings = SCRATCH / "corpus" / kind, SCRATCH / "findings" / kind
    shutil.rmtree(findings, ignore_errors=True)
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    command = [str(fuzzer), f"-max_total_time={seconds}", f"-seed={seed}", f"-fork={jobs}", f"-dict={WORDS}"]
    command += ["-ignore_crashes=1", "-ignore_timeouts=1", "-ignore_ooms=1", f"-timeout={MOST_SECONDS}", "-max_len=65536"]
    command += [*LIMITS, f"-artifact_prefix={findings}/", str(corpus)]
    command.append(str(SCRATCH / "seeds" / kind))
    started = time.monotonic()
    answer = subprocess.run(command, env=environment(kind), cwd=SCRATCH, capture_output=True, text=True, errors="replace")
    (SCRATCH / f"{kind}.log").write_text(answer.stderr, encoding="utf-8")
    lines = re.findall(r"^#(\d+): cov: (\d+) ft: (\d+) corp: (\d+)", answer.stderr, re.MULTILINE)
    if not lines:
        raise BuildError(f"the fuzzer did not run:\n{answer.stderr[-2000:]}")
    executions, coverage, _, inputs = map(int, lines[-1])
    found = sorted(path.name for path in findings.iterdir() if is_finding(fuzzer, kind, path))
    return {
        "executions": executions,
        "seconds": round(time.monotonic() - started),
        "edges": coverage,
        "inputs": inputs,
        "findings": found,
    }


def main() -> None:
    """Build, unpack the corpus, and fuzz one kind after the other."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for all kinds together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes at a time")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    given = parser.parse_args()
    try:
        fuzzer = build()
        shutil.rmtree(SCRATCH / "seeds", ignore_errors=True)
        with tarfile.open(CORPUS) as archive:
            archive.extractall(SCRATCH / "seeds", filter="data")
        results = {}
        for kind in given.kinds:
            print(f"{kind}: FUZZ_KIND={kind}, seed {given.seed}, {given.jobs} processes", flush=True)
            results[kind] = run(fuzzer, kind, max(given.seconds // len(given.kinds), 1), given.seed, given.jobs)
            print(f"{kind}: {json.dumps(results[kind])}", flush=True)
    except BuildError as error:
        sys.exit(f"error: {error}")
    if given.out is not None:
        given.out.write_text(json.dumps({"seed": given.seed, "kinds": results}, indent=1) + "\n", encoding="utf-8")
    if any(result["findings"] for result in results.values()):
        sys.exit(f"error: there are findings, in {SCRATCH / 'findings'}")


if __name__ == "__main__":
    main()
