"""The bundled encoder: its files are checked, its vectors depend on nothing but the text, its spans are right."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import EncoderError, InvalidInputError
from latefold.encoders.model_folder import MODELS, ModelFolder
from latefold.encoders.onnx_text import CACHED_QUERIES, OnnxTextEncoder

WORDS = [
    "retrieval",
    "of",
    "late",
    "interaction",
    "[SEP]",
    "Zürich",
    "antidisestablishmentarianism",
    "3.14",
    "日本語",
    "!",
]
SOME_TEXT = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join),
)


@pytest.fixture(scope="module")
def encoder() -> OnnxTextEncoder:
    return OnnxTextEncoder.bundled("minilm", threads=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS / "minilm", tmp_path / "minilm"))


def load(folder: Path) -> TokenEmbeddings:
    return OnnxTextEncoder("copy", ModelFolder.read(folder), 384).encode_queries(["text"])


@settings(deadline=None, max_examples=30)
@given(st.lists(SOME_TEXT, min_size=1, max_size=8))
def test_vectors_depend_on_the_text_alone(encoder: OnnxTextEncoder, texts: list[str]) -> None:
    together = encoder.encode_documents(texts)
    assert len(together) == len(texts)
    np.testing.assert_allclose(np.linalg.norm(together.vectors, axis=1), 1, atol=1e-5)
    for i, text in enumerate(texts):
        np.testing.assert_allclose(encoder.encode_documents([text])[0], together[i], atol=1e-5)


def test_vectors_do_not_depend_on_long_batch_mates(encoder: OnnxTextEncoder, shared_data: Path) -> None:
    lines = (shared_data / "scifact" / "corpus.jsonl").read_text().splitlines()[:12]
    texts = [json.loads(line)["text"] for line in lines] + ["aspirin", "", "heart failure in mice"]
    together = encoder.encode_documents(texts)
    for i, text in enumerate(texts):
        np.testing.assert_allclose(encoder.encode_documents([text])[0], together[i], atol=1e-5)


def test_order_is_kept_and_progress_counts_documents(encoder: OnnxTextEncoder) -> None:
    texts = [f"number {i} " * (i % 37) for i in range(120)]
    seen: list[tuple[str, int, int | None]] = []
    forward = encoder.encode_documents(texts, lambda *call: seen.append(call))
    backward = encoder.encode_documents(texts[::-1])
    for i in range(len(texts)):
        np.testing.assert_allclose(forward[i], backward[len(texts) - 1 - i], atol=1e-5)
    done = [count for _, count, _ in seen]
    assert done == sorted(set(done))
    assert seen[-1] == ("encode", 120, 120)
    assert len(seen) > 1


def test_queries_and_documents_are_encoded_alike_and_repeats_are_stable(encoder: OnnxTextEncoder) -> None:
    texts = ["late interaction", "", "late interaction", "maximum similarity"]
    first, again = encoder.encode_queries(texts), encoder.encode_queries(texts)
    np.testing.assert_array_equal(first.vectors, again.vectors)
    np.testing.assert_allclose(first.vectors, encoder.encode_documents(texts).vectors, atol=1e-5)
    first.vectors[:] = 0
    np.testing.assert_array_equal(encoder.encode_queries(texts).vectors, again.vectors)


def test_the_cache_of_queries_is_bounded() -> None:
    encoder = OnnxTextEncoder.bundled("minilm-128")
    texts = [str(i) for i in range(CACHED_QUERIES + 10)]
    made = encoder.encode_queries(texts)
    assert len(encoder._queries._items) == CACHED_QUERIES
    np.testing.assert_allclose(encoder.encode_queries(texts[:12]).vectors, made.take(range(12)).vectors, atol=1e-5)


def test_128_dimensions_are_the_first_of_384_rescaled(encoder: OnnxTextEncoder) -> None:
    texts = ["the cat sat on the mat", "", "x" * 500, "energy of a vector"]
    short = OnnxTextEncoder.bundled("minilm-128").encode_documents(texts)
    cut = encoder.encode_documents(texts).vectors[:, :128]
    assert short.dim == 128
    np.testing.assert_allclose(short.vectors, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-6)


def test_spans_point_at_the_words(encoder: OnnxTextEncoder) -> None:
    text = "Zürich's late  INTERACTION: 日本"
    (spans,) = encoder.document_spans([text])
    assert spans.dtype == np.int32
    words = [text[start:end] for start, end in spans]
    assert words == ["", "Zürich", "'", "s", "late", "INTERACTION", ":", "日", "本", ""]
    np.testing.assert_array_equal(encoder.query_spans([text])[0], spans)


@settings(deadline=None, max_examples=50)
@given(SOME_TEXT)
def test_there_is_a_span_for_every_vector_inside_the_text(encoder: OnnxTextEncoder, text: str) -> None:
    (spans,) = encoder.document_spans([text])
    assert spans.shape == (len(encoder.encode_documents([text])[0]), 2)
    assert not spans[[0, -1]].any()
    inner = spans[1:-1]
    assert (inner[:, 0] < inner[:, 1]).all()
    assert (inner[:, 1] <= len(text)).all()
    assert (np.diff(inner[:, 0]) >= 0).all()


@pytest.mark.parametrize("marker", ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "[UNK]"])
def test_special_tokens_spelled_in_a_text_are_text(encoder: OnnxTextEncoder, marker: str) -> None:
    text = f"a {marker} b"
    (spans,) = encoder.document_spans([text])
    words = [text[start:end] for start, end in spans]
    assert words[1:3] == ["a", "["]
    assert words[-3:] == ["]", "b", ""]
    assert len(words) >= 7


@pytest.mark.parametrize(
    "text", ["\0", "\ud800", "a\udfffb", "\U0001f469\u200d\U0001f680", "\u202e\ufeff", "\n\t ", "é" * 9]
)
def test_odd_characters_do_not_crash(encoder: OnnxTextEncoder, text: str) -> None:
    assert encoder.encode_documents([text]).lengths[0] == len(encoder.document_spans([text])[0]) >= 2


def test_long_texts_are_cut_and_huge_ones_cost_no_more(encoder: OnnxTextEncoder) -> None:
    long = encoder.encode_documents(["word " * 300])
    assert long.lengths.tolist() == [256]
    np.testing.assert_array_equal(encoder.encode_documents(["word " * 2_000_000]).vectors, long.vectors)


def test_no_texts_give_no_vectors(encoder: OnnxTextEncoder) -> None:
    for made in (encoder.encode_documents([]), encoder.encode_queries([])):
        assert (len(made), made.dim) == (0, 384)
    assert encoder.document_spans([]) == []


def test_one_text_in_place_of_a_list_is_refused(encoder: OnnxTextEncoder) -> None:
    for call in (encoder.encode_queries, encoder.encode_documents, encoder.query_spans, encoder.document_spans):
        with pytest.raises(InvalidInputError, match="a list of texts"):
            call("text")


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_threads_run_than_asked_for(threads: int) -> None:
    encoder = OnnxTextEncoder.bundled("minilm", threads=threads)
    seen: set[str] = set()

    def note(phase: str, done: int, total: int | None) -> None:
        seen.update(thread.name for thread in threading.enumerate() if thread.name.startswith("latefold-encode"))

    encoder.encode_documents(["word " * 200] * 12, note)
    assert len(seen) == (0 if threads == 1 else threads)
    assert not any(thread.name.startswith("latefold-encode") for thread in threading.enumerate())
    options = encoder._load()[1].get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_an_interrupted_encode_stops_at_once() -> None:
    encoder = OnnxTextEncoder.bundled("minilm", threads=2)
    calls: list[int] = []

    def interrupt(phase: str, done: int, total: int | None) -> None:
        calls.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder.encode_documents(["word " * 200] * 400, interrupt)
    assert len(calls) == 1
    assert not any(thread.name.startswith("latefold-encode") for thread in threading.enumerate())


def test_several_threads_may_use_one_encoder() -> None:
    encoder = OnnxTextEncoder.bundled("minilm-128", threads=1)
    texts = [f"query number {i} of many" for i in range(24)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda text: encoder.encode_queries([text]).vectors, texts))
    np.testing.assert_allclose(np.concatenate(made), encoder.encode_documents(texts).vectors, atol=1e-5)


def test_questions_find_their_paragraph(shared_data: Path) -> None:
    def rows(name: str) -> list[dict]:
        return [json.loads(line) for line in (shared_data / "xquad-en" / name).read_text().splitlines()]

    relevant = dict(
        line.split("\t")[:2] for line in (shared_data / "xquad-en" / "qrels" / "test.tsv").read_text().splitlines()[1:]
    )
    documents = rows("corpus.jsonl")[:25]
    ids = [document["_id"] for document in documents]
    queries = [query for query in rows("queries.jsonl") if relevant[query["_id"]] in ids][:60]
    encoder = OnnxTextEncoder.bundled("minilm-128", threads=2)
    found = encoder.encode_documents([f"{d.get('title', '')}\n{d['text']}" for d in documents])
    right = 0
    for query in queries:
        scores = [(encoder.encode_queries([query["text"]])[0] @ d.T).max(axis=1).sum() for d in found]
        right += ids[int(np.argmax(scores))] == relevant[query["_id"]]
    assert right >= 0.9 * len(queries) > 40


def test_every_bundled_file_is_listed_with_its_checksum() -> None:
    for folder in (path for path in MODELS.iterdir() if (path / "model.json").exists()):
        described = ModelFolder.read(folder)
        files = {path.name for path in folder.iterdir()} - {"model.json"}
        assert files == set(described.checksums)
        assert "NOTICE" in files
        for name in files:
            assert described.bytes_of(name)
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 25_000_000


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_one_changed_byte_is_refused_by_name(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(EncoderError, match=rf"{name} differs from its checksum"):
        load(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "model.json"])
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(EncoderError, match=rf"cannot read the model .*{name}"):
        load(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"dims": "many"}', '{"dims": 1, "max_tokens": 2, "sha256": 3}'])
def test_an_unusable_description_is_refused(folder: Path, content: str) -> None:
    (folder / "model.json").write_text(content)
    with pytest.raises(EncoderError, match=r"model\.json"):
        load(folder)


def test_a_file_without_a_recorded_checksum_is_not_trusted(folder: Path) -> None:
    described = replace(ModelFolder.read(folder), checksums={})
    with pytest.raises(EncoderError, match="differs from its checksum"):
        OnnxTextEncoder("copy", described, 384).encode_queries(["text"])


def test_making_an_encoder_opens_no_large_file(folder: Path) -> None:
    whole = OnnxTextEncoder("copy", ModelFolder.read(folder), 384).fingerprint
    (folder / "model.onnx").unlink()
    assert OnnxTextEncoder("copy", ModelFolder.read(folder), 384).fingerprint == whole


@pytest.mark.parametrize("dim", [0, 385])
def test_dimensions_the_model_does_not_have_are_refused(dim: int) -> None:
    with pytest.raises(InvalidInputError, match="offers 1 to 384"):
        OnnxTextEncoder("minilm", ModelFolder.read(MODELS / "minilm"), dim)
