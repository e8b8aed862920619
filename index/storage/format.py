"""The on-disk format, declared in one place.

    my.index/
      catalog.sqlite           the commit point: documents, full text, segments, checksums (see SCHEMA in `catalog`)
      params/<hash>/params.safetensors
      segments/<id>/<name>.bin one header of 64 bytes, then a flat little-endian array; some only where needed
      writer.lock              held by the process that writes, which writer.lock.json names

Nothing here is rewritten in place: a segment is written once, under a temporary name, and only ever deleted.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from ...encoders.errors import FormatVersionError, IndexCorruptedError

FORMAT_VERSION: Final = 2
CATALOG: Final = "catalog.sqlite"
SEGMENTS: Final = "segments"
PARAMS: Final = "params"
PARAMS_FILE: Final = "params.safetensors"
LOCK: Final = "writer.lock"
TEMPORARY: Final = ".tmp-"

ROWS: Final = "rows.bin"
"""`(n,)` int64, ascending: the catalog row of each document of the segment."""
OFFSETS: Final = "offsets.bin"
"""`(n + 1,)` int64: where each document's tokens begin."""
TOKENS: Final = "tokens.bin"
"""`(tokens, bytes_per_token)` uint8: token codes, in the layout of the index's codec."""
VECTORS: Final = "vectors.bin"
"""`(n, width)` uint8: the single vector per document, as LVQ rows."""
SEGMENT_FILES: Final = (ROWS, OFFSETS, TOKENS, VECTORS)
FINE: Final = "fine.bin"
"""`(tokens, bytes)` uint8: finer codes of the same tokens, where the codec has two levels."""
PLACES: Final = "places.bin"
"""`(tokens,)` int32: which of a document's token vectors each stored one is, where some were left out."""
GRAPH: Final = "graph.bin"
"""`(n + 1, degree)` int32: neighbours of each document among the single vectors, -1 for none; the entry point last."""
FACTORS: Final = "factors.bin"
"""`(n, width)` uint8: vectors that scores of an expensive scorer are regressed on, as LVQ rows."""
OPTIONAL_FILES: Final = (FINE, PLACES, GRAPH, FACTORS)

MAGIC: Final = b"LTFD"
HEADER_SIZE: Final = 64
_HEADER = struct.Struct("<4sHH8sQQ32x")
_DTYPES: Final = {"uint8": b"<u1", "int32": b"<i4", "int64": b"<i8"}
_MAX_ROWS: Final = 1 << 48
_MAX_COLUMNS: Final = 1 << 31
_BY_TAG: Final = {tag.ljust(8, b"\0"): name for name, tag in _DTYPES.items()}


@dataclass(frozen=True)
class Header:
    """What the first 64 bytes of an array file say: its dtype (`uint8`, `int32` or `int64`) and its `(rows, columns)`.

    A one-dimensional array has `columns == 0`.
    """

    dtype: str
    rows: int
    columns: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array in numpy's form."""
        return (self.rows, self.columns) if self.columns else (self.rows,)

    @property
    def file_size(self) -> int:
        """Bytes of the whole file, header included."""
        return HEADER_SIZE + self.rows * max(self.columns, 1) * np.dtype(self.dtype).itemsize

    def pack(self) -> bytes:
        """The 64 header bytes."""
        return _HEADER.pack(MAGIC, FORMAT_VERSION, 0, _DTYPES[self.dtype], self.rows, self.columns)

    @classmethod
    def unpack(cls, data: bytes, where: str) -> Header:
        """Read a header; `where` names the file in errors.

        Raises `IndexCorruptedError` when the bytes are no header, `FormatVersionError` on another version.
        """
        if len(data) < HEADER_SIZE or data[:4] != MAGIC:
            raise IndexCorruptedError(f"{where} does not begin with a latefold header; restore it from a backup")
        _, version, reserved, tag, rows, columns = _HEADER.unpack(data[:HEADER_SIZE])
        check_version(version, where)
        damaged = reserved or tag not in _BY_TAG or any(data[_HEADER.size - 32 : HEADER_SIZE])
        if damaged or rows > _MAX_ROWS or columns > _MAX_COLUMNS:
            raise IndexCorruptedError(f"the header of {where} is damaged; restore it from a backup")
        return cls(_BY_TAG[tag], rows, columns)


def check_version(version: int, where: str) -> None:
    """Refuse a format that this code does not read, with advice."""
    if version > FORMAT_VERSION:
        raise FormatVersionError(
            f"{where} has format version {version}, but this latefold reads up to {FORMAT_VERSION}: upgrade latefold"
        )
    if version == 1:
        raise FormatVersionError(f"{where} has format version 1, of a preview of latefold: index again with this one")
    if version < 1:
        raise IndexCorruptedError(f"{where} has format version {version}, which never existed: the file is damaged")
