"""Changes to an index: each function is one durable commit, made by the holder of the writer lock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
from safetensors.numpy import save as save_safetensors

from ..encoders.base import Progress
from ..encoders.embeddings import FloatArray, TokenEmbeddings
from ..index.encodings.fde import FDE
from ..index.factors import ItemFactors
from ..index.lvq import LVQ
from ..index.single import Arrays, SingleVectors, blocks
from ..index.storage import commit
from ..index.storage.catalog import Record, row_checksum, transaction
from ..index.storage.files import write_bytes, write_folder
from ..index.storage.format import FACTORS, FINE, GRAPH, PARAMS, PARAMS_FILE, TOKENS, VECTORS, Header
from ..index.storage.segments import (
    Segment,
    SegmentInfo,
    merge_segments,
    remove,
    remove_segment,
    rewrite_segment,
    write_segment,
)
from ..index.tokens.base import TokenCodec, codec
from ..index.tokens.saliency import keep_top, saliency
from .config import FAITHFUL, IndexConfig, starting
from .snapshot import PARAMS_KEYS, Fitted, Snapshot
from .types import Document

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int32]

MERGE_WIDTH = 8
"""Fewest neighbouring segments that are merged into one."""
_RECODED = 1 << 15
"""Token vectors decoded at a time."""


@dataclass(frozen=True)
class Change:
    """Everything one commit does.

    documents and embeddings belong together, item by item; saliency: `(T,)` float32, how much the model attended to
    each token vector, where the index is to go by that. delete: ids to remove (a replaced document is among them).
    finished: sources that are complete with this commit (name to content hash). dropped: sources to forget.
    """

    documents: Sequence[Document] = ()
    embeddings: TokenEmbeddings | None = None
    saliency: FloatArray | None = None
    sources: Sequence[str | None] = ()
    delete: Sequence[str] = ()
    reassign: Sequence[tuple[str, str]] = ()
    finished: Sequence[tuple[str, str]] = ()
    dropped: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def apply(folder: Path, snapshot: Snapshot, change: Change) -> None:
    """Make a change durable; when this returns it survives a crash.

    Files written for a change that then fails are left to `Session.writing`: an interrupt can strike when the commit
    has just succeeded, so nothing here may take it for granted that it did not.
    """
    settings = dict(change.settings)
    segment = None
    first_row = int(snapshot.catalog.meta("next_row"))
    if change.documents:
        if change.embeddings is None or len(change.embeddings) != len(change.documents):
            raise ValueError("a change with documents needs the embeddings of each")
        fitted = snapshot.fitted
        if fitted is None:
            fitted = fit(snapshot, change.embeddings)
            settings["params"] = store_params(folder, fitted.to_arrays(), fitted.to_dict())
        kept = _keep(snapshot.config, change.embeddings, change.saliency)
        segment = write_segment(folder, _build_segment(fitted, snapshot.factors, *kept, first_row))
        settings["next_row"] = first_row + len(change.documents)
    old = snapshot.catalog.records_by_id(change.delete)
    with transaction(folder) as connection:
        commit.bump(connection, snapshot.catalog.commit, settings)
        commit.delete_rows(connection, [record.row for record in old.values()])
        commit.insert_documents(connection, _records(change, first_row))
        if segment is not None:
            commit.append_segment(connection, segment)
        _apply_sources(connection, change)


def _apply_sources(connection: Connection, change: Change) -> None:
    for document, source in change.reassign:
        commit.assign_source(connection, source, [document])
    for name, content_hash in change.finished:
        commit.set_source(connection, name, content_hash)
    commit.drop_sources(connection, change.dropped)


def _records(change: Change, first_row: int) -> Iterable[Record]:
    sources = change.sources or [None] * len(change.documents)
    for row, (document, source) in enumerate(zip(change.documents, sources, strict=True), start=first_row):
        metadata = metadata_json(document)
        yield Record(row, document.id, document.title, document.text, metadata, source, content_hash(document))


def metadata_json(document: Document) -> str:
    """Metadata as the catalog stores it. Raises `ValueError` or `TypeError` when it is not JSON."""
    return json.dumps(dict(document.metadata), ensure_ascii=False, allow_nan=False, sort_keys=True)


def content_hash(document: Document) -> str:
    """xxh3-128 (hex) of all that is indexed of a document: equal hashes mean there is nothing to do."""
    return record_hash(document.id, document.title, document.text, metadata_json(document))


def record_hash(name: str, title: str, text: str, metadata: str) -> str:
    """`content_hash` of the stored form."""
    return row_checksum(name, title, text, metadata)


def fit(snapshot: Snapshot, embeddings: TokenEmbeddings) -> Fitted:
    """The parameters a new index begins with, fitted to no data; `refit` may replace them."""
    chosen = codec(starting(snapshot.config)).fit(embeddings.vectors)
    return Fitted(chosen, unfitted(snapshot.config, snapshot.dim))


def unfitted(config: IndexConfig, dim: int) -> SingleVectors:
    """The single vectors an index begins with, fitted to no data."""
    fde = FDE(config.fde, dim)
    return SingleVectors(fde, None, LVQ(np.zeros(fde.output_dim, np.float32)))


def store_params(folder: Path, arrays: Arrays, description: Mapping[str, Any]) -> dict[str, Any]:
    """Write fitted arrays under their hash; returns what the catalog records of them, with their description."""
    data = save_safetensors({key: np.ascontiguousarray(value) for key, value in arrays.items()})
    checksum = xxhash.xxh3_128_hexdigest(data)
    home = folder / PARAMS / checksum
    if not home.is_dir():
        write_folder(home, lambda temporary: write_bytes(temporary / PARAMS_FILE, data))
    return {"checksum": checksum, "size": len(data), **description}


def _keep(
    config: IndexConfig, embeddings: TokenEmbeddings, attention: FloatArray | None
) -> tuple[TokenEmbeddings, Places | None]:
    """The token vectors to store, and which of their document's each one is; None when they are all."""
    if config.keep == 1:
        return embeddings, None
    weights = saliency(embeddings, config.saliency, attention=attention)
    kept, offsets = keep_top(weights, embeddings.offsets, config.keep)
    places = kept - np.repeat(embeddings.offsets[:-1], np.diff(offsets))
    return TokenEmbeddings(embeddings.vectors[kept], offsets), places.astype(np.int32)


def _build_segment(
    fitted: Fitted, factors: ItemFactors | None, embeddings: TokenEmbeddings, places: Places | None, first_row: int
) -> Segment:
    codes = fitted.codec.encode(embeddings.vectors)
    fine = None if fitted.fine is None else fitted.fine.encode(embeddings.vectors)
    source, stored = fitted.finest, codes if fine is None else fine
    if source.name not in FAITHFUL:  # single vectors are made of what an index is before its tokens are made small
        source = codec(FAITHFUL[0]).fit(embeddings.vectors)
        stored = source.encode(embeddings.vectors)
    return Segment(
        rows=np.arange(first_row, first_row + len(embeddings), dtype=np.int64),
        offsets=embeddings.offsets,
        tokens=codes,
        vectors=fitted.single.encode_stored(source, stored, embeddings.offsets),  # as a refit does it
        fine=fine,
        places=places,
        factors=None if factors is None else factors.encode_stored(source, stored, embeddings.offsets),
    )


def merge(
    folder: Path, snapshot: Snapshot, start: int, stop: int, progress: Callable[[int], None] | None = None
) -> None:
    """Merge segments `start:stop` (neighbours) into one, leaving out their deleted documents."""
    infos = snapshot.catalog.segments()[start:stop]
    segments = snapshot.segments[start:stop]
    live = [
        np.ones(len(segment), dtype=np.bool_) if mask is None else mask
        for segment, mask in zip(segments, snapshot.live[start:stop], strict=True)
    ]
    survivors = any(mask.any() for mask in live)
    merged = merge_segments(folder, segments, live, progress) if survivors else None
    dead = np.concatenate([s.rows[~mask] for s, mask in zip(segments, live, strict=True)])
    with transaction(folder) as connection:
        commit.bump(connection, snapshot.catalog.commit)
        commit.replace_segments(connection, [info.id for info in infos], merged)
        commit.drop_tombstones(connection, dead)
    for info in infos:
        remove_segment(folder, info.id)


def refit(
    folder: Path,
    snapshot: Snapshot,
    fitted: Fitted,
    settings: dict[str, Any],
    progress: Progress | None = None,
) -> None:
    """Replace the single vectors of every document, its token codes, or both, by those of `fitted`, in one commit.

    What the present parameters share with `fitted` stays byte for byte. settings: to be stored in the same commit.
    Raises `ValueError` for an index without documents.
    """
    rewriter = _Rewriter(snapshot, fitted, progress)
    infos = snapshot.catalog.segments()
    new = [
        rewrite_segment(folder, info, rewriter.parts(segment), rewriter.renamed)
        for info, segment in zip(infos, snapshot.segments, strict=True)
    ]
    params = store_params(folder, fitted.to_arrays(), fitted.to_dict())
    _replace_each(folder, snapshot, infos, new, {"params": params, **settings})


class _Rewriter:
    """Makes files of segments anew by fitted parameters, from the codes that the present ones describe."""

    def __init__(self, snapshot: Snapshot, fitted: Fitted, progress: Progress | None) -> None:
        if snapshot.fitted is None:
            raise ValueError("an index without documents has nothing to refit")
        self._old, self._new = snapshot.fitted, fitted
        self._progress = progress
        self._totals = {"fold": snapshot.documents, "recode": snapshot.tokens}
        self._done = dict.fromkeys(self._totals, 0)

    @property
    def renamed(self) -> dict[str, str]:
        """Codes that stay, as the finer of two levels."""
        recoded = self._new.codec is not self._old.codec
        return {TOKENS: FINE} if recoded and self._new.fine is self._old.codec else {}

    def parts(self, segment: Segment) -> dict[str, tuple[Header, Iterator[Bytes]]]:
        """The files of a segment that are not what they were."""
        found: dict[str, tuple[Header, Iterator[Bytes]]] = {}
        if self._new.single is not self._old.single:
            found[VECTORS] = (Header("uint8", len(segment), self._new.single.width), self._vectors(segment))
        if self._new.codec is not self._old.codec:
            for name, codec in ((TOKENS, self._new.codec), (FINE, None if self.renamed else self._new.fine)):
                if codec is not None:
                    header = Header("uint8", len(segment.tokens), codec.bytes_per_token)
                    found[name] = (header, self._tokens(segment, codec, name))
        return found

    def _vectors(self, segment: Segment) -> Iterator[Bytes]:
        for start, stop in blocks(segment.offsets):
            offsets = segment.offsets[start : stop + 1]
            yield self._new.single.encode_stored(self._old.finest, segment.finest, offsets)
            self._tell("fold", stop - start)

    def _tokens(self, segment: Segment, codec: TokenCodec, name: str) -> Iterator[Bytes]:
        for start in range(0, len(segment.finest), _RECODED):
            rows = segment.finest[start : start + _RECODED]
            yield codec.encode(self._old.finest.decode(rows))
            self._tell("recode", len(rows) if name == TOKENS else 0)

    def _tell(self, phase: str, count: int) -> None:
        self._done[phase] += count
        if self._progress is not None:
            self._progress(phase, self._done[phase], self._totals[phase])


def add_graphs(folder: Path, snapshot: Snapshot, progress: Callable[[int], None] | None = None) -> int:
    """Build the graphs of segments that are large enough for one and have none, in one commit; returns how many.

    progress: called with the number of segments that are finished.
    """
    infos = snapshot.catalog.segments()
    fitted, old, new = snapshot.fitted, [], []
    for info, segment in zip(infos, snapshot.segments, strict=True):
        if fitted is not None and segment.graph is None and len(segment) >= snapshot.config.graph_above:
            graph = fitted.single.build_graph(segment.vectors)
            old.append(info)
            links = graph.to_array()
            new.append(rewrite_segment(folder, info, {GRAPH: (Header("int32", *links.shape), [links])}))
            if progress is not None:
                progress(len(new))
    if new:
        _replace_each(folder, snapshot, old, new, {})
    return len(new)


def store_factors(folder: Path, snapshot: Snapshot, factors: ItemFactors, rows: Bytes) -> None:
    """Give every document its row of `factors`, in the place of any there were, in one commit.

    rows: `(t, factors.width)` uint8, of the documents of all segments one after the other, deleted ones included.
    Raises `ValueError` for an index without documents, for rows that are not one a document, and for factors of tokens
    of another dimension.
    """
    counts = [len(segment) for segment in snapshot.segments]
    if not snapshot.documents:
        raise ValueError("an index without documents has nothing to store factors of: add documents first")
    expected = (sum(counts), factors.width)
    if rows.dtype != np.uint8 or rows.shape != expected:
        raise ValueError(
            f"rows of factors are {rows.dtype} of shape {rows.shape}, expected uint8 of {expected}: "
            "give one for each document that the segments hold, deleted ones included"
        )
    dim = factors.single.encoding.dim
    if dim != snapshot.dim:
        raise ValueError(f"the factors are made of tokens of {dim} dimensions, the index has {snapshot.dim}")
    parts = np.split(rows, np.cumsum(counts)[:-1])
    new = [
        rewrite_segment(folder, info, {FACTORS: (Header("uint8", *part.shape), [part])})
        for info, part in zip(snapshot.infos, parts, strict=True)
    ]
    stored = store_params(folder, factors.params(), factors.spec())
    _replace_each(folder, snapshot, snapshot.infos, new, {"factors": stored})


def drop_factors(folder: Path, snapshot: Snapshot) -> None:
    """Take away what `store_factors` stored, in one commit; nothing is done where there is nothing."""
    if snapshot.factors is None:
        return
    new = [rewrite_segment(folder, info, {}, dropped=(FACTORS,)) for info in snapshot.infos]
    _replace_each(folder, snapshot, snapshot.infos, new, {"factors": None})


def _replace_each(
    folder: Path,
    snapshot: Snapshot,
    old: Sequence[SegmentInfo],
    new: Sequence[SegmentInfo],
    settings: dict[str, Any],
) -> None:
    with transaction(folder) as connection:
        commit.bump(connection, snapshot.catalog.commit, settings)
        for before, after in zip(old, new, strict=True):
            commit.replace_segments(connection, [before.id], after)
    for before in old:
        remove_segment(folder, before.id)
    for key in settings.keys() & PARAMS_KEYS:
        stored, kept = snapshot.catalog.meta(key), settings[key] or {}
        if stored is not None and stored["checksum"] != kept.get("checksum"):
            remove([folder / PARAMS / stored["checksum"]])


def merge_due(snapshot: Snapshot) -> tuple[int, int] | None:
    """The range of segments to merge: the shortest tail of `MERGE_WIDTH` or more that is worth its copying.

    It is when the largest of them is at most `MERGE_WIDTH` times the others together. Equal batches so leave a number
    of segments logarithmic in their count, mixed ones not many more, and a large segment is not copied for a few
    documents behind it.
    """
    sizes = [len(segment) for segment in snapshot.segments]
    for count in range(MERGE_WIDTH, len(sizes) + 1):
        tail = sizes[-count:]
        if MERGE_WIDTH * (sum(tail) - max(tail)) >= max(tail):
            return len(sizes) - count, len(sizes)
    return None
