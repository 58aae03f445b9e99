"""Finds Swift and builds the core with it, for setuptools (``swift.py``) and for ``make install`` (``c_library.py``).

Needs the standard library only.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
OLDEST_SWIFT = (6, 0)
INSTALL = "install Swift {}.{} or newer from swift.org, then put it on PATH or name it in SWIFT".format(*OLDEST_SWIFT)
# Set by pip's callers, conda and CI for their own compilers; SwiftPM would run them with flags of its own clang.
COMPILER_VARIABLES = ("CC", "CXX", "CFLAGS", "CPPFLAGS", "LDFLAGS")


class BuildError(Exception):
    """The core cannot be built; the message is one sentence that says what to do."""


def read_loader() -> ModuleType:
    """Return ``embedcompress._loader``, which knows the levels, without importing the package."""
    path = ROOT / "python/embedcompress/_loader.py"
    spec = importlib.util.spec_from_file_location("_embedcompress_loader", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wanted_levels(request: str, variable: str = "EMBEDCOMPRESS_BUILD_LEVELS") -> list[str]:
    """Return the levels that a request, the value of ``variable``, asks for, best first.

    Raises:
        BuildError: there is no such level.
    """
    loader = read_loader()
    known, runnable = loader.architecture_levels(), loader.cpu_levels()
    if request == "all":
        return _tuned(known, loader)
    if request in ("", "native"):
        levels = _tuned(runnable, loader)
        return levels if request == "" else levels[:1]
    names = [name.strip().removeprefix("x86-64-") for name in request.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BuildError(
            f"{variable}={request}: there is no level {unknown[0]!r} on this architecture, "
            f"only {', '.join(known)}, or 'all' or 'native'."
        )
    return [level for level in known if level in names]


def _tuned(levels: Sequence[str], loader: ModuleType) -> list[str]:
    """Return the levels that name instructions, or the plain one where there is no other."""
    return [level for level in levels if level != loader.PLAIN_LEVEL] or [loader.PLAIN_LEVEL]


def compiler_options(level: str) -> tuple[str, ...]:
    """Return clang's options for a level; they change the code generation of Swift too, not only of C."""
    return read_loader().COMPILER_OPTIONS.get(level, ())


def find_swift() -> str:
    """Return the path of a Swift that is new enough.

    Raises:
        BuildError: there is none.
    """
    name = os.environ.get("SWIFT") or "swift"
    path = shutil.which(name)
    if path is None:
        raise BuildError(f"embedcompress is compiled from Swift and there is no {name!r} here: {INSTALL}.")
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(
            f"embedcompress is compiled from Swift and {path} does not run ({error}): {INSTALL}."
        ) from None
    version = re.search(r"Swift version (\d+)\.(\d+)", answer)
    if version is None:
        raise BuildError(f"embedcompress is compiled from Swift and {path} does not tell its version: {INSTALL}.")
    if tuple(map(int, version.groups())) < OLDEST_SWIFT:
        raise BuildError(f"embedcompress is compiled from Swift and {path} is too old ({version[0]}): {INSTALL}.")
    return path


def build_library(
    swift: str, product: str, scratch: Path, options: Sequence[str], swift_flags: Sequence[str] = (), **variables: str
) -> Path:
    """Build a dynamic library of the package, optimised, and return its path.

    Args:
        swift: the executable.
        product: the library's name in Package.swift.
        scratch: the folder for what SwiftPM makes.
        options: clang's, as ``compiler_options`` gives them.
        swift_flags: more options of ``swift build``.
        variables: what Package.swift reads in the environment.

    Raises:
        BuildError: the compiler failed.
    """
    command = [swift, "build", "--configuration", "release", "--product", product]
    command += ["--package-path", str(ROOT), "--scratch-path", str(scratch), "--disable-automatic-resolution"]
    for option in options:
        command += ["-Xcc", option]
    if sys.platform == "linux":
        # SwiftPM ignores its own --static-swift-stdlib for dynamic libraries.
        command += ["-Xswiftc", "-static-stdlib"]
        # A section for each function, so that the linker leaves out those that nothing calls, and has equal ones once. No
        # debug information: the linker would strip it.
        for option in ("-Xfrontend", "-function-sections", "-use-ld=lld", "-gnone"):
            command += ["-Xswiftc", option]
        command += ["-Xlinker", "--icf=all"]
    command += swift_flags
    environment = {key: value for key, value in os.environ.items() if key not in COMPILER_VARIABLES} | variables
    print(f"building {product} in {scratch}: {' '.join(command)}", flush=True)
    status = subprocess.run(command, env=environment).returncode
    if status != 0:
        raise BuildError(f"swift build failed with exit status {status}; its messages stand above.")
    command.append("--show-bin-path")
    folder = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return Path(folder, f"lib{product}.{'dylib' if sys.platform == 'darwin' else 'so'}")
