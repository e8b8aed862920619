"""The ONNX cross-encoder on tiny graphs: right scores whatever the batch, and only checked files are opened."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from cross_encoders import MAX_TOKENS, WORDS, edit, expected, graph, save_cross_encoder
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.errors import EncoderError, InvalidInputError, ScorerError
from latefold.encoders.model_folder import MODELS
from latefold.encoders.scorers.base import Scorer
from latefold.encoders.scorers.onnx_pairs import OnnxCrossEncoder, describe_folder

KNOWN = st.lists(st.sampled_from(WORDS[4:]), max_size=6).map(" ".join)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_cross_encoder(tmp_path_factory.mktemp("models") / "pairs")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@given(st.lists(st.tuples(KNOWN, KNOWN), max_size=12))
def test_scores_are_those_of_the_graph_pair_by_pair(whole: Path, pairs: list[tuple[str, str]]) -> None:
    scores = OnnxCrossEncoder(whole, threads=1).score(pairs)
    assert scores.dtype == np.float32
    assert scores.tolist() == [expected(*pair) for pair in pairs]


@pytest.mark.parametrize("threads", [1, 3])
def test_many_batches_on_threads_keep_the_order(whole: Path, monkeypatch, threads: int) -> None:
    monkeypatch.setattr("latefold.encoders.scorers.onnx_pairs.TOKENS_PER_BATCH", 20)
    pairs = [(" ".join(WORDS[4 : 4 + i % 5]), WORDS[4 + i % 7]) for i in range(60)]
    assert OnnxCrossEncoder(whole, threads=threads).score(pairs).tolist() == [expected(*pair) for pair in pairs]


def test_a_graph_may_do_without_types(tmp_path: Path) -> None:
    scorer = OnnxCrossEncoder(save_cross_encoder(tmp_path / "untyped", types=False))
    assert scorer.score([("tea", "green")]).tolist() == [expected("tea", "green", types=False)]


def test_long_pairs_are_cut_and_huge_ones_cost_no_more(whole: Path) -> None:
    scorer = OnnxCrossEncoder(whole)
    long, huge = scorer.score([("tea", "fold " * 100), ("tea", "fold " * 3_000_000)])
    assert long == huge == expected("tea", " ".join(["fold"] * (MAX_TOKENS - 4)))


def test_markers_spelled_in_a_text_are_text(whole: Path) -> None:
    one, other = OnnxCrossEncoder(whole).score([("tea", "[PAD]"), ("tea", "")])
    assert one != other


@pytest.mark.parametrize("text", ["", "\0", "\ud800", "a\udfffb", "\U0001f469", "日本"])
def test_odd_texts_have_a_score(whole: Path, text: str) -> None:
    assert np.isfinite(OnnxCrossEncoder(whole).score([(text, text)])).all()


def test_no_pairs_have_no_scores(whole: Path) -> None:
    assert OnnxCrossEncoder(whole).score([]).shape == (0,)


def test_several_threads_may_use_one_scorer(whole: Path) -> None:
    scorer = OnnxCrossEncoder(whole, threads=1)
    pairs = [(word, other) for word in WORDS[4:] for other in WORDS[4:]]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda pair: scorer.score([pair])[0], pairs))
    assert made == [expected(*pair) for pair in pairs]


def test_the_fingerprint_says_what_the_scores_depend_on(whole: Path, folder: Path) -> None:
    fingerprint = OnnxCrossEncoder(whole).fingerprint
    assert isinstance(OnnxCrossEncoder(whole), Scorer)
    assert OnnxCrossEncoder(folder).fingerprint == fingerprint
    describe_folder(folder, MAX_TOKENS - 1)
    assert OnnxCrossEncoder(folder).fingerprint != fingerprint
    (folder / "model.onnx").write_bytes(graph(types=False))
    describe_folder(folder, MAX_TOKENS)
    assert OnnxCrossEncoder(folder).fingerprint != fingerprint


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_one_changed_byte_is_refused_by_name(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(EncoderError, match=rf"{name} differs from its checksum"):
        OnnxCrossEncoder(folder).score([("a", "b")])


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "model.json"])
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(EncoderError, match=rf"cannot read the model .*{name}"):
        OnnxCrossEncoder(folder).score([("a", "b")])


def test_a_folder_without_its_files_is_not_described(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"model\.onnx"):
        describe_folder(tmp_path, MAX_TOKENS)


@pytest.mark.parametrize("options", [{"output": "scores"}, {"kind": onnx.TensorProto.DOUBLE}], ids=["output", "double"])
def test_a_graph_that_is_no_cross_encoder_is_refused(tmp_path: Path, options: dict) -> None:
    scorer = OnnxCrossEncoder(save_cross_encoder(tmp_path / "other", **options))
    with pytest.raises(EncoderError, match="is no cross-encoder"):
        scorer.score([("a", "b")])


def test_an_encoder_of_vectors_is_refused(folder: Path) -> None:
    with pytest.raises(EncoderError, match="encoder of vectors"):
        OnnxCrossEncoder(MODELS / "minilm")
    (folder / "model.onnx").write_bytes((MODELS / "minilm" / "model.onnx").read_bytes())
    describe_folder(folder, MAX_TOKENS)
    with pytest.raises(EncoderError, match="is no cross-encoder"):
        OnnxCrossEncoder(folder).score([("a", "b")])


def test_two_labels_a_pair_are_refused(tmp_path: Path) -> None:
    scorer = OnnxCrossEncoder(save_cross_encoder(tmp_path / "two", labels=2))
    with pytest.raises(ScorerError, match=r"shape \(3, 2\) for 3 pairs"):
        scorer.score([("tea", "green")] * 3)


def test_a_graph_that_fails_is_a_typed_error(folder: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    for tensor in model.graph.initializer:
        if tensor.name == "weights":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(3, np.float32), "weights"))
    onnx.save(model, str(folder / "model.onnx"))
    describe_folder(folder, MAX_TOKENS)
    with pytest.raises(ScorerError, match="fails"):
        OnnxCrossEncoder(folder).score([("tea", "green")])


def test_settings_out_of_range_are_refused(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="threads is 0"):
        OnnxCrossEncoder(folder, threads=0)
    edit(folder, max_tokens=0)
    with pytest.raises(EncoderError, match=r"model\.json"):
        OnnxCrossEncoder(folder)
