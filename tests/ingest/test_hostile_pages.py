from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hostile_pages import write_hostile

from latefold.encoders.errors import InvalidInputError
from latefold.ingest.extractor import Extractor

SECONDS = 25.0
MEMORY = 1536 << 20
HEAVY = {
    "bomb-text.pdf", "bomb-paths.pdf", "forms-30-5.pdf", "forms-2-40.pdf", "forms-1000-3.pdf", "form-self.pdf",
    "tree-08.pdf", "image-huge-JBIG2Decode.pdf", "image-huge-LZWDecode.pdf", "image-huge-FlateDecode.pdf",
    "many-scans.jpg", "frames-10000.tiff", "frames-20000-tiny.tiff", "bomb-states.pdf", "bomb-spaces.pdf",
}  # fmt: skip
"""Files that take longer than a second."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_hostile(tmp_path_factory.mktemp("hostile"))


def outcome(extractor: Extractor, path: Path) -> str:
    """How a file ended: how many pages it gave, or why it gave none; within its time."""
    started = time.monotonic()
    try:
        extracted = extractor.read(path, "pdf" if path.suffix == ".pdf" else "image", thumbnails=True)
        ending = f"{len(extracted.pages)} pages, {len(extracted.unreadable)} unreadable"
    except InvalidInputError as error:
        ending = str(error)
    assert time.monotonic() - started < 30, path.name
    return ending


def peak(extractor: Extractor) -> int:
    """Bytes of memory that the child has held at most, 0 where that is not known or it was replaced."""
    child: Any = extractor._child
    status = Path("/proc", str(child._process.pid if child else 0), "status")
    if not status.exists():
        return 0
    return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def check(paths: list[Path], good: Path) -> dict[str, str]:
    endings = {}
    with Extractor(SECONDS, MEMORY) as extractor:
        for path in paths:
            endings[path.name] = outcome(extractor, path)
            assert peak(extractor) < MEMORY, path.name
            assert endings[path.name], path.name
        assert [page.text for page in extractor.read(good, "pdf").pages] == ["still here"]
    return endings


def test_hostile_files_end_as_pages_or_reasons(hostile: list[Path], pdf: Any, tmp_path: Path) -> None:
    assert len(hostile) >= 200
    good = pdf.text(tmp_path / "good.pdf", [["still here"]])
    endings = check([path for path in hostile if path.name not in HEAVY], good)
    for name, reason in {
        "zero.pdf": "not a readable PDF",
        "tree-00.pdf": "no pages",
        "tree-10.pdf": "more than 10000 pages",
        "encrypted-1-2.pdf": "encrypted",
        "zip.png": "not a readable PNG",
        "cut-0.6.png": "truncated",
        "cut-0.6.jpg": "truncated",
        "size-1x1.tiff": "1 x 1 pixels: too small",
        "size-1x12000.png": "too thin",
        "bomb-40000x40000.png": "40000 x 40000 pixels, more than 50 million",
        "bomb-13000.webp": "13000 x 13000 pixels, more than 50 million",
        "bomb.tiff": "40000 x 40000 pixels, more than 50 million",
        "bomb-second.tiff": "2 pages, 1 unreadable",
        "loop-back.tiff": "3 pages",
        "jpeg-inside.png": "1 pages",
        "box-00.pdf": "1 pages",
    }.items():
        assert reason in endings[name], (name, endings[name])


@pytest.mark.slow
def test_bombs_end_in_time(hostile: list[Path], pdf: Any, tmp_path: Path) -> None:
    good = pdf.text(tmp_path / "good.pdf", [["still here"]])
    heavy = [path for path in hostile if path.name in HEAVY]
    assert len(heavy) == len(HEAVY)
    endings = check(heavy, good)
    assert "longer than 25 seconds" in endings["many-scans.jpg"]
    assert "crashed" in endings["form-self.pdf"]
