"""The collection made of package descriptions."""

from __future__ import annotations

import pytest

from latefold.encoders.errors import InvalidInputError
from latefold.eval import packages
from latefold.eval.packages import Package, collection, parse, read_packages

LIST = """Package: alpha
Description-md5: 0123
Description-en: First letters of an alphabet
 Alpha comes first.
 .
 It is: followed by beta.

Package: empty
Description-md5: 4567
Description-en: Only a synopsis here

Package: beta
Description-md5: 89ab
Description-en: Second letters: of an alphabet
 Beta comes second.
Multi-Line: not part
 of the description
"""


def test_parse_keeps_paragraphs_and_leaves_out_what_has_no_description():
    assert list(parse(LIST)) == [
        Package("alpha", "First letters of an alphabet", "Alpha comes first.\n\nIt is: followed by beta."),
        Package("beta", "Second letters: of an alphabet", "Beta comes second."),
    ]


@pytest.fixture
def forty(monkeypatch):
    """Forty packages: number 7 repeats the description of 6, 8 the synopsis of 9, and 10 gives its synopsis away."""
    made = [Package(f"p{i}", f"tool number {i}", f"Long words about {i}.") for i in range(40)]
    made[7] = Package("p7", "tool number 7", made[6].description)
    made[8] = Package("p8", made[9].synopsis, "Long words about 8.")
    made[10] = Package("p10", "tool number 10", "This Tool number 10 is long.")
    monkeypatch.setattr(packages, "read_packages", lambda: made)
    return made


def test_queries_are_held_out_and_know_their_document(forty):
    made = collection(30, queries=8, training=10)
    assert len(made.documents) == 30
    assert len(made.queries) == 8
    assert len(made.training) == 10
    by_text = {package.text: package for package in forty}
    for query, row in zip(made.queries, made.relevant, strict=True):
        assert by_text[made.documents[row]].synopsis == query
        assert query.lower() not in made.documents[row].lower()
    assert not set(made.queries) & set(made.training)
    asked = {*made.queries, *made.training}
    assert not asked & {"tool number 9", "tool number 10"}
    assert len({text.split("\n", 1)[1] for text in collection(39, queries=2).documents}) == 39


def test_the_collection_depends_on_nothing_but_the_packages(forty, monkeypatch):
    first = collection(30, queries=8)
    monkeypatch.setattr(packages, "read_packages", lambda: forty[::-1])
    assert collection(30, queries=8) == first
    assert collection(39, queries=8).documents[:30] == first.documents


def test_too_few_packages_are_refused(forty):
    with pytest.raises(InvalidInputError, match="describe 39 packages; 50 were asked for"):
        collection(50)


def test_a_machine_without_apt_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(packages.shutil, "which", lambda _: None)
    with pytest.raises(InvalidInputError, match="apt-get and apt-helper, which this machine lacks"):
        read_packages()
    assert packages.main(["--out", str(tmp_path), "--documents", "3"]) == 1
    assert "error: package descriptions need" in capsys.readouterr().err
