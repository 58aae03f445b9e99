"""Runs tests under AddressSanitizer and ThreadSanitizer; ``make sanitize`` runs this.

The Swift tests run under both; of the Python tests, those that reach most of the extension run under AddressSanitizer,
whose runtime comes before Python's. What is built stays in ``.build-sanitize``. A part that is not done when its time is
over is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from swift import find_python_headers
from toolchain import COMPILER_VARIABLES, ROOT, BuildError, compiler_options, find_swift, wanted_levels

SCRATCH = ROOT / ".build-sanitize"
SANITIZERS = ("address", "thread")
PYTHON_TESTS = (
    *("lookup", "bag", "table_set", "files", "errors", "compress", "codes", "sparse", "routes", "fused_rows"),
    *("product", "rotation", "tensor_train", "hash_network", "shared_array", "expressions"),
)
"""The Python tests that run on the extension; those of torch's modules add little but torch, and those
that measure memory would measure the sanitizer's."""


def _options(level: str) -> list[str]:
    return [part for option in compiler_options(level) for part in ("-Xcc", option)]


def _environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in COMPILER_VARIABLES}
    return kept | {"SWIFT_BACKTRACE": "enable=no", **more}


def _run(what: str, command: list[str], environment: Mapping[str, str], seconds: float) -> float:
    """Run a command and return how many seconds it took; raise BuildError if it fails or takes too long."""
    print(f"{what}: {' '.join(command)}", flush=True)
    started = time.monotonic()
    try:
        status = subprocess.run(command, env=environment, cwd=ROOT, timeout=seconds).returncode
    except subprocess.TimeoutExpired:
        raise BuildError(f"{what}: not done within {seconds:.0f} s.") from None
    if status != 0:
        raise BuildError(f"{what}: failed with exit status {status}; what it found stands above.")
    return time.monotonic() - started


def test_swift(sanitizer: str, only: str | None, seconds: float) -> float:
    """Run the Swift tests under a sanitizer, all or those whose names a pattern finds."""
    command = [find_swift(), "test", "--sanitize", sanitizer, "--scratch-path", str(SCRATCH / sanitizer)]
    command += ["-Xswiftc", "-O"]
    if only is not None:
        command += ["--filter", only]
    # The tests allocate as much as there is, to see what happens; the sanitizer must let them.
    options = "allocator_may_return_null=1:detect_leaks=0"
    return _run(f"Swift tests, {sanitizer}", command, _environment(ASAN_OPTIONS=options), seconds)


def test_extension(tests: tuple[str, ...], seconds: float) -> float:
    """Run Python tests on an extension that AddressSanitizer watches."""
    swift, level = find_swift(), wanted_levels("native")[0]
    command = [swift, "build", "--product", "_core", "--sanitize", "address", "--disable-automatic-resolution"]
    command += ["--scratch-path", str(SCRATCH / "extension"), "-Xswiftc", "-O", *_options(level)]
    environment = _environment(EMBEDCOMPRESS_PYTHON_INCLUDE=find_python_headers())
    _run("the extension, address", command, environment, seconds)
    shown = subprocess.run([*command, "--show-bin-path"], env=environment, cwd=ROOT, capture_output=True, text=True)
    package = SCRATCH / "python"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "python/embedcompress", package / "embedcompress", ignore=shutil.ignore_patterns("*.so"))
    built = Path(shown.stdout.strip(), "lib_core.so")
    shutil.copyfile(built, package / f"embedcompress/_core_{level}.abi3.so")
    environment = _environment(
        LD_PRELOAD=_runtime(swift),
        ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1",
        PYTHONPATH=str(package),
        PYTHONMALLOC="malloc",
        OPENBLAS_NUM_THREADS="1",
    )
    files = [f"python/tests/test_{name}.py" for name in tests]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    return _run("the extension's tests, address", command, environment, seconds)


def _runtime(swift: str) -> str:
    """Return the path of AddressSanitizer's runtime, which comes with Swift's clang."""
    libraries = Path(swift).resolve().parents[1] / "lib/clang"
    found = sorted(libraries.glob(f"*/lib/linux/libclang_rt.asan-{os.uname().machine}.so"))
    if not found:
        raise BuildError(f"AddressSanitizer's runtime is not below {libraries}.")
    return str(found[-1])


def main() -> None:
    """Run the parts, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3600, help="for each part")
    parser.add_argument("--parts", nargs="+", choices=[*SANITIZERS, "extension"], default=[*SANITIZERS, "extension"])
    parser.add_argument("--filter", help="the Swift tests whose names this pattern finds, in place of all")
    parser.add_argument("--python-tests", nargs="+", default=PYTHON_TESTS, help="such as lookup for test_lookup.py")
    parser.add_argument("--out", type=Path, help="where the seconds of the parts that passed go, as JSON")
    given = parser.parse_args()
    passed: dict[str, float] = {}
    try:
        for part in given.parts:
            if part == "extension":
                passed[part] = round(test_extension(tuple(given.python_tests), given.seconds))
            else:
                passed[part] = round(test_swift(part, given.filter, given.seconds))
    except BuildError as error:
        sys.exit(f"error: {error}")
    if given.out is not None:
        given.out.write_text(json.dumps(passed, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
