"""Small PDFs with text and outlines, and a data folder of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from latefold.eval.corpora import Place

WORDS = (
    "granite basalt marble quartz feldspar obsidian pumice gneiss schist slate dolomite gypsum halite calcite olivine "
    "pyroxene amphibole biotite muscovite garnet staurolite kyanite epidote chlorite serpentine talc graphite magnetite"
).split()


def write_pdf(path: Path, pages: Sequence[Sequence[str]], outline: Sequence[tuple[str, int]] = ()) -> Path:
    """A PDF whose pages print lines; outline: titles and pages from 0."""
    first = 4
    objects: dict[int, bytes] = {3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"}
    for number, lines in enumerate(pages):
        printed = " ".join(f"({line.replace('(', '[').replace(')', ']')}) Tj T*" for line in lines)
        content = f"BT /F1 11 Tf 72 720 Td 14 TL {printed} ET".encode("latin-1")
        objects[first + 2 * number] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {first + 2 * number + 1} 0 R "
            f"/Resources << /Font << /F1 3 0 R >> >> >>"
        ).encode()
        objects[first + 2 * number + 1] = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content)
    kids = " ".join(f"{first + 2 * number} 0 R" for number in range(len(pages)))
    objects[2] = f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode()
    root = first + 2 * len(pages)
    objects[1] = b"<< /Type /Catalog /Pages 2 0 R >>"
    if outline:
        objects[1] = f"<< /Type /Catalog /Pages 2 0 R /Outlines {root} 0 R >>".encode()
        last = root + len(outline)
        objects[root] = f"<< /Type /Outlines /First {root + 1} 0 R /Last {last} 0 R >>".encode()
        for place, (title, page) in enumerate(outline):
            own = root + 1 + place
            links = f"/Prev {own - 1} 0 R " * (place > 0) + f"/Next {own + 1} 0 R " * (own < last)
            objects[own] = (
                f"<< /Title ({title}) /Parent {root} 0 R {links}/Dest [{first + 2 * page} 0 R /Fit] >>"
            ).encode("latin-1")
    out, starts = b"%PDF-1.4\n", {}
    for number in sorted(objects):
        starts[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, objects[number])
    table = "".join(f"{starts[number]:010} 00000 n \n" for number in sorted(objects))
    count = len(objects) + 1
    out += f"xref\n0 {count}\n0000000000 65535 f \n{table}trailer << /Size {count} /Root 1 0 R >>\n".encode()
    path.write_bytes(out + b"startxref\n%d\n%%%%EOF\n" % len(out[: out.rindex(b"xref\n0 ")]))
    return path


def page_lines(number: int) -> list[str]:
    """Lines of a page about three minerals, which no other page is about."""
    own = [WORDS[(3 * number + i) % len(WORDS)] for i in range(3)]
    return [
        f"{number + 1} The {own[0]} and {own[1]} of region {number}",
        f"Here {own[0]} is found beside {own[1]} under a cover of {own[2]},",
        f"as samples of {own[2]} from the region have shown.",
    ]


@pytest.fixture(scope="session")
def page_place(tmp_path_factory) -> Place:
    """A data folder with a collection of two PDFs of four pages under each name, and queries for every page."""
    home = tmp_path_factory.mktemp("pages")
    for name in ("financebench-mini", "known-items"):
        folder = home / "data" / name
        (folder / "pdfs").mkdir(parents=True)
        (folder / "qrels").mkdir()
        corpus, queries, judged = [], [], ["query-id\tcorpus-id\tscore"]
        for file in range(2):
            texts = [page_lines(4 * file + number) for number in range(4)]
            write_pdf(folder / "pdfs" / f"file{file}.pdf", texts)
            for number, lines in enumerate(texts):
                id_ = f"file{file}#p{number}"
                corpus.append(json.dumps({"_id": id_, "title": f"File {file}", "text": "\n".join(lines)}))
                queries.append(json.dumps({"_id": f"q{id_}", "text": lines[0].partition(" ")[2]}))
                judged.append(f"q{id_}\t{id_}\t1")
        for path, lines in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels/test.tsv", judged)):
            (folder / path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (home / "data" / "known-items" / "manifest.json").write_text(
        json.dumps({"documents": 2, "pages": 8, "queries": 8, "kinds": {"outline": 8}, "sources": []}), encoding="utf-8"
    )
    return Place(home / "data", home / "cache")
