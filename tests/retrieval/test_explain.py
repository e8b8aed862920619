import numpy as np
import pytest

from latefold import Document, Index, TokenEmbeddings, load_encoder
from latefold.encoders.errors import DocumentNotFoundError

TITLE = "Network sockets"
TEXT = "A socket lets two programs talk over a network. Naïve clients block."


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    index = Index.create(tmp_path_factory.mktemp("explain") / "i", encoder=load_encoder("minilm"))
    index.add([Document("s", TEXT, TITLE), Document("o", "Cooking with garlic and butter.")])
    yield index
    index.close()


@pytest.mark.parametrize("query", ["programs talking over sockets", "naïve block", "x"])
def test_scores_add_up_to_the_hit(index, query):
    for hit in index.search(query, mode="exact"):
        explanation = index.explain(query, hit.id)
        assert sum(match.score for match in explanation.matches) == pytest.approx(explanation.score, abs=1e-5)
        assert explanation.score == pytest.approx(hit.score, abs=1e-4)


def test_spans_point_at_the_words(index):
    explanation = index.explain("naïve clients", "s")
    matched = {match.query_text: match for match in explanation.matches if match.query_span}
    clients = matched["clients"]
    assert clients.field == "text"
    assert TEXT[slice(*clients.document_span)] == clients.document_text == "clients"
    title = next(m for m in index.explain("sockets", "s").matches if m.query_text.startswith("socket"))
    assert title.document_text.lower().startswith("socket")
    assert explanation.lexical_terms == ["naïve", "clients"]
    assert index.explain("garlic", "s").lexical_terms == []


def test_special_tokens_have_no_span(index):
    first = index.explain("socket", "s").matches[0]
    assert first.query_span is None
    assert first.query_text == ""


def test_own_vectors_are_explained_by_position(tmp_path):
    with Index.create(tmp_path / "i", dim=2) as index:
        index.add([Document("a", "x")], embeddings=TokenEmbeddings.from_list([[[0.0, 1.0], [1.0, 0.0]]]))
        explanation = index.explain(None, "a", embeddings=TokenEmbeddings.from_list([[[1.0, 0.0], [0.0, 1.0]]]))
        assert [match.document_token for match in explanation.matches] == [1, 0]
        np.testing.assert_allclose(explanation.score, 2, atol=1e-2)


def test_unknown_ids_are_named(index):
    with pytest.raises(DocumentNotFoundError, match="nope"):
        index.explain("socket", "nope")
