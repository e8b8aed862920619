from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError, MissingExtraError
from latefold.ingest.fields import ID_FIELDS, TEXT_FIELDS, TITLE_FIELDS, record_passage
from latefold.ingest.records import Broken, read_csv, read_jsonl, read_parquet
from latefold.ingest.sniff import Unsupported

LIMIT = 100_000


def test_jsonl_reports_broken_lines_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n\n{broken\n{"text": "tw\xff"}\r\n' + b"x" * 200_000 + b'\n{"text": "three"}')
    rows = list(read_jsonl(path, LIMIT))
    assert [number for number, _ in rows] == [1, 3, 4, 5, 6]
    assert [row for _, row in rows if not isinstance(row, Broken)] == [
        {"text": "one"},
        {"text": "tw\ufffd"},
        {"text": "three"},
    ]
    reasons = [row.reason for _, row in rows if isinstance(row, Broken)]
    assert reasons[0].startswith("not valid JSON")
    assert reasons[1] == "the line is longer than 100000 characters"


def test_jsonl_nested_too_deeply_is_one_broken_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x", "a": ' + "[" * 50_000 + "]" * 50_000 + '}\n{"text": "y"}\n')
    assert [type(row) for _, row in read_jsonl(path, 200_000)] == [Broken, dict]


def test_csv_with_quoted_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text,lang\n1,"two\nlines, one field",en\n2,short\n3,a,b,c\n4,last,de\n')
    rows = list(read_csv(path, LIMIT))
    assert rows[0] == (2, {"id": "1", "text": "two\nlines, one field", "lang": "en"})
    assert rows[1] == (4, {"id": "2", "text": "short"})
    assert rows[2] == (5, Broken("the row has 4 fields, the header 3"))
    assert rows[3] == (6, {"id": "4", "text": "last", "lang": "de"})


def test_csv_with_a_huge_line_and_an_endless_quote(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n1," + "x" * 200_000 + '\n2,ok\n3,"' + ("never closed\n" * 12_000))
    rows = list(read_csv(path, LIMIT))
    assert rows[0] == (2, Broken("the line is longer than 100000 characters"))
    assert rows[1] == (3, {"id": "2", "text": "ok"})


def test_tsv_and_semicolons(tmp_path: Path) -> None:
    tsv, csv = tmp_path / "a.tsv", tmp_path / "b.csv"
    tsv.write_text("id\ttext\n1\ta, b\n")
    csv.write_text("id;text\n1;a, b\n")
    expected = [(2, {"id": "1", "text": "a, b"})]
    assert list(read_csv(tsv, LIMIT)) == list(read_csv(csv, LIMIT)) == expected


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"id": [1, 2], "text": ["one", None], "score": [0.5, float("nan")]}), path)
    rows = dict(read_parquet(path))
    assert rows[1] == {"id": 1, "text": "one", "score": 0.5}
    assert rows[2]["text"] is None
    other = tmp_path / "b.parquet"
    parquet.write_table(pa.table({"x": [1]}), other)
    assert [type(row) for _, row in read_parquet(other)] == [Unsupported]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidInputError, match="not a readable Parquet file"):
        list(read_parquet(path))


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"latefold\[parquet\]"):
        list(read_parquet(tmp_path / "a.parquet"))


def test_fields_of_a_record() -> None:
    record = {"_id": 7, "Title": " a \n title", "text": "body\r\ntext", "year": 1999, "id": "x", "source": "web"}
    passage = record_passage(record, "default")
    assert (passage.id, passage.title, passage.text) == ("7", "a title", "body\ntext")
    assert passage.metadata == {"year": 1999, "id": "x", "record": {"source": "web"}}


def test_an_object_named_metadata_is_unfolded() -> None:
    passage = record_passage({"text": "x", "metadata": {"url": "u", "lang": "en"}, "lang": "de"}, "default")
    assert passage.metadata == {"url": "u", "lang": "de"}
    assert passage.id == "default"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ([1], "a record is an object, not list"),
        ({"a": 1}, "no text field"),
        ({"text": 3}, "field 'text' is int"),
        ({"text": "x", "id": 1.5}, "the id is float"),
        ({"text": "x", "id": True}, "the id is bool"),
        ({"text": "x", "id": "y" * 2000}, "the id has 2000 characters"),
        ({"text": "x" * 10_000_001}, "the text has 10000001 characters"),
    ],
)
def test_broken_records_have_a_reason(record: Any, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        record_passage(record, "default")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@given(st.dictionaries(st.text(max_size=9) | st.sampled_from(["source", "page", "metadata", "record"]), JSON))
def test_metadata_is_always_strict_json(fields: dict[str, Any]) -> None:
    named = (*ID_FIELDS, *TITLE_FIELDS, *TEXT_FIELDS)
    fields = {key: value for key, value in fields.items() if key.strip().lower() not in named}
    passage = record_passage({**fields, "text": "x", "body": None}, "default")
    stored = json.dumps(passage.metadata, ensure_ascii=False, allow_nan=False)
    assert "\0" not in stored
    stored.encode("utf-8")
    assert not {"source", "page", "start", "end"} & set(passage.metadata)
