"""The C library as `make install` puts it: what it exports and needs, its header, and programs that use it."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fuzz_corpus
import numpy as np
import pytest

import embedcompress as ec
from embedcompress import _loader

ROOT = Path(__file__).resolve().parents[2]
# One place for every run, so that only the first one compiles the core: the repository's files, and the prefix.
SCRATCH = ROOT / ".build-c-library"
PREFIX = SCRATCH / "prefix"
LEVEL = ec.isa().removeprefix("x86-64-")
# The results are the same, in a sixth of the time that the optimised build takes.
QUICKLY = "SWIFT_FLAGS=-Xswiftc -Onone -Xswiftc -gnone"
STRICTLY = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ELF files")


def tool(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def attempt(*command, cwd=ROOT, **environment):
    """Run a command as from a shell that knows no Python packages, no libraries and no `make` around it."""
    dropped = ("PYTHONPATH", "LD_LIBRARY_PATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "SIDE_BY_SIDE")
    env = {key: value for key, value in os.environ.items() if key not in dropped}
    env |= {"SWIFT_BACKTRACE": "enable=no", **environment}
    return subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)


def run(*command, **options):
    answer = attempt(*command, **options)
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    return answer.stdout


def copy_repository(folder):
    """Make `folder` hold the files that a clone would have, and no others but those that builds made."""
    listed = attempt(tool("git"), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed.returncode != 0:
        pytest.skip("these files are no git repository")
    names = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in names and not name.startswith(".build-c/"):
            path.unlink()
    for name in names:
        source, target = ROOT / name, folder / name
        # Files that have not changed keep their times, so that nothing is compiled twice.
        if not target.exists() or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return folder


def make(repository, *arguments):
    # -S: without site-packages, as the build needs nothing but the standard library.
    return attempt(tool("make"), "--no-print-directory", *arguments, f"PYTHON={sys.executable} -S", cwd=repository)


@pytest.fixture(scope="module")
def repository():
    """A copy of the repository whose library is installed in PREFIX."""
    tool("swift")
    folder = copy_repository(SCRATCH / "repository")
    answer = make(folder, "install", f"PREFIX={PREFIX}", f"LEVELS={LEVEL}", QUICKLY)
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    assert "warning:" not in answer.stdout + answer.stderr
    return folder


@pytest.fixture(scope="module")
def library(repository):
    return PREFIX / "lib/libembedcompress.so.0"


@pytest.fixture(scope="module")
def examples(repository, tmp_path_factory):
    """The folder of Examples/c with its programs, compiled."""
    folder = tmp_path_factory.mktemp("examples") / "c"
    shutil.copytree(repository / "Examples/c", folder)
    tool("gcc")
    run(tool("make"), "CC=gcc", f"PREFIX={PREFIX}", cwd=folder)
    return folder


def compile_c(source, target, *options, compiler="gcc"):
    program = target.with_suffix(".c" if compiler == "gcc" else ".cpp")
    program.write_text(source)
    run(tool(compiler), *STRICTLY, *options, "-o", target, program)
    return target


def header():
    """The header without comments."""
    return re.sub(r"//.*", "", (PREFIX / "include/embedcompress.h").read_text())


def declared_functions():
    return set(re.findall(r"^[\w ]+?[ *](ec_\w+)\(", header(), re.MULTILINE))


# The library


def test_the_library_exports_what_the_header_declares(library):
    lines = run(tool("nm"), "--dynamic", "--defined-only", "--extern-only", library).splitlines()
    exported = {line.split()[-1] for line in lines}
    assert "ec_table_lookup" in exported
    assert exported == declared_functions()


def test_the_library_needs_no_swift_library_and_has_a_name_with_a_version(library):
    dynamic = run(tool("readelf"), "--dynamic", "--wide", library)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert "libc.so.6" in needed
    assert all(re.match(r"(libc|libm|libstdc\+\+|libgcc_s|ld-linux[-\w]*)\.so\.", name) for name in needed)
    assert re.findall(r"\(SONAME\).*\[(.*)\]", dynamic) == ["libembedcompress.so.0"]
    assert not re.findall(r"\((?:RPATH|RUNPATH)\)", dynamic)
    assert (PREFIX / "lib/libembedcompress.so").resolve() == library.resolve()


def test_a_program_needs_nothing_else(examples):
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run(tool("readelf"), "--dynamic", "--wide", examples / "lookup"))
    assert sorted(needed) == ["libc.so.6", "libembedcompress.so.0"]


def test_a_thread_outlives_the_closed_library(library, tmp_path):
    source = """
    #include <dlfcn.h>
    #include <pthread.h>
    #include <stdint.h>
    #include <stdio.h>
    static int (*set_threads)(int64_t);
    static pthread_barrier_t used, closed;
    static void *fail_and_wait(void *context) {
        set_threads(0);
        pthread_barrier_wait(&used);
        pthread_barrier_wait(&closed);
        return context;
    }
    int main(int count, char **arguments) {
        void *library = dlopen(arguments[count - 1], RTLD_NOW);
        *(void **)&set_threads = dlsym(library, "ec_set_num_threads");
        pthread_barrier_init(&used, NULL, 2);
        pthread_barrier_init(&closed, NULL, 2);
        pthread_t thread;
        pthread_create(&thread, NULL, fail_and_wait, NULL);
        pthread_barrier_wait(&used);
        dlclose(library);
        pthread_barrier_wait(&closed);
        pthread_join(thread, NULL);
        return puts("done") < 0;
    }
    """
    program = compile_c(source, tmp_path / "closing", "-D_GNU_SOURCE", "-pthread")
    assert run(program, library) == "done\n"


# The header


@pytest.mark.parametrize(("compiler", "standard"), [("gcc", "c99"), ("gcc", "c17"), ("g++", "c++98"), ("g++", "c++20")])
def test_the_header_compiles_alone_and_agrees_with_the_library(library, tmp_path, compiler, standard):
    source = """
    #include <embedcompress.h>
    #include <stdio.h>
    int main(void) {
        printf("%d.%d.%d %s %s", EC_VERSION_MAJOR, EC_VERSION_MINOR, EC_VERSION_PATCH, ec_version(), ec_isa());
        return 0;
    }
    """
    options = (f"-std={standard}", f"-I{PREFIX}/include", f"-L{PREFIX}/lib", f"-Wl,-rpath,{PREFIX}/lib")
    # Libraries come after what needs them.
    program = compile_c(source, tmp_path / "version", *options, "-Wl,--no-as-needed,-lembedcompress", compiler=compiler)
    assert run(program) == f"{ec.__version__} {ec.__version__} {ec.isa()}"


@pytest.mark.parametrize("kind", ["file", "json", "text", "tree"])
def test_a_short_run_of_the_fuzzer(library, tmp_path, kind):
    """What libFuzzer starts from, and some changes of each: nothing ends the process, and what opens keeps promises."""
    sources = sorted((ROOT / "Tests/Fuzz").glob("*.c"))
    include = ["-I", PREFIX / "include", "-I", ROOT / "Tests/Fuzz/include"]
    program = tmp_path / "replay"
    replay = Path(__file__).with_name("replay_fuzz.c")
    run(tool("gcc"), "-std=c11", "-D_GNU_SOURCE", "-O1", *include, "-o", program, replay, *sources, library)
    seeds = []
    for name, data in fuzz_corpus.cases():
        if name.startswith(f"{kind}/"):
            seeds.append(tmp_path / str(len(seeds)))
            seeds[-1].write_bytes(data)
    assert len(seeds) > 30
    printed = run(program, 60, *seeds, FUZZ_KIND=kind, LD_LIBRARY_PATH=str(library.parent))
    assert int(printed) == 61 * len(seeds)


def test_pkg_config_finds_the_library(library):
    def ask(*options):
        return run(tool("pkg-config"), *options, "embedcompress", PKG_CONFIG_PATH=str(PREFIX / "lib/pkgconfig")).strip()

    assert ask("--modversion") == ec.__version__
    assert ask("--cflags") == f"-I{PREFIX}/include"
    assert ask("--libs") == f"-L{PREFIX}/lib -lembedcompress"


# The examples


def test_what_c_compresses_and_saves_is_what_python_does(examples, tmp_path):
    path = tmp_path / "c.safetensors"
    said = run(examples / "compress", path)
    assert "4-bit" in said
    assert "0 of 16000 values differ" in said
    weight = ((np.arange(16_000) * 37 % 101 - 50) / 8).astype(np.float32).reshape(1000, 16)
    same = ec.compress(weight, "least_squares", bits=4)
    again = tmp_path / "python.safetensors"
    ec.save(again, {"table": same}, metadata={"from": "C"})
    assert again.read_bytes() == path.read_bytes()
    assert f"normalized l2 {ec.evaluate(same, weight).normalized_l2:.4f}" in said


TABLES = {
    "dense": ec.dense,
    "f16": lambda weight: ec.dense(weight.astype(np.float16)),
    "uniform": lambda weight: ec.compress(weight, "asym", bits=3, group=8),
    "codebook": lambda weight: ec.compress(weight, "kmeans", bits=4),
    "product": lambda weight: ec.compress(weight, "pq", parts=3, bits=4),
    "rotated": lambda weight: ec.compress(weight, "eden", bits=2),
    "low rank": lambda weight: ec.compress(weight, "svd", rank=4),
    "route": lambda weight: ec.combine(
        [ec.remap(ec.dense(weight), rows=60, modulo=40), ec.remap(ec.dense(weight), rows=60, divisor=2)], "product"
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_c_looks_up_and_pools_what_python_does(examples, tmp_path, name):
    table = TABLES[name](np.random.default_rng(3).standard_normal((40, 13), dtype=np.float32))
    path = tmp_path / "table.safetensors"
    table.save(path)
    answer = attempt(examples / "lookup", path)
    assert answer.returncode == 0, answer.stderr
    title, size, *lines = answer.stdout.splitlines()
    assert title == f"embedcompress {ec.__version__} for {ec.isa()}"
    assert size == f"{table.rows} rows of {table.dimension} in {table.stored_bytes} bytes"
    assert [lines.pop(0), lines.pop(5)] == ["rows 3, 1, 4, 1, 5:", "sums of rows 3 and 1, and of rows 4, 1 and 5:"]
    numbers = np.array([line.split() for line in lines], np.float32)
    np.testing.assert_array_equal(numbers[:5], table.lookup([3, 1, 4, 1, 5]))
    np.testing.assert_array_equal(numbers[5:], table.bag([3, 1, 4, 1, 5], [0, 2]))

    assert answer.stderr.splitlines() == [
        f"error: id {table.rows} at position 1 is out of range: ids must be from 0 to {table.rows - 1}",
        f"  id {table.rows} at position 1; the table has {table.rows} rows",
        "error: cannot open 'no such file': No such file or directory",
        f"  errno {errno.ENOENT}, file 'no such file'",
    ]


def test_a_program_ends_with_what_is_wrong_with_a_file(examples, tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"\xff" * 100)
    answer = attempt(examples / "lookup", path)
    assert (answer.returncode, answer.stdout.count("\n")) == (1, 1)
    with pytest.raises(ec.FormatError) as caught:
        ec.load(path)
    # C has the file beside the message, Python in it.
    message = str(caught.value).removeprefix(f"'{path}': ")
    assert len(message) < len(str(caught.value))
    assert answer.stderr == f"error: {message}\n  rule {caught.value.rule}, file '{path}'\n"


def test_the_documentation_shows_what_the_example_does():
    program = {line.strip() for line in (ROOT / "Examples/c/lookup.c").read_text().splitlines()}
    for page in ("README.md", "docs/c.md"):
        (block,) = re.findall(r"```c\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
        assert len(block.splitlines()) >= 10
        assert not [line for line in block.splitlines() if line.strip() not in program]


# Installing


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_installing_below_destdir_and_removing(repository, tmp_path):
    places = (f"DESTDIR={tmp_path}", "PREFIX=/usr", "LIBDIR=/usr/lib/x86_64-linux-gnu", f"LEVELS={LEVEL}")
    stale = tmp_path / "usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v4/libembedcompress.so.0"
    stale.parent.mkdir(parents=True)
    stale.touch()
    answer = make(repository, "install", *places, "SWIFT=none")
    assert answer.returncode == 0, "installing compiles nothing a second time\n" + answer.stderr
    lib = "usr/lib/x86_64-linux-gnu"
    assert files(tmp_path) == {
        "usr/include/embedcompress.h",
        f"{lib}/libembedcompress.so",
        f"{lib}/libembedcompress.so.0",
        f"{lib}/pkgconfig/embedcompress.pc",
    }
    assert os.readlink(tmp_path / lib / "libembedcompress.so") == "libembedcompress.so.0"
    lines = (tmp_path / lib / "pkgconfig/embedcompress.pc").read_text().splitlines()
    assert lines[:2] == ["prefix=/usr", "libdir=${prefix}/lib/x86_64-linux-gnu"]
    assert make(repository, "uninstall", *places).returncode == 0
    assert files(tmp_path) == set()
    assert not (tmp_path / lib / "glibc-hwcaps").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "--levels", "v9"), "error: LEVELS=v9: there is no level 'v9' on this architecture"),
        (("install", "--prefix", "usr"), "error: PREFIX and LIBDIR must be absolute paths, not 'usr'."),
    ],
)
def test_what_cannot_be_built_or_installed_is_one_sentence(arguments, message):
    answer = attempt(sys.executable, "-B", "-S", ROOT / "python/_build/c_library.py", *arguments)
    assert answer.returncode == 1
    assert answer.stderr.startswith(message)
    assert answer.stderr.count("\n") == 1


# A compiler whose libraries know one function: the option that says what they were compiled for.
FAKE_SWIFT = """\
#!/bin/sh
case "$*" in *--version*) echo 'Swift version 6.0 (swift-6.0-RELEASE)'; exit;; esac
all="$*"
while [ $# -gt 0 ]; do
    case "$1" in
    --scratch-path) scratch=$2 ;;
    -march=*) march=${1#-march=} ;;
    esac
    shift
done
case "$all" in *--show-bin-path*) echo "$scratch"; exit;; esac
case "$all" in *vnni*) march=$march-vnni;; esac
mkdir -p "$scratch"
echo "const char *ec_isa(void) { return \\"$march\\"; }" |
    gcc -shared -fPIC -x c -Wl,-soname="$EMBEDCOMPRESS_C_LIBRARY" -o "$scratch/libembedcompress_c.so" -
"""


@pytest.mark.skipif("v2" not in _loader.architecture_levels(), reason="x86-64 levels")
def test_the_dynamic_linker_takes_the_best_level(tmp_path):
    tool("gcc")
    repository, prefix, swift = copy_repository(tmp_path / "repository"), tmp_path / "prefix", tmp_path / "swift"
    swift.write_text(FAKE_SWIFT)
    swift.chmod(0o755)

    def install(levels):
        answer = make(repository, "install", f"PREFIX={prefix}", f"LEVELS={levels}", f"SWIFT={swift}")
        assert answer.returncode == 0, answer.stdout + answer.stderr

    install("all")
    source = "#include <stdio.h>\n#include <embedcompress.h>\nint main(void) { return puts(ec_isa()) < 0; }\n"
    options = (
        f"-I{prefix}/include",
        f"-L{prefix}/lib",
        f"-Wl,-rpath,{prefix}/lib",
        "-Wl,--no-as-needed,-lembedcompress",
    )
    program = compile_c(source, tmp_path / "isa", *options)
    linker = re.search(r"interpreter: (\S+?)\]", run(tool("readelf"), "--program-headers", program))[1]
    supported = re.findall(r"(x86-64-v\d) \(supported", run(linker, "--help"))
    if not supported:
        pytest.skip("the C library is older than 2.33")
    assert run(program).strip() == next(
        level for level in supported if level in ("x86-64-v2", "x86-64-v3", "x86-64-v4")
    )
    # The linker's level 4 promises no VNNI.
    assert b"vnni" not in (prefix / "lib/glibc-hwcaps/x86-64-v4/libembedcompress.so.0").read_bytes()
    assert run(linker, "--glibc-hwcaps-mask", "x86-64-v2", program).strip() == "x86-64-v2"

    install("v3")
    assert files(prefix / "lib") == {"libembedcompress.so", "libembedcompress.so.0", "pkgconfig/embedcompress.pc"}
    assert b"x86-64-v3" in (prefix / "lib/libembedcompress.so.0").read_bytes()
    install("v4")
    assert b"x86-64-v4-vnni" in (prefix / "lib/libembedcompress.so.0").read_bytes()
