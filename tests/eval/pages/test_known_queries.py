"""Which headings and captions become queries."""

from __future__ import annotations

from latefold.eval.pages.known_queries import PER_DOCUMENT, Pages, kinds, norm, questions

FILLER = "Nothing of note stands on this line, which is here to be read over by everybody who comes this way."


def asked(*documents: Pages) -> dict[str, tuple[str, int, str]]:
    return {item.text: (item.file, item.page, item.kind) for item in questions(documents)}


def document(pages: list[str], outline: list[tuple[int, str]], file: str = "book", title: str = "A book") -> Pages:
    return Pages(file, title, pages, outline)


def test_headings_lose_their_numbers_and_lead_to_their_page() -> None:
    pages = [
        "3.2 Melting points of common metals\nfoo",
        "Chapter 4: Boiling points of noble gases",
        "IV. Laws of old empires",
    ]
    outline = [
        (0, "3.2 Melting points of common metals"),
        (1, "Chapter 4: Boiling points of noble gases"),
        (2, "IV. Laws of old empires"),
    ]
    assert asked(document(pages, outline)) == {
        "Melting points of common metals": ("book", 0, "outline"),
        "Boiling points of noble gases": ("book", 1, "outline"),
        "Laws of old empires": ("book", 2, "outline"),
    }


def test_units_are_no_numbering() -> None:
    assert set(asked(document(["16 V Analog Inputs, A1 and A2"], [(0, "16 V Analog Inputs, A1 and A2")]))) == {
        "16 V Analog Inputs, A1 and A2"
    }


def test_what_says_too_little_or_anything_is_left_out() -> None:
    titles = ["Introduction", "Further reading", "List of figures", "How to use it", "A book", "Dot dot dot"]
    assert asked(document(titles, list(enumerate(titles)))) == {}


def test_a_heading_must_stand_on_its_page_and_be_the_only_one() -> None:
    heading = "Growing tomatoes under glass"
    assert asked(document(["elsewhere", heading], [(0, heading)])) == {}
    twice = [document([heading], [(0, heading)], file) for file in ("one", "two")]
    assert asked(*twice) == {}
    assert set(asked(twice[0], document(["see: growing tomatoes under glass"], [], "two"))) == {heading}


def test_a_phrase_on_many_pages_asks_for_none_but_contents_do_not_count() -> None:
    heading = "Growing tomatoes under glass"
    repeated = [heading, *[f"{FILLER} {heading.lower()}"] * 3]
    assert asked(document(repeated, [(0, heading)])) == {}
    listed = "\n".join(f"{heading} {number} ........ {number}" for number in range(6))
    assert set(asked(document([heading, listed, listed, listed, listed], [(0, heading)]))) == {heading}


def test_contents_serve_where_there_is_no_outline() -> None:
    titles = [f"Crop number {word} of the old island" for word in ("one", "two", "three", "four", "five")]
    contents = "\n".join(f"{place}.1 {title} . . . . . . {place}" for place, title in enumerate(titles))
    pages = [contents, *(f"{place}.1 {title}\n{FILLER}" for place, title in enumerate(titles))]
    assert asked(document(pages, [])) == {title: ("book", place + 1, "contents") for place, title in enumerate(titles)}


def test_captions_end_with_their_sentence() -> None:
    page = "\n".join(
        [
            FILLER,
            "Figure 3.2: Yield of three fields over the years in which it was measured by hand, and",
            "by machine. The dotted line is the mean.",
            "Table 4. Names of all known islands",
            "This sentence is of the text and does not belong to it. Nor does this.",
            "as it was shown in",
            "Figure 7. Then comes a sentence that is not a caption at all, of course.",
        ]
    )
    assert asked(document([page], [])) == {
        "Yield of three fields over the years in which it was measured by hand, and by machine": ("book", 0, "caption"),
        "Names of all known islands": ("book", 0, "caption"),
    }


def test_a_long_document_gives_no_more_than_its_share() -> None:
    words = [f"topic{chr(97 + i % 26)}{i}" for i in range(60)]
    pages = [
        f"Notes about {word} in the field\nFigure {i}: Picture of {word} seen from above"
        for i, word in enumerate(words)
    ]
    outline = [(i, f"Notes about {word} in the field") for i, word in enumerate(words)]
    found = questions([document(pages, outline)])
    assert kinds(found) == {"caption": PER_DOCUMENT // 2, "outline": PER_DOCUMENT // 2}
    assert found == questions([document(pages, outline)])
    few = questions([document(pages, outline[:3])])
    assert kinds(few) == {"caption": PER_DOCUMENT - 3, "outline": 3}


def test_norm_keeps_letters_and_digits() -> None:
    assert norm("  The “ﬁrst” Run-Time: v2_0 ") == "the first run time v2 0"
