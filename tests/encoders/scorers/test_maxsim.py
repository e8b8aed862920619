"""MaxSim as a scorer: equal to a loop in float64, whatever shares the call, and finite for texts without vectors."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold import TokenEmbeddings, load_encoder
from latefold.encoders.base import Fingerprint
from latefold.encoders.errors import InvalidInputError, ScorerError
from latefold.encoders.scorers import maxsim as module
from latefold.encoders.scorers.base import Scorer
from latefold.encoders.scorers.counted import CountedScorer
from latefold.encoders.scorers.maxsim import MaxSimScorer

DIM = 6
WORDS = st.sampled_from(["", "tea", "green tea", "a b c d e", "late fold", "fold"])


class WordEncoder:
    """A random vector of length 1 for each word; notes what it was asked for."""

    name = "words"
    dim = DIM
    fingerprint = Fingerprint("words", "random", DIM)

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.asked: Counter[str] = Counter()
        self.blocks: list[int] = []

    def vectors(self, text: str) -> np.ndarray:
        rows = [np.random.default_rng(list(word.encode())).standard_normal(DIM) for word in text.split()]
        made = np.array([row / np.linalg.norm(row) for row in rows], np.float32).reshape(-1, DIM)
        return made * np.float32(self.factor)

    def encode_queries(self, texts: list[str]) -> TokenEmbeddings:
        self.asked.update(f"query {text}" for text in texts)
        return TokenEmbeddings.from_list([self.vectors(text) for text in texts], dim=DIM)

    def encode_documents(self, texts: list[str], progress: object = None) -> TokenEmbeddings:
        assert progress is None
        self.asked.update(f"document {text}" for text in texts)
        self.blocks.append(len(texts))
        return TokenEmbeddings.from_list([self.vectors(text) for text in texts], dim=DIM)

    def wanted(self, query: str, document: str) -> float:
        rows, columns = self.vectors(query).astype(float), self.vectors(document).astype(float)
        if not len(columns):
            return -float(len(rows))
        return float(sum(max(row @ column for column in columns) for row in rows))


@given(st.lists(st.tuples(WORDS, WORDS), max_size=20), st.integers(1, 4))
def test_scores_are_maxsim_and_each_text_is_encoded_once(pairs: list[tuple[str, str]], block: int) -> None:
    encoder = WordEncoder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DOCUMENTS_AT_ONCE", block)
        scores = MaxSimScorer(encoder).score(pairs)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [encoder.wanted(*pair) for pair in pairs], atol=1e-5)
    assert encoder.asked == Counter({f"query {q}" for q, _ in pairs} | {f"document {d}" for _, d in pairs})
    assert max(encoder.blocks, default=0) <= block


@given(st.lists(st.tuples(WORDS, WORDS), max_size=12))
def test_a_document_without_vectors_scores_no_more_than_any_other(pairs: list[tuple[str, str]]) -> None:
    scorer = MaxSimScorer(WordEncoder())
    empty = scorer.score([(query, "") for query, _ in pairs])
    assert np.isfinite(empty).all()
    assert (empty <= scorer.score(pairs) + 1e-5).all()


def test_a_query_without_vectors_scores_nothing() -> None:
    assert MaxSimScorer(WordEncoder()).score([("", "tea"), ("", "")]).tolist() == [0, 0]


def test_the_real_encoder_scores_as_its_vectors_do() -> None:
    encoder = load_encoder("latefold-32", threads=1)
    scorer = MaxSimScorer(encoder)
    assert isinstance(scorer, Scorer)
    documents = ("Green tea is steeped.", "Ice floats.", "", "a" * 9000)
    pairs = [(query, document) for query in ("hot tea", "cold water") for document in documents]
    queries = encoder.encode_queries([q for q, _ in pairs])
    answers = encoder.encode_documents([d for _, d in pairs])
    wanted = [float((q @ d.T).max(axis=1).sum()) for q, d in zip(queries, answers, strict=True)]
    scores = scorer.score(pairs)
    np.testing.assert_allclose(scores, wanted, atol=1e-4)
    np.testing.assert_allclose([CountedScorer(scorer, 1).score([pair])[0] for pair in pairs], scores, atol=1e-4)
    assert scores[0] > scores[1]


def test_the_fingerprint_is_that_of_the_encoder() -> None:
    one, other = (MaxSimScorer(load_encoder(name)) for name in ("latefold", "latefold-64"))
    assert one.fingerprint == f"maxsim:{load_encoder('latefold').fingerprint.digest}"
    assert one.fingerprint != other.fingerprint


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="one text"):
        MaxSimScorer(WordEncoder()).score("tea")  # type: ignore[arg-type]
    with pytest.raises(ScorerError, match="MaxSim by the encoder words answered inf"):
        MaxSimScorer(WordEncoder(factor=1e38)).score([("tea", "tea")])
