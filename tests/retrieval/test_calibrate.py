import numpy as np
import pytest

from latefold import Document, Index, load_encoder
from latefold.retrieval.calibrate import DEPTHS


@pytest.fixture
def index(tmp_path, make_embeddings):
    index = Index.create(tmp_path / "i", dim=16)
    embeddings = make_embeddings(300, low=4, high=20)
    index.add([Document(f"d{i}", "x") for i in range(300)], embeddings=embeddings)
    yield index
    index.close()


def test_the_curve_rises_and_the_choice_follows_from_it(index):
    measured = index.calibrate()
    depths, recalls = zip(*measured.curve, strict=True)
    assert list(depths) == [depth for depth in DEPTHS if depth < 300]
    assert list(recalls) == sorted(recalls)
    reached = [depth for depth, recall in measured.curve if recall >= index.config.target_recall]
    assert measured.candidates == (reached[0] if reached else depths[-1])
    assert dict(measured.curve)[measured.candidates] == measured.recall
    assert index.stats().calibration["candidates"] == measured.candidates


def test_a_measured_recall_is_the_recall_searches_have(index, make_embeddings):
    measured = index.calibrate()
    queries = make_embeddings(100, low=12, high=20)
    exact = index.search(embeddings=queries, k=10, mode="exact")
    found = index.search(embeddings=queries, k=10, mode="ann")
    shares = [len({h.id for h in a} & {h.id for h in b}) / 10 for a, b in zip(exact, found, strict=True)]
    assert np.mean(shares) >= measured.recall - 0.1


def test_tiny_and_empty_indexes_are_not_calibrated(tmp_path, make_embeddings):
    with Index.create(tmp_path / "i", dim=16) as index:
        assert index.calibrate() is None
        index.add([Document("a", "x")], embeddings=make_embeddings(1))
        assert index.calibrate() is None


def test_text_indexes_ask_with_their_own_words(tmp_path):
    with Index.create(tmp_path / "i", encoder=load_encoder("minilm")) as index:
        index.add([Document(str(i), f"number {i} of the squares is {i * i} exactly") for i in range(40)])
        assert index.calibrate().recall >= 0.9
