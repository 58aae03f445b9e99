"""What a file is, by its first bytes: the one place that decides it for every function and every command."""

from __future__ import annotations

import errno
import os
import stat
import zipfile

from .._atomic import AnyPath
from ._arrow import Columns
from ._gguf import GGUF
from ._numpy import Npy, Npz, is_npz
from ._safetensors import INDEX_ENDING, Safetensors, Sharded, read_index
from ._source import READ, Source, malformed, no_tables
from ._torch_file import TorchFile
from ._word_binary import WordBinary
from ._word_text import BYTE_ORDER_MARK, WordText, counts, numbers_at_the_end, tokens

_HEAD = 1 << 16
_MOST_JSON = 100_000_000
_TORCH_PICKLE = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""What checkpoints of torch before 1.6 begin with: a pickle of torch's magic number."""
_OTHERS = {
    b"\x1f\x8b": "gzip, which must be unpacked: gunzip",
    b"BZh": "bzip2, which must be unpacked: bunzip2",
    b"\xfd7zXZ": "xz, which must be unpacked: unxz",
    b"\x28\xb5\x2f\xfd": "zstd, which must be unpacked: unzstd",
    b"\x89HDF": "HDF5",
    b"FEA1": "Feather of version 1: write it again with pyarrow.feather",
    b"\x80": "a Python pickle, which could run any code and is not opened",
    b"ggml": "GGML, which GGUF has replaced",
    b"%PDF": "PDF",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database",
    b"\xff\xfe": "text in UTF-16: write it in UTF-8",
    b"\xfe\xff": "text in UTF-16: write it in UTF-8",
}
"""Kinds that are not read, by how they begin."""


def open_source(path: AnyPath) -> Source:
    """Return what a file or a folder gives.

    Raises:
        FormatError: it is of no kind that is read, or is malformed; the message names the file and what it looks like.
        OSError: it can't be read.
    """
    path = os.fspath(path)
    head, size = _head(path)
    if head is None:
        return _folder(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return Safetensors(path)
    found = _by_magic(path, head) or _by_text(path, head)
    if found is not None:
        return found
    if head[8:9] == b"{" or os.fsdecode(path).lower().endswith(".safetensors"):
        return Safetensors(path)
    raise _unknown(path, head)


def safetensors_header(path: AnyPath) -> int | None:
    """Return the bytes of the header of what begins as a safetensors file; None for all else.

    Raises:
        OSError: it can't be read.
    """
    head, size = _head(os.fspath(path), 9)
    length = int.from_bytes(head[:8], "little") if head is not None and head[8:9] == b"{" else size
    return length if length <= size - 8 else None


def _head(path: str | bytes, most: int = _HEAD) -> tuple[bytes | None, int]:
    """Return the first bytes of a file and its size; None for those of a folder.

    Raises:
        OSError: it is neither, such as a pipe or a device, which may have no end; or it can't be read.
    """
    # Opening a pipe would wait for its other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            return None, 0
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        head = b""
        while len(head) < most and (more := os.read(descriptor, most - len(head))):
            head += more
        return head, status.st_size
    finally:
        os.close(descriptor)


def _by_magic(path: str | bytes, head: bytes) -> Source | None:
    if head.startswith(b"\x93NUMPY"):
        return Npy(path)
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _archive(path)
    if head.startswith(b"GGUF"):
        return GGUF(path)
    if head.startswith(b"PAR1"):
        return Columns(path, "Parquet")
    if head.startswith(b"ARROW1"):
        return Columns(path, "an Arrow file")
    # Behind the mark is the length of the schema. A safetensors file with a broken length may begin so too.
    length = int.from_bytes(head[4:8], "little", signed=True)
    if head.startswith(b"\xff\xff\xff\xff") and length > 0 and head[8:9] != b"{":
        return Columns(path, "an Arrow stream")
    if head.startswith(_TORCH_PICKLE):
        return TorchFile(path, is_zip=False)
    return None


def _archive(path: str | bytes) -> Source:
    try:
        with zipfile.ZipFile(os.fsdecode(path)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        what = "it begins as a zip archive (.npz files and torch checkpoints are such), and is cut off or damaged"
        raise malformed(path, f"{what}: {error}") from error
    if is_npz(names):
        return Npz(path)
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return TorchFile(path, is_zip=True)
    listed = ", ".join(names[:4]) or "nothing"
    raise malformed(path, f"it is a zip archive, of {listed}, which must be unpacked first: {READ}", "unknown_kind")


def _by_text(path: str | bytes, head: bytes) -> Source | None:
    """Return what text that begins so is, or vectors after a line of text; None if it is neither."""
    first, end, _ = head.removeprefix(BYTE_ORDER_MARK).partition(b"\n")
    if head.lstrip()[:1] == b"{" and b"\0" not in head:
        return _index(path)
    if counts(first) is not None and end:
        return _after_counts(path, first + end)
    if b"\0" in head:
        return None
    if not end:
        # Of very wide vectors the first line is longer.
        with open(path, "rb") as file:
            first = file.readline(64 << 20).removeprefix(BYTE_ORDER_MARK)
    parts = tokens(first)
    if numbers_at_the_end(parts) < 2:
        return None
    if _is_without_words(head):
        what = (
            "it looks like numbers without words, as numpy.savetxt writes them: numpy.save(path, numpy.loadtxt(file))"
        )
        raise malformed(path, f"{what}; {READ}", "unknown_kind")
    return WordText(path, first)


def _after_counts(path: str | bytes, first: bytes) -> Source:
    """Return text or binary word vectors, by whether the second line is a word and numbers."""
    _, dimension = counts(first) or (0, 0)
    with open(path, "rb") as file:
        start = len(BYTE_ORDER_MARK) if file.read(3) == BYTE_ORDER_MARK else 0
        file.seek(start + len(first))
        second = file.readline(_HEAD + 64 * dimension)
    # Floats have bytes that no text has.
    if b"\0" not in second and (not second.strip() or numbers_at_the_end(tokens(second)) >= min(dimension, 1)):
        return WordText(path, first)
    return WordBinary(path, first)


def _is_without_words(head: bytes) -> bool:
    """Whether the first lines begin with numbers that have a point: words may be numbers, but not all of them such."""
    lines = [tokens(line)[:1] for line in head.split(b"\n")[:8]]
    begins = [parts[0] for parts in lines if parts]
    return all(numbers_at_the_end([b"", one]) == 1 and (b"." in one or b"e" in one.lower()) for one in begins)


def _index(path: str | bytes) -> Source | None:
    if os.path.getsize(path) > _MOST_JSON:
        return None
    with open(path, "rb") as file:
        places = read_index(path, file.read())
    if places is None:
        raise malformed(
            path, f"it is JSON, and no index of a sharded checkpoint (no weight_map): {READ}", "unknown_kind"
        )
    return _join(path, "the index of a sharded checkpoint", os.path.dirname(path), places)


def _join(path: str | bytes, kind: str, folder: str | bytes, places: dict[str, str]) -> Source:
    shards: dict[str, Source] = {}
    for file in dict.fromkeys(places.values()):
        shard = os.path.join(os.fsdecode(folder), file)
        if os.path.isdir(shard) or file.endswith(INDEX_ENDING):
            raise malformed(path, f"its weight_map must name files of tensors, not '{file}'")
        try:
            shards[file] = open_source(shard)
        except FileNotFoundError:
            raise malformed(path, f"its weight_map names '{file}', which is not beside it", "missing_shard") from None
    return Sharded(path, kind, shards, places)


def _folder(path: str | bytes) -> Source:
    """Return the checkpoint of a folder: its only index, or all of its safetensors files."""
    folder = os.fsdecode(path)
    entries = sorted(os.listdir(folder))
    indexes = [entry for entry in entries if entry.endswith(INDEX_ENDING)]
    safe = [entry for entry in indexes if entry.endswith(".safetensors" + INDEX_ENDING)]
    for found in (safe, indexes):
        if len(found) == 1:
            return open_source(os.path.join(folder, found[0]))
    if indexes:
        raise malformed(path, f"it is a folder of several indexes, name one of them: {', '.join(indexes[:8])}")
    files = [entry for entry in entries if entry.endswith(".safetensors")]
    if not files:
        raise no_tables(path)
    if len(files) == 1:
        return open_source(os.path.join(folder, files[0]))
    shards = {file: Safetensors(os.path.join(folder, file)) for file in files}
    tables = [file for file, shard in shards.items() if shard.is_table_file]
    if tables:
        raise malformed(
            path, f"it is a folder of several files with compressed tables, name one: {', '.join(tables[:8])}"
        )
    places: dict[str, str] = {}
    for file, shard in shards.items():
        for tensor in shard.stored:
            if tensor.name in places:
                what = f"'{places[tensor.name]}' and '{file}' both have a tensor '{tensor.name}', and there is no index"
                raise malformed(path, f"it is a folder whose files {what}: name one of them")
            places[tensor.name] = file
    return Sharded(path, "a folder of safetensors files", dict(shards), places)


def _unknown(path: str | bytes, head: bytes) -> ValueError:
    if not head:
        return malformed(path, "the file is empty", "unknown_kind")
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            return malformed(path, f"it looks like {what}; {READ}", "unknown_kind")
    first = head.split(b"\n")[0][:60]
    if b"\0" in head:
        return malformed(
            path, f"it begins with bytes {head[:8].hex(' ')}, of a kind that is not known: {READ}", "unknown_kind"
        )
    text = first.decode(errors="replace")
    what = f"it looks like text whose first line, '{text}', is not a word and numbers with spaces between them"
    return malformed(path, f"{what}: {READ}", "unknown_kind")
