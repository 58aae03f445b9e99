"""Builds the compiled core with SwiftPM, once per instruction-set level, as part of a setuptools build.

Environment:
    SWIFT                        the swift executable, where it is not the one on PATH
    EMBEDCOMPRESS_BUILD_LEVELS   what to build: a list such as ``v2,v3``; ``all``, for a release wheel; ``native``, only the best
                                 level of this machine. By default, every level that this machine can run.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from setuptools import Extension
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, SetupError

ROOT = Path(__file__).resolve().parents[2]
OLDEST_SWIFT = (6, 0)
INSTALL = "install Swift {}.{} or newer from swift.org, then put it on PATH or name it in SWIFT".format(*OLDEST_SWIFT)
# Set by pip's callers, conda and CI for their own compilers; SwiftPM would run them with flags of its own clang.
COMPILER_VARIABLES = ("CC", "CXX", "CFLAGS", "CPPFLAGS", "LDFLAGS")
# The free-threaded builds of CPython have no stable ABI.
STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")


def _read_loader() -> ModuleType:
    path = ROOT / "python/embedcompress/_loader.py"
    spec = importlib.util.spec_from_file_location("_embedcompress_loader", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wanted_levels(request: str) -> list[str]:
    """Return the levels that the value of EMBEDCOMPRESS_BUILD_LEVELS asks for, best first."""
    loader = _read_loader()
    known, runnable = loader.architecture_levels(), loader.cpu_levels()
    if not known:
        raise SetupError(f"embedcompress supports x86-64 and arm64, not {os.uname().machine}.")
    if request == "all":
        return list(known)
    if request in ("", "native"):
        if not runnable:
            raise SetupError(
                "this CPU is below x86-64-v2, the least that embedcompress runs on; "
                "EMBEDCOMPRESS_BUILD_LEVELS=all builds for other machines."
            )
        return list(runnable if request == "" else runnable[:1])
    names = [name.strip().removeprefix("x86-64-") for name in request.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SetupError(
            f"EMBEDCOMPRESS_BUILD_LEVELS={request}: there is no level {unknown[0]!r} on this architecture, "
            f"only {', '.join(known)}, or 'all' or 'native'."
        )
    return [level for level in known if level in names]


def find_swift() -> str:
    """Return the path of a Swift that is new enough, or raise SetupError with one sentence that says what to do."""
    name = os.environ.get("SWIFT") or "swift"
    path = shutil.which(name)
    if path is None:
        raise SetupError(f"embedcompress is compiled from Swift and there is no {name!r} here: {INSTALL}.")
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"embedcompress is compiled from Swift and {path} does not run ({error}): {INSTALL}.") from None
    version = re.search(r"Swift version (\d+)\.(\d+)", answer)
    if version is None:
        raise SetupError(f"embedcompress is compiled from Swift and {path} does not tell its version: {INSTALL}.")
    if tuple(map(int, version.groups())) < OLDEST_SWIFT:
        raise SetupError(f"embedcompress is compiled from Swift and {path} is too old ({version[0]}): {INSTALL}.")
    return path


def find_python_headers() -> str:
    """Return the folder of Python.h, or raise SetupError with one sentence that says what to do."""
    folder = sysconfig.get_path("include")
    if not Path(folder, "Python.h").exists():
        raise SetupError(
            f"Python.h is not in {folder}: install the development headers of Python {sys.version_info.major}."
            f"{sys.version_info.minor} (python3-dev or python3-devel in most Linux distributions)."
        )
    return folder


def build_core(swift: str, python_include: str, level: str) -> Path:
    """Build the core for one level and return the shared library that SwiftPM made."""
    command = [swift, "build", "--configuration", "release", "--product", "_core"]
    command += ["--package-path", str(ROOT), "--scratch-path", str(ROOT / ".build-python" / level)]
    command += ["--disable-automatic-resolution"]
    # They change the code generation of Swift too, not only of C.
    for option in _read_loader().X86_COMPILER_OPTIONS.get(level, ()):
        command += ["-Xcc", option]
    if sys.platform == "linux":
        # SwiftPM ignores its own --static-swift-stdlib for dynamic libraries.
        command += ["-Xswiftc", "-static-stdlib"]
    environment = {key: value for key, value in os.environ.items() if key not in COMPILER_VARIABLES}
    environment["EMBEDCOMPRESS_PYTHON_INCLUDE"] = python_include
    print(f"building the core for {level}: {' '.join(command)}", flush=True)
    status = subprocess.run(command, env=environment).returncode
    if status != 0:
        raise CompileError(f"swift build failed for {level} with exit status {status}; its messages stand above.")
    command.append("--show-bin-path")
    folder = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return Path(folder, "lib_core.dylib" if sys.platform == "darwin" else "lib_core.so")


class BuildExt(build_ext):
    """Replaces the one extension that pyproject.toml declares by one per level, each built by SwiftPM."""

    def finalize_options(self) -> None:
        """Make one extension per level."""
        if self.distribution.ext_modules:
            self.distribution.ext_modules = [
                Extension(f"embedcompress._core_{level}", [], py_limited_api=STABLE_ABI)
                for level in wanted_levels(os.environ.get("EMBEDCOMPRESS_BUILD_LEVELS", ""))
            ]
        super().finalize_options()
        if self.parallel is None:
            # The compiler optimises a level on one thread most of the time, in some 2 GB. All at once, even on fewer
            # processors: none is then idle at the end.
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            self.parallel = max(1, min(3, memory // (3 << 30)))

    def run(self) -> None:
        """Build every level; what earlier builds left in the same place goes first."""
        self.swift = find_swift()
        self.python_include = find_python_headers()
        folders = [Path(self.build_lib, "embedcompress")]
        if self.inplace:
            folders.append(ROOT / "python/embedcompress")
        for folder in folders:
            # Levels that this build does not make would be stale. Removing, rather than writing over, also leaves
            # running processes the file that they have mapped.
            for stale in folder.glob("_core_*.so"):
                stale.unlink()
        super().run()

    def build_extension(self, ext: Extension) -> None:
        """Build one level."""
        library = build_core(self.swift, self.python_include, ext.name.removeprefix("embedcompress._core_"))
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library, target)
        target.chmod(0o755)

    def get_source_files(self) -> list[str]:
        """List what the source distribution needs beside the Python package.

        SwiftPM reports missing test folders as an unrelated error, so Tests is among them.
        """
        folders = ["Sources", "Tests", "python/csrc", "python/_build", "python/tests"]
        files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
        kept = [path.relative_to(ROOT).as_posix() for path in files if path.parent.name != "__pycache__"]
        return ["Package.swift", *kept]


class StableABIWheel(bdist_wheel):
    """Tags the wheel for every CPython from 3.11 on, which is what the C code is written to."""

    def finalize_options(self) -> None:
        """Set the tags."""
        if STABLE_ABI:
            self.py_limited_api = "cp311"
        if sys.platform == "darwin" and self.plat_name is None:
            # SwiftPM builds for this machine's architecture only, whatever the interpreter was built for.
            self.plat_name = sysconfig.get_platform().replace("universal2", os.uname().machine)
        super().finalize_options()
