"""Segments: written, opened, merged, and cleared away."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latefold.encoders.errors import FormatVersionError, IndexCorruptedError
from latefold.index.storage.files import FileInfo
from latefold.index.storage.format import (
    FACTORS,
    FINE,
    GRAPH,
    PARAMS,
    SEGMENT_FILES,
    SEGMENTS,
    TEMPORARY,
    TOKENS,
    VECTORS,
    Header,
)
from latefold.index.storage.segments import (
    Segment,
    SegmentInfo,
    check_segment,
    merge_segments,
    open_segment,
    orphans,
    remove,
    remove_segment,
    rewrite_segment,
    write_segment,
)

WIDTH, SINGLE, FACTOR = 5, 3, 2


def make_segment(lengths: list[int], first_row: int = 1, step: int = 1, *, optional: bool = False) -> Segment:
    """A segment whose every byte tells the row it belongs to."""
    rows = first_row + step * np.arange(len(lengths), dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    owners = np.repeat(rows, lengths)
    tokens = (owners[:, None] * 7 + np.arange(int(offsets[-1]))[:, None] + np.arange(WIDTH)).astype(np.uint8)
    vectors = (rows[:, None] * 11 + np.arange(SINGLE)).astype(np.uint8)
    if not optional:
        return Segment(rows, offsets, tokens, vectors)
    places = (np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)).astype(np.int32)
    factors = (rows[:, None] * 13 + np.arange(FACTOR)).astype(np.uint8)
    return Segment(rows, offsets, tokens, vectors, tokens[:, :3] ^ np.uint8(255), places, factors=factors)


def assert_equal(found: Segment, expected: Segment) -> None:
    for name in ("rows", "offsets", "tokens", "vectors", "fine", "places", "factors"):
        actual, wanted = getattr(found, name), getattr(expected, name)
        assert (actual is None) == (wanted is None)
        assert wanted is None or actual.dtype == wanted.dtype
        np.testing.assert_array_equal(actual, wanted)


def select(segments: list[Segment], live: list[np.ndarray]) -> Segment:
    """What a merge must give, document by document."""
    kept = [(s, i) for s, mask in zip(segments, live, strict=True) for i in np.flatnonzero(mask)]
    lengths = [int(s.offsets[i + 1] - s.offsets[i]) for s, i in kept]
    return Segment(
        np.array([s.rows[i] for s, i in kept], dtype=np.int64),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([np.empty((0, WIDTH), np.uint8), *(s.tokens[s.offsets[i] : s.offsets[i + 1]] for s, i in kept)]),
        np.concatenate([np.empty((0, SINGLE), np.uint8), *(s.vectors[i : i + 1] for s, i in kept)]),
        np.concatenate([np.empty((0, 3), np.uint8), *(s.fine[s.offsets[i] : s.offsets[i + 1]] for s, i in kept)]),
        np.concatenate([np.empty(0, np.int32), *(s.places[s.offsets[i] : s.offsets[i + 1]] for s, i in kept)]),
        factors=np.concatenate([np.empty((0, FACTOR), np.uint8), *(s.factors[i : i + 1] for s, i in kept)]),
    )


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("lengths", [[3, 0, 2], [1], [0], [0, 0], [4] * 50])
def test_a_segment_is_read_as_it_was_written(tmp_path: Path, lengths: list[int], optional: bool) -> None:
    segment = make_segment(lengths, first_row=9, step=2, optional=optional)
    info = write_segment(tmp_path, segment)
    assert (info.documents, info.tokens) == (len(lengths), sum(lengths))
    assert [entry.name for entry in (tmp_path / SEGMENTS).iterdir()] == [info.id]
    assert_equal(open_segment(tmp_path, info), segment)
    assert check_segment(tmp_path, info) == sum(file.size for file in info.files)


masks = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.lists(masks, min_size=1, max_size=4))
def test_a_merge_keeps_the_live_documents_byte_for_byte(tmp_path: Path, parts: list[list[tuple[int, bool]]]) -> None:
    segments, live, row = [], [], 1
    for part in parts:
        infos = make_segment([length for length, _ in part], first_row=row, optional=True)
        segments.append(open_segment(tmp_path, write_segment(tmp_path, infos)))
        live.append(np.array([alive for _, alive in part]))
        row += len(part)
    if not any(mask.any() for mask in live):
        return
    done: list[int] = []
    info = merge_segments(tmp_path, segments, live, done.append)
    expected = select(segments, live)
    assert_equal(open_segment(tmp_path, info), expected)
    assert done == sorted(done)
    assert (done[-1] if done else 0) == len(expected.tokens)
    check_segment(tmp_path, info)


def test_a_mapped_segment_outlives_its_files(tmp_path: Path) -> None:
    segment = make_segment([3, 1, 2])
    info = write_segment(tmp_path, segment)
    opened = open_segment(tmp_path, info)
    remove_segment(tmp_path, info.id)
    assert_equal(opened, segment)
    with pytest.raises(FileNotFoundError):
        open_segment(tmp_path, info)


def rewrite(folder: Path, info: SegmentInfo, name: str, array: np.ndarray) -> SegmentInfo:
    """The segment with one array replaced in place, sizes and header agreeing."""
    path = folder / SEGMENTS / info.id / name
    data = path.read_bytes()[:64] + np.ascontiguousarray(array).tobytes()
    path.write_bytes(data)
    return replace(info, files=tuple(FileInfo(f.name, len(data), "") if f.name == name else f for f in info.files))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("offsets.bin", [0, 3, 2, 6]),
        ("offsets.bin", [1, 3, 4, 6]),
        ("offsets.bin", [0, 3, 4, 7]),
        ("offsets.bin", [0, (1 << 63) - 1, -(1 << 63), 6]),
        ("rows.bin", [1, 1, 2]),
        ("rows.bin", [3, 2, 1]),
    ],
)
def test_arrays_that_a_kernel_could_not_trust_are_refused(tmp_path: Path, name: str, values: list[int]) -> None:
    info = write_segment(tmp_path, make_segment([3, 1, 2]))
    info = rewrite(tmp_path, info, name, np.array(values, dtype=np.int64))
    with pytest.raises(IndexCorruptedError, match=rf"{name}.*do not belong together"):
        open_segment(tmp_path, info)


def test_counts_that_disagree_with_the_catalog_are_refused(tmp_path: Path) -> None:
    info = write_segment(tmp_path, make_segment([3, 1, 2]))
    for wrong in (replace(info, documents=2), replace(info, tokens=5), replace(info, documents=-1)):
        with pytest.raises(IndexCorruptedError, match="do not belong together"):
            open_segment(tmp_path, wrong)
    with pytest.raises(IndexCorruptedError, match=info.id):
        open_segment(tmp_path, replace(info, files=info.files[:3]))


def test_a_rewritten_segment_has_new_vectors_and_shares_the_rest(tmp_path: Path) -> None:
    old = make_segment([3, 0, 2])
    info = write_segment(tmp_path, old)
    blocks = [np.full((2, 7), 1, np.uint8), np.full((1, 7), 2, np.uint8)]
    links = np.array([[1, 2], [0, -1], [0, 1], [1, 1]], np.int32)
    graphed = rewrite_segment(tmp_path, info, {GRAPH: (Header("int32", *links.shape), [links])})
    found = open_segment(tmp_path, graphed)
    assert_equal(found, old)
    np.testing.assert_array_equal(found.graph, links)
    new = rewrite_segment(tmp_path, graphed, {VECTORS: (Header("uint8", 3, 7), blocks)})
    remove_segment(tmp_path, info.id)
    remove_segment(tmp_path, graphed.id)
    found = open_segment(tmp_path, new)
    assert_equal(found, replace(old, vectors=np.concatenate(blocks)))
    assert found.graph is None
    assert check_segment(tmp_path, new) == sum(file.size for file in new.files)


def test_tokens_become_the_finer_level_of_new_ones(tmp_path: Path) -> None:
    old = make_segment([3, 0, 2])
    coarse = np.arange(10, dtype=np.uint8).reshape(5, 2)
    parts = {TOKENS: (Header("uint8", 5, 2), [coarse])}
    new = rewrite_segment(tmp_path, write_segment(tmp_path, old), parts, {TOKENS: FINE})
    found = open_segment(tmp_path, new)
    assert_equal(found, replace(old, tokens=coarse, fine=old.tokens))
    np.testing.assert_array_equal(found.finest, old.tokens)
    again = open_segment(tmp_path, rewrite_segment(tmp_path, new, {TOKENS: (Header("uint8", 5, 2), [coarse])}))
    assert_equal(again, replace(old, tokens=coarse))
    assert check_segment(tmp_path, new) == sum(file.size for file in new.files)


def test_factors_outlast_new_vectors_and_tokens_and_are_replaced_and_dropped(tmp_path: Path) -> None:
    old = replace(make_segment([3, 0, 2], optional=True), fine=None)
    info = write_segment(tmp_path, old)
    vectors, tokens = np.full((3, 7), 1, np.uint8), np.full((5, 2), 2, np.uint8)
    parts = {VECTORS: (Header("uint8", 3, 7), [vectors]), TOKENS: (Header("uint8", 5, 2), [tokens])}
    info = rewrite_segment(tmp_path, info, parts, {TOKENS: FINE})
    refitted = replace(old, vectors=vectors, tokens=tokens, fine=old.tokens)
    assert_equal(open_segment(tmp_path, info), refitted)
    blocks = [np.full((1, 9), 4, np.uint8), np.full((2, 9), 5, np.uint8)]
    info = rewrite_segment(tmp_path, info, {FACTORS: (Header("uint8", 3, 9), blocks)})
    assert_equal(open_segment(tmp_path, info), replace(refitted, factors=np.concatenate(blocks)))
    info = rewrite_segment(tmp_path, info, {}, dropped=(FACTORS,))
    assert_equal(open_segment(tmp_path, info), replace(refitted, factors=None))
    assert check_segment(tmp_path, info) == sum(file.size for file in info.files)
    assert not list((tmp_path / SEGMENTS / info.id).glob(FACTORS))


def test_a_merge_has_factors_only_where_all_its_parts_do(tmp_path: Path) -> None:
    segments = [make_segment([1, 2]), make_segment([1], first_row=3)]
    segments = [segments[0], replace(segments[1], factors=np.ones((1, FACTOR), np.uint8))]
    live = [np.ones(len(segment), np.bool_) for segment in segments]
    assert open_segment(tmp_path, merge_segments(tmp_path, segments, live)).factors is None


@pytest.mark.parametrize("header", [Header("uint8", 4, 2), Header("uint8", 1, 2), Header("uint8", 2, 0)])
def test_factors_of_another_segment_are_refused(tmp_path: Path, header: Header) -> None:
    info = write_segment(tmp_path, make_segment([3, 1]))
    wrong = rewrite_segment(tmp_path, info, {FACTORS: (header, [np.zeros(header.shape, np.uint8)])})
    with pytest.raises(IndexCorruptedError, match=r"factors\.bin"):
        open_segment(tmp_path, wrong)


def test_a_segment_is_rewritten_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    info = write_segment(tmp_path, make_segment([3, 1]))
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    vectors = np.zeros((2, SINGLE), np.uint8)
    new = rewrite_segment(tmp_path, info, {VECTORS: (Header("uint8", *vectors.shape), [vectors])})
    assert check_segment(tmp_path, new) == check_segment(tmp_path, info)


def test_a_graph_of_another_segment_is_refused(tmp_path: Path) -> None:
    info = write_segment(tmp_path, make_segment([3, 1]))
    links = np.zeros((9, 4), np.int32)
    wrong = rewrite_segment(tmp_path, info, {GRAPH: (Header("int32", *links.shape), [links])})
    with pytest.raises(IndexCorruptedError, match=r"graph\.bin"):
        open_segment(tmp_path, wrong)


@pytest.mark.parametrize("name", SEGMENT_FILES)
def test_a_newer_version_is_refused(tmp_path: Path, name: str) -> None:
    info = write_segment(tmp_path, make_segment([3, 1, 2]))
    path = tmp_path / SEGMENTS / info.id / name
    data = bytearray(path.read_bytes())
    data[4] += 1
    path.write_bytes(data)
    with pytest.raises(FormatVersionError, match=rf"{name} has format version 3"):
        open_segment(tmp_path, info)


def test_what_no_commit_names_is_cleared_away(tmp_path: Path) -> None:
    assert orphans(tmp_path, [], []) == []
    kept = write_segment(tmp_path, make_segment([1])).id
    lost = write_segment(tmp_path, make_segment([1])).id
    half = tmp_path / SEGMENTS / f"{TEMPORARY}half"
    half.mkdir()
    (half / "tokens.bin").write_bytes(b"half")
    (tmp_path / SEGMENTS / "stray").write_bytes(b"a file")
    for name in ("used", "unused"):
        (tmp_path / PARAMS / name).mkdir(parents=True)
    found = orphans(tmp_path, [kept], ["used"])
    assert {path.name for path in found} == {lost, half.name, "stray", "unused"}
    remove(found)
    assert [path.name for path in (tmp_path / SEGMENTS).iterdir()] == [kept]
    assert [path.name for path in (tmp_path / PARAMS).iterdir()] == ["used"]


def test_clearing_away_follows_no_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (tmp_path / "index" / SEGMENTS).mkdir(parents=True)
    (tmp_path / "index" / SEGMENTS / "link").symlink_to(outside)
    remove(orphans(tmp_path / "index", [], []))
    assert (outside / "precious").exists()
    assert list((tmp_path / "index" / SEGMENTS).iterdir()) == []
