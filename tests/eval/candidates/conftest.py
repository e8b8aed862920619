"""A collection of real text of a few hundred short documents, as a BEIR folder and opened."""

from __future__ import annotations

import json

import pytest

from latefold.eval.beir import load_beir
from latefold.eval.corpora import Place, open_corpus

DOCUMENTS, QUERIES, WORDS = 300, 40, 25


@pytest.fixture(scope="session")
def place(shared_data, tmp_path_factory):
    """Beginnings of Cranfield documents, with all its queries; those beyond the first forty are not judged."""
    whole = load_beir(shared_data / "cranfield")
    home = tmp_path_factory.mktemp("candidates")
    folder = home / "data" / "tiny"
    (folder / "qrels").mkdir(parents=True)
    texts = [(d.id, " ".join(d.text.split()[:WORDS])) for d in whole.documents[:DOCUMENTS]]
    corpus = [json.dumps({"_id": id_, "title": "", "text": text}) for id_, text in texts]
    queries = [json.dumps({"_id": id_, "text": text}) for id_, text in whole.queries.items()]
    judged = [f"{id_}\t{whole.documents[0].id}\t1" for id_ in list(whole.queries)[:QUERIES]]
    (folder / "corpus.jsonl").write_text("\n".join(corpus), encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("\n".join(judged), encoding="utf-8")
    return Place(home / "data", home / "cache", encoder="minilm-128")


@pytest.fixture(scope="session")
def corpus(place):
    return open_corpus("tiny", place)
