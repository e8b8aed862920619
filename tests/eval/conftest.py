"""A slice of a real collection and an index of it, shared by the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from latefold import Index, load_encoder
from latefold.eval.beir import Dataset, load_beir


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
