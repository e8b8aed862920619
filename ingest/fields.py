"""Records (JSON objects, table rows) to passages: which field is the id, the title, the text, and what is metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from ..encoders.errors import InvalidInputError
from ..retrieval.config import MAX_DOCUMENT_CHARACTERS, MAX_ID_CHARACTERS
from .charset import clean, extracted
from .options import Passage

ID_FIELDS = ("_id", "id", "doc_id")
TEXT_FIELDS = ("text", "body", "content", "contents", "passage")
TITLE_FIELDS = ("title", "name")
RESERVED = ("source", "page", "start", "end")
"""Metadata keys that ingestion sets; a record's own fields of these names are kept inside the object `record`."""
_DEPTH = 32
_ROOM_FOR_NUMBER = 16


def has_text_field(record: object) -> bool:
    """Whether this is an object with a field that is read as text."""
    return isinstance(record, Mapping) and _find(record, TEXT_FIELDS) is not None


def record_passage(record: object, default_id: str, *, whole: bool = False) -> Passage:
    """The passage a record stands for; text and title may both be empty.

    Field names are compared without regard to case; the first of `ID_FIELDS`, `TEXT_FIELDS` and `TITLE_FIELDS` that is
    there counts, and every other field becomes metadata, those inside an object `metadata` too. Raises
    `InvalidInputError` saying what is wrong with the record.
    """
    if not isinstance(record, Mapping):
        raise InvalidInputError(f"a record is an object, not {type(record).__name__}")
    names = [_find(record, candidates) for candidates in (ID_FIELDS, TITLE_FIELDS, TEXT_FIELDS)]
    id_name, title_name, text_name = names
    if text_name is None:
        raise InvalidInputError(f"no text field: one of {', '.join(TEXT_FIELDS)}")
    text = _string(record, text_name)
    if len(text) > MAX_DOCUMENT_CHARACTERS:
        raise InvalidInputError(f"the text has {len(text)} characters; the limit is {MAX_DOCUMENT_CHARACTERS}")
    title = "" if title_name is None else " ".join(_string(record, title_name).split())
    return Passage(
        text=text if whole else extracted(text),
        title=title,
        id=default_id if id_name is None else _identifier(record[id_name], default_id),
        whole=whole,
        metadata=_metadata({key: value for key, value in record.items() if key not in names}),
    )


def _find(record: Mapping[str, Any], candidates: tuple[str, ...]) -> str | None:
    lowered = {key.strip().lower(): key for key in reversed(list(record)) if isinstance(key, str)}
    return next((lowered[name] for name in candidates if name in lowered), None)


def _string(record: Mapping[str, Any], name: str) -> str:
    value = record[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInputError(f"field {name!r} is {type(value).__name__}, not a string")
    return clean(value)


def _identifier(value: object, default: str) -> str:
    if value is None or value == "":
        return default
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidInputError(f"the id is {type(value).__name__}, neither a string nor a whole number")
    name = clean(str(value)).strip()
    if not 0 < len(name) <= MAX_ID_CHARACTERS - _ROOM_FOR_NUMBER:
        raise InvalidInputError(
            f"the id has {len(name)} characters; it may have 1 to {MAX_ID_CHARACTERS - _ROOM_FOR_NUMBER}"
        )
    return name


def _metadata(fields: dict[str, Any]) -> dict[str, Any]:
    inner = fields.get("metadata")
    if isinstance(inner, Mapping):
        fields = {**inner, **{key: value for key, value in fields.items() if key != "metadata"}}
    cleaned = _json_value(fields, 0)
    taken = {key: cleaned.pop(key) for key in RESERVED if key in cleaned}
    if taken:
        if "record" in cleaned:
            taken["record"] = cleaned.pop("record")
        cleaned["record"] = taken
    return dict(cleaned)


def _json_value(value: Any, depth: int) -> Any:
    """The value as strict JSON: NaN and infinities become null, dates ISO strings, bytes are left out."""
    if depth > _DEPTH:
        raise InvalidInputError(f"fields are nested more than {_DEPTH} levels deep")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        kept = {clean(str(key)): item for key, item in value.items() if not isinstance(item, bytes)}
        return {key: _json_value(item, depth + 1) for key, item in kept.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item, depth + 1) for item in value if not isinstance(item, bytes)]
    return value.isoformat() if isinstance(value, date | datetime | time) else clean(str(value))
