"""The wheel: which systems it is for, and what `make wheel` made, in fresh environments without Swift."""

import glob
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from embedcompress import _loader

ROOT = Path(__file__).resolve().parents[2]
# Three levels of some 4.2 MB each, of which 1.9 MB are Swift's own library.
MOST_BYTES = 14_000_000
# The first snippet of README.md's part on Python is what a newcomer runs.
SNIPPET = re.search(r"## Python\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
WHEELS = sorted((ROOT / "dist").glob("embedcompress-*.whl"))

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="manylinux")
needs_wheel = pytest.mark.skipif(not WHEELS, reason="dist has no wheel: make wheel")


def oldest_manylinux(wheel):
    """Return the tag that auditwheel finds for a wheel, such as (2, 34)."""
    answer = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", wheel], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r'"manylinux_(\d+)_(\d+)_\w+"', answer)
    assert found is not None, answer
    return int(found[1]), int(found[2])


@needs_linux
@pytest.mark.parametrize("level", [level for level in _loader.X86_LEVELS if level in _loader.built_levels()])
def test_a_level_loads_where_glibc_is_of_2021_or_newer(level, tmp_path):
    pytest.importorskip("auditwheel")
    wheel = tmp_path / "embedcompress-0-cp311-abi3-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.write(_loader.built_levels()[level], f"embedcompress/_core_{level}.abi3.so")
        file.writestr("embedcompress-0.dist-info/METADATA", "Metadata-Version: 2.1\nName: embedcompress\nVersion: 0\n")
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-abi3-linux_x86_64\n"
        file.writestr("embedcompress-0.dist-info/WHEEL", tag)
        file.writestr("embedcompress-0.dist-info/RECORD", f"embedcompress/_core_{level}.abi3.so,,\n")
    assert oldest_manylinux(wheel) <= (2, 34)


@needs_wheel
@needs_linux
def test_the_wheel_is_for_many_systems_and_small():
    pytest.importorskip("auditwheel")
    (wheel,) = WHEELS
    assert re.fullmatch(rf"embedcompress-[\d.]+-cp311-abi3-manylinux_2_\d+_{os.uname().machine}\.whl", wheel.name)
    assert oldest_manylinux(wheel) <= (2, 34)
    assert wheel.stat().st_size < MOST_BYTES
    with zipfile.ZipFile(wheel) as file:
        levels = {name for name in file.namelist() if name.endswith(".so")}
    wanted = [level for level in _loader.architecture_levels() if level != _loader.PLAIN_LEVEL]
    assert levels == {f"embedcompress/_core_{level}.abi3.so" for level in wanted or [_loader.PLAIN_LEVEL]}


def interpreters():
    """Return every CPython from 3.11 on that this machine has: on PATH, of pyenv, and of manylinux images."""
    paths = [shutil.which(f"python3.{minor}{kind}") for minor in range(11, 20) for kind in ("", "t")]
    for pattern in ("~/.pyenv/versions/*/bin/python3.*", "/opt/python/cp3*/bin/python3.*"):
        paths += glob.glob(os.path.expanduser(pattern))
    found = {}
    probe = (
        "import platform, sys, sysconfig; print(platform.python_implementation(), sys.version_info >= (3, 11), "
        "platform.python_version(), bool(sysconfig.get_config_var('Py_GIL_DISABLED')))"
    )
    for path in filter(None, paths):
        if re.fullmatch(r"python3\.\d+t?", Path(path).name):
            answer = subprocess.run([path, "-c", probe], capture_output=True, text=True)
            words = answer.stdout.split()
            # The stable ABI, which the wheel is for, does not exist without the GIL.
            if answer.returncode == 0 and (words[0], words[1], words[3]) == ("CPython", "True", "False"):
                found.setdefault(words[2], path)
    return found


INTERPRETERS = interpreters() if WHEELS else {}


@needs_wheel
@pytest.mark.parametrize("version", INTERPRETERS)
def test_the_wheel_runs_the_first_snippet_without_swift(version, tmp_path):
    environment = tmp_path / "environment"
    subprocess.run([INTERPRETERS[version], "-m", "venv", environment], check=True)
    python = environment / "bin/python"
    plain = {"PATH": f"{environment}/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    assert shutil.which("swift", path=plain["PATH"]) is None
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    kept = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    install = subprocess.run([*pip, WHEELS[0]], env={**plain, **kept}, capture_output=True, text=True)
    assert install.returncode == 0, install.stdout + install.stderr
    (tmp_path / "snippet.py").write_text(SNIPPET[1] + "\nprint(ec.__file__, ec.isa())\n")
    answer = subprocess.run([python, "snippet.py"], cwd=tmp_path, env=plain, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    *_, path, level = answer.stdout.split()
    assert path.startswith(str(environment))
    assert level.removeprefix("x86-64-") in _loader.architecture_levels()
