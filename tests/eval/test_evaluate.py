"""Evaluation of a real index of a slice of a real collection."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace

import numpy as np
import pytest

from latefold import Document, Index, TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.eval.beir import Dataset
from latefold.eval.evaluate import evaluate, exact_scores, vector_recall
from latefold.eval.metrics import quality, read_run

KEYS = [
    "dataset",
    "encoder",
    "mode",
    "queries",
    "documents",
    "ndcg@10",
    "recall@100",
    "mrr@10",
    "recall_vs_exact@10",
    "p50_ms",
    "bytes_per_document",
]


def test_report_of_the_exact_mode(cranfield_slice, slice_index):
    report = json.loads(json.dumps(evaluate(cranfield_slice, index=slice_index, mode="exact").to_dict()))
    assert list(report) == KEYS
    assert (report["dataset"], report["encoder"], report["mode"]) == ("cranfield-slice", "latefold", "exact")
    assert (report["queries"], report["documents"]) == (10, 60)
    assert report["recall_vs_exact@10"] == 1.0
    assert report["recall@100"] == 1.0  # 100 results out of 60 documents are all of them
    assert report["ndcg@10"] > 0.5
    assert report["mrr@10"] > 0.5
    assert report["p50_ms"] > 0
    assert report["bytes_per_document"] == slice_index.stats().bytes_per_document


@pytest.mark.parametrize("mode", ["ann", "hybrid", "auto", "lexical"])
def test_report_of_other_modes(cranfield_slice, slice_index, mode):
    report = evaluate(cranfield_slice, index=slice_index, mode=mode)
    assert report.mode == mode
    assert report.ndcg_at_10 > 0.5
    assert report.mrr_at_10 > 0.5
    if mode == "lexical":
        assert report.to_dict()["recall_vs_exact@10"] is None
    else:  # every document is a candidate in so small an index
        assert report.recall_vs_exact_at_10 == 1.0


def test_run_file_holds_the_results_that_were_measured(cranfield_slice, slice_index, tmp_path):
    path = tmp_path / "hybrid.run"
    report = evaluate(cranfield_slice, index=slice_index, mode="hybrid", run_path=path)
    run = read_run(path)
    hits = slice_index.search(cranfield_slice.queries["1"], 100, mode="hybrid")
    assert run["1"] == [(hit.id, hit.score) for hit in hits]
    assert path.read_text(encoding="utf-8").startswith(f"1 Q0 {hits[0].id} 1 ")
    assert quality(run, cranfield_slice.qrels).ndcg_at_10 == report.ndcg_at_10


def test_progress_counts_all_queries(cranfield_slice, slice_index):
    calls = []
    evaluate(cranfield_slice, index=slice_index, mode="lexical", progress=lambda *call: calls.append(call))
    assert calls[-1] == ("search (lexical)", 10, 10)


def test_a_temporary_index_is_built_and_removed(cranfield_slice, slice_index, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    small = replace(cranfield_slice, documents=cranfield_slice.documents[:24])
    phases = set()

    def progress(phase, done, total):
        phases.add(phase)
        assert list(tmp_path.glob("*/*.index")) or phase != "encode"

    report = evaluate(small, encoder=slice_index.encoder, mode="exact", progress=progress)
    assert report.documents == 24
    assert report.recall_vs_exact_at_10 == 1.0
    assert {"encode", "judge", "search (exact)"} <= phases
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_index_is_removed_after_an_error(tmp_path, monkeypatch, slice_index):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    broken = Dataset("broken", [Document("a", "nul \0 byte")], {"q": "text"}, {"q": {"a": 1}})
    with pytest.raises(InvalidInputError, match="NUL"):
        evaluate(broken, encoder=slice_index.encoder)
    assert list(tmp_path.iterdir()) == []


def test_an_index_without_the_documents_is_refused(cranfield_slice, slice_index):
    more = replace(cranfield_slice, documents=[*cranfield_slice.documents, Document("x", "y"), Document("z", "y")])
    with pytest.raises(
        InvalidInputError, match=r"lacks 2 of the 62 documents .* \(the first is 'x'; the index holds 60"
    ):
        evaluate(more, index=slice_index)


def test_too_small_a_k_is_refused(cranfield_slice, slice_index):
    with pytest.raises(InvalidInputError, match="k of at least 100, got 10"):
        evaluate(cranfield_slice, index=slice_index, k=10)


def test_an_index_of_the_callers_own_vectors_is_evaluated_by_its_words(tmp_path):
    documents = [Document("a", "supersonic wing"), Document("b", "heat transfer"), Document("c", "shock wave")]
    vectors = TokenEmbeddings(np.eye(3, dtype=np.float32), np.arange(4))
    dataset = Dataset("own", documents, {"q": "heat", "r": "wave"}, {"q": {"b": 1}, "r": {"c": 1}})
    with Index.create(tmp_path / "own.index", dim=3) as index:
        index.add(documents, embeddings=vectors)
        report = evaluate(dataset, index=index)
    assert report.encoder is None
    assert (report.ndcg_at_10, report.recall_vs_exact_at_10) == (1.0, None)


def test_vector_recall_counts_what_the_truth_holds(cranfield_slice, slice_index):
    truth = exact_scores(cranfield_slice, slice_index)
    assert vector_recall(cranfield_slice, slice_index, "exact", truth=truth) == 1.0
    shifted = {query: {f"{id_}-other": score for id_, score in found.items()} for query, found in truth.items()}
    assert vector_recall(cranfield_slice, slice_index, "exact", truth=shifted) == 0.0
