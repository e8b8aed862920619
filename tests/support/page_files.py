"""A small PDF of known words, and an index of it with its pages in the store."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from latefold import Index
from latefold.ingest.folder import ingest
from latefold.ingest.options import IngestOptions

_CONFTEST = Path(__file__).resolve().parent.parent / "ingest" / "conftest.py"

PAGES = (
    (
        "Annual report of the bakery",
        "",
        "Flour was bought from three mills in the north.",
        "The ovens were repaired twice during the winter.",
        "Rye bread sold for four dollars and ten cents a loaf.",
        "Nobody was hurt when the roof leaked in March.",
    ),
    ("Staff", "", "Anna drives the delivery van on Mondays.", "Bert sweeps the yard and feeds the cat."),
)


def write_pdf(path: Path) -> Path:
    """The file, by the writer that the tests of ingestion have."""
    spec = importlib.util.spec_from_file_location("ingest_conftest", _CONFTEST)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Path = module.PdfMaker().text(path, PAGES)
    return made


def make_page_index(folder: Path, encoder: Any) -> Path:
    """An index `bakery.index` of the PDF `bakery.pdf`, which is cut into windows of a few lines."""
    write_pdf(folder / "bakery.pdf")
    with Index.create(folder / "bakery.index", encoder=encoder) as index:
        report = ingest(index, [folder / "bakery.pdf"], IngestOptions(chunk_tokens=32))
        assert report.ok
        assert len(index) > len(PAGES)
    return folder / "bakery.index"
