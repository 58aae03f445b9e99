"""Builds the C library and installs it; ``make c-library``, ``make install`` and ``make uninstall`` run this.

``build`` makes ``.build-c/lib`` as it will lie in a prefix; ``install`` copies it, with the header and the pkg-config
file. Only ``build`` needs Swift, so that a superuser who installs compiles nothing. Needs the standard library only.

Several levels of the instruction set lie side by side as glibc wants them: the lowest one in ``lib``, those above in
``lib/glibc-hwcaps/x86-64-v3`` and so on, of which the dynamic linker takes the best that the processor has.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from toolchain import ROOT, BuildError, build_library, compiler_options, find_swift, read_loader, wanted_levels

HEADER = ROOT / "Sources/CEmbedCompress/include/embedcompress.h"
STAGE = ROOT / ".build-c"
HWCAPS = "glibc-hwcaps"
# In a folder of glibc's a level is what the x86-64 psABI says, and that has no VNNI.
BEYOND_GLIBC = {"-mavx512vnni"}

PKG_CONFIG = """\
prefix={prefix}
libdir={libdir}
includedir=${{prefix}}/include

Name: embedcompress
Description: Compressed embedding tables: rows looked up and pooled from the compressed form
Version: {version}
Libs: -L${{libdir}} -lembedcompress
Cflags: -I${{includedir}}
"""


def header_number(name: str) -> str:
    """Return a number that the header defines."""
    found = re.search(rf"^#define {name} (\d+)$", HEADER.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise BuildError(f"{HEADER} does not define {name}.")
    return found[1]


def runtime_name() -> str:
    """Return the library's name at run time, which has the number of the ABI."""
    number = header_number("EC_ABI_VERSION")
    return f"libembedcompress.{number}.dylib" if sys.platform == "darwin" else f"libembedcompress.so.{number}"


def linker_name() -> str:
    """Return the name by which ``-lembedcompress`` finds the library."""
    return "libembedcompress.dylib" if sys.platform == "darwin" else "libembedcompress.so"


def level_folders(levels: list[str]) -> dict[str, str]:
    """Return where the library of each level lies below the prefix's ``lib``; ``levels`` stand best first."""
    *above, lowest = levels
    if above and sys.platform != "linux":
        raise BuildError(f"this system's dynamic linker takes one level, not {', '.join(levels)}: say LEVELS=native.")
    return {lowest: "", **{level: f"{HWCAPS}/x86-64-{level}" for level in above}}


def build(request: str, swift_flags: list[str]) -> None:
    """Build the levels that are asked for, and lay them out as they will be installed."""
    folders = level_folders(wanted_levels(request, "LEVELS"))
    swift, name = find_swift(), runtime_name()
    # SwiftPM would have the library look for others beside itself, and there are none.
    flags = ["--disable-local-rpath", *swift_flags]
    made = {}
    for level, folder in folders.items():
        options = [option for option in compiler_options(level) if not (folder and option in BEYOND_GLIBC)]
        scratch = STAGE / (f"{level}-glibc" if folder else level)
        made[folder] = build_library(swift, "embedcompress_c", scratch, options, flags, EMBEDCOMPRESS_C_LIBRARY=name)
    shutil.rmtree(STAGE / "lib", ignore_errors=True)
    for folder, library in made.items():
        put(library, STAGE / "lib" / folder / name)


def put(source: Path, target: Path) -> None:
    """Copy a file in one step, so that programs that have the old one mapped keep it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, fresh)
    fresh.chmod(0o755 if source.suffix != ".h" else 0o644)
    fresh.replace(target)


class Prefix:
    """The places of a prefix, below DESTDIR where packages are made."""

    def __init__(self, prefix: str, libdir: str, destdir: str) -> None:
        for path in (prefix, libdir):
            if not os.path.isabs(path):
                raise BuildError(f"PREFIX and LIBDIR must be absolute paths, not {path!r}.")
        self.prefix, self.libdir = prefix, libdir
        self.lib = Path(destdir + libdir)
        self.header = Path(destdir + prefix, "include", HEADER.name)
        self.pkg_config = self.lib / "pkgconfig/embedcompress.pc"

    def libraries(self) -> dict[str, Path]:
        """Return every place that a library can lie in, by its folder below ``lib``."""
        folders = ["", *(f"{HWCAPS}/x86-64-{level}" for level in read_loader().X86_LEVELS)]
        return {folder: self.lib / folder / runtime_name() for folder in folders}

    def install(self) -> None:
        """Copy what was built, and remove levels that an earlier installation left and that were not built now."""
        for folder, target in self.libraries().items():
            built = STAGE / "lib" / folder / runtime_name()
            if built.exists():
                put(built, target)
            else:
                remove(target)
        link = self.lib / linker_name()
        link.unlink(missing_ok=True)
        link.symlink_to(runtime_name())
        put(HEADER, self.header)
        version = ".".join(header_number(f"EC_VERSION_{part}") for part in ("MAJOR", "MINOR", "PATCH"))
        self.pkg_config.parent.mkdir(parents=True, exist_ok=True)
        libdir = self.libdir.replace(f"{self.prefix}/", "${prefix}/", 1)
        text = PKG_CONFIG.format(prefix=self.prefix, libdir=libdir, version=version)
        self.pkg_config.write_text(text, encoding="utf-8")

    def uninstall(self) -> None:
        """Remove what ``install`` puts there."""
        for path in (*self.libraries().values(), self.lib / linker_name(), self.header, self.pkg_config):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file if there is one, and the folders of levels that are empty then."""
    path.unlink(missing_ok=True)
    for folder in (path.parent, path.parent.parent):
        if HWCAPS in folder.parts[-2:] and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["build", "install", "uninstall"])
    parser.add_argument("--levels", default="native", help="native, all, or a list such as v2,v3")
    parser.add_argument("--swift-flags", default="", help="more options of swift build")
    parser.add_argument("--prefix", default="/usr/local")
    parser.add_argument("--libdir", default="", help="the prefix's lib by default")
    parser.add_argument("--destdir", default="", help="a folder that stands for the root")
    given = parser.parse_args()
    try:
        if given.command == "build":
            build(given.levels, shlex.split(given.swift_flags))
        else:
            place = Prefix(given.prefix, given.libdir or f"{given.prefix}/lib", given.destdir)
            place.install() if given.command == "install" else place.uninstall()
    except (BuildError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
