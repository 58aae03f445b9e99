"""The compiled files, the loader that picks one, and what a build says where it cannot be done."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import embedcompress
from embedcompress import _loader

ROOT = Path(__file__).resolve().parents[2]
LEVELS = _loader.built_levels()
FLAGS = {
    "v1": frozenset({"fpu", "sse2"}),
    "v2": _loader.X86_LEVELS["v2"],
    "v3": _loader.X86_LEVELS["v2"] | _loader.X86_LEVELS["v3"],
    "v4": _loader.X86_LEVELS["v2"] | _loader.X86_LEVELS["v3"] | _loader.X86_LEVELS["v4"],
}

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="ELF files")
needs_x86 = pytest.mark.skipif("v2" not in _loader.architecture_levels(), reason="x86-64 levels")


def run(*command, cwd=None, **environment):
    """Run a command with some of the environment replaced; None removes a variable."""
    env = {key: value for key, value in {**os.environ, **environment}.items() if value is not None}
    return subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)


def tool(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


# The compiled files


@needs_linux
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_exports_only_its_init_function(level):
    answer = run(tool("nm"), "--dynamic", "--defined-only", "--extern-only", LEVELS[level])
    assert [line.split()[-1] for line in answer.stdout.splitlines()] == ["PyInit__core"]


@needs_linux
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_needs_no_swift_library(level):
    dynamic = run(tool("readelf"), "--dynamic", "--wide", LEVELS[level]).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert "libc.so.6" in needed
    assert not [name for name in needed if re.match(r"libswift|libdispatch|libBlocksRuntime|libFoundation|lib_", name)]
    assert not re.findall(r"\((?:RPATH|RUNPATH)\).*\[(?!\$ORIGIN\]).*", dynamic)


@pytest.mark.parametrize("level", [level for level in _loader.cpu_levels() if level in LEVELS])
def test_each_level_loads_when_it_is_forced(level):
    program = "import embedcompress; from embedcompress import _core; print(_core.__name__, _core.__file__)"
    for name in [level, f"x86-64-{level}"] if level in _loader.X86_LEVELS else [level]:
        answer = run(sys.executable, "-c", program, EMBEDCOMPRESS_ISA=name)
        assert answer.stdout.split() == ["embedcompress._core", LEVELS[level]], answer.stderr


# The loader


def test_the_core_is_loaded_once_under_its_own_name():
    assert _loader.load() is _loader.load() is sys.modules["embedcompress._core"]


def test_the_loader_needs_no_slow_import():
    program = f"import runpy, sys; runpy.run_path({_loader.__file__!r}); print(*sys.modules)"
    modules = run(sys.executable, "-c", program).stdout.split()
    assert "importlib.util" in modules
    assert not {"importlib.metadata", "platform", "subprocess", "ctypes"} & set(modules)


@needs_x86
@pytest.mark.parametrize(
    ("flags", "levels"),
    [
        (FLAGS["v4"], ("v4", "v3", "v2", "plain")),
        (FLAGS["v4"] - {"avx512vl"}, ("v3", "v2", "plain")),
        (FLAGS["v3"], ("v3", "v2", "plain")),
        (FLAGS["v3"] - {"movbe"}, ("v2", "plain")),
        (FLAGS["v4"] - {"fma"}, ("v2", "plain")),
        (FLAGS["v2"], ("v2", "plain")),
        (FLAGS["v1"], ("plain",)),
        (None, ("v2", "plain")),
    ],
)
def test_the_cpu_flags_give_the_levels(monkeypatch, flags, levels):
    monkeypatch.setattr(_loader, "_cpu_flags", lambda: flags)
    assert _loader.cpu_levels() == levels


@needs_x86
@needs_linux
def test_the_flags_are_those_of_this_cpu():
    assert {"fpu", "sse2"} <= _loader._cpu_flags()


@needs_x86
@pytest.mark.parametrize(
    ("cpu", "built", "forced", "level"),
    [
        ("v4", "v2 v3 v4", "", "v4"),
        ("v3", "v2 v3 v4", "", "v3"),
        ("v2", "v2 v3 v4", "", "v2"),
        ("v4", "v2", "", "v2"),
        ("v4", "v2 v3 v4", "v2", "v2"),
        ("v4", "plain v2", "", "v2"),
        ("v4", "plain v2", "plain", "plain"),
        ("v1", "plain v2", "", "plain"),
        ("v4", "v2 v3 v4", "x86-64-v3", "v3"),
    ],
)
def test_the_best_or_the_forced_level_is_selected(monkeypatch, cpu, built, forced, level):
    monkeypatch.setattr(_loader, "_cpu_flags", lambda: FLAGS[cpu])
    monkeypatch.setattr(_loader, "built_levels", lambda: {name: f"/{name}" for name in built.split()})
    assert _loader.select(forced) == (level, f"/{level}")


@needs_x86
@pytest.mark.parametrize(
    ("cpu", "built", "forced", "message"),
    [
        ("v3", "v2 v3", "avx2", "EMBEDCOMPRESS_ISA=avx2 is not a level that embedcompress knows"),
        ("v3", "v2 v3 v4", "v4", "EMBEDCOMPRESS_ISA=v4 asks for a level that this CPU cannot run"),
        ("v3", "v2 v3", "arm64", "EMBEDCOMPRESS_ISA=arm64 asks for a level that this CPU cannot run"),
        ("v3", "v2", "x86-64-v3", "EMBEDCOMPRESS_ISA=x86-64-v3 asks for a level that was not built"),
        ("v2", "v3 v4", "", "embedcompress has no compiled core that runs on this CPU"),
        ("v1", "v2 v3", "", "embedcompress has no compiled core that runs on this CPU"),
        ("v3", "", "", "embedcompress has no compiled core that runs on this CPU"),
    ],
)
def test_what_cannot_be_loaded_is_an_error_that_lists_what_is_there(monkeypatch, cpu, built, forced, message):
    monkeypatch.setattr(_loader, "_cpu_flags", lambda: FLAGS[cpu])
    monkeypatch.setattr(_loader, "built_levels", lambda: {name: f"/{name}" for name in built.split()})
    with pytest.raises(ImportError) as caught:
        _loader.select(forced)
    assert str(caught.value).startswith(message)
    assert f"built: {', '.join(built.split()) or 'none'}; this CPU can run: " in str(caught.value)


def test_importing_the_package_reports_a_bad_level():
    answer = run(sys.executable, "-c", "import embedcompress", EMBEDCOMPRESS_ISA="nonsense")
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1].startswith("ImportError: EMBEDCOMPRESS_ISA=nonsense is not a level")


def test_only_files_that_this_python_can_load_count_as_built(monkeypatch, tmp_path):
    for name in ["_core_v2.abi3.so", "_core_v3.cpython-27-x86_64-linux-gnu.so", "_core_v4.abi3.so.old", "_core.pyi"]:
        (tmp_path / name).touch()
    monkeypatch.setattr(_loader, "__file__", str(tmp_path / "_loader.py"))
    assert _loader.built_levels() == {"v2": str(tmp_path / "_core_v2.abi3.so")}


# The build


@pytest.fixture
def swift_build(monkeypatch):
    """python/_build/swift.py, as setuptools loads it."""
    pytest.importorskip("setuptools", minversion="77")
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location("_embedcompress_build", ROOT / "python/_build/swift.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def toolchain(swift_build):
    """python/_build/toolchain.py, which all builds share."""
    return sys.modules["toolchain"]


def fake_swift(folder, script):
    path = folder / "swift"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


INSTALL = "install Swift 6.0 or newer from swift.org, then put it on PATH or name it in SWIFT."


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "there is no 'swift' here"),
        ("echo 'Swift version 5.10.1 (swift-5.10.1-RELEASE)'", "is too old (Swift version 5.10)"),
        ("echo 'Apple Swift version 5.9 (swiftlang-5.9)'", "is too old (Swift version 5.9)"),
        ("echo 'swift: a mail reader'", "does not tell its version"),
        ("exit 3", "does not run"),
    ],
)
def test_no_usable_toolchain_is_one_sentence(toolchain, monkeypatch, tmp_path, script, message):
    if script is not None:
        fake_swift(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SWIFT", raising=False)
    with pytest.raises(toolchain.BuildError) as caught:
        toolchain.find_swift()
    assert message in str(caught.value)
    assert str(caught.value).endswith(INSTALL)
    assert "\n" not in str(caught.value)


def test_swift_names_the_toolchain(toolchain, monkeypatch, tmp_path):
    path = fake_swift(tmp_path, "echo 'Swift version 6.0 (swift-6.0-RELEASE)'")
    monkeypatch.setenv("SWIFT", str(path))
    assert toolchain.find_swift() == str(path)


@needs_x86
@pytest.mark.parametrize(
    ("cpu", "request_", "levels"),
    [
        ("v3", "", ["v3", "v2"]),
        ("v3", "native", ["v3"]),
        ("v2", "all", ["v4", "v3", "v2"]),
        ("v2", "plain", ["plain"]),
        ("v1", "", ["plain"]),
        ("v1", "native", ["plain"]),
        ("v2", "v3, x86-64-v4", ["v4", "v3"]),
    ],
)
def test_the_levels_that_a_build_makes(toolchain, monkeypatch, cpu, request_, levels):
    monkeypatch.setattr(_loader, "_cpu_flags", lambda: FLAGS[cpu])
    monkeypatch.setattr(toolchain, "read_loader", lambda: _loader)
    assert toolchain.wanted_levels(request_) == levels


@needs_x86
@pytest.mark.parametrize(
    ("cpu", "request_", "message"),
    [("v3", "v3,avx512", "there is no level 'avx512'"), ("v3", "v3,", "there is no level ''")],
)
def test_levels_that_cannot_be_built(toolchain, monkeypatch, cpu, request_, message):
    monkeypatch.setattr(_loader, "_cpu_flags", lambda: FLAGS[cpu])
    monkeypatch.setattr(toolchain, "read_loader", lambda: _loader)
    with pytest.raises(toolchain.BuildError, match=message):
        toolchain.wanted_levels(request_)


def test_the_compilers_of_the_environment_are_kept_from_swift(swift_build, toolchain, monkeypatch, tmp_path):
    seen = tmp_path / "seen"
    script = f'printf "%s\\n" "$*" >> {seen}; env >> {seen}; echo {tmp_path}'
    swift = fake_swift(tmp_path, script)
    for name in toolchain.COMPILER_VARIABLES:
        monkeypatch.setenv(name, f"wrong-{name}")
    swift_build.build_core(str(swift), "/headers", "v3")
    text = seen.read_text()
    assert "wrong-" not in text
    assert "EMBEDCOMPRESS_PYTHON_INCLUDE=/headers" in text
    assert "-Xcc -march=x86-64-v3" in text


@pytest.fixture
def checkout(tmp_path):
    """The files of this project that a build starts from, without what earlier builds made."""
    names = ["Package.swift", "pyproject.toml", "README.md", "LICENSE", "Sources", "Tests", "python"]
    ignore = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        elif source.exists():
            shutil.copy(source, folder / name)
    return folder


def backend(checkout, call, **environment):
    program = f"from setuptools import build_meta; build_meta.{call}"
    return run(sys.executable, "-c", program, cwd=checkout, **environment)


def test_a_build_without_swift_ends_in_one_sentence(swift_build, checkout, tmp_path):
    answer = backend(checkout, f"build_wheel({str(tmp_path)!r})", SWIFT=str(tmp_path / "none"))
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    last = answer.stderr.splitlines()[-1]
    assert last.startswith("error: embedcompress is compiled from Swift and there is no ")
    assert last.endswith(INSTALL)


def test_a_source_distribution_is_complete_and_needs_no_swift(swift_build, checkout, tmp_path):
    answer = backend(checkout, f"build_sdist({str(tmp_path)!r})", SWIFT=str(tmp_path / "none"))
    assert answer.returncode == 0, answer.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        packed = {name.partition("/")[2] for name in file.getnames()}
    wanted = [path for path in checkout.rglob("*") if path.is_file() and "egg-info" not in str(path)]
    # Building may leave bytecode.
    wanted = {path.relative_to(checkout).as_posix() for path in wanted if path.parent.name != "__pycache__"}
    assert not {name for name in wanted - packed if not name.startswith("python/benchmarks/")}
    assert not [name for name in packed if name.endswith(".so")]


@pytest.mark.slow
def test_a_wheel_from_the_source_distribution_works_in_a_fresh_environment(toolchain, checkout, tmp_path):
    """Sdist, wheel, install, import: with a compiler in the environment that SwiftPM cannot use."""
    made = tmp_path / "made"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    assert backend(checkout, f"build_sdist({str(made)!r})").returncode == 0
    (archive,) = made.glob("*.tar.gz")
    build = run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", made, archive, CC="gcc", CFLAGS="-O1")
    assert build.returncode == 0, build.stdout + build.stderr
    (wheel,) = made.glob("*.whl")
    assert re.fullmatch(r"embedcompress-[\d.]+-cp311-abi3-(linux|macosx)_\w+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert {f"embedcompress/_core_{level}.abi3.so" for level in toolchain.wanted_levels("")} <= set(names)
    assert "embedcompress/py.typed" in names
    assert not [name for name in names if name.startswith(("_build", "tests", "csrc"))]

    environment = tmp_path / "environment"
    python = environment / "bin/python"
    run(sys.executable, "-m", "venv", environment)
    install = run(python, "-m", "pip", "install", "--constraint", ROOT / "constraints.txt", wheel)
    assert install.returncode == 0, install.stdout + install.stderr
    program = "import embedcompress; print(embedcompress.__file__)"
    answer = run(python, "-c", program, cwd=tmp_path, PYTHONPATH=None, EMBEDCOMPRESS_ISA=None)
    assert answer.stdout.startswith(str(environment)), answer.stderr
    assert not answer.stdout.startswith(str(Path(embedcompress.__file__).parent))
    assert run(environment / "bin/embedcompress", "--help", cwd=tmp_path).returncode == 0
