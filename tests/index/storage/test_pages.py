"""The page store: what was put comes back, whatever the words; damage and absence have names."""

import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.errors import IndexCorruptedError
from latefold.index.storage.pages import PAGES, PageStore, StoredPage

FILE = "0" * 32


def page(words=3, text=None, thumbnail=b"webp"):
    starts = np.arange(words) * 6
    spans = np.stack([starts, starts + 5], axis=1).astype(np.int32)
    boxes = np.random.default_rng(words).random((words, 4)).astype(np.float32)
    return StoredPage(595.0, 842.0, "text" if text is None else "ocr", text, spans, boxes, thumbnail)


def same(a, b):
    assert (a.width, a.height, a.origin, a.text, a.thumbnail) == (b.width, b.height, b.origin, b.text, b.thumbnail)
    assert np.array_equal(a.spans, b.spans)
    assert a.spans.dtype == np.int32
    assert a.boxes.dtype == np.float32
    np.testing.assert_allclose(a.boxes, b.boxes, atol=0.5 / 65_535 + 1e-7)


@settings(max_examples=25)
@given(data=st.data())
def test_words_come_back_within_the_precision_of_a_box(tmp_path_factory, data):
    count = data.draw(st.integers(0, 40))
    numbers = st.integers(0, 2**31 - 1)
    spans = np.array(data.draw(st.lists(st.tuples(numbers, numbers), min_size=count, max_size=count)), np.int32)
    corner = st.floats(0, 1, width=32)
    boxes = np.array(
        data.draw(st.lists(st.tuples(corner, corner, corner, corner), min_size=count, max_size=count)), np.float32
    )
    stored = StoredPage(1.0, 2.5, "ocr", data.draw(st.text()), spans.reshape(-1, 2), boxes.reshape(-1, 4))
    store = PageStore(tmp_path_factory.mktemp("pages"))
    store.put(FILE, 1, stored)
    same(store.get(FILE, 1), stored)


def test_nothing_is_there_before_something_is_put(tmp_path):
    store = PageStore(tmp_path)
    assert (store.exists, store.get(FILE, 1), store.place(FILE), store.count(), store.keep([])) == (
        False, None, None, 0, 0,
    )  # fmt: skip
    assert not (tmp_path / PAGES).exists()


def test_pages_of_one_file_are_stored_together_and_replaced_by_number(tmp_path):
    store = PageStore(tmp_path)
    store.put_all(FILE, {1: page(1), 2: page(2)})
    store.put(FILE, 2, page(5, text="read"))
    same(store.get(FILE, 1), page(1))
    same(store.get(FILE, 2), page(5, text="read"))
    assert (store.count(), store.get(FILE, 3)) == (2, None)


def test_a_file_that_moved_is_where_it_was_seen_last(tmp_path):
    store = PageStore(tmp_path)
    store.remember(FILE, tmp_path / "a.pdf", "pdf")
    store.remember(FILE, tmp_path / "b.pdf", "pdf")
    assert store.place(FILE) == (tmp_path / "b.pdf", "pdf")


def test_pages_that_nothing_refers_to_are_dropped(tmp_path):
    store = PageStore(tmp_path)
    for file in ("a", "b"):
        store.put_all(file, {n: page(n) for n in range(1, 4)})
        store.remember(file, tmp_path / file, "pdf")
    assert store.keep({"b", "c"}) == 3
    assert (store.get("a", 1), store.place("a"), store.count()) == (None, None, 3)
    same(store.get("b", 3), page(3))


def test_a_damaged_store_says_what_to_do(tmp_path):
    store = PageStore(tmp_path)
    store.put(FILE, 1, page())
    with sqlite3.connect(tmp_path / PAGES) as database:
        database.execute("UPDATE pages SET words = ?", (b"rubbish",))
    with pytest.raises(IndexCorruptedError, match=r"page 1 .* index the files again"):
        store.get(FILE, 1)
    (tmp_path / PAGES).write_bytes(b"no database at all" * 100)
    with pytest.raises(IndexCorruptedError, match=PAGES):
        store.get(FILE, 1)


def test_threads_may_write_at_once(tmp_path):
    store = PageStore(tmp_path)
    threads = [threading.Thread(target=store.put, args=(FILE, n, page(n))) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(1, 9):
        same(store.get(FILE, n), page(n))


def test_what_read_a_page_is_known(tmp_path):
    store = PageStore(tmp_path)
    read = page(2, text="read")
    store.put(FILE, 1, replace(read, engine="tesseract 5.3.0"))
    store.put(FILE, 2, read)
    assert [(found.origin, found.engine) for n in (1, 2) if (found := store.get(FILE, n))] == [
        ("ocr", "tesseract 5.3.0"),
        ("ocr", ""),
    ]


def test_a_path_that_is_not_text_comes_back(tmp_path):
    store = PageStore(tmp_path)
    path = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.pdf"))
    store.remember(FILE, path, "pdf")
    assert store.place(FILE) == (path, "pdf")


def test_what_a_killed_writer_left_is_no_damage(tmp_path):
    store = PageStore(tmp_path)
    (tmp_path / PAGES).touch()
    assert (store.exists, store.get(FILE, 1), store.place(FILE), store.check()) == (False, None, None, 0)
    store.put(FILE, 1, page())
    assert store.count() == 1


def test_every_byte_that_matters_is_checked(tmp_path):
    store = PageStore(tmp_path)
    store.put_all(FILE, {n: page(40, text="x" * 900) for n in range(1, 40)})
    sound = (tmp_path / PAGES).read_bytes()
    assert store.check() == len(sound)
    with sqlite3.connect(tmp_path / PAGES) as database:
        database.execute("UPDATE pages SET words = ? WHERE number = 7", (b"rubbish",))
    with pytest.raises(IndexCorruptedError, match="page 7 of file"):
        store.check()
    for damaged in (sound[:5000], sound[:9000] + bytes(4096) + sound[9000 + 4096 :], b"no database" * 900):
        (tmp_path / PAGES).write_bytes(damaged)
        with pytest.raises(IndexCorruptedError, match="delete it and index the files again"):
            store.check()
