"""Token vectors on disk: what is written, what is read, and what happens when writing is interrupted."""

from __future__ import annotations

import numpy as np
import pytest

from latefold import load_encoder
from latefold.encoders.errors import StorageError
from latefold.eval import vectors
from latefold.eval.vectors import Source, load, stored

TEXTS = ["a wing in a stream", "", "boundary layers", "heat", "a shock wave meets a plate", "x" * 40]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm")


@pytest.fixture
def source(encoder):
    return Source(TEXTS, encoder, 128)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK", 2)


def test_equal_the_short_encoder_to_half_precision(tmp_path, source, small_blocks):
    made = stored(tmp_path / "v", source)
    expected = load_encoder("minilm-128").encode_documents(TEXTS)
    np.testing.assert_array_equal(made.offsets, expected.offsets)
    np.testing.assert_allclose(made.read().vectors, expected.vectors, atol=1e-3)
    whole = source.encoder.encode_documents(TEXTS)
    for row, text_vectors in enumerate(whole):
        np.testing.assert_allclose(made.means[row], text_vectors.mean(axis=0), atol=1e-6)


def test_every_way_of_reading_agrees(tmp_path, source, small_blocks):
    made = stored(tmp_path / "v", source)
    whole = made.read()
    assert len(made) == len(TEXTS)
    assert made.tokens == len(whole.vectors)
    for row in range(len(TEXTS)):
        np.testing.assert_array_equal(made.read(row, row + 1).vectors, whole[row])
    np.testing.assert_array_equal(made.take([4, 0]).vectors, np.concatenate([whole[4], whole[0]]))
    np.testing.assert_array_equal(np.concatenate([block.vectors for block in made.blocks(4)]), whole.vectors)
    head = made.head(3)
    np.testing.assert_array_equal(head.read().vectors, whole.vectors[: whole.offsets[3]])
    assert (len(head), len(head.means)) == (3, 3)
    assert head.digest != made.digest
    assert made.head(99) is made


class InterruptedRunError(Exception):
    pass


class FailingEncoder:
    """The encoder, until it has encoded so many blocks."""

    def __init__(self, encoder, blocks):
        self.encoder, self.blocks = encoder, blocks
        self.dim, self.fingerprint = encoder.dim, encoder.fingerprint
        self.encoded = []

    def encode_documents(self, texts):
        if len(self.encoded) == self.blocks:
            raise InterruptedRunError
        self.encoded.append(texts)
        return self.encoder.encode_documents(texts)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_an_interrupted_run_is_taken_up(tmp_path, encoder, source, small_blocks, blocks):
    broken = FailingEncoder(encoder, blocks)
    with pytest.raises(InterruptedRunError):
        stored(tmp_path / "v", Source(TEXTS, broken, 128))
    with pytest.raises(StorageError, match="holds no readable vectors"):
        load(tmp_path / "v")
    with (tmp_path / "v" / "vectors.npy").open("ab") as file:
        file.write(b"half a row")
    rest = FailingEncoder(encoder, 3 - blocks)
    made = stored(tmp_path / "v", Source(TEXTS, rest, 128))
    assert len(rest.encoded) == 3 - blocks
    again = stored(tmp_path / "w", source)
    np.testing.assert_array_equal(made.read().vectors, again.read().vectors)
    np.testing.assert_array_equal(made.means, again.means)


def test_nothing_is_encoded_twice_and_other_texts_are(tmp_path, encoder, source):
    first = stored(tmp_path / "v", source)
    idle = FailingEncoder(encoder, 0)
    assert stored(tmp_path / "v", Source(TEXTS, idle, 128)).digest == first.digest
    other = stored(tmp_path / "v", Source(TEXTS[:2], encoder, 128))
    assert other.digest != first.digest
    assert len(load(tmp_path / "v")) == 2
    assert stored(tmp_path / "q", Source(TEXTS, encoder, 128, queries=True)).digest != first.digest
