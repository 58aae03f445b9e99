"""What every test file shares: Hypothesis' settings, the thread count put back, Python in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import embedcompress as ec
from embedcompress import cli

PACKAGE_ROOT = Path(ec.__file__).resolve().parents[1]

settings.register_profile(
    "embedcompress",
    deadline=None,
    max_examples=int(os.environ.get("EMBEDCOMPRESS_TEST_EXAMPLES", 60)),
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("embedcompress")

# Tests interrupt processes of their own, which inherit it where the shell had this one ignore the signal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _same_threads_after():
    before = ec.get_num_threads()
    yield
    if ec.get_num_threads() != before:
        ec.set_num_threads(before)


@pytest.fixture
def rng():
    return np.random.default_rng(20191106)


@pytest.fixture
def run(capsys):
    """Run a command; returns its exit code, its output and its errors."""

    def command(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


@pytest.fixture
def run_python():
    """Run a program in a process of its own, which a hang or a crash can't escape from; returns its output."""

    def run(program, *arguments, timeout=60, check=True, options=(), **environment):
        path = os.pathsep.join([str(PACKAGE_ROOT), str(Path(__file__).parent)])
        env = {**os.environ, "PYTHONPATH": path, **environment}
        answer = subprocess.run(
            [sys.executable, *options, "-c", program, *map(str, arguments)],
            env={name: value for name, value in env.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check:
            assert answer.returncode == 0, answer.stdout + answer.stderr
            return answer.stdout
        return answer

    return run
