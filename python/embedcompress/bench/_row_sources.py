"""Rows of text cells out of CSV and Parquet files, of the columns that are wanted."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from ._streaming import Skipped, lines

Row = Sequence[str]
Check = Callable[[Row], str | None]
"""Says what is wrong with a row, or None."""

BATCH_ROWS = 8192


def from_csv(
    path: Path, wanted: Sequence[str], check: Check, skipped: Skipped, separator: str, names: Sequence[str]
) -> Iterator[Row]:
    """Yield the wanted cells of each row; what is wrong with other rows goes to `skipped`.

    Raises:
        OSError: the file can't be read.
        ValueError: it has no such column, no rows, or most are malformed.
    """
    # Bytes that are not UTF-8 become surrogates, by which the row that has them is found.
    text = (line.decode("utf-8", "surrogateescape") for line in lines(path))
    reader = csv.reader(text, delimiter=separator, strict=True)
    try:
        header = list(names) or next(reader, [])
    except csv.Error as error:
        raise ValueError(f"'{path}': line 1 is no header: {error}") from None
    if not header:
        raise ValueError(f"'{path}' has no header")
    if not names:
        header[0] = header[0].removeprefix("\ufeff")
    # Of one place alone it would return no tuple; a label and a field are two.
    pick = itemgetter(*_places(path, header, wanted))
    count, width = 0, len(header)
    while True:
        start, spanned = reader.line_num + 1, 1
        try:
            row = next(reader)
            problem = f"has {len(row)} columns instead of {width}" if len(row) != width else _encoding(row)
        except StopIteration:
            break
        except csv.Error as error:
            # An open quote runs on over lines until a cell has the most characters that the module csv allows.
            row, problem = [""], f"is no CSV as far as line {reader.line_num}: {error}"
            spanned = reader.line_num - start + 1
        count += spanned
        if problem is None:
            cells: Row = pick(row)
            problem = check(cells)
            if problem is None:
                yield cells
                continue
        skipped.add(path, start, problem if row else "is empty", spanned)
    skipped.end(path, count)


def from_parquet(path: Path, wanted: Sequence[str], check: Check, skipped: Skipped) -> Iterator[Row]:
    """Yield the wanted cells of each row as text, null as an empty one; bad rows go to `skipped`.

    Raises:
        OSError: the file can't be read.
        ValueError: pyarrow is not installed; the file is no Parquet, has no such column, one whose values have no
            text, no rows, or most are malformed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ValueError("Parquet files need pyarrow: pip install 'embedcompress[parquet]'") from None
    count = 0
    try:
        with path.open("rb") as file, parquet.ParquetFile(file) as opened:
            _places(path, opened.schema_arrow.names, wanted)
            needed = list(dict.fromkeys(wanted))
            for batch in opened.iter_batches(BATCH_ROWS, columns=needed):
                columns = {name: _as_text(path, name, batch.column(name)) for name in needed}
                for cells in zip(*(columns[name] for name in wanted), strict=True):
                    count += 1
                    problem = check(cells)
                    if problem is None:
                        yield cells
                    else:
                        skipped.add(path, count, problem)
    except pyarrow.ArrowException as error:
        raise ValueError(f"'{path}' can't be read as Parquet: {error}") from None
    skipped.end(path, count)


def _as_text(path: Path, name: str, column: object) -> list[str]:
    import pyarrow
    from pyarrow import compute

    try:
        texts: list[str] = compute.fill_null(compute.cast(column, pyarrow.string()), "").to_pylist()
    except (pyarrow.ArrowNotImplementedError, pyarrow.ArrowInvalid) as error:
        raise ValueError(f"'{path}': the column {name!r} can't be made text: {error}") from None
    return texts


def _places(path: Path, header: Sequence[str], wanted: Sequence[str]) -> list[int]:
    for name in wanted:
        if name not in header:
            raise ValueError(f"'{path}' has no column {name!r}; it has {', '.join(header)}")
        if list(header).count(name) > 1:
            raise ValueError(f"'{path}' has more than one column {name!r}")
    return [list(header).index(name) for name in wanted]


def _encoding(row: Row) -> str | None:
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return None
