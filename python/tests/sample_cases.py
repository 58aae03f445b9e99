"""Cases for the tests of `supervised`, in a module that its processes import quickly."""

import os
import signal
import time

from supervised import Finding


def with_findings(seed, folder):
    """Cases of which a few die, leave, break a rule, wait or compute without an end."""

    def case(index):
        if index == 7:
            os.kill(os.getpid(), signal.SIGSEGV)
        if index == 11:
            os._exit(3)
        if index == 13:
            raise Finding("rule", f"seed {seed}")
        if index == 17:
            time.sleep(600)
        while index == 19:
            pass
        return ["done", "odd" if index % 2 else "even"]

    return case


def plain(seed, folder):
    return lambda index: ["even" if index % 2 == 0 else "odd"]
