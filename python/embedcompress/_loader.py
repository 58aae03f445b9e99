"""Finds the compiled core that suits this CPU and loads it as ``embedcompress._core``.

The same sources are compiled once per instruction-set level, because the level changes what Swift's own code turns
into. Each level is a file beside this one, ``_core_<level>.abi3.so``; the best one that the CPU can run is loaded. The
environment variable ``EMBEDCOMPRESS_ISA`` forces one: ``v2``, ``v3``, ``v4`` (or ``x86-64-v2`` and so on), ``arm64``,
``plain``.

This file needs the standard library only and imports nothing of the package: ``python/_build/swift.py`` reads it
before there is a package, so that building and loading agree on what a level is.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType

MODULE = "embedcompress._core"
FORCE = "EMBEDCOMPRESS_ISA"

# What each level of the x86-64 psABI adds to the one below, best first, in Linux's names: pni is SSE3, abm is LZCNT. v4
# has VNNI besides, as processors since Ice Lake and Zen 4 do; the few that have AVX-512 without it run v3.
X86_LEVELS: dict[str, frozenset[str]] = {
    "v4": frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"}),
    "v3": frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}),
    "v2": frozenset({"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"}),
}
# No instruction is named: for processors that have no level of their own, and as a reference for those that have.
PLAIN_LEVEL = "plain"
ARM_LEVEL = "arm64"
COMPILER_OPTIONS: dict[str, tuple[str, ...]] = {
    # The compiler would make one load by index of sixteen loads, which takes longer on many processors: on Intel's,
    # since their microcode keeps such loads from leaking, and on AMD's.
    "v4": ("-march=x86-64-v4", "-mavx512vnni", "-Xclang", "-target-feature", "-Xclang", "+prefer-no-gather"),
    "v3": ("-march=x86-64-v3",),
    "v2": ("-march=x86-64-v2",),
    PLAIN_LEVEL: ("-DEMBEDCOMPRESS_PLAIN",),
}


def architecture_levels() -> tuple[str, ...]:
    """Return the levels that exist for this machine's architecture, best first; the last is the plain one."""
    machine = os.uname().machine
    if machine in ("x86_64", "amd64"):
        return (*X86_LEVELS, PLAIN_LEVEL)
    if machine in ("aarch64", "arm64"):
        return (ARM_LEVEL, PLAIN_LEVEL)
    return (PLAIN_LEVEL,)


def cpu_levels() -> tuple[str, ...]:
    """Return the levels that this CPU can run, best first."""
    levels = architecture_levels()
    x86 = [level for level in levels if level in X86_LEVELS]
    if not x86:
        return levels
    flags = _cpu_flags()
    # A level includes those below it, which come after it. Where the system does not tell, it is the least.
    runnable = x86[-1:]
    if flags is not None:
        runnable = [level for i, level in enumerate(x86) if all(X86_LEVELS[below] <= flags for below in x86[i:])]
    return (*runnable, PLAIN_LEVEL)


def _cpu_flags() -> frozenset[str] | None:
    """Return the first processor's feature flags, or None where the system has no /proc/cpuinfo (macOS)."""
    try:
        # The kernel makes this file as it is read, slowly on machines with many processors: read one processor's part.
        with open("/proc/cpuinfo", encoding="ascii", errors="replace", buffering=4096) as file:
            for line in file:
                if line.startswith("flags"):
                    return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return None


def built_levels() -> dict[str, str]:
    """Return the levels that were built and the path of each one's file."""
    folder = os.path.dirname(os.path.abspath(__file__))
    built = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith("_core_"):
            level, dot, suffix = name.removeprefix("_core_").partition(".")
            if dot + suffix in importlib.machinery.EXTENSION_SUFFIXES:
                built[level] = os.path.join(folder, name)
    return built


def select(forced: str = "") -> tuple[str, str]:
    """Return the level to load and its file.

    Args:
        forced: a level's name, or an empty string for the best one that was built and that this CPU can run.

    Raises:
        ImportError: the forced level is unknown, beyond this CPU or not built, or no built level runs on this CPU.
    """
    built, runnable = built_levels(), cpu_levels()
    there = f"built: {', '.join(built) or 'none'}; this CPU can run: {', '.join(runnable) or 'none'}"
    if forced:
        level = forced.removeprefix("x86-64-")
        if level not in (*X86_LEVELS, ARM_LEVEL, PLAIN_LEVEL):
            known = ", ".join((*X86_LEVELS, ARM_LEVEL, PLAIN_LEVEL))
            raise ImportError(f"{FORCE}={forced} is not a level that embedcompress knows ({known}; {there})")
        if level not in runnable:
            raise ImportError(f"{FORCE}={forced} asks for a level that this CPU cannot run ({there})")
        if level not in built:
            raise ImportError(f"{FORCE}={forced} asks for a level that was not built ({there})")
        return level, built[level]
    for level in runnable:
        if level in built:
            return level, built[level]
    raise ImportError(f"embedcompress has no compiled core that runs on this CPU ({there})")


def load() -> ModuleType:
    """Return the compiled core, loading it on the first call.

    Raises:
        ImportError: no level can be loaded, or the one that ``EMBEDCOMPRESS_ISA`` forces cannot; or this is a
            subinterpreter.
    """
    if MODULE in sys.modules:
        return sys.modules[MODULE]
    path = select(os.environ.get(FORCE, ""))[1]
    loader = importlib.machinery.ExtensionFileLoader(MODULE, path)
    spec = importlib.util.spec_from_file_location(MODULE, path, loader=loader)
    assert spec is not None  # it is None only where no loader is given
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    module.check_interpreter()
    sys.modules[MODULE] = module
    return module
