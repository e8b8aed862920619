"""Test collections in the BEIR layout: `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv` in one folder.

Source: Thakur et al., BEIR, arXiv 2104.08663; the three files are those of its published archives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..encoders.errors import InvalidInputError
from ..retrieval.types import Document

Qrels = dict[str, dict[str, int]]
"""Query id to document id to graded relevance (0: judged and not relevant)."""


@dataclass(frozen=True)
class Dataset:
    """A test collection: documents, the judged queries (id to text) and their relevance judgements."""

    name: str
    documents: list[Document]
    queries: dict[str, str]
    qrels: Qrels


def load_beir(folder: str | Path, *, split: str = "test") -> Dataset:
    """Read a BEIR folder. Queries without judgements in `split` are left out.

    Judgements may name documents that the corpus lacks (published collections do); they count as relevant
    documents that no search can find. Raises `InvalidInputError`, naming file and line, on a missing file,
    bytes that are not UTF-8, malformed lines, repeated ids and judgements of unknown queries.
    """
    folder = Path(folder)
    documents = load_corpus(folder)
    texts = load_queries(folder)
    qrels = _load_qrels(folder, split, texts)
    queries = {id_: text for id_, text in texts.items() if id_ in qrels}
    return Dataset(folder.resolve().name, documents, queries, qrels)


def load_corpus(folder: str | Path) -> list[Document]:
    """Documents of a BEIR folder, in file order. Raises `InvalidInputError` as `load_beir` does."""
    path = Path(folder) / "corpus.jsonl"
    documents: dict[str, Document] = {}
    for where, record in _records(path):
        id_ = _new_id(record, where, documents)
        text, title = _string(record, "text", where), _string(record, "title", where, default="")
        metadata = record.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise InvalidInputError(f"{where}: 'metadata' is not a JSON object")
        documents[id_] = Document(id_, text, title, metadata)
    if not documents:
        raise InvalidInputError(f"{path}: holds no documents")
    return list(documents.values())


def load_queries(folder: str | Path) -> dict[str, str]:
    """Id to text of all queries of a BEIR folder, judged or not. Raises `InvalidInputError` as `load_beir` does."""
    queries: dict[str, str] = {}
    for where, record in _records(Path(folder) / "queries.jsonl"):
        id_ = _new_id(record, where, queries)
        queries[id_] = _string(record, "text", where)
    return queries


def _load_qrels(folder: Path, split: str, queries: dict[str, str]) -> Qrels:
    path = folder / "qrels" / f"{split}.tsv"
    if not path.is_file():
        found = ", ".join(sorted(p.stem for p in path.parent.glob("*.tsv"))) or "none"
        raise InvalidInputError(f"{path}: no such file; splits present: {found}")
    qrels: Qrels = {}
    for number, (where, line) in enumerate(_lines(path)):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 3:
            raise InvalidInputError(
                f"{where}: expected query id, document id and score between tabs, got {len(fields)} field(s)"
            )
        query, document, score = fields
        if number == 0 and query not in queries and not _is_integer(score):
            continue  # the header
        if not _is_integer(score):
            raise InvalidInputError(f"{where}: score {score!r} is not a whole number")
        if query not in queries:
            raise InvalidInputError(f"{where}: query id {query!r} is not in queries.jsonl")
        if document in qrels.setdefault(query, {}):
            raise InvalidInputError(f"{where}: document {document!r} is judged twice for query {query!r}")
        qrels[query][document] = int(score)
    if not qrels:
        raise InvalidInputError(f"{path}: holds no judgements")
    return qrels


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """JSON objects of a JSON-lines file, each with the `file, line n` it stands on."""
    for where, line in _lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{where}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise InvalidInputError(f"{where}: expected a JSON object, got {type(record).__name__}")
        yield where, record


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines of a UTF-8 file that are not blank, each with the `file, line n` it stands on."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                where = f"{path}, line {number}"
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise InvalidInputError(f"{where}: not UTF-8 (at byte {error.start})") from error
                if line.strip():
                    yield where, line
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror}); expected a BEIR folder") from error


def _new_id(record: dict[str, Any], where: str, seen: dict[str, Any]) -> str:
    id_ = record.get("_id")
    if isinstance(id_, int) and not isinstance(id_, bool):
        id_ = str(id_)
    if not isinstance(id_, str) or not id_.strip():
        raise InvalidInputError(f"{where}: '_id' must be a non-empty string, got {id_!r}")
    if id_ in seen:
        raise InvalidInputError(f"{where}: id {id_!r} appears a second time")
    return id_


def _string(record: dict[str, Any], key: str, where: str, *, default: str | None = None) -> str:
    value = record.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise InvalidInputError(f"{where}: {key!r} must be a string, got {value!r:.60}")
    return value
