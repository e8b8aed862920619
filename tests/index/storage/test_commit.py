"""What a commit can change, one kind after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
from catalogs import SEGMENTS, add, execute, record

from latefold.encoders.errors import IndexCorruptedError, IndexLockedError
from latefold.index.storage import commit
from latefold.index.storage.catalog import CatalogReader, transaction
from latefold.index.storage.files import FileInfo
from latefold.index.storage.format import CATALOG
from latefold.index.storage.segments import SegmentInfo


def test_segments_keep_their_order_through_a_merge(folder: Path) -> None:
    with transaction(folder) as connection:
        for info in SEGMENTS:
            commit.append_segment(connection, info)
    assert CatalogReader(folder).segments() == SEGMENTS
    merged = SegmentInfo("m", 4, 10, (FileInfo("a.bin", 1, "c"),))
    with transaction(folder) as connection:
        commit.replace_segments(connection, ["x", "y"], merged)
    assert CatalogReader(folder).segments() == [merged, SEGMENTS[2]]
    with transaction(folder) as connection:
        commit.replace_segments(connection, ["m", "z"], None)
        commit.append_segment(connection, SEGMENTS[0])
    assert CatalogReader(folder).segments() == SEGMENTS[:1]


def test_sources_have_checksums_of_their_own(folder: Path) -> None:
    with transaction(folder) as connection:
        commit.set_source(connection, "a.txt", "1")
        commit.set_source(connection, "a.txt", "2")
        commit.set_source(connection, "b.txt", "3")
        commit.drop_sources(connection, ["b.txt", "absent"])
    reader = CatalogReader(folder)
    assert reader.sources() == {"a.txt": "2"}
    reader.check_sources()
    execute(folder, "UPDATE sources SET content_hash = '1'")
    with pytest.raises(IndexCorruptedError, match=r"a\.txt"):
        CatalogReader(folder).check_sources()


def test_settings_and_assignments(folder: Path) -> None:
    add(folder, record(1), record(2))
    with transaction(folder) as connection:
        commit.set_meta(connection, {"calibration": {"candidates": 7}})
        commit.assign_source(connection, "a.txt", ["d2", "absent"])
        commit.delete_rows(connection, [1])
        commit.delete_rows(connection, [1])
        assert commit.get_meta(connection, "calibration") == {"candidates": 7}
        assert commit.get_meta(connection, "absent") is None
    reader = CatalogReader(folder)
    assert reader.meta("calibration") == {"candidates": 7}
    assert reader.ids_of_source("a.txt") == {"d2"}
    with transaction(folder) as connection:
        commit.drop_tombstones(connection, [1, 5])
    assert len(CatalogReader(folder).tombstones()) == 0


def test_a_taken_row_or_id_is_damage_and_changes_nothing(folder: Path) -> None:
    add(folder, record(1))
    for taken in (record(1, id="other"), record(2, id="d1")):
        with pytest.raises(IndexCorruptedError, match=CATALOG):
            add(folder, taken)
    assert CatalogReader(folder).generation == 1


def test_a_change_computed_on_an_older_commit_is_refused(folder: Path) -> None:
    before = CatalogReader(folder)
    add(folder, record(1))
    after = CatalogReader(folder)
    assert (before.generation, after.generation) == (0, 1)
    assert len({before.commit, after.commit}) == 2
    with pytest.raises(IndexLockedError, match="another writer"), transaction(folder) as connection:
        commit.bump(connection, before.commit)
    with transaction(folder) as connection:
        commit.bump(connection, after.commit)
    assert CatalogReader(folder).generation == 2
