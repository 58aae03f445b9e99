"""Fills the figures of docs/security.md from what the long runs left in docs/results.

`make mutate`, `make hostile` and `make fuzz` write mutation.json, hostile_calls.json, hostile_commands.json and
fuzz.json there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from _pages import DOCS, RESULTS, fill, read_json

from embedcompress._report import markdown_table

PAGE = DOCS / "security.md"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _findings(found: list[dict[str, Any]]) -> str:
    return "none" if not found else f"{sum(one['times'] for one in found):,} of {len(found)} kinds"


def runs(mutation: Mapping[str, Any], calls: Mapping[str, Any], commands: Mapping[str, Any]) -> str:
    """The table of mutated files, hostile calls and hostile commands."""
    opened = mutation["counts"].get("opened", 0)
    what = {
        "mutated files": (mutation, f"{opened:,} opened"),
        "hostile calls": (calls, f"{calls['functions']} functions, {calls['counts'].get('succeeded', 0):,} succeeded"),
        "hostile commands": (
            commands,
            f"{commands['command_lines']} command lines, {commands['counts'].get('exit 0', 0):,} succeeded",
        ),
    }
    lines = [
        [name, f"{run['cases']:,}", str(run["seed"]), about, _duration(run["seconds"]), _findings(run["findings"])]
        for name, (run, about) in what.items()
    ]
    return markdown_table(["what", "cases", "seed", "of these", "time", "findings"], lines, left=1)


def names(calls: Mapping[str, Any]) -> str:
    """How many errors name their argument."""
    named, unnamed = calls["counts"].get("named", 0), calls["counts"].get("not named", 0)
    return (
        f"Of {named + unnamed:,} ValueErrors and TypeErrors that one argument alone was the cause of, {named:,} name "
        "it. The others are mostly Python's own, such as those of what is no path, no sequence or no function."
    )


def refusals(mutation: Mapping[str, Any], calls: Mapping[str, Any]) -> str:
    """The table of errors by type."""
    lines = [
        ["mutated files", *key.split(": "), f"{count:,}"] for key, count in mutation["counts"].items() if ": " in key
    ]
    told = ("calls", "succeeded", "named", "not named")
    lines += [["hostile calls", "call", key, f"{count:,}"] for key, count in calls["counts"].items() if key not in told]
    return markdown_table(["what", "step", "error", "times"], lines, left=3)


def fuzzing(results: Mapping[str, Any]) -> str:
    """The table of libFuzzer's runs."""
    lines = [
        [
            *[kind, f"{run['executions']:,}", str(results["seed"]), f"{run['edges']:,}", _duration(run["seconds"])],
            str(len(run["findings"])) if run["findings"] else "none",
        ]
        for kind, run in results["kinds"].items()
    ]
    return markdown_table(["input", "executions", "seed", "edges reached", "time", "findings"], lines, left=1)


def open_findings(mutation: Mapping[str, Any], calls: Mapping[str, Any], commands: Mapping[str, Any]) -> str:
    """What the runs found that is not mended, with what does each again."""
    lines = [
        [
            f"`{one['kind'].replace('|', '/')}`",
            f"{one['times']:,}",
            f"`{command} --seed {run['seed']} --case {one['case']}`",
        ]
        for command, run in (
            ("mutation.py", mutation),
            ("hostile_calls.py", calls),
            ("hostile_commands.py", commands),
        )
        for one in run["findings"]
    ]
    return markdown_table(["finding", "times", "again with"], lines, left=1) if lines else "There are none."


def tables(
    mutation: Mapping[str, Any], calls: Mapping[str, Any], commands: Mapping[str, Any], fuzz: Mapping[str, Any]
) -> dict[str, str]:
    """Return the parts of the page by the names of their places."""
    return {
        "runs": runs(mutation, calls, commands),
        "fuzzing": fuzzing(fuzz),
        "refusals": refusals(mutation, calls),
        "names": names(calls),
        "open findings": open_findings(mutation, calls, commands),
    }


def committed() -> dict[str, str]:
    """Return the parts of the page for the committed figures."""
    names = ("mutation", "hostile_calls", "hostile_commands", "fuzz")
    return tables(*(read_json(RESULTS / f"{name}.json") for name in names))


if __name__ == "__main__":
    fill(PAGE, committed())
