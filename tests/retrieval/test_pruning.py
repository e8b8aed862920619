"""An index that stores the most salient of a document's token vectors."""

from __future__ import annotations

import numpy as np
import pytest

from latefold import Document, Index, IndexConfig, TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.index.tokens.saliency import prune_documents, saliency


def filled(path, config, embeddings, **given):
    index = Index.create(path, dim=embeddings.dim, config=config)
    index.add([Document(f"d{i}", f"text {i}") for i in range(len(embeddings))], embeddings=embeddings, **given)
    return index


def found(index, queries):
    return [[(hit.id, hit.score) for hit in hits] for hits in index.search(embeddings=queries, k=9, mode="exact")]


@pytest.fixture
def data(make_embeddings):
    return make_embeddings(40), make_embeddings(4)


def test_what_is_stored_is_what_pruning_keeps(tmp_path, data):
    documents, queries = data
    pruned = prune_documents(documents, saliency(documents, "distance"), 0.4)
    config = IndexConfig(codec="fp16", keep=0.4)
    with filled(tmp_path / "a", config, documents) as kept, filled(tmp_path / "b", IndexConfig("fp16"), pruned) as same:
        assert kept.stats().tokens == same.stats().tokens == len(pruned.vectors) < len(documents.vectors)
        assert found(kept, queries) == found(same, queries)
        kept.delete([f"d{i}" for i in range(0, 40, 2)])
        before = found(kept, queries)
        kept.optimize()
        assert found(kept, queries) == before
        kept.verify()


def test_explanations_name_tokens_as_they_were_encoded(tmp_path, data):
    documents, _ = data
    rng = np.random.default_rng(3)
    attention = rng.random(len(documents.vectors)).astype(np.float32)
    config = IndexConfig(codec="fp16", keep=0.5, saliency="attention")
    with filled(tmp_path / "i", config, documents, saliency=attention) as index:
        number = int(np.argmax(documents.lengths))
        begin, end = documents.offsets[number : number + 2]
        top = int(np.argmax(attention[begin:end]))
        query = TokenEmbeddings.from_list([documents[number][[top]]])
        explained = index.explain(None, f"d{number}", embeddings=query)
        assert [match.document_token for match in explained.matches] == [top]
        (hits,) = index.search(embeddings=query, k=40, mode="exact")
        assert explained.score == pytest.approx(next(hit.score for hit in hits if hit.id == f"d{number}"), rel=1e-5)


def test_all_tokens_are_kept_unless_asked_otherwise(tmp_path, data):
    documents, _ = data
    with filled(tmp_path / "i", IndexConfig(codec="fp16"), documents) as index:
        assert index.stats().tokens == len(documents.vectors)
        assert index.stats().bytes["places"] == 0


def test_attention_is_asked_for_where_it_is_needed_and_nowhere_else(tmp_path, data):
    documents, _ = data
    weights = np.ones(len(documents.vectors), np.float32)
    attended = IndexConfig(keep=0.5, saliency="attention")
    with pytest.raises(InvalidInputError, match="give embeddings, and the saliency"):
        filled(tmp_path / "a", attended, documents)
    for wrong in (weights[:-1], np.full_like(weights, np.nan)):
        with pytest.raises(InvalidInputError, match="one finite number"):
            filled(tmp_path / f"b{wrong[0]}", attended, documents, saliency=wrong)
    with pytest.raises(InvalidInputError, match="leave saliency out"):
        filled(tmp_path / "c", IndexConfig(), documents, saliency=weights)
    with filled(tmp_path / "d", attended, documents, saliency=weights) as index:
        report = index.upsert(
            [Document("d1", "new")], embeddings=documents.take([0]), saliency=weights[: len(documents[0])]
        )
        assert (report.updated, len(index)) == (1, 40)


@pytest.mark.parametrize("options", [{"keep": 0.0}, {"keep": 1.5}, {"keep": True}, {"saliency": "taste"}])
def test_settings_are_checked(options):
    with pytest.raises(InvalidInputError, match=r"keep|saliency"):
        IndexConfig(**options)
