"""Damaged item factors are refused with an error that names the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xxhash
from safetensors.numpy import load_file, save

from latefold import Index
from latefold.encoders.errors import IndexCorruptedError
from latefold.index.storage.catalog import transaction
from latefold.index.storage.commit import replace_segments, set_meta
from latefold.index.storage.format import FACTORS, Header
from latefold.index.storage.segments import rewrite_segment


def test_a_changed_byte_of_a_row_is_found_by_verify(factored):
    path = next(factored.glob("segments/*/factors.bin"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with (
        Index.open(factored) as index,
        pytest.raises(IndexCorruptedError, match=r"factors\.bin differs from its checksum"),
    ):
        index.verify()


def params_of(path: Path) -> tuple[dict, Path]:
    with Index.open(path) as index:
        stored = index._session.catalog.meta("factors")
    return stored, path / "params" / stored["checksum"] / "params.safetensors"


@pytest.mark.parametrize("damage", ["a byte", "missing"])
def test_damaged_parameters_are_refused_when_opened_and_found_by_verify(factored, damage):
    _, path = params_of(factored)
    with Index.open(factored) as index:
        if damage == "missing":
            path.unlink()
        else:
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)
        with pytest.raises(IndexCorruptedError, match=r"params\.safetensors"):
            index.verify()
    with pytest.raises(IndexCorruptedError, match=r"params\.safetensors"):
        Index.open(factored)


def rewrite(path: Path, parts: dict, **options) -> None:
    """Put another segment in the place of the first, as no writer would."""
    with Index.open(path) as index:
        info = index._session.snapshot.infos[0]
    new = rewrite_segment(path, info, parts, **options)
    with transaction(path) as connection:
        replace_segments(connection, [info.id], new)


def test_rows_of_another_width_are_refused(factored):
    rewrite(factored, {FACTORS: (Header("uint8", 10, 10), [np.zeros((10, 10), np.uint8)])})
    with pytest.raises(IndexCorruptedError, match=r"factors\.bin of a segment has rows of 10 bytes"):
        Index.open(factored)


def test_a_segment_that_lacks_its_rows_is_refused(factored):
    rewrite(factored, {}, dropped=(FACTORS,))
    with pytest.raises(IndexCorruptedError, match=r"factors\.bin of a segment has rows of 0 bytes"):
        Index.open(factored)


def test_rows_of_which_the_catalog_knows_nothing_are_refused(factored):
    with transaction(factored) as connection:
        set_meta(connection, {"factors": None})
    with pytest.raises(IndexCorruptedError, match=r"factors\.bin of a segment has rows of 9 bytes"):
        Index.open(factored)


@pytest.mark.parametrize("stored", ["x", [], {"checksum": "x"}])
def test_settings_that_are_none_are_refused(factored, stored):
    with transaction(factored) as connection:
        set_meta(connection, {"factors": stored})
    with pytest.raises(IndexCorruptedError, match=r"does not say where params\.safetensors is"):
        Index.open(factored)


MUTATIONS = {
    "dropped": lambda _: None,
    "shorter": lambda array: array[:-1],
    "flat": lambda array: array.reshape(-1),
    "a number": lambda array: array.reshape(-1)[:1].reshape(()),
    "not numbers": lambda array: np.full(array.shape, np.nan, np.float32),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_parameters_that_do_not_fit_are_corruption_not_a_crash(factored, mutation):
    """Whoever can write the catalog can make checksums agree."""
    stored, path = params_of(factored)
    arrays = load_file(path)
    refused = {}
    for name, array in arrays.items():
        changed = MUTATIONS[mutation](array)
        wrong = {key: value for key, value in arrays.items() if key != name}
        data = save(wrong if changed is None else {**wrong, name: np.asarray(changed, order="C")})
        checksum = xxhash.xxh3_128_hexdigest(data)
        home = factored / "params" / checksum
        home.mkdir(exist_ok=True)
        (home / "params.safetensors").write_bytes(data)
        with transaction(factored) as connection:
            set_meta(connection, {"factors": {**stored, "checksum": checksum, "size": len(data)}})
        try:
            Index.open(factored).close()
        except IndexCorruptedError as error:
            refused[name] = str(error)
    harmless = {"shorter": {"anchors"}, "flat": {"anchors", "offset", "lvq.mean", "single.lvq.mean"}}
    assert all("params.safetensors" in message for message in refused.values())
    assert set(refused) == set(arrays) - harmless.get(mutation, set())
