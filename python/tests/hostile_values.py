"""Values that no caller should pass, of every type that a function may meet."""

from __future__ import annotations

import io
import mmap
import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

import embedcompress as ec


class Provoked(Exception):
    """What the objects here raise: a function may let it pass, as it is the caller's own."""


def raising(*names: str) -> Any:
    """An object whose methods of these names raise."""

    def method(*_: object, **__: object) -> Any:
        raise Provoked(names[0])

    return type("Raising", (), dict.fromkeys(names, method))()


def answering(name: str, answer: object) -> Any:
    """An object whose method of this name gives something that it must not."""
    return type("Answering", (), {name: lambda *_, **__: answer})()


def _closed_file() -> Any:
    file = io.BytesIO(b"0")
    file.close()
    return file


def _closed_map() -> Any:
    region = mmap.mmap(-1, 4096)
    region.close()
    return region


def _released_view() -> Any:
    view = memoryview(b"01234567")
    view.release()
    return view


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def _endless() -> Any:
    own: list[Any] = []
    own.append(own)
    return own


NUMBERS: list[Callable[[], Any]] = [
    *[lambda value=value: value for value in (None, True, False, 0, 1, -1, 2, 3, 5, 7, 8, 16, 17, 64, 255, 256, 4097)],
    *[lambda value=value: value for value in (2**31 - 1, 2**31, 2**32, 2**48, 2**48 + 1, 2**62, 2**63 - 1, 2**63)],
    *[lambda value=value: value for value in (2**64, 10**30, -(2**31), -(2**63), -(2**63) - 1, 10**400)],
    *[lambda value=value: value for value in (0.0, -0.0, 0.5, 1.5, 1e-320, 1e38, 1e300, float("nan"), float("inf"))],
    *[lambda value=value: value for value in (-float("inf"), 1j, Decimal("0.5"), Decimal("NaN"), Fraction(1, 3))],
    lambda: np.int8(3),
    lambda: np.uint64(2**64 - 1),
    lambda: np.float16(0.5),
    lambda: np.float64("nan"),
    lambda: np.bool_(True),
    lambda: np.datetime64("NaT"),
    lambda: np.str_("asym"),
]
TEXTS: list[Callable[[], Any]] = [
    *[
        lambda value=value: value
        for value in ("", "asym", "sum", "f32", "1", "nan", "\0", "a\0b", "é", "e\u0301", "\ud800")
    ],
    *[
        lambda value=value: value
        for value in ("x" * 5000, "%s%n", "{}", "[" * 3000, "no/such/folder/file", b"", b"x", b"\xff")
    ],
    *[lambda value=value: value for value in (b"a\0b", Path("x"), Path("."), ".", "no-such-file")],
    lambda: bytearray(b"01234567"),
]
CONTAINERS: list[Callable[[], Any]] = [
    lambda: [],
    lambda: {},
    lambda: (),
    lambda: set(),
    lambda: [[]],
    lambda: [None],
    lambda: [1, [2]],
    lambda: [1, "2", 3.5],
    lambda: [0, 1, 2],
    lambda: [-1],
    lambda: [2**63],
    lambda: [float("nan")],
    lambda: {"a": 1},
    lambda: {1: 2},
    lambda: {"rows": -1, "kind": 3},
    lambda: {None: None},
    lambda: _nested(50),
    lambda: _nested(5000),
    _endless,
    lambda: (value for value in (0, 1)),
    lambda: iter([]),
    lambda: range(3),
    lambda: frozenset([1]),
]
ARRAYS: list[Callable[[], Any]] = [
    lambda: np.empty(0),
    lambda: np.empty((0, 4), np.float32),
    lambda: np.empty((3, 0), np.float32),
    lambda: np.empty(0, np.int64),
    lambda: np.zeros((2, 2, 2), np.float32),
    lambda: np.zeros((24, 16)),
    lambda: np.zeros((24, 16), np.int8),
    lambda: np.zeros((24, 16), np.complex64),
    lambda: np.zeros((24, 16), bool),
    lambda: np.zeros((24, 16), ">f4"),
    lambda: np.zeros((24, 32), np.float32)[:, ::2],
    lambda: np.zeros((24, 16), np.float32)[::-1],
    lambda: np.zeros((16, 24), np.float32).T,
    lambda: _read_only(np.zeros((24, 16), np.float32)),
    lambda: _read_only(np.zeros((2, 16), np.float32)),
    lambda: np.full((24, 16), np.nan, np.float32),
    lambda: np.full((24, 16), np.inf, np.float16),
    lambda: np.full((24, 16), 3e38, np.float32),
    lambda: np.full((24, 16), 1e-42, np.float32),
    lambda: np.zeros((24, 16), np.float32),
    lambda: np.zeros((24, 1), np.float32),
    lambda: np.zeros((23, 16), np.float32),
    lambda: np.array([None, 1], object),
    lambda: np.array(["a", "b"]),
    lambda: np.zeros(3, [("a", "f4")]),
    lambda: np.array(3),
    lambda: np.array(3.5, np.float32),
    lambda: np.array([0, 1], np.uint64),
    lambda: np.array([0, 2**63], np.uint64),
    lambda: np.array([-1, 24, 2**62]),
    lambda: np.arange(48)[::2],
    lambda: np.arange(24, dtype=">i8"),
    lambda: np.arange(24, dtype=np.int32),
    lambda: np.full(24, -1),
    lambda: np.full(24, np.nan),
    lambda: np.ma.masked_array(np.zeros((24, 16), np.float32), mask=True),
    lambda: np.matrix([[1.0, 2.0]]),
    lambda: np.broadcast_to(np.float32(1), (1 << 16, 4)),
    lambda: np.frombuffer(b"\xff" * 64, np.uint8)[1:].view(np.uint8),
    lambda: np.datetime64("2020-01-01") + np.arange(3),
]
TENSORS: list[Callable[[], Any]] = [
    lambda: torch.zeros(24, 16),
    lambda: torch.zeros(24, 16, device="meta"),
    lambda: torch.zeros(24, 16).to_sparse(),
    lambda: torch.zeros(24, 16, dtype=torch.float64),
    lambda: torch.zeros(24, 16, dtype=torch.bool),
    lambda: torch.zeros(16, 24).t(),
    lambda: torch.zeros(24, 16, requires_grad=True),
    lambda: torch.zeros(0, 16),
    lambda: torch.tensor(3),
    lambda: torch.tensor([0, 1]),
    lambda: torch.tensor([0, 1], dtype=torch.int32),
    lambda: torch.tensor([-1, 99]),
    lambda: torch.tensor([0.5, float("nan")]),
    lambda: torch.quantize_per_tensor(torch.zeros(24, 16), 0.1, 0, torch.quint8),
    lambda: torch.zeros(24, 16, dtype=torch.complex64).conj(),
    lambda: torch.float32,
]
OBJECTS: list[Callable[[], Any]] = [
    object,
    lambda: raising("__index__"),
    lambda: raising("__int__", "__float__"),
    lambda: raising("__len__", "__getitem__"),
    lambda: raising("__iter__"),
    lambda: raising("__array__"),
    lambda: raising("__fspath__"),
    lambda: raising("__bool__"),
    lambda: raising("__eq__", "__hash__"),
    lambda: raising("__getattr__"),
    lambda: raising("__repr__", "__str__"),
    lambda: raising("__call__"),
    lambda: raising("keys", "__getitem__"),
    lambda: raising("__dlpack__", "__dlpack_device__"),
    lambda: answering("__index__", "3"),
    lambda: answering("__index__", 2**70),
    lambda: answering("__len__", -1),
    lambda: answering("__len__", 2**62),
    lambda: answering("__array__", "no array"),
    lambda: answering("__array__", None),
    lambda: answering("__fspath__", 3),
    lambda: answering("__iter__", 3),
    lambda: answering("__bool__", "yes"),
    _closed_file,
    _closed_map,
    _released_view,
    lambda: memoryview(np.zeros((24, 16), np.float32)),
    lambda: memoryview(b"01234567")[::2],
    lambda: int,
    lambda: ec.Table,
    lambda: np,
    lambda: ...,
    lambda: NotImplemented,
    lambda: lambda *_, **__: False,
    lambda: lambda: None,
    lambda: torch.nn.Linear(4, 4),
    lambda: torch.nn.Embedding(5, 4),
    lambda: ValueError("x"),
]
TABLES: list[Callable[[], Any]] = [
    lambda: ec.dense(np.zeros((0, 16), np.float32)),
    lambda: ec.dense(np.zeros((5, 3), np.float32)),
    lambda: ec.dense(np.full((24, 16), np.nan, np.float32)),
    lambda: ec.remap(ec.dense(np.zeros((2, 16), np.float32)), rows=500, modulo=2),
    lambda: ec.dense(np.zeros((24, 16), np.float32)).slice(3, 3),
]
HOSTILE = [NUMBERS, TEXTS, CONTAINERS, ARRAYS, TENSORS, OBJECTS, TABLES]


def hostile(rng: random.Random) -> Any:
    """One of all of these, each kind as often as its values are many."""
    return rng.choice(rng.choices(HOSTILE, [len(kind) for kind in HOSTILE])[0])()
