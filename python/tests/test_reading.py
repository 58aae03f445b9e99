"""Texts out of users' files: what is nested without end, and files that have none."""

import os
import threading
from pathlib import Path

import pytest

from embedcompress import _reading, _toml


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there are no such devices")
def test_devices_are_refused_and_pipes_are_read():
    with pytest.raises(ValueError, match="'/dev/zero' is a device"):
        _reading.read_whole(Path("/dev/zero"))
    out, into = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(into, b"text"), os.close(into)))
    writer.start()
    assert _reading.read_whole(Path(f"/dev/fd/{out}")) == b"text"
    writer.join()
    os.close(out)


def test_what_is_nested_too_deep_is_a_value_error():
    with pytest.raises(ValueError, match="JSON that is nested too deep"):
        _reading.json_value("[" * 100_000)
    with pytest.raises(ValueError, match="TOML that is nested too deep"):
        _toml.toml_values(b"a = " + b"[" * 100_000)
    assert _reading.json_value(b'{"a": [1]}') == {"a": [1]}
    assert _toml.toml_values(b"a = [1]") == {"a": [1]}
    for read in (_reading.json_value, _toml.toml_values):
        with pytest.raises(ValueError):
            read(b"\xff")
    with pytest.raises(ValueError):
        _reading.json_value("[1]".encode("utf-16"))
