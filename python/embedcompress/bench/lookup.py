"""Lookups beside those of PyTorch, FBGEMM and faiss, in one process, in turns, with the same number of threads.

Each cell of the grid (format, dimension, size of the table, pooling, threads, ids) has these contenders:

- `ours`: `Table.bag` or `Table.lookup`.
- `limit`: a byte of each cache line of the same rows is read, with the same prefetch, pages and threads, and nothing
  else is done. No lookup in these rows takes less, and one that decodes and writes takes more.
- peers, where they have such a lookup: see `_peers`. PyTorch's f32 is in every cell. With 2, 4 and 8 bits,
  torch.ops.quantized and this library look up in the same memory, the very rows that PyTorch has quantized; FBGEMM's
  TBE has the same codes in its own order.

Every contender allocates its result. Results have at most 8 MiB, and the C library is told to keep what is freed, so
that they come from memory that the process has. Calls go through a pool of ids that is larger than a call. Before it is
timed, a cell is checked: results must agree.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import embedcompress as ec

from .. import _core
from .._report import machine
from . import _peers
from ._cells import Cell, Grid, table_rows
from ._document import Document
from ._ids import ZIPF_EXPONENT, pool
from ._tables import Compressed, compressed, weights
from ._timing import PAUSE_SECONDS, Call, Cursor, compared, take_turns

RESULT_FLOATS = 1 << 21
"""Most floats of a result: 8 MiB."""
LARGE_BYTES = 256 << 20
"""Tables of more f32 bytes than this have half as many repetitions, and a larger pool of ids."""

LOSSES = {"2": 0.9, "3": 0.5, "4": 0.3, "8": 0.03, "16": 2e-3, "32": 1e-5}
"""What ||ours - f32|| / ||f32|| stays below at each width."""
SAME_CODES = 1e-4
"""What ours and a peer differ by, at most, with the same codes, scales and biases: sums are of another order."""
HALF_SCALES = 2e-2
"""The same, where 8-bit scales and biases are f32 in one and f16 in the other."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Settings:
    """How cells are measured."""

    repetitions: int = 15
    """Turns of each contender; half as many for large tables."""
    ids_per_call: int = 102_400
    """Fewer where the result would be too large."""
    pool: int = 1 << 20
    """Different calls' ids together; four times as many for large tables."""
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, and the fixed settings, by name."""
        fixed = {"zipf_exponent": ZIPF_EXPONENT, "pause_seconds": PAUSE_SECONDS, "result_floats": RESULT_FLOATS}
        return asdict(self) | fixed


def run(
    grid: Grid,
    settings: Settings | None = None,
    *,
    out: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the cells of a grid.

    Args:
        grid: What is run.
        settings: How it is measured.
        out: A JSON file, which is written after every cell.
        resume: Keep the cells that `out` has, and run the others.
        progress: Called as progress(cells done, cells).

    Returns:
        The document: machine, settings and cells.

    Raises:
        ValueError: results of two contenders differ by more than they may; `out` can't be resumed.
    """
    settings = settings or Settings()
    # What the load is before the run is asked for before peers are imported.
    described = machine() | {"huge_pages": _huge_pages()}
    versions = _peers.versions()
    described["versions"] |= {name: version for name, version in versions.items() if version is not None}
    head = {
        "command": "embedcompress bench lookup",
        "machine": described,
        "not_installed": [name for name, version in versions.items() if version is None],
        "settings": settings.as_dict(),
    }
    document = Document(head, out)
    if resume:
        document.resume()
    total = len(grid.all())
    done = sum(cell in document.results for cell in grid.all())
    _keep_freed_memory()
    with _state_kept():
        for dimension, table in grid.shapes():
            waiting = [cell for cell in grid.cells(dimension, table) if cell not in document.results]
            for result in _measure_table(dimension, table, waiting, settings):
                document.add(result)
                done += 1
                if progress:
                    progress(done, total)
    document.write()
    return document.as_dict()


@contextlib.contextmanager
def _state_kept() -> Iterator[None]:
    """Put back what a run sets for the whole process."""
    threads = ec.get_num_threads()
    torch = sys.modules.get("torch")
    torch_threads = torch.get_num_threads() if torch else 0
    with contextlib.ExitStack() as stack:
        if torch:
            stack.enter_context(torch.no_grad())
        gc.collect()
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
            ec.set_num_threads(threads)
            if torch:
                torch.set_num_threads(torch_threads)


def _keep_freed_memory() -> None:
    """Have the C library hand out results from memory that was freed before, for every contender.

    Left alone, it gives freed results back to the system, or does not, by what else lies beside them: the page faults
    of fresh memory take three times as long as a lookup.
    """
    try:
        library = ctypes.CDLL(None)
        # Blocks of 32 MiB and more, such as large tables, are still given back.
        library.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(M_TRIM_THRESHOLD, 1 << 30)
    except (OSError, AttributeError):
        # Another C library.
        return


def _measure_table(dimension: int, table: str, cells: list[Cell], settings: Settings) -> Iterator[dict[str, Any]]:
    """Measure cells of one dimension and size, those of a format in a row: each format's tables are made once."""
    if not cells:
        return
    rows = table_rows(table, dimension)
    is_large = 4 * rows * dimension > LARGE_BYTES
    weight = weights(rows, dimension, settings.seed)
    count = settings.pool * (4 if is_large else 1)
    pools = {kind: pool(kind, rows, count, settings.seed) for kind in dict.fromkeys(cell.ids for cell in cells)}
    for bits in dict.fromkeys(cell.bits for cell in cells):
        packed = _peers.torch_rows(weight, bits)
        ours = compressed(bits, weight, packed)
        peers, absent = _peers.build(_peers.Material(bits, weight, packed))
        for cell in cells:
            if cell.bits == bits:
                repetitions = settings.repetitions if not is_large else (settings.repetitions + 1) // 2
                yield _measure(cell, ours, peers, absent, pools[cell.ids], settings.ids_per_call, repetitions)
        # Large tables go before the next ones come.
        del packed, ours, peers


def _measure(
    cell: Cell,
    ours: Compressed,
    peers: dict[str, _peers.Peer],
    absent: dict[str, str],
    ids: NDArray[np.int64],
    ids_per_call: int,
    repetitions: int,
) -> dict[str, Any]:
    """Measure a cell."""
    ec.set_num_threads(cell.threads)
    _peers.set_num_threads(cell.threads)
    count = call_ids(cell, ids_per_call, len(ids))
    calls: dict[str, Call] = {
        "ours": _our_call(ours.table, ids, count, cell.bag),
        "limit": lambda part: _core.touch(ours.table, ids[part]),
    }
    missing = dict(absent)
    for name, peer in peers.items():
        try:
            calls[name] = peer.call(ids, count, cell.bag)
        except _peers.Absent as reason:
            missing[name] = str(reason)
    agreement = _check(cell, calls, peers, slice(0, count))
    pause = PAUSE_SECONDS if cell.threads > 1 else 0
    seconds = take_turns(calls, Cursor(len(ids), count), repetitions, pause)
    return cell.as_dict() | {
        "rows": cell.rows,
        "row_bytes": ours.table.stored_bytes / max(1, ours.table.rows),
        "ids_per_call": count,
        "repetitions": repetitions,
        "agreement": agreement,
        "absent": missing,
        "contenders": compared(seconds, count),
    }


def call_ids(cell: Cell, ids_per_call: int, available: int) -> int:
    """Return how many ids a call has: whole bags, and a result that is not too large."""
    bag = cell.bag or 1
    bags = min(ids_per_call, available) // bag
    return bag * max(1, min(bags, RESULT_FLOATS // cell.dimension))


def _our_call(table: ec.Table, ids: NDArray[np.int64], count: int, bag: int | None) -> Call:
    if bag is None:
        return lambda part: table.lookup(ids[part])
    offsets = np.arange(0, count, bag)
    return lambda part: table.bag(ids[part], offsets)


def _check(cell: Cell, calls: dict[str, Call], peers: dict[str, _peers.Peer], part: slice) -> dict[str, float]:
    """Return ||ours - theirs|| / ||theirs|| by peer.

    Raises:
        ValueError: it is more than formats explain.
    """
    result: Any = calls["ours"](part)
    found: dict[str, float] = {}
    for name, call in calls.items():
        limit = tolerance(cell.bits, name)
        if limit is None:
            continue
        theirs = peers[name].values(call(part))
        loss = float(np.linalg.norm(result - theirs) / max(float(np.linalg.norm(theirs)), 1e-30))
        if not loss <= limit:
            raise ValueError(f"ours and {name} differ by {loss:.3g} in {cell}, more than {limit:g}")
        found[name] = float(f"{loss:.3g}")
    return found


def tolerance(bits: str, peer: str) -> float | None:
    """Return the most that results may differ by; None where they are of other values, or none."""
    if peer in ("ours", "limit") or bits == "codebook4":
        return None
    if peer == "torch_quantized":
        return HALF_SCALES if bits == "8" else SAME_CODES
    if peer == "fbgemm_tbe":
        return SAME_CODES
    return LOSSES[bits]


def _huge_pages() -> str | None:
    """Return the system's policy on huge pages."""
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
    except OSError:
        return None
    return text.partition("[")[2].partition("]")[0] or None
