"""Fingerprints, and how a name becomes an encoder."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from latefold.encoders.base import DEFAULT_ENCODER, Encoder, Fingerprint, load_encoder
from latefold.encoders.errors import EncoderError, InvalidInputError, LatefoldError
from latefold.encoders.model_folder import bundled_names

PRINT = Fingerprint("m", "abc", 128, prompts={"query": "q: "})


def test_the_digest_ignores_the_display_name_and_nothing_else() -> None:
    assert replace(PRINT, model="other").digest == PRINT.digest
    changed = [
        replace(PRINT, weights="abd"),
        replace(PRINT, dim=64),
        replace(PRINT, pooling="mean"),
        replace(PRINT, prompts={"query": "Q: "}),
        replace(PRINT, prompts={}),
    ]
    assert len({item.digest for item in [PRINT, *changed]}) == 1 + len(changed)


def test_the_digest_does_not_depend_on_the_order_of_prompts() -> None:
    one = replace(PRINT, prompts={"query": "q", "document": "d"})
    assert one.digest == replace(PRINT, prompts={"document": "d", "query": "q"}).digest


def test_a_fingerprint_reads_as_model_dimensions_and_digest() -> None:
    assert str(PRINT) == f"m (128 dims, {PRINT.digest})"


@pytest.mark.parametrize("suffix", ["", "-32", ":c33%", "-64:c8"])
@pytest.mark.parametrize("name", [*bundled_names(), "default"])
def test_bundled_names_load_and_come_back_under_their_name(name: str, suffix: str) -> None:
    encoder = load_encoder(name + suffix, offline=True)
    assert isinstance(encoder, Encoder)
    assert encoder.name == (DEFAULT_ENCODER if name == "default" else name) + suffix
    again = load_encoder(encoder.name)
    assert again.fingerprint == encoder.fingerprint


def test_bundled_models_of_different_dimensions_are_not_interchangeable() -> None:
    names = [name + suffix for name in bundled_names() for suffix in ("", "-64", "-32")]
    assert len({load_encoder(name).fingerprint.digest for name in names}) == len(names)


@pytest.mark.parametrize("name", ["defaults", "default_64", "a/default", "default-large"])
def test_only_the_word_default_stands_for_the_default(name: str) -> None:
    with pytest.raises(LatefoldError, match=re.escape(name)):
        load_encoder(name, offline=True)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_at_all_is_refused(threads: int) -> None:
    with pytest.raises(InvalidInputError, match="threads"):
        load_encoder("default", threads=threads)


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", "", "~/no/such/folder"])
def test_a_path_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(EncoderError, match="there is no folder"):
        load_encoder(name, offline=True)


def test_a_file_is_not_a_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(EncoderError, match="is a file"):
        load_encoder(file)
