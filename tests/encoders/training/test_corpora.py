"""Documentation to training pairs: readers, packing, filters, determinism."""

import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError
from latefold.encoders.training import corpora
from latefold.encoders.training.corpora import (
    MAX_WORDS,
    MIN_WORDS,
    Section,
    Seen,
    heading_query,
    is_prose,
    pairs,
    sections,
)
from latefold.encoders.training.corpora_readers import (
    MAX_BYTES,
    Block,
    html_blocks,
    man_blocks,
    markdown_blocks,
    read_blocks,
    rst_blocks,
    tidy,
)

LIFT = "The lift of a thin wing at a small angle is proportional to the angle of attack and to the square of the speed."
DRAG = "At supersonic speed a part of the drag is due to the waves that the body makes in the air around it."
HEAT = (
    "Heat is carried from the wall to the gas by conduction, and in the outer layer by the motion of the fluid itself."
)
BODY = f"{LIFT} {DRAG} {HEAT}"


def shape(blocks):
    return [(block.level, tidy(block.text)) for block in blocks]


def test_html_keeps_headings_and_prose_and_drops_code_tables_and_navigation():
    page = f"""<html><head><title>Wings — The manual</title></head><body>
    <nav><p>{HEAT}</p></nav><div class="sphinxsidebar"><p>{HEAT}</p></div>
    <div role="main"><h1>Thin wings<a class="headerlink" href="#x">¶</a></h1><p>{LIFT}</p>
    <pre>x = 1</pre><table><tr><td><p>{HEAT}</p></td></tr></table>
    <h2>Wave drag</h2><ul><li>{DRAG}</li><li><p>{LIFT}</p></li></ul>
    <dl><dt>drag(mach)</dt><dd>{HEAT}</dd></dl></div></body></html>"""
    assert shape(html_blocks(page.encode())) == [
        (1, "Wings"),
        (1, "Thin wings"),
        (0, LIFT),
        (2, "Wave drag"),
        (0, DRAG),
        (0, LIFT),
        (7, "drag(mach)"),
        (0, HEAT),
    ]


def test_markdown_headings_of_both_kinds_without_code_links_or_tables():
    text = f"""Thin wings\n==========\n\n{LIFT}\n\n```\nx = 1\n```\n\n| a | b |\n\n## Wave drag\n- {DRAG}\n\n
See [the *long* report](there.html) for more.\n"""
    assert shape(markdown_blocks(text)) == [
        (1, "Thin wings"),
        (0, LIFT),
        (2, "Wave drag"),
        (0, DRAG),
        (0, "See the long report for more."),
    ]


def test_rst_levels_follow_the_order_of_marks_and_directives_are_dropped():
    text = f"""==========\nThin wings\n==========\n\n{LIFT}\n\n.. code-block:: python\n\n   x = 1\n\n   y = 2\n
Wave drag\n---------\n\nAs :func:`drag <m.drag>` in ``m`` shows::\n\n   drag(2)\n\n{DRAG}\n"""
    assert shape(rst_blocks(text)) == [
        (1, "Thin wings"),
        (0, LIFT),
        (2, "Wave drag"),
        (0, "As drag in m shows:"),
        (0, DRAG),
    ]


def test_man_page_name_is_the_title_and_filled_text_is_kept():
    page = f""".\\" comment
.TH WING 1
.SH NAME
wing \\- compute the lift of thin wings
.SH DESCRIPTION
{LIFT}
.nf
x = 1
.fi
.TP
.BR \\-\\-mach ,
{DRAG}
"""
    assert shape(man_blocks(page)) == [
        (2, "Name"),
        (1, "compute the lift of thin wings"),
        (2, "Description"),
        (0, LIFT),
        (0, f"--mach, {DRAG}"),
    ]
    section = next(sections(man_blocks(page)))
    assert heading_query(section.headings) == "compute the lift of thin wings: Description"


def test_read_blocks_by_ending_and_unreadable_files_give_nothing(tmp_path):
    (tmp_path / "a.md.gz").write_bytes(gzip.compress(f"# Thin wings\n\n{LIFT}".encode()))
    (tmp_path / "b.rst.txt").write_text(f"Thin wings\n----------\n\n{LIFT}")
    (tmp_path / "c.html.gz").write_bytes(b"\x1f\x8bnot gzip")
    (tmp_path / "d.1").write_bytes(b" " * (MAX_BYTES + 1))
    (tmp_path / "e.png").write_bytes(b"\x89PNG")
    read = {path.name[0]: shape(read_blocks(path)) for path in tmp_path.iterdir()}
    assert read == {"a": [(1, "Thin wings"), (0, LIFT)], "b": [(1, "Thin wings"), (0, LIFT)], "c": [], "d": [], "e": []}


@pytest.mark.parametrize("read", [markdown_blocks, rst_blocks, man_blocks, lambda text: html_blocks(text.encode())])
@given(text=st.text(alphabet=st.sampled_from("ab .\n\t#=-*`:|<>&/[](){}\\'\"pd1é"), max_size=200))
def test_readers_accept_any_text(read, text):
    assert all(0 <= block.level <= 7 for block in read(text))


def test_headings_make_a_path_and_numbers_are_removed():
    blocks = [
        Block("Manual", 1),
        Block("2.1 Wave drag", 2),
        Block("a"),
        Block("Shocks", 3),
        Block("b"),
        Block("Heat", 2),
        Block("c"),
    ]
    assert [section.headings for section in sections(blocks)] == [
        ("Manual", "Wave drag"),
        ("Manual", "Wave drag", "Shocks"),
        ("Manual", "Heat"),
    ]


@pytest.mark.parametrize(
    ("headings", "query"),
    [
        (("Manual", "Wave drag of slender bodies"), "Wave drag of slender bodies"),
        (("Wave drag", "Introduction"), "Wave drag: Introduction"),
        (("Wave drag", "Shocks"), "Wave drag: Shocks"),
        (("Introduction",), None),
        (("Wave drag", "scipy.signal.lfilter(b, a)"), None),
        ((), None),
    ],
)
def test_heading_query_is_understood_alone(headings, query):
    assert heading_query(headings) == query


@pytest.mark.parametrize(
    "text",
    [
        "x_1 = foo(bar) if the baz_2 -> qux::quux is in a.b() and c.d() for the e.f() or g.h().",
        "Wave drag, lift, heat, flow, shock, body, wing, cone, plate.",
        "Der Auftrieb eines dünnen Flügels ist dem Anstellwinkel und dem Quadrat der Geschwindigkeit proportional.",
        "12.5 13.5 14.5 is the 15.5 16.5 17.5 of 18.5 19.5 20.5 and 21.5 in 22.5.",
        "the lift of a thin wing at a small angle is proportional to the angle and so",
        "See it in the reports of the project at http://reports and in the notes that are there.",
    ],
)
def test_only_running_english_is_prose(text):
    assert is_prose(LIFT)
    assert not is_prose(text)


def test_without_a_natural_heading_the_first_sentence_asks_and_is_left_out():
    found = list(pairs(Section(("drag(mach)",), (BODY,)), Seen()))
    assert found == [(LIFT, f"{DRAG} {HEAT}")]


def test_a_paragraph_is_used_once_and_reference_sections_never():
    seen = Seen()
    assert len(list(pairs(Section(("Thin wings",), (LIFT, DRAG)), seen))) == 1
    assert list(pairs(Section(("Slender bodies",), (LIFT.upper().replace(" ", "\n"), DRAG)), seen)) == []
    assert list(pairs(Section(("Thin wings", "References"), (BODY,)), Seen())) == []


@given(st.lists(st.integers(1, 60), max_size=40), st.booleans())
def test_passages_keep_the_limits_and_the_order_of_words(lengths, titled):
    paragraphs = [
        f"The {' of '.join(f'w{chr(97 + i % 26)}{chr(97 + j % 26)}' for j in range(n))} is here now and then."
        for i, n in enumerate(lengths)
    ]
    found = list(pairs(Section(("Thin wings of aircraft",) if titled else (), tuple(paragraphs)), Seen()))
    source = " ".join(paragraphs)
    at = 0
    for query, passage in found:
        assert MIN_WORDS <= len(passage.split()) <= MAX_WORDS
        assert query
        at = source.index(passage, at)


def test_build_is_reproducible_and_says_where_the_text_is_from(tmp_path, capsys):
    docs = tmp_path / "wings-doc"
    (docs / "_sources").mkdir(parents=True)
    (docs / "wing.md").write_text(f"# Thin wings of aircraft\n\n{BODY}\n")
    (docs / "_sources" / "wing.rst").write_text(f"Copy of the page\n----------------\n\n{BODY} {BODY}\n")
    (docs / "genindex.html").write_text(f"<p>{BODY}</p>")
    notes = tmp_path / "notes.json"
    notes.write_text(json.dumps({"wings-doc": {"package": "wings-doc==1", "licence": "CC0-1.0"}}))
    for out in ("one", "two"):
        assert corpora.main([str(docs), "--out", str(tmp_path / out), "--notes", str(notes)]) == 0
    assert re.findall(r"(\d+) +(\S+)", capsys.readouterr().out) == [("1", "wings-doc.jsonl")] * 2
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / out).iterdir()} for out in ("one", "two"))
    assert one == two
    row = {"query": "Thin wings of aircraft", "passage": BODY, "id": "wings-doc:wing.md#0", "source": "wings-doc"}
    assert json.loads(one["wings-doc.jsonl"]) == row
    entry = json.loads(one["manifest.json"])["files"][0]
    assert (entry["rows"], entry["inputs"]["files"], entry["licence"]) == (1, 1, "CC0-1.0")


def test_missing_and_equally_named_sources_are_refused(tmp_path):
    (tmp_path / "a" / "x").mkdir(parents=True)
    (tmp_path / "b" / "x").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="two sources are called x"):
        corpora.build([tmp_path / "a" / "x", tmp_path / "b" / "x"], tmp_path / "out", {})
    with pytest.raises(InvalidInputError, match="no such file or folder"):
        corpora.build([tmp_path / "nowhere"], tmp_path / "out", {})
