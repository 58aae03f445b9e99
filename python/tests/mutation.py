"""Mutated table files: the header by its structure, tensors by their bytes, and the frame; then what opens is used.

    python python/tests/mutation.py --total 2000000 --seed 1 --state mutation.state

A file is one of `every_table`, changed in one place or a few. Whatever comes, the library may open it or refuse it by
one of its documented errors: no signal, no case that takes seconds, and no memory beyond twice the file and 100 MB.
`--case N` does one case again, and `--keep PATH` leaves its file there.
"""

from __future__ import annotations

import copy
import gc
import json
import math
import pickle
import random
import re
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from every_table import every_table
from supervised import Case, Finding, arguments, run_and_tell

import embedcompress as ec

ALLOWED_BYTES = 100 << 20
"""Memory that a case may take beside twice its file."""
LARGEST_TENSOR = 1 << 20
"""Bytes up to which a tensor gets the data that its shape asks for."""
WIDTHS = {"U8": 1, "I8": 1, "BOOL": 1, "F16": 2, "BF16": 2, "U16": 2, "I16": 2, "F32": 4, "U32": 4, "I32": 4}
WIDTHS |= {"F64": 8, "I64": 8, "U64": 8}
KINDS = [
    *["dense", "uniform", "codebook", "product", "sparse", "shared_array", "tensor_train", "hash_network"],
    *["trellis", "packed_floats", "exceptions", "mantissa_bits", "exponent_bits"],
    *["remap", "combine", "columns", "partition", "project", "rotate", "normalize"],
]
WORDS = [
    *KINDS,
    *["f32", "f16", "bf16", "u8", "u32", "u64", "row", "table", "cluster", "csr", "coo", "sum", "product", "modulo"],
    *["quotient", "hash", "map", "ranges", "assignment", "concatenate", "uniform", "normal", "inverse", "forward"],
    *["", "F32", "null", "\u0000", "é", "e\u0301", "\U0001f600" * 3, "a" * 300, "a" + "\u0301\u0316" * 200],
]
FIELDS = [
    *["kind", "rows", "dimension", "bytes", "tensors", "children", "inner", "0", "1", "2", "bits", "group", "scale"],
    *["scope", "entries", "clusters", "row_scale", "parts", "mode", "element", "function", "offset", "modulus"],
    *["divisor", "seed", "block_rows", "shift", "map", "operation", "by", "ranks", "matrix", "bias", "rank1"],
    *["layout", "index", "nonzeros", "first", "pointers", "columns", "values", "count", "block", "signs", "hashes"],
    *["buckets", "layers", "width0", "direction", "row_alignment", "codebooks", "parameters", "dtype", "shape"],
]
EDGES: list[Any] = [
    *[0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 57, 58, 63, 64, 65, 127, 128, 255, 256, 257, 511, 512, 513, 4096],
    *[4097, 2**15, 2**16 - 1, 2**16, 2**20, 2**20 + 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**48 - 1],
    *[2**48, 2**48 + 1, 2**53, 2**61, 2**62, 2**63 - 513, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30],
    *[-1, -2, -(2**31), -(2**63), -(2**63) - 1, 0.0, 1.5, -0.0, 1e20, 1e308, 5e-324],
    *[None, True, False, "1", "", [], [1], {}, {"kind": "dense"}],
]
BYTE_EDGES = [
    b"\0",
    b"\xff",
    b"\x80",
    b"\x7f",
    b"\x01",
    b"\xff\x7f",
    b"\x00\x7c",
    b"\x00\x00\x80\x7f",
    b"\xff\xff\xff\x7f",
]
TWICE = "\ue000"
"""Marks a key that becomes the same as another once the header is text."""


class Draft:
    """A table file in pieces that can be changed: trees by table, tensors as [dtype, shape, bytes], metadata."""

    def __init__(self, trees: dict[str, Any], tensors: dict[str, list[Any]], metadata: dict[str, Any]) -> None:
        self.trees, self.tensors, self.metadata = trees, tensors, metadata

    @classmethod
    def read(cls, raw: bytes) -> Draft:
        (length,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        trees = json.loads(metadata.pop("embedcompress.tables", "{}"))
        tensors = {}
        for name, info in header.items():
            begin, end = info["data_offsets"]
            tensors[name] = [info["dtype"], info["shape"], raw[8 + length + begin : 8 + length + end]]
        return cls(trees, tensors, metadata)

    def copy(self) -> Draft:
        return Draft(
            pickle.loads(pickle.dumps(self.trees)),
            {name: [dtype, list(shape), data] for name, (dtype, shape, data) in self.tensors.items()},
            dict(self.metadata),
        )

    def fit_data(self, rng: random.Random) -> None:
        """Give each tensor as many bytes as its shape asks for, where these are not too many."""
        for tensor in self.tensors.values():
            dtype, shape, data = tensor
            if dtype not in WIDTHS or not all(type(axis) is int and axis >= 0 for axis in shape):
                continue
            count = math.prod(shape) * WIDTHS[dtype]
            if count > LARGEST_TENSOR or count == len(data):
                continue
            if len(data) < count:
                data = data * (count // len(data) + 1) if data else rng.choice(BYTE_EDGES) * count
            tensor[2] = data[:count]

    def header(self) -> tuple[dict[str, Any], bytes]:
        """Return the header's members and the data section."""
        metadata = dict(self.metadata)
        if self.trees:
            metadata["embedcompress.tables"] = json.dumps(self.trees).replace("\\ue000", "")
        members: dict[str, Any] = {"__metadata__": metadata}
        end, pieces = 0, []
        for name, (dtype, shape, data) in self.tensors.items():
            members[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
            end += len(data)
            pieces.append(data)
        return members, b"".join(pieces)


# What is changed


def nodes(trees: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every node, as the object that holds it and its key there."""
    waiting = [(trees, name) for name in trees]
    while waiting:
        holder, key = waiting.pop()
        yield holder, key
        children = holder[key].get("children") if isinstance(holder[key], dict) else None
        if isinstance(children, dict):
            waiting += [(children, name) for name in children]


def a_node(draft: Draft, rng: random.Random) -> tuple[dict[str, Any], str] | None:
    found = [place for place in nodes(draft.trees) if isinstance(place[0][place[1]], dict)]
    return rng.choice(found) if found else None


def edge(rng: random.Random, old: Any) -> Any:
    """A number at an edge, often near the old one."""
    if type(old) is int and rng.random() < 0.4:
        return rng.choice([old + 1, old - 1, 2 * old, old // 2, -old, old + 8, old + 2**32, old * 1000])
    return rng.choice(EDGES)


def change_number(draft: Draft, rng: random.Random) -> None:
    """A number of a node, and nothing that goes with it."""
    if place := a_node(draft, rng):
        node = place[0][place[1]]
        numbers = [key for key, value in node.items() if type(value) is int]
        if numbers:
            key = rng.choice(numbers)
            node[key] = edge(rng, node[key])


def change_size(draft: Draft, rng: random.Random) -> None:
    """A number of nodes and the axes that have it: what comes out is often a table."""
    if place := a_node(draft, rng):
        node = place[0][place[1]]
        numbers = [key for key, value in node.items() if type(value) is int]
        if not numbers:
            return
        key = rng.choice(numbers)
        old, new = node[key], edge(rng, node[key])
        everywhere = rng.random() < 0.6
        changed = [holder[name] for holder, name in nodes(draft.trees)] if everywhere else [node]
        for one in changed:
            if not isinstance(one, dict):
                continue
            if one.get(key) == old:
                one[key] = new
            tensors = one.get("tensors")
            for name in tensors.values() if isinstance(tensors, dict) else ():
                tensor = draft.tensors.get(name) if isinstance(name, str) else None
                if tensor and old in tensor[1]:
                    tensor[1][tensor[1].index(old)] = new


def change_word(draft: Draft, rng: random.Random) -> None:
    if place := a_node(draft, rng):
        node = place[0][place[1]]
        texts = [key for key, value in node.items() if isinstance(value, str)]
        if texts:
            node[rng.choice(texts)] = rng.choice(WORDS)


def change_key(draft: Draft, rng: random.Random) -> None:
    """Remove, rename, repeat or add a member of an object, or swap two of its values."""
    objects = [draft.trees, draft.metadata]
    for holder, name in nodes(draft.trees):
        if isinstance(holder[name], dict):
            objects += [holder[name], *(value for value in holder[name].values() if isinstance(value, dict))]
    members = rng.choice(objects)
    if not members:
        return
    key, other = rng.choice(list(members)), rng.choice(list(members))
    match rng.randrange(5):
        case 0:
            del members[key]
        case 1:
            members[rng.choice(FIELDS)] = members.pop(key)
        case 2:
            members[key + TWICE] = copy.deepcopy(members[other])
        case 3:
            members[rng.choice(FIELDS)] = rng.choice([*EDGES, *WORDS])
        case 4:
            members[key], members[other] = members[other], members[key]


def around(node: Any, rng: random.Random) -> dict[str, Any]:
    """A route over a node, with the fields that it wants."""
    shape = {key: node.get(key, 1) if isinstance(node, dict) else 1 for key in ("rows", "dimension")}
    rows, dimension = shape["rows"], shape["dimension"]
    remap = {"kind": "remap", **shape, "offset": 0, "children": {"inner": node}}
    many = rng.choice([2**20, 2**31, 2**40, 2**48, 2**62, 2**63 - 1])
    choices: list[dict[str, Any]] = [
        remap | {"function": "modulo", "modulus": rows, "rows": many},
        remap | {"function": "quotient", "divisor": rng.choice([1, 7, 2**40])},
        remap | {"function": "hash", "seed": rng.getrandbits(60), "rows": many},
        {"kind": "combine", **shape, "operation": rng.choice(["sum", "product"]), "children": {"0": node, "1": node}},
        {"kind": "rotate", **shape, "seed": rng.getrandbits(62), "children": {"inner": node}},
        {"kind": "normalize", **shape, "children": {"inner": node}},
        {"kind": "columns", **shape, "children": {"0": node}},
        {"kind": "partition", **shape, "by": "ranges", "children": {"0": node}},
    ]
    if type(rows) is int and type(dimension) is int:
        choices.append({"kind": "columns", **shape, "dimension": 2 * dimension, "children": {"0": node, "1": node}})
        choices.append(
            {"kind": "partition", **shape, "rows": 2 * rows, "by": "ranges", "children": {"0": node, "1": node}}
        )
    return rng.choice(choices)


def change_nodes(draft: Draft, rng: random.Random) -> None:
    """Put a route over a node, a node in the place of another, or take one away."""
    if (place := a_node(draft, rng)) is None:
        return
    holder, key = place
    match rng.randrange(6):
        case 0 | 1 | 2:
            for _ in range(rng.choice([1, 1, 1, 2, 3, 31, 40])):
                route = around(holder[key], rng)
                # Both children of a combination would double the tree at every level.
                if len(route["children"]) > 1 and len(json.dumps(route)) > 10_000:
                    break
                holder[key] = route
        case 3:
            other = a_node(draft, rng)
            if other is not None:
                holder[key] = copy.deepcopy(other[0][other[1]])
        case 4:
            children = holder[key].get("children")
            if isinstance(children, dict) and children:
                names = list(children)
                values = list(children.values())
                rng.shuffle(values)
                holder[key]["children"] = dict(zip(names, values, strict=True))
        case 5:
            del holder[key]


def change_tensor(draft: Draft, rng: random.Random) -> None:
    """The dtype, the shape or the name of a tensor, or what names it."""
    if not draft.tensors:
        return
    name = rng.choice(list(draft.tensors))
    tensor = draft.tensors[name]
    shape = tensor[1]
    match rng.randrange(7):
        case 0:
            tensor[0] = rng.choice([*WIDTHS, "F4", "F8_E4M3", "C64", "", 3, None])
        case 1 if shape:
            axis = rng.randrange(len(shape))
            shape[axis] = edge(rng, shape[axis])
        case 2:
            shape.insert(rng.randrange(len(shape) + 1), rng.choice([0, 1, 1, 2, 2**62]))
        case 3 if shape:
            del shape[rng.randrange(len(shape))]
        case 4:
            del draft.tensors[name]
        case 5:
            draft.tensors[rng.choice([*WORDS, "__metadata__", name + TWICE])] = draft.tensors.pop(name)
        case 6:
            named = [holder[key].get("tensors") for holder, key in nodes(draft.trees) if isinstance(holder[key], dict)]
            named = [tensors for tensors in named if isinstance(tensors, dict) and tensors]
            if named:
                tensors = rng.choice(named)
                tensors[rng.choice(list(tensors))] = rng.choice(list(draft.tensors))


def change_bytes(draft: Draft, rng: random.Random) -> None:
    """Bytes of a tensor: a few, a run, or all."""
    filled = [tensor for tensor in draft.tensors.values() if tensor[2]]
    if not filled:
        return
    tensor = rng.choice(filled)
    data = bytearray(tensor[2])
    match rng.randrange(4):
        case 0:
            for _ in range(rng.choice([1, 2, 8])):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 1:
            pattern = rng.choice(BYTE_EDGES)
            start = rng.randrange(len(data))
            run = data[start : start + rng.choice([1, 4, 8, 64])]
            data[start : start + len(run)] = (pattern * len(run))[: len(run)]
        case 2:
            data[:] = (rng.choice(BYTE_EDGES) * len(data))[: len(data)]
        case 3:
            data[:] = rng.randbytes(len(data))
    tensor[2] = bytes(data)


def change_metadata(draft: Draft, rng: random.Random) -> None:
    key = rng.choice(["embedcompress.version", "embedcompress.tables", "embedcompress.other", "note", ""])
    draft.metadata[key] = rng.choice(["1", "2", "", "{}", "[]", "{", 1, None, "1 ", *WORDS])
    if key == "embedcompress.tables":
        draft.trees = {}


def change_bulk(draft: Draft, rng: random.Random) -> None:
    """Little text that stands for much: very many nodes, the widest rows, keys of marks that Unicode reorders."""
    match rng.randrange(3):
        case 0:
            if (place := a_node(draft, rng)) is not None:
                holder, key = place
                node = holder[key]
                count = min(rng.choice([30, 300, 3000]), 200_000 // len(json.dumps(node)))
                shape = {field: node.get(field) for field in ("rows", "dimension")}
                children = {str(number): node for number in range(max(count, 2))}
                holder[key] = {"kind": "combine", **shape, "operation": "sum", "children": children}
        case 1:
            width = rng.choice([2**20, 2**20 - 8, 261_000])
            uniform = {"kind": "uniform", "rows": 0, "dimension": width, "bits": 1, "group": 8, "scale": "f16"}
            dense = {"kind": "dense", "rows": 0, "dimension": width, "element": "f32"}
            leaf = rng.choice([uniform, dense]) | {"tensors": {"rows": "none"}}
            children = {str(number): leaf for number in range(rng.choice([2, 100, 600]))}
            draft.trees = {
                "t": {"kind": "combine", "rows": 0, "dimension": width, "operation": "sum", "children": children}
            }
            axis = [width // 8 + width // 8 * 4, width][leaf["kind"] == "dense"]
            draft.tensors["none"] = ["U8" if leaf["kind"] == "uniform" else "F32", [0, axis], b""]
        case 2:
            draft.tensors["a" + "\u0301\u0316" * rng.choice([1000, 10_000, 80_000])] = ["U8", [0], b""]


CHANGES: list[tuple[Callable[[Draft, random.Random], None], int]] = [
    *[(change_number, 18), (change_size, 22), (change_word, 8), (change_key, 12), (change_nodes, 16)],
    *[(change_tensor, 10), (change_bytes, 20), (change_metadata, 2), (change_bulk, 1)],
]


def change_members(members: dict[str, Any], rng: random.Random) -> None:
    """The header's own structure: offsets, fields of tensors."""
    info = members[rng.choice(list(members))]
    if not isinstance(info, dict):
        return
    match rng.randrange(4):
        case 0 | 1 if "data_offsets" in info:
            offsets = info["data_offsets"]
            place = rng.randrange(2)
            offsets[place] = edge(rng, offsets[place])
        case 2 if info:
            info[rng.choice(FIELDS)] = rng.choice([*EDGES, *WORDS])
        case 3 if info:
            del info[rng.choice(list(info))]


def change_text(text: bytes, rng: random.Random) -> bytes:
    """The header as bytes: flipped, cut, repeated, or with what JSON does not have."""
    changed = bytearray(text)
    if not changed:
        return text
    at = rng.randrange(len(changed))
    match rng.randrange(6):
        case 0:
            changed[at] ^= 1 << rng.randrange(8)
        case 1:
            del changed[at : at + rng.choice([1, 5, 50])]
        case 2:
            changed[at:at] = changed[at : at + rng.choice([1, 10, 100])]
        case 3:
            changed[at:at] = rng.choice(
                [b"[" * 3000, b'{"a":' * 3000, b"\xff", b"\xed\xa0\x80", b"1e999", b"\\ud800", b"\0"]
            )
        case 4:
            digits = list(re.finditer(rb"\d+", changed))
            if digits:
                found = rng.choice(digits)
                changed[found.start() : found.end()] = str(rng.choice([2**63, 2**64, 10**40, 0, 7])).encode()
        case 5:
            changed += b" " * rng.choice([1, 64, 5000])
    return bytes(changed)


def change_frame(raw: bytes, rng: random.Random) -> bytes:
    """The length of the header, or the end of the file."""
    match rng.randrange(4):
        case 0:
            (length,) = struct.unpack("<Q", raw[:8])
            other = rng.choice(
                [0, 1, length - 1, length + 1, len(raw), 10**8, 10**8 + 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1]
            )
            return struct.pack("<Q", other % 2**64) + raw[8:]
        case 1:
            return raw[: rng.randrange(len(raw) + 1)]
        case 2:
            return raw + bytes(rng.choice([1, 7, 4096]))
        case _:
            at = rng.randrange(len(raw))
            return raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :]


def mutated(source: Draft, rng: random.Random) -> bytes:
    """The bytes of a file that differs from `source` in one place or a few."""
    draft = source.copy()
    changes = [change for change, _ in CHANGES]
    for change in rng.choices(changes, [weight for _, weight in CHANGES], k=rng.choice([1, 1, 1, 2, 2, 3, 5])):
        change(draft, rng)
    if rng.random() < 0.9:
        draft.fit_data(rng)
    members, data = draft.header()
    if rng.random() < 0.08:
        change_members(members, rng)
    text = json.dumps(members, ensure_ascii=rng.random() < 0.5).replace("\\ue000", "").replace(TWICE, "")
    encoded = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.06:
        encoded = change_text(encoded, rng)
    if rng.random() < 0.7:
        encoded += b" " * (-(8 + len(encoded)) % 64)
    raw = struct.pack("<Q", len(encoded)) + encoded + data
    return change_frame(raw, rng) if rng.random() < 0.05 else raw


# What is done with what opens


class Memory:
    """The most memory that this process has held, as Linux tells it; elsewhere nothing is checked."""

    STATUS = Path("/proc/self/status")

    def __init__(self) -> None:
        self.base: int | None = None
        self.start()

    def start(self) -> None:
        """Count from here: what is held now is what making a file took."""
        if self.STATUS.exists():
            self._forget()
            self.base = self._field("VmRSS")

    def start_again(self) -> None:
        """Count from here if making a file took much."""
        if self.base is not None and self._field("VmHWM") - self.base > ALLOWED_BYTES // 10:
            self.start()

    def _forget(self) -> None:
        """Let the most that was held be what is held now."""
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")

    def _field(self, name: str) -> int:
        with open(self.STATUS, "rb") as file:
            text = file.read()
        start = text.index(name.encode())
        return int(text[start + len(name) + 1 : text.index(b"kB", start)]) << 10

    def check(self, file_bytes: int) -> None:
        """Raise if more was held than a file of that size explains."""
        if self.base is None:
            return
        grown = self._field("VmHWM") - self.base
        if grown > ALLOWED_BYTES // 4:
            self._forget()
        if grown > 2 * file_bytes + ALLOWED_BYTES:
            raise Finding("memory", f"{grown >> 20} MB for a file of {file_bytes} bytes")


REFUSALS = (ec.FormatError, MemoryError)
MOST_VALUES = 1 << 18
"""Numbers that a lookup of a case may give."""


def some_ids(table: ec.Table, rng: random.Random) -> np.ndarray:
    count = min(rng.choice([1, 3, 16, 40]), max(MOST_VALUES // table.dimension, 1))
    last = table.rows - 1
    ids = [rng.choice([0, last, last // 2, rng.randint(0, last)]) for _ in range(count)]
    return np.array(ids, np.int32 if last < 2**31 and rng.random() < 0.5 else np.int64)


def use(table: ec.Table, rng: random.Random) -> Iterator[Callable[[], object]]:
    """What a program does with a table, each a call of its own."""
    yield lambda: (str(table), repr(table), table.ratio, table.shape, len(table), table.stored_bytes)
    if table.rows:
        ids = some_ids(table, rng)
        yield lambda: table.lookup(ids)
        mode = rng.choice(["sum", "mean", "max"])
        yield lambda: table.bag(ids, np.array([0, len(ids) // 2], ids.dtype), mode=mode)
        yield lambda: table.lookup(np.array([table.rows - 1, -1, 2**63 - 1]), on_invalid="zero")
        start = rng.randint(0, table.rows - 1)
        stop = min(table.rows, start + min(8, max(MOST_VALUES // table.dimension, 1)))
        yield lambda: table.decode(start, stop)
        yield lambda: table.slice(start, table.rows).lookup([0, table.rows - start - 1])
    if rng.random() < 0.3:
        yield lambda: table.row_layouts()
        yield lambda: table.parts()
    if rng.random() < 0.2:
        yield lambda: table.warm_up()
        yield lambda: ec.Table.from_parts(*table.parts())
    if table.rows > 2**31 and table.dimension <= 64:
        yield lambda: stopped(lambda: ec.evaluate(table, table, queries=0, progress=lambda *_: False))
        yield lambda: stopped(lambda: ec.compress(table, "asym", progress=lambda *_: False))
    if table.rows * table.dimension <= 4096:
        if rng.random() < 0.3:
            yield lambda: table.decode()
            yield lambda: table.aligned(rng.choice([1, 16, 64]))
        if rng.random() < 0.2:
            yield lambda: refused_if_not_finite(lambda: ec.evaluate(table, table, queries=rng.choice([0, 4])))
            yield lambda: refused_if_not_finite(lambda: ec.compress(table, "asym"))


def stopped(call: Callable[[], object]) -> None:
    """A call whose progress asks it to stop at once; it may be refused before."""
    try:
        refused_if_not_finite(call)
    except KeyboardInterrupt:
        return


def refused_if_not_finite(call: Callable[[], object]) -> None:
    """A call that refuses tables of numbers that are not finite, by a ValueError."""
    try:
        call()
    except ValueError as error:
        if isinstance(error, ec.FormatError) or not re.search(r"finite|NaN|infinit|range of f", str(error)):
            raise


def checked(call: Callable[[], object], words: list[str], what: str) -> bool:
    """Whether a call was not refused; what is no documented error is a finding."""
    try:
        call()
    except REFUSALS as error:
        words.append(f"{what}: {type(error).__name__}")
        return False
    except Exception as error:
        raise Finding(
            f"{what}: {type(error).__name__}: {re.sub('[0-9]+', 'N', str(error))[:80]}", str(error)
        ) from error
    return True


def cases(seed: int, folder: Path) -> Case:
    """The cases of a seed; each word of a case's list is counted."""
    ec.set_num_threads(1)
    place = folder / "table"
    sources = []
    for table in every_table().values():
        table.save(place)
        sources.append(Draft.read(place.read_bytes()))
    names = [f"t{number}" for number in range(3)]
    ec.save(place, dict(zip(names, list(every_table().values())[-3:], strict=True)), metadata={"note": "x"})
    sources.append(Draft.read(place.read_bytes()))
    plain = {name: tensor for name, tensor in sources[-1].tensors.items() if len(tensor[1]) == 2}
    sources.append(Draft({}, plain, {}))
    memory = Memory()
    path = str(place)

    def case(index: int) -> list[str]:
        rng = random.Random((seed << 40) + index)
        raw = mutated(rng.choice(sources), rng)
        place.unlink(missing_ok=True)
        file_bytes = place.write_bytes(raw)
        del raw
        memory.start_again()
        words = ["mutated"]
        held: list[ec.Table] = []
        mapped = rng.random() < 0.5
        listed: list[Any] = []
        checked(lambda: listed.append(ec.contents(path)), words, "contents")
        # A file may call a table what no call takes as a name.
        names = [name for name in listed[0].tables if "\0" not in name] if listed else []
        name = rng.choice(names) if names and rng.random() < 0.9 else None
        if checked(lambda: held.append(ec.load(path, name, mmap=mapped)), words, "open"):
            words.append("opened")
            for call in use(held[0], rng):
                checked(call, words, "use")
            if held[0].rows < 2**63 - 1:
                refused_id(held[0])
        held.clear()
        memory.check(file_bytes)
        if index % 1000 == 0:
            gc.collect()
        return words

    return case


def refused_id(table: ec.Table) -> None:
    """An id past the end is an InvalidIdError, whatever else a file says."""
    try:
        table.lookup(np.array([table.rows]))
    except (ec.InvalidIdError, MemoryError):
        return
    raise Finding("an id past the end was taken")


def main(given: list[str] | None = None) -> int:
    parser = arguments(__doc__ or "", 100_000)
    parser.add_argument("--keep", type=Path, help="with --case: where its file is left")
    options = parser.parse_args(given)
    if options.case is not None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            case = cases(options.seed, Path(folder))
            try:
                print(case(options.case))
            finally:
                if options.keep is not None:
                    options.keep.write_bytes((Path(folder) / "table").read_bytes())
        return 0
    return run_and_tell(cases, options, options.total, f"{options.total:,} files")


if __name__ == "__main__":
    sys.exit(main())
