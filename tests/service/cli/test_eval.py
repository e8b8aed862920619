"""`eval` on a small collection."""

from __future__ import annotations

import json

import pytest

EVAL_KEYS = {
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
}
CORPUS = {
    "d1": "Green tea is brewed with water at eighty degrees.",
    "d2": "Bread dough rises because of yeast.",
    "d3": "The oven is cleaned with soda.",
}
QUERIES = {"q1": "brewing tea", "q2": "why does dough rise"}


@pytest.fixture
def collection(tmp_path):
    folder = tmp_path / "kitchen"
    (folder / "qrels").mkdir(parents=True)
    for name, records in (("corpus", CORPUS), ("queries", QUERIES)):
        lines = [json.dumps({"_id": key, "text": text}) + "\n" for key, text in records.items()]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    return folder


def test_eval_measures_and_writes_a_run(cli, collection, tmp_path):
    run = tmp_path / "run.trec"
    done = cli("eval", collection, "--mode", "exact", "--run", run, "--no-progress", "--json")
    assert done.code == 0, done
    assert done.json.keys() == EVAL_KEYS
    assert (done.json["dataset"], done.json["mode"], done.json["documents"]) == ("kitchen", "exact", 3)
    assert done.json["ndcg@10"] == done.json["recall_vs_exact@10"] == 1.0
    assert run.read_text().startswith("q1 Q0 d1 1 ")


def test_eval_of_an_index_that_lacks_the_documents(cli, collection, shared_index):
    done = cli("eval", collection, "--index", shared_index, "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "invalid_input")


def test_eval_of_a_folder_that_is_no_collection(cli, tmp_path):
    done = cli("eval", tmp_path, "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "invalid_input")
