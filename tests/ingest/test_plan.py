from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latefold.encoders.base import Encoder, load_encoder
from latefold.ingest.folder import ingest
from latefold.ingest.plan import plan
from latefold.retrieval.index import Index


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("minilm-128", threads=1)


def test_an_estimate_is_close_to_what_a_build_takes(encoder: Encoder, pdf: Any, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for i in range(12):
        (docs / f"{i}.txt").write_text("\n".join(f"Line {j} of text {i} has some words." for j in range(5 + i)))
    rows = [{"_id": str(i), "text": f"Record {i} says what it says.", "n": i} for i in range(60)]
    (docs / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (docs / "table.csv").write_text("id,text\n" + "".join(f'c{i},"row {i}\nof two lines"\n' for i in range(30)))
    pdf.text(docs / "paper.pdf", [["A page", "of a paper"]] * 3)
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4")
    made = plan([docs], encoder=encoder)
    with Index.create(tmp_path / "i.index", encoder=encoder) as index:
        report = ingest(index, [docs])
        stats = index.optimize()
    assert made.files == 16
    assert made.unreadable == 1
    assert made.documents == pytest.approx(report.added, rel=0.15)
    assert made.tokens == pytest.approx(stats.tokens, rel=0.3)
    assert made.disk_bytes["tokens"] == pytest.approx(stats.bytes["tokens"], rel=0.3)
    assert made.disk_bytes["vectors"] == pytest.approx(stats.bytes["vectors"], rel=0.2)
    assert made.disk_bytes["total"] == sum(size for part, size in made.disk_bytes.items() if part != "total")
    assert made.seconds > 0
    assert made.memory_bytes > 50_000_000
    assert json.loads(json.dumps(made.to_dict()))["kinds"] == {"csv": 1, "jsonl": 1, "pdf": 2, "text": 12}


def test_records_are_counted_without_reading_them_all(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"_id": "{i}", "text": "Record {i}."}}\n' for i in range(5000)))
    made = plan([path], encoder=encoder)
    assert made.documents == 5000
    assert made.sampled == 256


def test_nothing_to_index_takes_nothing(encoder: Encoder, tmp_path: Path) -> None:
    made = plan([tmp_path], encoder=encoder)
    assert (made.files, made.documents, made.seconds, made.disk_bytes["total"]) == (0, 0, 0.0, 0)
