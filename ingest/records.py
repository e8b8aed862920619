"""Readers of files of records: JSON lines, tables and Parquet. One broken record never stops a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..encoders.errors import InvalidInputError, MissingExtraError
from .charset import guess_encoding, json_encoding
from .fields import TEXT_FIELDS, has_text_field
from .options import MIB, Kind
from .sniff import HEAD_BYTES, Unsupported, table_delimiter

_PARQUET_ROWS = 256


@dataclass(frozen=True)
class Broken:
    """A record that cannot be read."""

    reason: str


Record = tuple[int, Any]
"""Line number (row number for Parquet), from 1, and the record: an object, or `Broken`; `Unsupported` for the file."""


def read_jsonl(path: Path, limit: int) -> Iterator[Record]:
    """Records of a file with one JSON object a line; `limit` is the longest line in characters."""
    with path.open(encoding=json_encoding(_head(path)), errors="replace", newline="\n") as file:
        for number, line in enumerate(_lines(file, limit), start=1):
            if line is None:
                yield number, Broken(f"the line is longer than {limit} characters")
            elif line.strip():
                yield number, _parse(line)


def _parse(line: str) -> Any:
    try:
        return json.loads(line, strict=False)
    except RecursionError:
        return Broken("not valid JSON: nested too deeply")
    except ValueError as error:
        return Broken(f"not valid JSON: {error!s:.200}")


def read_csv(path: Path, limit: int) -> Iterator[Record]:
    """Rows of a table whose first row names the columns; numbered by the line they begin on."""
    # The limit belongs to the csv module as a whole; it is only ever raised, so no other reader is cut short.
    csv.field_size_limit(max(csv.field_size_limit(), limit))
    head = _head(path)
    encoding = guess_encoding(head)
    beginning = head.decode(encoding, errors="replace").lstrip("\ufeff")
    delimiter = table_delimiter(path.suffix.lower(), beginning) or ","
    with path.open(encoding=encoding, errors="replace", newline="") as table:
        too_long: list[int] = []
        for number, row in _rows(_numbered(_lines(table, limit), too_long), delimiter):
            for line in too_long:
                yield line, Broken(f"the line is longer than {limit} characters")
            too_long.clear()
            if row:
                yield number, row


def _numbered(lines: Iterator[str | None], too_long: list[int]) -> Iterator[str]:
    """Lines for a csv reader, with an empty one in place of each that is too long, whose number is noted."""
    for number, line in enumerate(lines, start=1):
        if line is None:
            too_long.append(number)
        yield "\n" if line is None else line


def _rows(lines: Iterator[str], delimiter: str) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield start, Broken(f"not a valid row: {error}")
            continue
        if row is None:
            return
        if len(row) > len(header):
            yield start, Broken(f"the row has {len(row)} fields, the header {len(header)}")
        else:
            yield start, dict(zip(header, row, strict=False))


def read_parquet(path: Path) -> Iterator[Record]:
    """Rows of a Parquet file. Raises `MissingExtraError` without pyarrow, `InvalidInputError` on a damaged file."""
    pa, parquet = _pyarrow()
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if not has_text_field(dict.fromkeys(names)):
                yield 0, Unsupported(f"no text column (one of {', '.join(TEXT_FIELDS)})")
                return
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidInputError(f"not a readable Parquet file (after row {number}): {error!s:.200}") from error


def count_records(path: Path, kind: Kind) -> int:
    """About how many records a file has: its line ends, or what a Parquet file says. Raises as reading does."""
    if kind is Kind.PARQUET:
        pa, parquet = _pyarrow()
        try:
            return int(parquet.read_metadata(path).num_rows)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InvalidInputError(f"not a readable Parquet file: {error!s:.200}") from error
    with path.open("rb") as file:
        return max(1, sum(block.count(b"\n") for block in iter(lambda: file.read(MIB), b"")))


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("reading Parquet files", "parquet") from error
    return pa, parquet


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _lines(file: TextIO, limit: int) -> Iterator[str | None]:
    """Lines of a file; None for each that is longer than `limit` characters, of which only that much is held."""
    while line := file.readline(limit + 1):
        if len(line) <= limit or line.endswith("\n"):
            yield line
            continue
        while (rest := file.readline(limit + 1)) and not rest.endswith("\n"):
            pass
        yield None
