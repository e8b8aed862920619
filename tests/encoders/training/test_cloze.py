"""Pairs of sentences and the passages they were taken out of."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from latefold.encoders.errors import InvalidInputError
from latefold.encoders.training.cloze import main, make_pairs, take_sentence

PASSAGE = (
    "A boundary layer is the thin layer of fluid near a wall where viscosity matters for the whole flow. "
    "The thickness of the boundary layer grows with the distance from the leading edge of the plate. "
    "Short one. "
    "Beyond a critical distance the boundary layer turns turbulent, and the friction on the wall rises sharply there. "
    "Suction through a porous wall keeps the layer thin and delays transition of the boundary layer to turbulence."
)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    made = [{"query": f"heading {i}", "passage": PASSAGE.replace("wall", f"wall {i}")} for i in range(40)]
    made += [{"query": "too short", "passage": "Nothing here."}]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def test_the_sentence_is_taken_out_of_the_passage() -> None:
    for seed in range(20):
        found = take_sentence(PASSAGE, random.Random(seed))
        assert found is not None
        sentence, rest = found
        assert sentence in PASSAGE
        assert sentence not in rest
        assert sorted((sentence + " " + rest).split()) == sorted(PASSAGE.split())
        assert sentence != "Short one."


@pytest.mark.parametrize("passage", ["", "One. Two. Three.", "x = 1; y = 2. " * 40, PASSAGE.split(". ")[0]])
def test_passages_without_a_sentence_to_ask_with_are_left(passage: str) -> None:
    assert take_sentence(passage, random.Random(0)) is None


def test_the_same_files_give_the_same_bytes(rows: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for out in outs:
        assert main(["--sentences", f"{rows}:30", "--pairs", f"{rows}:5", "--out", str(out)]) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    made = [json.loads(line) for line in outs[0].read_text().splitlines()]
    headings = [row for row in made if row["query"].startswith("heading")]
    assert len(made) - len([row for row in made if len(row["query"].split()) <= 2]) == 30
    assert 5 <= len(headings) <= 35
    assert make_pairs([(rows, 30)], [], seed=1) != make_pairs([(rows, 30)], [], seed=2)


def test_what_shares_words_with_a_judged_collection_is_left_out(rows: Path, tmp_path: Path) -> None:
    judged = tmp_path / "data" / "judged"
    judged.mkdir(parents=True)
    (judged / "corpus.jsonl").write_text(json.dumps({"_id": "1", "text": PASSAGE.replace("wall", "wall 7")}))
    out = tmp_path / "out.jsonl"
    call = ["--sentences", f"{rows}:100", "--out", str(out), "--unlike", str(tmp_path / "data")]
    with pytest.raises(SystemExit):
        main([*call[:-1], str(tmp_path / "nothing")])
    (judged / "queries.jsonl").write_text(json.dumps({"_id": "1", "text": "of no use here"}))
    assert main(call) == 0
    assert not out.read_text(), "all rows share nine words with the judged text"
    (judged / "corpus.jsonl").write_text(
        json.dumps({"_id": "1", "text": "a wall 7 where viscosity matters for the whole"})
    )
    assert main(call) == 0
    passages = {json.loads(line)["passage"] for line in out.read_text().splitlines()}
    assert len(passages) == 39
    assert not any("near a wall 7 where" in passage for passage in passages)


def test_rows_of_an_excluded_source_are_left_out(rows: Path) -> None:
    rows.write_text(
        "".join(json.dumps({"query": str(i), "passage": "p", "source": f"S{i % 2}"}) + "\n" for i in range(8))
    )
    assert {int(row["query"]) % 2 for row in make_pairs([], [(rows, 4)], exclude="s1")} == {0}
    with pytest.raises(InvalidInputError, match="has 4 rows"):
        make_pairs([], [(rows, 5)], exclude="s1")


@pytest.mark.parametrize("content", ["{", "[1]\n", '{"query": 1, "passage": "p"}\n'])
def test_files_that_hold_no_pairs_are_named(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(SystemExit):
        main(["--pairs", f"{path}:1", "--out", str(tmp_path / "out.jsonl")])
    assert "bad.jsonl" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--pairs", "nothing", "--out", str(tmp_path / "out.jsonl")])
