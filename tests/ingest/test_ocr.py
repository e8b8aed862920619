"""The real engines on pages that are drawn here, so that what is written where is known."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from latefold.encoders.errors import InvalidInputError, MissingExtraError
from latefold.encoders.pages import Pixels
from latefold.ingest import ocr_rapid, ocr_tesseract
from latefold.ingest.ocr import OcrEngine, Recognized, available_engines, find_engine

Image = pytest.importorskip("PIL.Image", reason="pages to read are drawn with Pillow")
ImageDraw = pytest.importorskip("PIL.ImageDraw")
ImageFont = pytest.importorskip("PIL.ImageFont")

Place = tuple[int, int, int, int]
LEFT = [
    "The harbour was quiet that morning",
    "and the fishing boats lay at anchor",
    "while seagulls circled above them",
    "waiting for the first nets to rise",
    "from the cold and silver water.",
]
RIGHT = [
    "Mountains surround the old village",
    "whose houses are built of granite",
    "and whose people still keep goats",
    "on the meadows below the glacier",
    "until autumn brings early snow.",
]


@pytest.fixture(scope="module")
def font() -> object:
    matplotlib = pytest.importorskip("matplotlib", reason="it brings the typeface that pages are drawn in")
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSerif.ttf"), 26)


@pytest.fixture(scope="module", params=["tesseract", "rapidocr"])
def engine(request: pytest.FixtureRequest) -> Iterator[OcrEngine]:
    if request.param not in available_engines():
        pytest.skip(f"the OCR engine {request.param} is not installed")
    with find_engine(request.param, 2, 120.0) as made:  # type: ignore[union-attr]
        yield made


def draw(
    lines: list[tuple[int, int, str]], font: object, size: tuple[int, int] = (1240, 900)
) -> tuple[Pixels, list[tuple[str, Place]]]:
    """A page with texts at their places, and the box of every word in pixels."""
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    places: list[tuple[str, Place]] = []
    for x, y, text in lines:
        for word in text.split(" "):
            pen.text((x, y), word, "black", font)
            places.append((word, pen.textbbox((x, y), word, font)))
            x += int(pen.textlength(word + " ", font))
    return np.asarray(picture), places


def column(x: int, texts: list[str], y: int = 120) -> list[tuple[int, int, str]]:
    return [(x, y + 44 * row, text) for row, text in enumerate(texts)]


def check(page: Recognized) -> None:
    """What holds for every page."""
    assert page.spans.dtype == np.int32
    assert page.boxes.dtype == np.float32
    assert page.spans.shape == (len(page.spans), 2)
    assert page.boxes.shape == (len(page.spans), 4)
    assert [page.text[start:end] for start, end in page.spans] == page.text.split()
    assert ((page.boxes >= 0) & (page.boxes <= 1)).all()
    assert (page.boxes[:, :2] <= page.boxes[:, 2:]).all()
    assert 0 <= page.confidence <= 1


def overlap(box: np.ndarray, place: Place, image: Pixels) -> float:
    """Intersection over union of a recognized box and a drawn one."""
    height, width = image.shape[:2]
    (a, b, c, d), (left, top, right, bottom) = box * [width, height, width, height], place
    common = max(0, min(c, right) - max(a, left)) * max(0, min(d, bottom) - max(b, top))
    return common / ((c - a) * (d - b) + (right - left) * (bottom - top) - common)


def assert_in_place(boxes: np.ndarray, page: Recognized, places: list[tuple[str, Place]], image: Pixels) -> None:
    assert page.text.split() == [word for word, _ in places]
    overlaps = [overlap(box, place, image) for box, (_, place) in zip(boxes, places, strict=True)]
    assert np.median(overlaps) > 0.5  # one engine gives the boxes of letters, the other those of lines with a margin
    assert min(overlaps) > 0.25


def test_words_are_found_where_they_are(engine: OcrEngine, font: object) -> None:
    image, places = draw(column(100, ["Annual report 2023", "Revenue grew by 12.5% over harbours"]), font)
    page = engine.read(image)
    check(page)
    assert page.text.split("\n") == ["Annual report 2023", "Revenue grew by 12.5% over harbours"]
    assert_in_place(page.boxes, page, places, image)
    assert page.confidence > 0.8


def test_columns_of_prose_are_read_one_by_one(engine: OcrEngine, font: object) -> None:
    title = [(100, 40, "A journey through both of the northern valleys and along the entire coast")]
    image, _ = draw(title + column(60, LEFT) + column(660, RIGHT, 133), font)
    page = engine.read(image)
    check(page)
    assert page.text.split() == [word for _, _, text in title for word in text.split()] + " ".join(LEFT + RIGHT).split()
    assert page.text.count("\n\n") == 2


def test_a_table_is_read_row_by_row(engine: OcrEngine, font: object) -> None:
    rows = [("Net income", "1,048", "805"), ("Tax expense", "193", "300"), ("Interest expense", "259", "135")]
    rows += [("Depreciation", "569", "579"), ("Total adjusted earnings", "2,018", "1,829")]
    cells = [(x, 120 + 50 * y, row[i]) for y, row in enumerate(rows) for i, x in enumerate((100, 700, 1000))]
    page = engine.read(draw(cells, font)[0])
    check(page)
    assert [line for line in page.text.split("\n") if line] == [" ".join(row) for row in rows]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_page_on_its_side_is_read_and_boxes_lie_on_it(engine: OcrEngine, font: object, turns: int) -> None:
    image, places = draw(column(100, LEFT + RIGHT), font, (1000, 700))
    page = engine.read(np.ascontiguousarray(np.rot90(image, -turns)))
    check(page)
    upright = page.boxes
    for _ in range(turns):
        left, top, right, bottom = upright.T
        upright = np.stack([top, 1 - right, bottom, 1 - left], axis=1)
    assert_in_place(upright, page, places, image)


def test_paper_in_shadow_and_bright_letters_are_read(engine: OcrEngine, font: object) -> None:
    image, _ = draw(column(100, LEFT), font)
    shadow = np.linspace(1.0, 0.35, image.shape[1])[None, :, None]
    for changed in (image * shadow * 0.7 + 20, 255 - image, 90 - image * 0.3 + 10):
        page = engine.read(changed.astype(np.uint8))
        assert page.text.split() == " ".join(LEFT).split()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 90), (20, 20), (600, 400)])
def test_pages_without_words_are_empty(engine: OcrEngine, size: tuple[int, int]) -> None:
    for colour in (0, 128, 255):
        page = engine.read(np.full((*size, 3), colour, np.uint8))
        check(page)
        assert page.text == ""
        assert page.confidence == 0


def test_specks_are_no_words(engine: OcrEngine, rng: np.random.Generator) -> None:
    image = np.full((500, 400, 3), 255, np.uint8)
    for y, x in rng.integers(5, 390, (60, 2)):
        image[y : y + 3, x : x + 3] = 0
    page = engine.read(image)
    check(page)
    assert not any(map(str.isalpha, page.text))


def test_a_huge_page_is_read(engine: OcrEngine, font: object) -> None:
    image, places = draw(column(100, LEFT), font)
    huge = np.ascontiguousarray(image.repeat(6, axis=0).repeat(6, axis=1))
    page = engine.read(huge)
    check(page)
    assert page.text.split() == " ".join(LEFT).split()
    assert_in_place(page.boxes, page, places, image)


def test_threads_read_the_same(engine: OcrEngine, font: object) -> None:
    images = [draw(column(80, texts), font, (1000, 400))[0] for texts in (LEFT, RIGHT)]
    alone = [engine.read(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for number, page in enumerate(pool.map(engine.read, images * 3)):
            assert page.text == alone[number % 2].text
            assert np.array_equal(page.boxes, alone[number % 2].boxes)


def script(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program named tesseract that answers what it is asked at first, and then does as told."""
    path = folder / "tesseract"
    answers = 'case "$1" in --version) echo tesseract 9.9;; --list-langs) echo eng;; *) '
    path.write_text(f"#!/bin/sh\n{answers}{body};; esac\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, f"sleep 987 & echo $! > {tmp_path}/pid; sleep 987", monkeypatch)
    with find_engine("tesseract", 1, 1.0) as engine:  # type: ignore[union-attr]
        assert engine.name == "tesseract 9.9"
        started = time.monotonic()
        with pytest.raises(InvalidInputError, match="OCR took longer than 1 seconds"):
            engine.read(np.zeros((2000, 2000, 3), np.uint8))
        assert time.monotonic() - started < 60
    pid = int((tmp_path / "pid").read_text())
    while is_running(pid):  # it has been told, and may take a moment
        assert time.monotonic() - started < 60
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("cat > /dev/null; echo no such luck >&2; exit 3", "no such luck"),
        ("kill -9 $$", "OCR by tesseract failed"),
        (r"printf '5\t1\t1\t1\t1\t1\ta\tb\tc\td\te\tword\n'", "answers in another form"),
    ],
)
def test_a_program_that_fails_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    script(tmp_path, body, monkeypatch)
    with find_engine("tesseract") as engine, pytest.raises(InvalidInputError, match=reason):  # type: ignore[union-attr]
        engine.read(np.zeros((200, 200, 3), np.uint8))


def rapid(seconds: float = 120.0) -> OcrEngine:
    if "rapidocr" not in available_engines():
        pytest.skip("the OCR engine rapidocr is not installed")
    return find_engine("rapidocr", 1, seconds)  # type: ignore[return-value]


def test_a_process_that_died_or_was_late_is_replaced(font: object) -> None:
    image, _ = draw(column(100, LEFT), font, (1000, 400))
    with rapid() as engine:
        before = set(psutil.Process().children())
        text = engine.read(image).text
        (child,) = set(psutil.Process().children()) - before
        child.suspend()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(engine.read, image)
            time.sleep(0.2)
            child.kill()
            with pytest.raises(InvalidInputError, match="crashed"):
                reading.result()
        assert engine.read(image).text == text
    assert set(psutil.Process().children()) == before
    with rapid(0.05) as engine, pytest.raises(InvalidInputError, match=r"longer than 0\.05 seconds"):
        engine.read(np.tile(image, (4, 2, 1)))
    assert set(psutil.Process().children()) == before


def test_what_is_missing_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ocr_rapid, "_NEEDED", ("rapidocr", "a_package_that_is_not_here"))
    assert available_engines() == []
    assert find_engine("auto") is None
    with pytest.raises(InvalidInputError, match="apt install tesseract-ocr"):
        find_engine("tesseract")
    with pytest.raises(MissingExtraError, match=r"latefold\[ocr\]"):
        find_engine("rapidocr")


def test_engines_are_chosen_by_name() -> None:
    assert find_engine("off") is None
    with pytest.raises(InvalidInputError, match="'abbyy': choose one of auto, off, tesseract, rapidocr"):
        find_engine("abbyy")  # type: ignore[arg-type]
    for threads, seconds in ((0, 1.0), (1, 0.0), (None, float("nan"))):
        with pytest.raises(InvalidInputError, match="OCR needs time"):
            find_engine("auto", threads, seconds)
    if ocr_tesseract.installed():
        assert available_engines()[0] == "tesseract"
