"""Real collections cut to size, shared by the tests of this folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latefold import Index, load_encoder
from latefold.eval.beir import Dataset, load_beir
from latefold.eval.corpora import Place, open_corpus

DOCUMENTS, QUERIES, WORDS = 300, 40, 25


@pytest.fixture(scope="session")
def cranfield_slice(shared_data: Path) -> Dataset:
    """The first 10 queries of Cranfield, and 60 documents: those relevant to them, then the first others."""
    whole = load_beir(shared_data / "cranfield")
    queries = dict(list(whole.queries.items())[:10])
    relevant = {id_ for query in queries for id_ in list(whole.qrels[query])[:4]}
    documents = sorted(whole.documents, key=lambda document: document.id not in relevant)[:60]
    kept = {document.id for document in documents}
    qrels = {query: {id_: v for id_, v in whole.qrels[query].items() if id_ in kept} for query in queries}
    return Dataset("cranfield-slice", documents, queries, qrels)


@pytest.fixture(scope="session")
def slice_index(cranfield_slice: Dataset, tmp_path_factory):
    """An index of the slice by the default encoder."""
    with Index.create(tmp_path_factory.mktemp("eval") / "slice.index", encoder=load_encoder()) as index:
        index.add(cranfield_slice.documents)
        yield index


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
    """Opened; its vectors serve quick runs as well, which take the same documents."""
    opened = open_corpus("tiny", place)
    (place.cache / "vectors" / "tiny-quick").symlink_to(place.cache / "vectors" / "tiny")
    return opened
