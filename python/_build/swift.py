"""Builds the compiled core with SwiftPM, once per instruction-set level, as part of a setuptools build.

Environment:
    SWIFT                        the swift executable, where it is not the one on PATH
    EMBEDCOMPRESS_BUILD_LEVELS   what to build: a list such as ``v2,v3``; ``all``, for a release wheel; ``native``, only the best
                                 level of this machine. By default, every level that this machine can run.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from setuptools import Extension
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import SetupError

# setuptools reads this file by its path, as no part of a package.
sys.path.append(str(Path(__file__).resolve().parent))
from toolchain import ROOT, BuildError, build_library, compiler_options, find_swift, wanted_levels  # noqa: E402

# The free-threaded builds of CPython have no stable ABI.
STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")


def find_python_headers() -> str:
    """Return the folder of Python.h, or raise BuildError with one sentence that says what to do."""
    folder = sysconfig.get_path("include")
    if not Path(folder, "Python.h").exists():
        raise BuildError(
            f"Python.h is not in {folder}: install the development headers of Python {sys.version_info.major}."
            f"{sys.version_info.minor} (python3-dev or python3-devel in most Linux distributions)."
        )
    return folder


def build_core(swift: str, python_include: str, level: str) -> Path:
    """Build the core for one level and return the shared library that SwiftPM made."""
    scratch = ROOT / ".build-python" / level
    options = compiler_options(level)
    return build_library(swift, "_core", scratch, options, EMBEDCOMPRESS_PYTHON_INCLUDE=python_include)


@contextmanager
def _setup_errors() -> Iterator[None]:
    """Make errors of the build what setuptools prints without a traceback."""
    try:
        yield
    except BuildError as error:
        raise SetupError(str(error)) from None


class BuildExt(build_ext):
    """Replaces the one extension that pyproject.toml declares by one per level, each built by SwiftPM."""

    def finalize_options(self) -> None:
        """Make one extension per level."""
        if self.distribution.ext_modules:
            with _setup_errors():
                levels = wanted_levels(os.environ.get("EMBEDCOMPRESS_BUILD_LEVELS", ""))
            self.distribution.ext_modules = [
                Extension(f"embedcompress._core_{level}", [], py_limited_api=STABLE_ABI) for level in levels
            ]
        super().finalize_options()
        if self.parallel is None:
            # The compiler optimises a level on one thread most of the time, in some 2 GB. All at once, even on fewer
            # processors: none is then idle at the end.
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            self.parallel = max(1, min(3, memory // (3 << 30)))

    def run(self) -> None:
        """Build every level; what earlier builds left in the same place goes first."""
        with _setup_errors():
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
        level = ext.name.removeprefix("embedcompress._core_")
        with _setup_errors():
            library = build_core(self.swift, self.python_include, level)
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
