"""Which folders are page-image checkpoints, what is refused and why, and what makes two encoders the same."""

from __future__ import annotations

import importlib.util
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="the extra 'models' is not installed")

import page_checkpoints
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

from latefold.encoders.base import load_encoder
from latefold.encoders.errors import EncoderError
from latefold.encoders.page_images.loading import reads_pages

PAGE = np.random.default_rng(5).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A checkpoint of the family that a test may damage."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_the_fingerprint_follows_content_and_not_place(encoder, folder: Path, copy: Path) -> None:
    assert reads_pages(folder)
    assert encoder.name == str(folder)
    assert load_encoder(copy, offline=True).fingerprint.digest == encoder.fingerprint.digest
    file = next(name for name in ("processor_config.json", "preprocessor_config.json") if (copy / name).exists())
    content = json.loads((copy / file).read_text())
    content.get("image_processor", content)["image_std"] = [0.4, 0.5, 0.5]
    (copy / file).write_text(json.dumps(content))
    other = load_encoder(copy, offline=True)
    assert other.fingerprint.digest != encoder.fingerprint.digest
    assert np.abs(other.encode_images([PAGE]).embeddings[0] - encoder.encode_images([PAGE]).embeddings[0]).max() > 1e-4


def test_other_weights_have_another_fingerprint(family: str, encoder, tmp_path: Path) -> None:
    other = load_encoder(getattr(page_checkpoints, family)(tmp_path / "other", seed=4), offline=True)
    assert other.fingerprint.digest != encoder.fingerprint.digest
    assert other.dim == encoder.dim == page_checkpoints.DIM


@pytest.mark.parametrize("family", ["colpali"], indirect=True)
def test_prompts_are_part_of_the_fingerprint(encoder, copy: Path) -> None:
    change(copy / "processor_config.json", query_prefix="Find: ")
    other = load_encoder(copy, offline=True)
    assert other.fingerprint.digest != encoder.fingerprint.digest
    assert other.encode_queries(["a"]).lengths != encoder.encode_queries(["a"]).lengths


def test_threads_may_share_an_encoder(encoder) -> None:
    texts = [letter * (i + 1) for i, letter in enumerate("abcdefgh")]
    want = encoder.encode_queries(texts)
    plain = encoder.encode_images([PAGE]).embeddings[0]
    with ThreadPoolExecutor(4) as pool:
        pages = pool.map(lambda saliency: encoder.encode_images([PAGE], saliency=saliency), [True, False] * 3)
        for i, made in enumerate(pool.map(lambda text: encoder.encode_queries([text]), texts)):
            np.testing.assert_allclose(made[0], want[i], atol=1e-4)
        for made in pages:
            np.testing.assert_allclose(made.embeddings[0], plain, atol=1e-4)


@pytest.mark.parametrize("family", ["colpali", "colqwen2", "colmodernvbert"], indirect=True)
def test_saved_by_sentence_transformers_the_vectors_are_the_same(encoder, folder: Path, tmp_path: Path) -> None:
    MultiVectorEncoder(str(folder), device="cpu", local_files_only=True).save(
        str(tmp_path / "saved"), create_model_card=False
    )
    saved = load_encoder(tmp_path / "saved", offline=True)
    mine, theirs = encoder.encode_images([PAGE], saliency=True), saved.encode_images([PAGE], saliency=True)
    np.testing.assert_allclose(theirs.embeddings.vectors, mine.embeddings.vectors, atol=1e-5)
    np.testing.assert_array_equal(theirs.boxes, mine.boxes)
    np.testing.assert_allclose(theirs.saliency, mine.saliency, atol=1e-5)
    np.testing.assert_allclose(saved.encode_queries(["a"])[0], encoder.encode_queries(["a"])[0], atol=1e-5)


def test_a_mask_of_the_pipeline_leaves_page_vectors_only(tmp_path: Path) -> None:
    encoder = load_encoder(page_checkpoints.pipeline(tmp_path / "masked", keep_pages_only=True), offline=True)
    made = encoder.encode_images([PAGE, PAGE[:30]], saliency=True)
    assert made.boxes.any(axis=1).all()
    assert (made.saliency > 0).all()
    np.testing.assert_array_equal(np.concatenate(encoder.image_boxes([(90, 60), (90, 30)])), made.boxes)


def test_a_pipeline_that_pools_pages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="pools the vectors of pages"):
        load_encoder(page_checkpoints.pipeline(tmp_path / "pooled", HierarchicalTokenPooling(2)), offline=True)


@pytest.mark.parametrize("family", ["colqwen2_5"], indirect=True)
def test_older_names_of_weights_load(encoder, copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    older = {key.replace("language_model.", "model."): value for key, value in weights.items()}
    assert older.keys() != weights.keys()
    save_file(older, copy / "model.safetensors", metadata={"format": "pt"})
    other = load_encoder(copy, offline=True)
    np.testing.assert_array_equal(
        other.encode_images([PAGE]).embeddings.vectors, encoder.encode_images([PAGE]).embeddings.vectors
    )


@pytest.mark.parametrize("family", ["colqwen2_5", "colidefics3"], indirect=True)
def test_a_projection_that_is_not_there_is_not_made_up(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    kept = {key: value for key, value in weights.items() if not key.startswith(("custom_text_proj", "linear"))}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="holds no projection"):
        load_encoder(copy, offline=True)


@pytest.mark.parametrize("family", ["colpali", "colidefics3"], indirect=True)
def test_weights_that_are_not_there_are_not_made_up(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    lost = next(key for key in weights if "q_proj" in key)
    save_file(
        {key: value for key, value in weights.items() if key != lost}, copy / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(EncoderError, match="lacks weights of"):
        load_encoder(copy, offline=True)


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
@pytest.mark.parametrize("family", ["colqwen2_5"], indirect=True)
def test_a_pipeline_that_needs_torchvision_says_so(copy: Path, page_folders: dict[str, Path]) -> None:
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        shutil.copy(page_folders["pipeline"] / name, copy)
    for part in page_folders["pipeline"].glob("[1-9]_*"):
        shutil.copytree(part, copy / part.name)
    with pytest.raises(EncoderError, match="needs torchvision"):
        load_encoder(copy, offline=True)


@pytest.mark.parametrize("family", ["colpali"], indirect=True)
@pytest.mark.parametrize("content", [b"\xff" * 64, b""])
def test_damaged_weights_are_an_encoder_error(copy: Path, content: bytes) -> None:
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(EncoderError, match="cannot load the model"):
        load_encoder(copy, offline=True)
