"""The benchmark of page retrieval: routes over real indexes of small PDFs, and from command line to page."""

from __future__ import annotations

import re

import pytest

from latefold.encoders.errors import InvalidInputError
from latefold.eval.pages.__main__ import main
from latefold.eval.pages.collection import open_pages
from latefold.eval.pages.ranking import PageQuality, page_quality, pages_of, ranked_pages
from latefold.eval.pages.routes import indexed, product, rows_of, whole_pages
from latefold.retrieval.types import Hit


def hit(source: str | None, page: int | None) -> Hit:
    metadata = {key: value for key, value in (("source", source), ("page", page)) if value is not None}
    return Hit(f"{source}-{page}", 1.0, "", "", metadata)


def test_hits_become_pages() -> None:
    hits = [hit("a/x.pdf", 3), hit("a/x.pdf", 3), hit(None, 1), hit("y.pdf", None), hit("y.v2.pdf", 1)]
    assert pages_of(hits) == ["x#p2", "y.v2#p0"]


def test_quality_of_hand_made_runs() -> None:
    qrels = {"q": {"a": 1}, "r": {"b": 1, "c": 1}, "s": {"d": 1}}
    run = {"q": ["a", "x"], "r": ["x", "b", "y", "z", "w", "c"]}
    found = page_quality(run, qrels)
    assert found.recall_at_1 == pytest.approx(1 / 3)
    assert found.recall_at_5 == pytest.approx((1 + 0.5 + 0) / 3)
    assert isinstance(found, PageQuality)
    assert found.ndcg_at_10 > found.ndcg_at_5 > 0


def test_every_route_finds_the_page(page_place) -> None:
    collection = open_pages("known-items", page_place)
    whole, by_index = rows_of(whole_pages(collection, page_place)), rows_of(product(collection, page_place))
    assert [row.name for row in whole] == ["BM25", "one mean vector", "MaxSim of its beginning"]
    assert len(by_index) == 4
    for row in (*whole, *by_index):
        assert row.recall_at_5 > 0.8, row.name
        assert row.bytes > 0
        assert 0 <= row.p50_ms <= row.p95_ms
    index, known = indexed(collection, page_place)
    with index:
        assert known["notes"] == []
        query, text = next(iter(collection.dataset.queries.items()))
        assert ranked_pages(index, text, 3)[0] in collection.dataset.qrels[query]


def test_unknown_and_absent_collections(page_place, tmp_path) -> None:
    with pytest.raises(InvalidInputError, match="no page collection"):
        open_pages("novels", page_place)
    with pytest.raises(InvalidInputError, match="holds no collection"):
        open_pages("financebench-mini", type(page_place)(tmp_path, tmp_path))


def test_a_quick_run_takes_beginnings(page_place) -> None:
    quick = type(page_place)(page_place.data, page_place.cache, quick=True)
    collection = open_pages("known-items-scans", quick)
    assert collection.scanned
    assert [document.id for document in collection.dataset.documents] == ["file0#p0", "file0#p1", "file0#p2"]
    assert len(collection.dataset.queries) == 3
    assert [page.text for page in collection.pages()] == ["", "", ""]


def test_writes_page_and_chart(page_place, tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra bench")
    arguments = ["--data", str(page_place.data), "--out", str(tmp_path), "--cache", str(tmp_path / "cache"), "--quick"]
    assert main([*arguments, "--collections", "known-items"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "pages-bytes.png", "pages.md"]
    page = (tmp_path / "pages.md").read_text(encoding="utf-8")
    for heading in ("Routes to a page", "What compression keeps", "A first stage", "The known-item collection"):
        assert f"\n## {heading}\n" in page
    assert re.search(r"\| latefold index, hybrid \| 1.000 \|", page)
    assert "known-items: 2 PDFs, 8 pages, 8 queries" in page
    assert main([*arguments, "--collections", "known-items"]) == 0
    assert capsys.readouterr().err.count("measured before") == 4
