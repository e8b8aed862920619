"""The BEIR loader on small folders, malformed lines and a real collection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latefold.encoders.errors import InvalidInputError
from latefold.eval.beir import load_beir, load_corpus

DOCUMENTS = [
    {"_id": "d1", "title": "Wings", "text": "lift of a wing", "metadata": {"year": 1960}},
    {"_id": "d 2", "text": "heat transfer"},
    {"_id": 3, "title": None, "text": ""},
]
QUERIES = [
    {"_id": "q1", "text": "lift"},
    {"_id": "q2", "text": "never judged"},
    {"_id": "q3", "text": "heat"},
]
JUDGEMENTS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td 2\t0\nq3\tabsent\t1\n"


def lines(records) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "tiny"
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text(lines(DOCUMENTS), encoding="utf-8")
    (root / "queries.jsonl").write_text(lines(QUERIES), encoding="utf-8")
    (root / "qrels" / "test.tsv").write_text(JUDGEMENTS, encoding="utf-8")
    return root


def test_reads_documents_judged_queries_and_judgements(folder):
    dataset = load_beir(folder)
    assert dataset.name == "tiny"
    assert [(d.id, d.title, d.text) for d in dataset.documents] == [
        ("d1", "Wings", "lift of a wing"),
        ("d 2", "", "heat transfer"),
        ("3", "", ""),
    ]
    assert dataset.documents[0].metadata == {"year": 1960}
    assert dataset.queries == {"q1": "lift", "q3": "heat"}
    assert dataset.qrels == {"q1": {"d1": 2, "d 2": 0}, "q3": {"absent": 1}}


def test_header_is_optional_and_blank_lines_and_crlf_and_bom_are_read(folder):
    expected = load_beir(folder)
    body = JUDGEMENTS.split("\n", 1)[1]
    (folder / "qrels" / "test.tsv").write_bytes(b"\xef\xbb\xbf" + body.replace("\n", "\r\n\r\n").encode())
    (folder / "queries.jsonl").write_bytes(b"\xef\xbb\xbf" + lines(QUERIES).replace("\n", "\r\n").encode())
    assert load_beir(folder) == expected


def test_other_splits_by_name(folder):
    (folder / "qrels" / "dev.tsv").write_text("q2\td1\t1\n", encoding="utf-8")
    assert load_beir(folder, split="dev").queries == {"q2": "never judged"}
    with pytest.raises(InvalidInputError, match=r"train\.tsv: no such file; splits present: dev, test"):
        load_beir(folder, split="train")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "corpus.jsonl",
            b'{"_id": "a", "text": "x"}\n{"_id": "b", "te\n',
            r"corpus\.jsonl, line 2: not JSON",
        ),
        ("corpus.jsonl", b'["a", "b"]\n', r"line 1: expected a JSON object, got list"),
        ("corpus.jsonl", b"[" * 100_000, r"line 1: not JSON"),
        (
            "corpus.jsonl",
            b'{"_id": "a", "text": "x"}\n\n{"_id": "a", "text": "y"}\n',
            r"line 3: id 'a' appears",
        ),
        ("corpus.jsonl", b'{"text": "x"}\n', r"line 1: '_id' must be a non-empty string"),
        ("corpus.jsonl", b'{"_id": true, "text": "x"}\n', r"line 1: '_id' must be a non-empty string"),
        ("corpus.jsonl", b'{"_id": "a"}\n', r"line 1: 'text' must be a string, got None"),
        ("corpus.jsonl", b'{"_id": "a", "text": "x", "title": 7}\n', r"line 1: 'title' must be a string"),
        ("corpus.jsonl", b'{"_id": "a", "text": "x", "metadata": [1]}\n', r"line 1: 'metadata' is not"),
        ("corpus.jsonl", b'{"_id": "a", "text": "\xff"}\n', r"corpus\.jsonl, line 1: not UTF-8"),
        ("corpus.jsonl", b"\n", r"holds no documents"),
        (
            "queries.jsonl",
            b'{"_id": "q1", "text": ["x"]}\n',
            r"queries\.jsonl, line 1: 'text' must be a string",
        ),
        ("qrels/test.tsv", b"q1 d1 1\n", r"test\.tsv, line 1: expected .* got 1 field"),
        ("qrels/test.tsv", b"q1\td1\tyes\n", r"test\.tsv, line 1: score 'yes' is not a whole number"),
        ("qrels/test.tsv", b"q1\td1\t1\nq1\td1\t1\n", r"line 2: document 'd1' is judged twice"),
        ("qrels/test.tsv", b"q1\td1\t1\nq9\td1\t1\n", r"line 2: query id 'q9' is not in queries\.jsonl"),
        ("qrels/test.tsv", b"query-id\tcorpus-id\tscore\n", r"test\.tsv: holds no judgements"),
    ],
)
def test_malformed_input_names_file_and_line(folder, file, content, message):
    (folder / file).write_bytes(content)
    with pytest.raises(InvalidInputError, match=message):
        load_beir(folder)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(InvalidInputError, match=r"corpus\.jsonl: cannot be read .* expected a BEIR folder"):
        load_corpus(tmp_path / "nowhere")


def test_real_collections(shared_data):
    cranfield = load_beir(shared_data / "cranfield")
    assert (len(cranfield.documents), len(cranfield.queries)) == (1400, 225)
    assert sum(len(judged) for judged in cranfield.qrels.values()) == 1612
    scifact = load_beir(shared_data / "scifact")  # 1,109 queries, 300 of them judged
    assert (len(scifact.documents), len(scifact.queries)) == (5183, 300)
