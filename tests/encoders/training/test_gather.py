"""Making the training pairs again: from packages built here, against a manifest, which must hold to the byte."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from latefold.encoders.errors import InvalidInputError, StorageError
from latefold.encoders.training import gather

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")

SENTENCE = "The {} sensor of the spacecraft measured how the {} current in the plasma changed over a whole orbit. "


def package(folder: Path, name: str, files: dict[str, bytes]) -> None:
    root = folder / f"{name}.root"
    control = f"Package: {name}\nVersion: 1:2\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: x\n"
    for path, content in {**files, "DEBIAN/control": control.encode()}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    made = folder / f"{name}_1%3a2_all.deb"
    subprocess.run(["dpkg-deb", "-b", root, made], check=True, capture_output=True)
    shutil.rmtree(root)


def page(topics: list[str]) -> bytes:
    body = "".join(f"<h2>About {t}</h2><p>{''.join(SENTENCE.format(t, u) for u in topics)}</p>" for t in topics)
    return f"<html><body><h1>Manual</h1>{body}</body></html>".encode()


def ontology(path: Path) -> bytes:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE go_term (go_id TEXT, term TEXT, ontology TEXT, definition TEXT)")
        long = "A process by which something becomes something else in a cell of a living thing."
        database.executemany(
            "INSERT INTO go_term VALUES (?, ?, ?, ?)",
            [
                ("GO:2", "second term", "BP", long),
                ("GO:1", "first term", "BP", long),
                ("GO:3", "alone", "BP", long),
                ("GO:4", "short definition", "BP", "Too short."),
                ("GO:5", "obsolete term", "obsolete", long),
                ("GO:6", "no definition", "BP", None),
            ],
        )
    return path.read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Packages and a folder of data with one judged collection."""
    debs, data = tmp_path / "debs", tmp_path / "data"
    (data / "train").mkdir(parents=True)
    debs.mkdir()
    package(debs, "a-doc", {"usr/share/doc/a/a.html": page(["magnetic", "solar", "thermal", "optical", "tidal"])})
    package(debs, "b-doc", {"usr/share/doc/b/b.html": page(["radio", "chemical", "nuclear", "acoustic", "lunar"])})
    package(debs, gather.GO_PACKAGE, {"usr/lib/GO.sqlite": ontology(tmp_path / "GO.sqlite")})
    (data / "train" / "glossary.jsonl").write_text('{"query": "what is a folio", "passage": "A folio is a leaf."}\n')
    judged = data / "judged"
    (judged / "qrels").mkdir(parents=True)
    (judged / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "Nothing of the kind."}\n')
    (judged / "queries.jsonl").write_text('{"_id": "q", "text": "what kind of thing"}\n')
    (judged / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    return tmp_path


def source(name: str, rows: int) -> dict:
    return {"rows": rows, "from": f"{name}==1:2 (Debian bookworm, main)"}


def manifest(rows: int = 1000) -> dict:
    return {
        "made_by": "python -m x.cloze --out train.jsonl --sentences docs.jsonl:10 --pairs go.jsonl:2 glossary.jsonl:1"
        " --unlike DATA",
        "train.jsonl": {"sha256": "?"},
        "read_as_well": {"a-doc": "1:2"},
        "files": {
            "docs.jsonl": {"sha256": "?", "sources": {"b-doc": source("b-doc", rows)}},
            "go.jsonl": {"sha256": "?", "sources": {"go": source(gather.GO_PACKAGE, 2)}},
            "glossary.jsonl": {"sha256": "?"},
        },
    }


def learn(wanted: dict, place: Path, out: Path) -> Path:
    """Gather, putting the checksum that is missing into the manifest each time it is found to differ."""
    entries = [*wanted["files"].items(), ("train.jsonl", wanted["train.jsonl"])]
    for name, entry in entries:
        with pytest.raises(InvalidInputError, match=f"{name} has the checksum"):
            gather.gather(wanted, place / "debs", place / "data", out)
        entry["sha256"] = hashlib.sha256((out / name).read_bytes()).hexdigest()
    return gather.gather(wanted, place / "debs", place / "data", out)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_pairs_are_made_of_packages_and_compared_with_the_manifest(place: Path, capsys: pytest.CaptureFixture) -> None:
    wanted = manifest()
    made = lines(learn(wanted, place, place / "first"))
    assert len(made) > 3
    assert {"first term", "second term", "what is a folio"} < {row["query"] for row in made}
    documents = lines(place / "first" / "docs.jsonl")
    assert {row["source"] for row in documents} == {"b-doc"}
    assert [row["id"] for row in lines(place / "first" / "go.jsonl")] == ["GO:1", "GO:2"]

    (place / "data.json").write_text(json.dumps(wanted), encoding="utf-8")
    given = ["--packages", str(place / "debs"), "--data", str(place / "data"), "--out", str(place / "second")]
    assert gather.main([str(place / "data.json"), *given]) == 0
    assert "as the manifest says" in capsys.readouterr().out
    for name in ("docs.jsonl", "train.jsonl"):
        assert (place / "second" / name).read_bytes() == (place / "first" / name).read_bytes()


def test_as_many_rows_are_drawn_as_the_manifest_says(place: Path) -> None:
    if shutil.which("shuf") is None:
        pytest.skip("shuf is not installed")
    learn(manifest(), place, place / "all")
    learn(manifest(rows=3), place, place / "some")
    every, some = lines(place / "all" / "docs.jsonl"), lines(place / "some" / "docs.jsonl")
    assert len(some) == 3 < len(every)
    assert all(row in every for row in some)


def test_missing_packages_are_named_with_how_to_get_them(place: Path, capsys: pytest.CaptureFixture) -> None:
    (place / "debs" / "b-doc_1%3a2_all.deb").unlink()
    (place / "data.json").write_text(json.dumps(manifest()), encoding="utf-8")
    given = ["--packages", str(place / "debs"), "--data", str(place / "data"), "--out", str(place / "out")]
    with pytest.raises(SystemExit):
        gather.main([str(place / "data.json"), *given])
    assert "apt-get download b-doc=1:2" in capsys.readouterr().err
    assert not (place / "out").exists()


def test_a_broken_package_is_an_error_that_names_it(place: Path) -> None:
    (place / "debs" / "b-doc_1%3a2_all.deb").write_bytes(b"no package")
    with pytest.raises(StorageError, match=r"b-doc_1%3a2_all\.deb"):
        gather.gather(manifest(), place / "debs", place / "data", place / "out")


def test_the_manifest_of_the_bundled_encoder_names_its_packages() -> None:
    content = json.loads((Path(gather.__file__).parents[1] / "models" / "latefold" / "data.json").read_bytes())
    found = gather.packages(content)
    assert len(found) == 79
    assert found[gather.GO_PACKAGE] == "3.16.0-1"
    assert all(len(file["sha256"]) == 64 for file in content["files"].values())
