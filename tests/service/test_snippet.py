"""Snippets: the window that is chosen, the words that are marked, and characters that must not reach a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.service.snippet import match_spans, printable, snippet, stem


@pytest.mark.parametrize(
    "forms",
    [
        ("coroutine", "coroutines", "Coroutine"),
        ("finish", "finished", "finishing", "finishes"),
        ("dictionary", "dictionaries"),
        ("run", "running", "runs"),
        ("class", "classes"),
        ("café", "cafe", "Cafés"),
    ],
)
def test_forms_of_one_word_share_a_stem(forms):
    assert len({stem(form) for form in forms}) == 1


def test_different_words_keep_different_stems():
    words = ["file", "fill", "class", "clash", "string", "strong", "list", "last"]
    assert len({stem(word) for word in words}) == len(words)


def test_spans_cover_the_matching_words_in_the_original_text():
    text = "Reads CSV files; the file's rows become dictionaries."
    found = [text[a:b] for a, b in match_spans(text, "how do I read a csv file into a dictionary")]
    assert found == ["Reads", "CSV", "files", "file", "dictionaries"]


def test_stop_words_are_marked_only_when_there_is_nothing_else():
    assert match_spans("to be or not to be", "to be read") == []
    assert len(match_spans("to be or not to be", "to be")) == 4


def test_window_holds_the_most_different_query_words():
    filler = "lorem ipsum dolor sit amet " * 40
    text = f"{filler}cache cache cache. {filler}The cache keeps results of slow functions. {filler}"
    found = snippet(text, "cache the results of a slow function")
    assert "cache keeps results of slow functions" in found.text
    assert found.before
    assert found.after
    assert [found.text[a:b] for a, b in found.matches] == ["cache", "results", "slow", "functions"]


def test_text_without_a_match_shows_its_beginning():
    found = snippet("alpha beta " * 100, "gamma")
    assert found.text.startswith("alpha beta")
    assert found.matches == []
    assert not found.before


def test_ideographs_match_one_by_one():
    text = "今日は東京で会議があります"
    assert {text[a:b] for a, b in match_spans(text, "東京")} == {"東", "京"}


def test_terminal_escapes_and_bidi_overrides_are_removed_and_offsets_kept():
    text = "a\x1b[31mred\x07\u202eevil\x9b\ud800"
    shown = printable(text)
    assert len(shown) == len(text)
    assert not set(shown) & {"\x1b", "\x07", "\u202e", "\x9b", "\ud800"}
    assert printable("a\n\tb\r", keep_lines=True) == "a\n\tb "


@given(text=st.text(max_size=600), query=st.text(max_size=40), width=st.integers(20, 300))
def test_snippet_is_a_bounded_part_of_the_text_with_valid_spans(text, query, width):
    found = snippet(text, query, width)
    collapsed = " ".join(printable(text).split())
    assert found.text in collapsed or found.text == collapsed
    assert found.text == printable(found.text)
    longest = max((len(word) for word in collapsed.split()), default=0)
    assert len(found.text) <= max(width, longest)
    assert all(0 <= a < b <= len(found.text) for a, b in found.matches)
    assert all(found.matches[i][1] <= found.matches[i + 1][0] for i in range(len(found.matches) - 1))
    assert (not found.before and not found.after) == (found.text == collapsed)
