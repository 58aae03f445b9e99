"""Every writer of the library: what it replaces, what it refuses, and what it leaves behind when it is cut off."""

import ast
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import embedcompress as ec
from embedcompress import _atomic, _figures, cli, nn, training
from embedcompress.bench import _document, _fit, _lines, report
from embedcompress.hessian._journal import Journal

WEIGHT = np.random.default_rng(0).standard_normal((40, 8), dtype=np.float32)
PACKAGE = Path(ec.__file__).parent


def save_compressed(path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(70, 8), torch.nn.Linear(8, 2))
    nn.compress_model_(model, bits=8)
    nn.save_compressed(path, model)


def checkpoint(path):
    model = torch.nn.Sequential(training.embedding("full", 40, 8, budget=1.0), torch.nn.Flatten(0))
    trainer = training.Trainer(model, lambda model, batch: model(batch).sum(), checkpoints=path.parent)
    trainer.checkpoints.write(path, trainer.state())


def figure(path):
    from matplotlib.figure import Figure

    drawn = Figure()
    drawn.subplots().plot([1, 2])
    _figures.write(drawn, path)


def lines(path):
    with _lines.Lines(path, "table") as file:
        request = {"method": "asym", "bits": 4}
        file.add({"bench": "table", "request": request, "machine": {}, "figures": {}})
        file.sort([request])


def document(path):
    _document.Document({"settings": {}, "machine": {}}, path).write()


def command(path):
    source = path.parent.parent / "source.npy"
    if not source.exists():
        np.save(source, WEIGHT)
    code = cli.main(["compress", str(source), str(path), "--bits", "8"])
    if code:
        raise OSError("the command says why")


WRITERS = {
    "table": lambda path: ec.dense(WEIGHT).save(path),
    "save": lambda path: ec.save(path, {"a": ec.dense(WEIGHT)}),
    "compress_to_file": lambda path: ec.compress_to_file(path, {"a": WEIGHT}),
    "command": command,
    "save_compressed": save_compressed,
    "checkpoint": checkpoint,
    "figure": figure,
    "journal": lambda path: Journal(path, {}).add("key", 1),
    "lines": lines,
    "document": document,
    "report": lambda path: report._write(path, "text"),
    "rules": lambda path: _fit.write({}, path),
    "array": lambda path: _atomic.write_file(path, lambda file: np.save(file, WEIGHT)),
    "bytes": lambda path: _atomic.write_bytes(path, b"bytes"),
}
READS_FIRST = ("journal", "lines")
"""They go on from what is there, so that it has to be of theirs."""


@pytest.fixture
def folder(tmp_path):
    """Return a folder for what is written and nothing else."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture(params=WRITERS)
def write(request):
    return WRITERS[request.param]


@pytest.fixture
def old(request, folder, write):
    """Return a file that a writer has made, to be replaced by the same one."""
    path = folder / "old.png"
    write(path)
    return path


def test_all_that_write_are_here():
    """No file of the package opens one for writing by itself: writers go through `_atomic`, or the core."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            modes = [
                one.value for one in (*node.args, *(k.value for k in node.keywords)) if isinstance(one, ast.Constant)
            ]
            writes = any(isinstance(mode, str) and set(mode) & set("wax+") and len(mode) <= 3 for mode in modes)
            if name in ("write_text", "write_bytes") and isinstance(node.func, ast.Attribute):
                found.add((path.name, name))
            if name in ("open", "fdopen") and writes:
                found.add((path.name, name))
    # The one that opens the core's descriptor, and the journal of benchmarks, which is appended to.
    assert found == {("_atomic.py", "open"), ("_lines.py", "open")}


def test_a_file_keeps_its_permissions(write, old):
    os.chmod(old, 0o600)
    write(old)
    assert stat.S_IMODE(old.stat().st_mode) == 0o600
    assert os.listdir(old.parent) == [old.name]


def test_a_new_file_has_those_of_the_umask(write, folder):
    before = os.umask(0o027)
    try:
        write(folder / "new.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "new.png").stat().st_mode) == 0o640
    assert os.listdir(folder) == ["new.png"]


def test_a_link_stays_and_what_it_leads_to_is_written(write, old):
    link = old.with_name("link.png")
    link.symlink_to(old.name)
    before = old.stat().st_ino
    write(link)
    assert link.is_symlink() and not old.is_symlink()
    assert old.stat().st_ino != before
    dangling = old.with_name("dangling.png")
    dangling.symlink_to("made.png")
    write(dangling)
    assert dangling.is_symlink() and old.with_name("made.png").is_file()


def test_what_is_no_file_is_refused(write, folder, capsys):
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    places = {"folder.png": stat.S_ISDIR, "pipe.png": stat.S_ISFIFO, "socket.png": stat.S_ISSOCK}
    with socket.socket(socket.AF_UNIX) as one:
        before = os.getcwd()
        os.chdir(folder)  # names of sockets are short
        try:
            one.bind("socket.png")
        finally:
            os.chdir(before)
    if os.geteuid() == 0:
        os.mknod(folder / "device.png", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        places["device.png"] = stat.S_ISCHR
    for name, is_kind in places.items():
        with pytest.raises(OSError) as caught:
            write(folder / name)
        assert name in str(caught.value) or name in capsys.readouterr().err
        assert is_kind((folder / name).stat().st_mode)
    assert set(os.listdir(folder)) == set(places)


def test_files_with_the_names_that_writers_once_used_are_safe(write, folder):
    mine = [folder / f"new.png{suffix}" for suffix in (".partial", ".tmp", "~")]
    for path in mine:
        path.write_text("mine")
    write(folder / "new.png")
    assert [path.read_text() for path in mine] == ["mine"] * 3


def test_paths_that_are_not_utf_8(write, folder):
    name = os.fsdecode(b"odd-\xff\xe9.png")
    write(folder / name)
    write(folder / name)
    assert os.listdir(os.fsencode(folder)) == [os.fsencode(name)]


def test_tables_of_paths_that_are_not_utf_8(folder, capsys):
    path = os.fsencode(folder) + b"/odd-\xff.st"
    for given in (path, os.fsdecode(path), Path(os.fsdecode(path))):
        ec.compress_to_file(given, {"a": WEIGHT}, bits=8)
        ec.save(given, {"a": ec.dense(WEIGHT)})
        np.testing.assert_array_equal(ec.load(given).decode(), WEIGHT)
        np.testing.assert_array_equal(ec.load(given, mmap=False).decode(), WEIGHT)
        assert ec.contents(given).tables == ("a",)
    assert cli.main(["inspect", os.fsdecode(path)]) == 0
    assert cli.main(["compress", os.fsdecode(path), os.fsdecode(path) + "2"]) == 0
    capsys.readouterr()
    with pytest.raises(FileNotFoundError, match=r"none-\\xfe"):
        ec.load(os.fsencode(folder) + b"/none-\xfe")


FULL = """
import contextlib, io, json, resource, signal, sys
import test_writers
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2, resource.RLIM_INFINITY))
said = {}
for name in sys.argv[2:]:
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            test_writers.WRITERS[name](Path(sys.argv[1]) / name / "old.png")
        except OSError as error:
            said[name] = str(error) + errors.getvalue()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(json.dumps(said))
"""


def test_a_disk_that_is_full(folder, run_python):
    """A file of that name stays as it was; nothing is left behind."""
    # Lines are appended to a file, and a last one without its end is cut off when it is read again.
    names = [name for name in WRITERS if name != "lines"]
    before = {}
    for name in names:
        (folder / name).mkdir()
        WRITERS[name](folder / name / "old.png")
        before[name] = (folder / name / "old.png").read_bytes()
    said = json.loads(run_python(FULL, folder, *names).splitlines()[-1])
    for name in names:
        assert str(folder / name / "old.png") in said[name] and "File too large" in said[name]
        assert os.listdir(folder / name) == (["old.png"])
        assert (folder / name / "old.png").read_bytes() == before[name]


FAILING = """
import contextlib, ctypes, errno, io, os, sys
import test_writers
from pathlib import Path
library = ctypes.CDLL(None)
code = getattr(errno, sys.argv[2])
for name in sys.argv[3:]:
    folder = Path(sys.argv[1]) / name
    folder.mkdir()
    path, write = folder / "old.png", test_writers.WRITERS[name]
    write(path)
    before = path.read_bytes()
    failed = 0
    while True:
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            library.fail_writes_after(failed, code)
            try:
                write(path)
            except OSError as error:
                said = str(error) + errors.getvalue()
            else:
                break
            finally:
                calls = library.writes_so_far()
                library.fail_writes_after(-1, 0)
        assert calls > failed and os.strerror(code) in said and str(path) in said, (name, said)
        assert os.listdir(folder) == [path.name], os.listdir(folder)
        # The last call makes the rename durable: the new file is there already.
        assert path.read_bytes() == before or failed == calls - 1, (name, failed)
        before = path.read_bytes()
        failed += 1
    # Writing, fsync and rename, at least.
    assert failed >= 3, (name, failed)
"""


@pytest.fixture(scope="module")
def failing_writes(tmp_path_factory):
    """Build a library that makes writes of a process fail, and return its path."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("failing") / "failing_writes.so"
    source = Path(__file__).with_name("failing_writes.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.mark.parametrize("code", ["EIO", "ENOSPC"])
def test_a_drive_that_fails_at_any_moment(code, folder, run_python, failing_writes):
    """Whichever call fails, the error says so, the old file or the new one is there, and nothing else."""
    names = [name for name in WRITERS if name != "lines"]
    run_python(FAILING, folder, code, *names, timeout=300, LD_PRELOAD=str(failing_writes))


def test_two_that_write_one_file(folder, run_python):
    """Readers see a whole file at any time, and both writers end well."""
    path = folder / "shared.st"
    program = """
import sys, numpy as np, embedcompress as ec
table = ec.dense(np.full((3000, 64), float(sys.argv[2]), np.float32))
for _ in range(10): table.save(sys.argv[1])
"""
    ec.dense(np.full((3000, 64), 1, np.float32)).save(path)
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(path), str(one)], env=environment) for one in (1, 2)
    ]
    seen = 0
    while any(one.poll() is None for one in running):
        rows = ec.load(path, mmap=False).decode()
        assert (rows == rows[0, 0]).all() and rows[0, 0] in (1, 2)
        seen += 1
    assert [one.returncode for one in running] == [0, 0] and seen > 1
    assert os.listdir(folder) == [path.name]


KILLED = """
import sys
import numpy as np, embedcompress as ec
from embedcompress import _atomic
path, name = sys.argv[1:]
big = np.ones((20_000, 64), np.float32)
if name == "save_compressed":
    import torch
    from embedcompress import nn
    model = torch.nn.Sequential(torch.nn.Embedding.from_pretrained(torch.from_numpy(big)))
    nn.compress_model_(model, bits=8)
if name == "lines":
    from embedcompress.bench import _lines
def lines():
    request = {"method": "asym", "bits": len(open(path).readlines()) + 1 if _atomic.os.path.exists(path) else 1}
    with _lines.Lines(path, "table") as file:
        file.add({"bench": "table", "request": request, "machine": {}, "figures": {"long": "x" * 100_000}})
        file.sort([request])
write = {
    "save": lambda: ec.dense(big).save(path),
    "compress_to_file": lambda: ec.compress_to_file(path, {"a": big}, bits=8),
    "save_compressed": lambda: nn.save_compressed(path, model),
    "lines": lines,
    "write_file": lambda: _atomic.write_file(path, lambda file: np.save(file, big)),
}[name]
write()
print("ready", flush=True)
while True:
    write()
"""
KILLS = int(os.environ.get("EMBEDCOMPRESS_TEST_KILLS", 15))
KILLABLE = {
    "save": lambda path: ec.load(path, mmap=False).decode(),
    "compress_to_file": lambda path: ec.load(path, mmap=False).decode(),
    "save_compressed": lambda path: ec.load(path, "0.weight", mmap=False).decode(),
    "lines": lambda path: _lines.Lines(path, "table").__enter__().__exit__(None, None, None),
    "write_file": np.load,
}
"""What is written until the kill comes, and how it is read then."""


@pytest.mark.parametrize("name", KILLABLE)
def test_processes_that_are_killed(name, folder):
    """The old file or the new one is there, and after the next run nothing else."""
    path = folder / "file"
    moments = random.Random(name)
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    debris = 0
    for _ in range(KILLS // len(KILLABLE)):
        path.unlink(missing_ok=True)
        running = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), name], env=environment, stdout=subprocess.PIPE
        )
        assert running.stdout.readline() == b"ready\n"
        time.sleep(moments.random() / 20)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        KILLABLE[name](path)
        debris += len(os.listdir(folder)) - 1
    _atomic.write_bytes(path, b"next")
    assert os.listdir(folder) == [path.name]
    print(f"{name}: {debris} files left by {KILLS // len(KILLABLE)} kills")


def test_errors_of_the_one_that_fills(folder):
    def fails(file):
        file.write(b"half")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        _atomic.write_file(folder / "a", fails)
    assert os.listdir(folder) == []
    _atomic.write_file(folder / "a", lambda file: (file.write(b"0123"), file.seek(1), file.write(b"x")))
    assert (folder / "a").read_bytes() == b"0x23"
    _atomic.write_text(folder / "a", json.dumps({"é": 1}, ensure_ascii=False))
    assert (folder / "a").read_bytes() == '{"é": 1}'.encode()
