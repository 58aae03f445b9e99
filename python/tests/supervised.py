"""Numbered cases in processes of their own: one that dies, hangs or breaks a rule is a finding, and the rest goes on.

Cases are made by a factory, a function of a module: factory(seed, folder) returns a function that takes the number of a
case, does it, and returns words to count, such as "opened". What it must not do, it tells by raising Finding. A case
depends on the seed and its number alone, so that every finding can be had again, and a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

Case = Callable[[int], list[str]]
Factory = Callable[[int, Path], Case]

BLOCK = 250
"""Cases that a process does before it reports."""
HANG_SECONDS = 5.0
"""Of processor time, so that what else the machine does makes no findings."""
WAIT_SECONDS = 60.0
"""Of any time: for what waits and computes nothing."""
ADDRESS_SPACE = 4 << 30
"""Bytes that a process may ask for beyond what it has at the start: what asks for more meets a refusal."""


class Finding(Exception):
    """What a case must not do; `kind` is the same for findings of one cause."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail


@dataclass
class Outcome:
    """What a run gave so far."""

    seed: int
    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, counts: Counter[str], findings: list[dict[str, Any]], cases: int) -> None:
        self.counts += counts
        self.cases += cases
        for found in findings:
            known = next((one for one in self.findings if one["kind"] == found["kind"]), None)
            if known is None:
                self.findings.append(found | {"times": 1})
            else:
                known["times"] += 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "cases": self.cases,
            "seconds": round(self.seconds, 1),
            "counts": dict(sorted(self.counts.items())),
            "findings": self.findings,
        }


def _work(factory: Factory, seed: int, folder: Path, place: Any, pipe: Connection) -> None:
    """Do blocks of cases, as the pipe names them; place[0] is the case at work, -1 between blocks."""
    os.chdir(folder)
    case = factory(seed, folder)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + ADDRESS_SPACE,) * 2)
    pipe.send(None)
    while (block := pipe.recv()) is not None:
        start, stop, skipped = block
        counts: Counter[str] = Counter()
        findings = []
        for index in range(start, stop):
            if index in skipped:
                continue
            place[0] = index
            try:
                counts.update(case(index))
            except Finding as found:
                findings.append({"kind": found.kind, "case": index, "detail": found.detail[:1000]})
        place[0] = -1
        pipe.send((counts, findings))


def _address_space() -> int:
    """Return the bytes of this process's address space, as far as the system tells."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0


def processor_seconds(process: int | None) -> float:
    """Return the time that a process and its threads have had, or any time where the system does not tell."""
    stat = Path(f"/proc/{process}/stat")
    if not stat.exists():
        return time.monotonic()
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Worker:
    """A process and the block it is at."""

    def __init__(self, factory: Factory, seed: int, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.place = context.RawArray("q", [-1])
        self.pipe, theirs = context.Pipe()
        arguments = (factory, seed, folder, self.place, theirs)
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.block: tuple[int, int, list[int]] | None = None
        self.seen, self.since, self.used = -1, time.monotonic(), 0.0
        # The factory may take its time; a case may not.
        self.is_ready = False

    def give(self, block: tuple[int, int, list[int]]) -> None:
        self.block = block
        self.pipe.send(block)

    def hangs(self) -> bool:
        now, used, index = time.monotonic(), processor_seconds(self.process.pid), self.place[0]
        if index != self.seen:
            self.seen, self.since, self.used = index, now, used
        return index >= 0 and (used - self.used > HANG_SECONDS or now - self.since > WAIT_SECONDS)

    def end(self) -> int:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        return self.process.exitcode or 0


def run(
    factory: Factory,
    seed: int,
    total: int,
    *,
    workers: int = 1,
    state: Path | None = None,
    most_findings: int = 200,
    told: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Do cases 0 to total - 1.

    Args:
        factory: Makes the cases; a function at the top of a module.
        seed: Of all cases.
        total: How many.
        workers: Processes at a time.
        state: Where the run is kept, to go on from if it is there and of the same seed.
        most_findings: Different ones that end the run.
        told: Called with the outcome now and then.
    """
    outcome, first = _resumed(state, seed)
    started, before = time.monotonic(), outcome.seconds
    blocks: Iterator[tuple[int, int, list[int]]] = (
        (start, min(start + BLOCK, total), []) for start in range(first, total, BLOCK)
    )
    redone: list[tuple[int, int, list[int]]] = []
    finished: dict[int, tuple[Counter[str], list[dict[str, Any]], int]] = {}
    deaths: dict[int, list[dict[str, Any]]] = {}
    next_start = first
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as parent:
        crew: list[_Worker] = []

        def fresh() -> _Worker:
            return _Worker(factory, seed, Path(tempfile.mkdtemp(dir=parent)))

        def next_block() -> tuple[int, int, list[int]] | None:
            if redone:
                return redone.pop()
            return None if len(outcome.findings) >= most_findings else next(blocks, None)

        def bury(worker: _Worker, how: str) -> None:
            """Note why a worker ended, and have its block done again without the case that ended it."""
            index, code = worker.place[0], worker.end()
            crew.remove(worker)
            if worker.block is None or index < 0:
                raise RuntimeError(f"a worker ended with {code} before or between cases")
            start, stop, skipped = worker.block
            kind = how or (f"signal {-code}" if code < 0 else f"exit {code}")
            deaths.setdefault(start, []).append({"kind": kind, "case": index, "detail": ""})
            redone.append((start, stop, [*skipped, index]))

        try:
            while True:
                while len(crew) < workers and (block := next_block()) is not None:
                    worker = fresh()
                    worker.block = block
                    crew.append(worker)
                if not crew:
                    break
                ready = wait([worker.pipe for worker in crew], timeout=0.2)
                for worker in list(crew):
                    if worker.pipe not in ready:
                        if worker.is_ready and worker.hangs():
                            bury(worker, "no end")
                        continue
                    try:
                        answer = worker.pipe.recv()
                    except (EOFError, OSError):
                        worker.process.join()
                        bury(worker, "")
                        continue
                    if answer is None:
                        worker.is_ready = True
                        assert worker.block is not None
                        worker.give(worker.block)
                        continue
                    assert worker.block is not None
                    start, stop, _ = worker.block
                    finished[start] = (answer[0], answer[1] + deaths.pop(start, []), stop - start)
                    # In order, so that what is done is told by one number.
                    while next_start in finished:
                        counts, findings, cases = finished.pop(next_start)
                        outcome.add(counts, findings, cases)
                        next_start += cases
                        outcome.seconds = before + time.monotonic() - started
                    _keep(state, outcome)
                    if told is not None:
                        told(outcome)
                    if (following := next_block()) is not None:
                        worker.give(following)
                    else:
                        worker.pipe.send(None)
                        worker.process.join()
                        crew.remove(worker)
        finally:
            for worker in crew:
                worker.end()
    return outcome


def _resumed(state: Path | None, seed: int) -> tuple[Outcome, int]:
    """Return what an earlier run of this seed gave, and the first case that it has not done."""
    if state is None or not state.exists():
        return Outcome(seed), 0
    kept = json.loads(state.read_text(encoding="utf-8"))
    if kept["seed"] != seed:
        raise SystemExit(f"{state} is of a run with the seed {kept['seed']}, not {seed}: remove it or name another")
    outcome = Outcome(seed, kept["cases"], Counter(kept["counts"]), kept["findings"], kept["seconds"])
    return outcome, outcome.cases


def _keep(state: Path | None, outcome: Outcome) -> None:
    if state is not None:
        fresh = state.with_name(state.name + ".new")
        fresh.write_text(json.dumps(outcome.as_dict(), indent=1) + "\n", encoding="utf-8")
        fresh.replace(state)


def arguments(description: str, total: int) -> argparse.ArgumentParser:
    """Return a parser of what the commands have in common."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--total", type=int, default=total, help="cases in all, those of a run that goes on included")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--state", type=Path, help="where the run is kept; it goes on from there")
    parser.add_argument("--case", type=int, help="do this case alone, in this process")
    parser.add_argument("--out", type=Path, help="where the figures go when all cases are done")
    return parser


class Teller:
    """Prints the state of a run every few seconds."""

    def __init__(self, total: int) -> None:
        self.total, self.last, self.known = total, time.monotonic(), 0

    def __call__(self, outcome: Outcome) -> None:
        for found in outcome.findings[self.known :]:
            print(f"FOUND {found['kind']} (seed {outcome.seed}, case {found['case']})", flush=True)
        self.known = len(outcome.findings)
        if time.monotonic() - self.last > 10:
            self.last = time.monotonic()
            rate = outcome.cases / max(outcome.seconds, 1e-9)
            print(f"{outcome.cases:,} of {self.total:,} cases, {rate:,.0f} a second", flush=True)


def run_and_tell(factory: Factory, options: argparse.Namespace, total: int, what: str, **more: Any) -> int:
    """Run cases as the command line of `arguments` says, tell what they gave, and return the exit code.

    Args:
        factory: As for `run`.
        options: What `arguments` parsed.
        total: How many cases.
        what: What they are, in words.
        **more: Goes with the figures.
    """
    print(f"seed {options.seed}, {what}, {options.workers} processes", flush=True)
    outcome = run(factory, options.seed, total, workers=options.workers, state=options.state, told=Teller(total))
    figures = json.dumps(outcome.as_dict() | more, indent=1)
    print(figures)
    if options.out is not None:
        options.out.write_text(figures + "\n", encoding="utf-8")
    return 1 if outcome.findings else 0
