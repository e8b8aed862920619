"""Mining with a real index over a few passages."""

from __future__ import annotations

import numpy as np

from latefold.encoders.training.mining import Corpus
from latefold.ingest.neighbours import folded_recall, index_neighbours


def test_neighbours_come_from_words_and_vectors(make_embeddings) -> None:
    vectors = make_embeddings(4, dim=16, low=3)
    words = ["green tea", "bread dough", "oven soda", "rye flour"]

    def take(rows):
        return type(vectors).from_list([vectors[int(i)] for i in rows])

    found = index_neighbours(Corpus(words, words, np.arange(4), take, take), 6)
    assert found[:, 0].tolist() == [0, 1, 2, 3]
    assert found.shape == (4, 6)
    assert (found[:, 4:] == -1).all(), "there are four passages only"


def test_recall_of_folded_vectors_is_above_chance(make_embeddings) -> None:
    documents = make_embeddings(300)
    assert 2 * 50 / 300 < folded_recall(make_embeddings(5), documents) < 1
    assert folded_recall(documents.take(np.arange(5)), documents.take(np.arange(40))) == 1, "all are candidates"
