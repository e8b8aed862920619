"""What may go into an index: checks of documents and queries at the border."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ..encoders.errors import DocumentNotFoundError, InvalidInputError
from .config import MAX_DOCUMENT_CHARACTERS, MAX_ID_CHARACTERS, MAX_METADATA_DEPTH, MAX_QUERY_CHARACTERS
from .types import Document
from .writer import metadata_json

_FIELDS = {"id", "text", "title", "metadata"}


def encoded_text(document: Document) -> str:
    """The text an encoder sees: the title on a line of its own, then the text."""
    return f"{document.title}\n{document.text}" if document.title else document.text


def as_document(value: Document | Mapping[str, Any]) -> Document:
    """A checked document. Raises `InvalidInputError` naming the document and what is wrong with it."""
    document = value if isinstance(value, Document) else _from_mapping(value)
    if not isinstance(document.id, str) or not 0 < len(document.id) <= MAX_ID_CHARACTERS:
        raise InvalidInputError(
            f"a document id is a string of 1 to {MAX_ID_CHARACTERS} characters, got {document.id!r:.80}"
        )
    where = f"document {document.id!r:.80}"
    _check_text(document.id, f"the id of {where}")
    for name, text in (("title", document.title), ("text", document.text)):
        if not isinstance(text, str):
            raise InvalidInputError(f"the {name} of {where} is {type(text).__name__}, not a string")
        if len(text) > MAX_DOCUMENT_CHARACTERS:
            raise InvalidInputError(
                f"the {name} of {where} has {len(text)} characters; the limit is {MAX_DOCUMENT_CHARACTERS}: split it"
            )
        _check_text(text, f"the {name} of {where}")
    if _deeper_than(document.metadata, MAX_METADATA_DEPTH):
        raise InvalidInputError(f"the metadata of {where} is nested deeper than {MAX_METADATA_DEPTH} levels")
    try:
        _check_text(metadata_json(document), f"the metadata of {where}")
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"the metadata of {where} is not JSON: {error}") from None
    return document


def _deeper_than(value: Any, levels: int) -> bool:
    """Whether objects and lists are nested deeper; a value that contains itself is."""
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return False
    return levels == 0 or any(_deeper_than(inner, levels - 1) for inner in value)


def _from_mapping(value: Any) -> Document:
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"a document is a Document or a mapping, not {type(value).__name__}")
    unknown = set(value) - _FIELDS
    if unknown or "id" not in value or "text" not in value:
        raise InvalidInputError(
            f"a document has id, text and optionally title and metadata; got {sorted(map(str, value))}: "
            "put other fields into metadata"
        )
    metadata = value.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidInputError(f"the metadata of document {value['id']!r:.80} is not an object")
    title = value.get("title")
    return Document(value["id"], value["text"], "" if title is None else title, metadata or {})


def check_query(text: object) -> str:
    """A usable query text. Raises `InvalidInputError` for an empty, over-long or unencodable one."""
    if not isinstance(text, str):
        raise InvalidInputError(f"a query is a string, not {type(text).__name__}")
    if not text.strip():
        raise InvalidInputError("the query is empty: give at least one word")
    if len(text) > MAX_QUERY_CHARACTERS:
        raise InvalidInputError(f"the query has {len(text)} characters; the limit is {MAX_QUERY_CHARACTERS}")
    _check_text(text, "the query")
    return text


def _check_text(text: str, what: str) -> None:
    if "\0" in text:
        raise InvalidInputError(f"{what} holds a NUL character: remove it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInputError(f"{what} is not valid Unicode (a lone surrogate): decode it properly") from None


def batches(documents: Iterable[Document | Mapping[str, Any]], size: int) -> Iterator[list[Document]]:
    """Checked documents, `size` at a time."""
    iterator = iter(documents)
    while batch := [as_document(value) for value in islice(iterator, size)]:
        yield batch


def first_duplicate(ids: Sequence[str]) -> str | None:
    """The first id that occurs twice."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            return name
        seen.add(name)
    return None


def not_found(names: Sequence[str]) -> DocumentNotFoundError:
    """The error for ids that are not in the index."""
    shown = ", ".join(f"{name!r:.80}" for name in names[:3]) + (" ..." if len(names) > 3 else "")
    return DocumentNotFoundError(f"no document has the id {shown}")
