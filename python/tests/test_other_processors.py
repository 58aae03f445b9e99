"""The C headers for processors that this machine may not have: compiled by Swift's clang, to object files."""

import shutil
import subprocess
from pathlib import Path

import pytest

HEADERS = Path(__file__).resolve().parents[2] / "Sources/CEmbedCompress/include"
PLAIN = "-DEMBEDCOMPRESS_PLAIN"
TARGETS = [
    ("aarch64-unknown-linux-gnu", "arm64"),
    ("arm64-apple-macos11", "arm64"),
    ("aarch64-unknown-linux-gnu", "plain", PLAIN),
    ("riscv64-unknown-linux-gnu", "plain"),
    ("x86_64-unknown-linux-gnu", "plain", PLAIN),
    ("x86_64-unknown-linux-gnu", "x86-64"),
    ("x86_64-unknown-linux-gnu", "x86-64-v2", "-march=x86-64-v2"),
    ("x86_64-unknown-linux-gnu", "x86-64-v3", "-march=x86-64-v3"),
    ("x86_64-unknown-linux-gnu", "x86-64-v4", "-march=x86-64-v4", "-mavx512vnni"),
]
# What the headers take from a system, in place of headers for each.
SYSTEM = {
    "string.h": "#include <stddef.h>\n"
    "void *memcpy(void *, const void *, size_t);\nvoid *memset(void *, int, size_t);\n"
    "int memcmp(const void *, const void *, size_t);\n",
    "unistd.h": "long syscall(long, ...);\nlong sysconf(int);\n#define _SC_NPROCESSORS_ONLN 84\n",
    "sys/syscall.h": "".join(
        f"#define SYS_{name} {number}\n"
        for number, name in enumerate(["sched_getaffinity", "sched_setaffinity", "getcpu", "gettid"])
    ),
}


def clang():
    """Swift's own clang, which compiles the headers in every build."""
    swift = shutil.which("swift")
    path = shutil.which("clang", path=str(Path(swift).resolve().parent)) if swift else None
    if path is None:
        pytest.skip("there is no Swift here")
    return path


@pytest.fixture
def compile_headers(tmp_path):
    for name, text in SYSTEM.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    # Every function becomes one of the object file: what nothing calls is not made into instructions.
    system = "".join(f"#include <{name}>\n" for name in ("stdint.h", *SYSTEM))
    ours = "".join(f'#include "{path.name}"\n' for path in sorted(HEADERS.glob("*.h")))
    source = tmp_path / "all.c"
    source.write_text(f"{system}#define static\n#define inline\n{ours}const char *level = EC_SHIM_ISA;\n")

    def compile_for(target, *options, step="-c"):
        command = [clang(), f"--target={target}", "-O1", "-Werror", "-Wall", "-Wno-pass-failed", "-ffreestanding"]
        command += ["-nostdlibinc", "-isystem", tmp_path, f"-I{HEADERS}", *options, source]
        return subprocess.run([*command, step, "-o", tmp_path / "all.o"], capture_output=True, text=True), tmp_path

    return compile_for


@pytest.mark.parametrize(("target", "level", "options"), [(t[0], t[1], t[2:]) for t in TARGETS])
def test_the_headers_compile_for(compile_headers, target, level, options):
    answer, folder = compile_headers(target, *options)
    assert answer.returncode == 0, answer.stderr
    assert level.encode() + b"\0" in (folder / "all.o").read_bytes()


def test_a_plain_build_is_not_for_a_larger_instruction_set(compile_headers):
    answer, _ = compile_headers("x86_64-unknown-linux-gnu", PLAIN, "-march=x86-64-v3")
    assert "leave out -march" in answer.stderr


def test_a_plain_build_names_no_instruction(compile_headers, tmp_path):
    (tmp_path / "immintrin.h").write_text("#error named\n")
    (tmp_path / "arm_neon.h").write_text("#error named\n")
    for target in ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"):
        answer, _ = compile_headers(target, PLAIN, step="-E")
        assert answer.returncode == 0, answer.stderr
        text = (tmp_path / "all.o").read_text()
        assert not [word for word in ("__builtin_ia32", "__builtin_neon", "_mm_", "__fp16", '"yield"') if word in text]
