from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.base import load_encoder
from latefold.ingest.chunks import estimate_tokens, split

WORDS = st.lists(st.text(st.characters(codec="utf-8"), max_size=12), max_size=300)


@given(WORDS, st.sampled_from([" ", "\n", "\n\n", "", "\n# "]), st.booleans())
def test_chunks_are_ordered_trimmed_and_lose_only_white_space(words: list[str], glue: str, markdown: bool) -> None:
    text = glue.join(words)
    ranges = list(split(text, markdown=markdown, window=32))
    end = 0
    for start, stop in ranges:
        assert text[end:start].strip() == ""
        assert text[start:stop] == text[start:stop].strip() != ""
        end = stop
    assert text[end:].strip() == ""


@given(WORDS)
def test_chunks_fit_into_the_window(words: list[str]) -> None:
    text = " ".join(words)
    for start, stop in split(text, window=64):
        assert estimate_tokens(text[start:stop]) <= 0.9 * 64 - 2


def test_text_far_longer_than_the_splitter_sees_at_once_is_cut_as_evenly() -> None:
    lines = [f"Line {i} says something about the number {i * i}." for i in range(4000)]
    text = "\n".join(lines)
    sizes = [stop - start for start, stop in split(text)]
    assert min(sizes[:-1]) > 0.7 * max(sizes)


def test_a_huge_line_is_cut() -> None:
    assert sum(stop - start for start, stop in split("x" * 200_000)) == 200_000


def test_a_title_takes_room() -> None:
    text = "word " * 2000
    plain, titled, flooded = (
        max(stop - start for start, stop in split(text, title=title)) for title in ("", "a title " * 20, "long " * 9999)
    )
    assert plain > titled > flooded > plain / 3


def test_markdown_is_cut_at_headings() -> None:
    section = "Some words about it. " * 30
    text = f"# One\n\n{section}\n\n# Two\n\n{section}\n\n# Three\n\n{section}"
    starts = [text[start : start + 5] for start, _ in split(text, markdown=True)]
    assert starts == ["# One", "# Two", "# Thr"]


def test_chunks_of_english_are_not_cut_by_the_encoder() -> None:
    text = " ".join(f"Sentence {i} explains how retrieval with many vectors works in practice." for i in range(300))
    chunks = [text[start:stop] for start, stop in split(text, title="A title")]
    encoder = load_encoder("default")
    for chunk, spans in zip(chunks, encoder.document_spans([f"A title\n{chunk}" for chunk in chunks]), strict=True):
        assert spans.max() == len("A title\n") + len(chunk)
