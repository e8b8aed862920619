"""Encoders with a head and pooled documents: identity, vectors, spans."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from heads import NESTED, TEXTS, project, random_head

from latefold import Index
from latefold.encoders.base import load_encoder
from latefold.encoders.errors import EncoderMismatchError
from latefold.encoders.export_head import write_head_folder
from latefold.encoders.pooling.base import Pooling, pool

# --- fingerprints


def test_indexes_built_before_there_were_heads_still_open() -> None:
    digests = [load_encoder(name).fingerprint.digest for name in ("minilm", "minilm-128")]
    assert digests == ["6534e2cfeff3d171", "21a9efa223b5ae5b"]


def test_the_fingerprint_follows_head_dimensions_and_pooling(
    head_folder: Path, whole_folder: Path, tmp_path: Path
) -> None:
    write_head_folder(tmp_path / "other", random_head(1), backbone="minilm", nested=NESTED)
    names = [
        "minilm-128",
        str(head_folder),
        f"{head_folder}-64",
        f"{head_folder}:c8",
        f"{head_folder}:c8:raw",
        str(tmp_path / "other"),
    ]
    prints = [load_encoder(name).fingerprint for name in names]
    assert len({item.digest for item in prints}) == len(prints)
    assert [item.pooling for item in prints] == ["none"] * 3 + ["c8", "c8:raw", "none"]
    assert load_encoder(f"{whole_folder}:none").fingerprint.digest == prints[1].digest
    assert load_encoder(whole_folder).fingerprint.digest == load_encoder(f"{head_folder}:c33%").fingerprint.digest


def test_an_index_keeps_its_choice_and_refuses_another(head_folder: Path, tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", encoder=f"{head_folder}-32:c33%") as index:
        index.add([{"id": str(i), "text": text} for i, text in enumerate(TEXTS)])
        found = index.search("trailing edge of a plate", k=1)[0].id
    with Index.open(tmp_path / "i") as index:
        assert index.encoder.name == f"{head_folder}-32:c33%"
        assert index.search("trailing edge of a plate", k=1)[0].id == found == "3"
    with pytest.raises(EncoderMismatchError), Index.open(tmp_path / "i", encoder=load_encoder(head_folder)) as index:
        index.search("x")


# --- vectors


def test_the_head_is_applied_to_the_vectors_of_the_backbone(head_folder: Path) -> None:
    base = load_encoder("minilm").encode_documents(TEXTS)
    for dim in NESTED:
        made = load_encoder(f"{head_folder}-{dim}").encode_documents(TEXTS)
        np.testing.assert_array_equal(made.offsets, base.offsets)
        np.testing.assert_allclose(made.vectors, project(random_head(), base.vectors, base.offsets, dim), atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)


def test_a_graph_of_its_own_gives_the_same_vectors(head_folder: Path, whole_folder: Path) -> None:
    one, two = (
        load_encoder(head_folder).encode_documents(TEXTS),
        load_encoder(f"{whole_folder}:none").encode_documents(TEXTS),
    )
    np.testing.assert_array_equal(one.vectors, two.vectors)


@pytest.mark.parametrize("pooling", ["c8", "c33%", "c33%:raw", "k2", "tail8"])
def test_documents_are_pooled_and_queries_are_not(head_folder: Path, pooling: str) -> None:
    plain, pooled = load_encoder(head_folder), load_encoder(f"{head_folder}:{pooling}")
    tokens = plain.encode_documents(TEXTS)
    expected, _ = pool(tokens, Pooling.parse(pooling))
    made = pooled.encode_documents(TEXTS)
    np.testing.assert_array_equal(made.offsets, expected.offsets)
    np.testing.assert_allclose(made.vectors, expected.vectors, atol=1e-5)
    np.testing.assert_array_equal(pooled.encode_queries(TEXTS[:1]).vectors, plain.encode_queries(TEXTS[:1]).vectors)


def test_the_pooling_of_the_folder_holds_unless_another_is_asked_for(whole_folder: Path) -> None:
    names = {suffix: f"{whole_folder}{suffix}" for suffix in ("", ":none", ":c8")}
    counts = {suffix: load_encoder(name).encode_documents(TEXTS).lengths.tolist() for suffix, name in names.items()}
    full = counts[":none"]
    assert counts[""] == [Pooling.parse("c33%").kept(n) for n in full]
    assert counts[":c8"] == [min(n, 8) for n in full]


@pytest.mark.parametrize("suffix", ["", ":c33%"])
def test_vectors_depend_on_the_text_alone(head_folder: Path, suffix: str, shared_data: Path) -> None:
    lines = (shared_data / "cranfield" / "corpus.jsonl").read_text().splitlines()[:8]
    texts = [json.loads(line)["text"] for line in lines] + TEXTS
    encoder = load_encoder(f"{head_folder}{suffix}", threads=2)
    together, backward = encoder.encode_documents(texts), encoder.encode_documents(texts[::-1])
    base = load_encoder("minilm", threads=2)  # what the head stands on need not have the same bits on every processor
    whole = base.encode_documents(texts)
    same = all(np.array_equal(base.encode_documents([text])[0], whole[i]) for i, text in enumerate(texts))
    bound = 0 if same else 1e-5
    for i, text in enumerate(texts):
        np.testing.assert_allclose(encoder.encode_documents([text])[0], together[i], rtol=0, atol=bound)
        np.testing.assert_allclose(backward[len(texts) - 1 - i], together[i], rtol=0, atol=bound)


def test_the_marker_of_a_query_counts_as_the_head_says(tmp_path: Path) -> None:
    write_head_folder(tmp_path / "plain", random_head(), backbone="minilm", nested=NESTED)
    write_head_folder(tmp_path / "model", replace(random_head(), marker=2.5), backbone="minilm", nested=NESTED)
    plain, encoder = (load_encoder(str(tmp_path / name), threads=1) for name in ("plain", "model"))
    queries, expected = encoder.encode_queries(TEXTS), plain.encode_queries(TEXTS).vectors.copy()
    expected[queries.offsets[:-1]] *= np.float32(2.5)
    np.testing.assert_array_equal(queries.vectors, expected)
    np.testing.assert_array_equal(encoder.encode_queries(TEXTS).vectors, expected)  # from the cache
    documents = encoder.encode_documents(TEXTS)
    np.testing.assert_array_equal(documents.vectors, plain.encode_documents(TEXTS).vectors)
    with Index.create(tmp_path / "index", encoder=str(tmp_path / "model")) as index:
        index.add([{"id": str(i), "text": text} for i, text in enumerate(TEXTS)])
        for mode in ("exact", "ann"):
            for hit in index.search(TEXTS[2], 3, mode=mode):
                best = queries[2] @ documents[int(hit.id)].T
                assert hit.score == pytest.approx(best.max(axis=1).sum(), rel=0.02)
        explained = index.explain(TEXTS[2], "0")
        assert sum(match.score for match in explained.matches) == pytest.approx(explained.score, rel=0.02)


def test_no_texts_give_no_vectors(head_folder: Path) -> None:
    encoder = load_encoder(f"{head_folder}:c8")
    made = encoder.encode_documents([])
    assert (len(made), made.dim, encoder.document_spans([])) == (0, 128, [])


# --- spans


@pytest.mark.parametrize("pooling", ["c8", "c33%", "k2", "tail8"])
def test_a_pooled_vector_has_the_span_of_a_word_that_it_stands_for(head_folder: Path, pooling: str) -> None:
    plain, encoder = load_encoder(head_folder), load_encoder(f"{head_folder}:{pooling}")
    tokens = plain.encode_documents(TEXTS)
    pooled, places = pool(tokens, Pooling.parse(pooling))
    spans = encoder.document_spans(TEXTS)
    assert [len(item) for item in spans] == pooled.lengths.tolist()
    for i, words in enumerate(plain.document_spans(TEXTS)):
        own = places[tokens.offsets[i] : tokens.offsets[i + 1]]
        for k, span in enumerate(spans[i]):
            members = np.flatnonzero(own == k)
            named = [j for j in members if words[j][1] > words[j][0]] or list(members)
            near = {tuple(words[j]): float(tokens[i][j] @ pooled[i][k]) for j in named}
            assert near[tuple(span)] >= max(near.values()) - 2e-4


def test_an_explanation_names_words_of_pooled_documents(head_folder: Path, tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", encoder=f"{head_folder}:c33%") as index:
        index.add([{"id": "a", "title": "Plates", "text": TEXTS[3]}])
        why = index.explain("trailing edge", "a")
    named = [match.document_text for match in why.matches if match.query_text in ("trailing", "edge")]
    assert set(named) == {"trailing", "edge"}
