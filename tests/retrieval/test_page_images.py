"""Pages indexed by their looks, end to end: a folder, a checkpoint that reads images, search and explanation."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="the extra 'models' is not installed")

from PIL import Image
from stencil import Stencil, picture

from latefold import Document, Index, IndexConfig, load_encoder
from latefold.encoders.base import Encoder
from latefold.encoders.pages import PageEncoder, PageImage, Pixels
from latefold.ingest import sources
from latefold.ingest.extractor import Extractor
from latefold.ingest.folder import IngestReport, ingest
from latefold.ingest.options import IngestOptions
from latefold.ingest.sources import file_hash
from latefold.service.page_picture import draw

FAMILIES = ("colqwen2", "colidefics3")
TEXT = "Bread is baked in a hot oven."
LONGEST = 400
OPTIONS = IngestOptions(image_pixels=LONGEST)
QUERIES = ["a red square", "bread", "penguins"]


def maxsim(query: np.ndarray, document: np.ndarray) -> float:
    return float((query @ document.T).max(axis=1).sum())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    import page_checkpoints as made

    root = tmp_path_factory.mktemp("page-models")
    return {name: getattr(made, name)(root / name) for name in FAMILIES}


@pytest.fixture(params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Stencil:
    stencil = Stencil()
    monkeypatch.setattr(sources, "find_engine", lambda name, **_: None if name == "off" else stencil)
    return stencil


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A PDF of two pages without a text layer, a picture, and a text."""
    folder = tmp_path / "docs"
    folder.mkdir()
    first, second = picture(3), picture(7)
    first.paste((200, 30, 30), (50, 200, 250, 350))
    first.save(folder / "scan.pdf", save_all=True, append_images=[second])
    noise = np.random.default_rng(1).integers(0, 256, (260, 500, 3), np.uint8)
    Image.fromarray(noise).resize((500, 700)).save(folder / "photo.png")
    (folder / "bread.txt").write_text(TEXT)
    return folder


def build(path: Path, checkpoint: Path, docs: Path, config: IndexConfig | None = None) -> IngestReport:
    with Index.create(path, encoder=checkpoint, config=config) as index:
        assert index.reads_images
        return ingest(index, [docs], OPTIONS)


def seen(docs: Path) -> dict[str, Pixels]:
    """What the encoder gets of each page, drawn anew."""
    with Extractor(30, 1536 << 20) as extractor:
        return {
            "scan.pdf#0": extractor.render(docs / "scan.pdf", "pdf", 1, longest=LONGEST),
            "scan.pdf#1": extractor.render(docs / "scan.pdf", "pdf", 2, longest=LONGEST),
            "photo.png#0": extractor.render(docs / "photo.png", "image", 1, longest=LONGEST),
        }


def vectors(encoder: Encoder, docs: Path) -> dict[str, np.ndarray]:
    """Each document's vectors, by the encoder alone."""
    assert isinstance(encoder, PageEncoder)
    images = seen(docs)
    pages = encoder.encode_images(list(images.values())).embeddings
    texts = encoder.encode_documents(["bread.txt\n" + TEXT])
    return {name: pages[i] for i, name in enumerate(images)} | {"bread.txt#0": texts[0]}


@pytest.mark.parametrize("codec", ["lvq8", "sign+lvq8"])
def test_a_folder_is_searched_by_its_looks(
    tmp_path: Path, checkpoint: Path, docs: Path, engine: Stencil, codec: str
) -> None:
    report = build(tmp_path / "index", checkpoint, docs, IndexConfig(codec=codec))
    assert (report.ok, report.added, report.skipped, engine.reads) == (True, 4, (), 0)
    with Index.open(tmp_path / "index") as index:
        assert sorted(index.ids()) == ["bread.txt#0", "photo.png#0", "scan.pdf#0", "scan.pdf#1"]
        for name, pixels in seen(docs).items():
            height, width, _ = pixels.shape
            document = index.get(name)
            assert document.metadata["page_image"] == [width, height]
            assert document.metadata["page"] == (2 if name == "scan.pdf#1" else 1)
            assert document.metadata["file"] == file_hash(docs / name.partition("#")[0])
        encoder = index.encoder
        assert encoder is not None
        expected = vectors(encoder, docs)
        for query in QUERIES:
            asked = encoder.encode_queries([query])[0]
            exact = {name: maxsim(asked, own) for name, own in expected.items()}
            found = index.search(query, k=4, mode="exact")
            assert [hit.id for hit in found] == sorted(exact, key=exact.__getitem__, reverse=True)
            np.testing.assert_allclose([hit.score for hit in found], sorted(exact.values(), reverse=True), rtol=0.02)
        assert index.search("hot oven", k=1, mode="lexical")[0].id == "bread.txt#0"
        assert index.stats().tokens == sum(map(len, expected.values()))
        index.verify()


def test_every_match_has_a_place_and_the_page_can_be_drawn(tmp_path: Path, checkpoint: Path, docs: Path) -> None:
    build(tmp_path / "index", checkpoint, docs)
    with Index.open(tmp_path / "index") as index:
        found = index.explain("a red square", "scan.pdf#0")
        assert isinstance(index.encoder, PageEncoder)
        size = index.get("scan.pdf#0").metadata["page_image"]
        boxes = index.encoder.image_boxes([tuple(size)])[0]
        assert found.page is not None
        assert (found.page.number, found.page.origin) == (1, "none")
        for match in found.matches:
            box = boxes[match.document_token]
            np.testing.assert_allclose(match.box or (0, 0, 0, 0), box if box[2] > box[0] else 0, atol=1e-6)
        assert any(match.box for match in found.matches)
        assert len(found.boxes) == int((boxes[:, 2] > boxes[:, 0]).sum())
        assert max(part.score for part in found.boxes) == pytest.approx(1)
        assert {part.document for part in found.boxes} == {"scan.pdf#0"}
        drawn = draw(index.pages, found)
        assert drawn.drawn_from == "file"
        with Image.open(io.BytesIO(drawn.png)) as image:
            assert max(image.size) > 1000
        (docs / "scan.pdf").unlink()
        assert draw(index.pages, found).drawn_from == "thumbnail"
        text = index.explain("bread", "bread.txt#0")
        assert (text.page, text.boxes) == (None, [])
        assert any(match.document_text for match in text.matches)


@pytest.mark.parametrize("saliency", ["attention", "distance"])
def test_the_salient_patches_alone_may_be_kept(tmp_path: Path, checkpoint: Path, docs: Path, saliency: Any) -> None:
    report = build(tmp_path / "index", checkpoint, docs, IndexConfig(codec="lvq8", keep=0.4, saliency=saliency))
    assert (report.ok, report.added) == (True, 4)
    with Index.open(tmp_path / "index") as index:
        encoder = index.encoder
        assert isinstance(encoder, PageEncoder)
        own = vectors(encoder, docs)
        found = index.explain("a red square", "scan.pdf#0")
        page = encoder.encode_images([seen(docs)["scan.pdf#0"]], saliency=True)
        kept = sorted({match.document_token for match in found.matches})
        if saliency == "attention":
            assert page.saliency is not None
            count = round(0.4 * len(page.saliency))
            assert set(kept) <= set(np.argsort(-page.saliency)[: count + 1].tolist())
        for match in found.matches:
            box = page.boxes[match.document_token]
            np.testing.assert_allclose(match.box or (0, 0, 0, 0), box if box[2] > box[0] else 0, atol=1e-6)
        assert found.boxes
        assert len(found.boxes) <= 0.4 * len(page.boxes) + 1
        assert index.stats().tokens <= sum(0.4 * len(each) + 1 for each in own.values())
        assert len(index.search("bread", k=4, mode="exact")) == 4


def test_what_did_not_change_is_not_encoded_again(
    tmp_path: Path, checkpoint: Path, docs: Path, engine: Stencil, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "index", checkpoint, docs)
    encoder: Any = load_encoder(checkpoint)
    calls: list[int] = []
    encode = encoder.encode_images

    def counted(images: list[Pixels], **options: Any) -> Any:
        calls.append(len(images))
        return encode(images, **options)

    monkeypatch.setattr(encoder, "encode_images", counted)
    with Index.open(tmp_path / "index", encoder=encoder) as index:
        report = ingest(index, [docs], OPTIONS)
        assert (report.unchanged_files, report.added, calls) == (3, 0, [])
        picture(5).save(docs / "photo.png")
        report = ingest(index, [docs], OPTIONS)
        assert (report.unchanged_files, report.updated, calls) == (2, 1, [1])
        before = {name: index.get(name) for name in index.ids()}
        report = ingest(index, [docs], IngestOptions(image_pixels=LONGEST, ocr="tesseract"))  # named: the stub's text
        assert (engine.reads, report.updated) == (3, 3)
        assert index.get("photo.png#0").text == "penguin penguin penguin penguin penguin"
        assert index.get("photo.png#0").metadata == before["photo.png#0"].metadata
        assert index.search("penguin", k=4, mode="lexical")[0].metadata["page_image"]


def test_nothing_heavy_is_loaded_where_there_is_nothing_to_encode(
    tmp_path: Path, folders: dict[str, Path], docs: Path
) -> None:
    build(tmp_path / "index", folders["colqwen2"], docs)
    script = (
        "import json, sys\n"
        "from latefold import Index\n"
        "from latefold.ingest.folder import ingest\n"
        "from latefold.ingest.options import IngestOptions\n"
        "with Index.open(sys.argv[1]) as index:\n"
        f"    report = ingest(index, [sys.argv[2]], IngestOptions(image_pixels={LONGEST}))\n"
        "    print(json.dumps([index.reads_images, report.unchanged_files, report.ok,\n"
        "                      [name for name in ('torch', 'transformers', 'PIL') if name in sys.modules]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "index", docs], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [True, 3, True, []]


def test_pages_can_be_added_without_a_file(tmp_path: Path, checkpoint: Path) -> None:
    colours = {"red": (220, 20, 20), "blue": (20, 20, 220)}
    pages = {name: np.full((90, 120, 3), colour, np.uint8) for name, colour in colours.items()}
    with Index.create(tmp_path / "index", encoder=checkpoint) as index:
        documents = [
            Document(name, "", image=PageImage(lambda pixels=pixels: pixels)) for name, pixels in pages.items()
        ]
        assert index.add([*documents, Document("text", TEXT)]) == 3
        encoder = index.encoder
        assert isinstance(encoder, PageEncoder)
        asked = encoder.encode_queries(["red"])[0]
        exact = {
            name: maxsim(asked, encoder.encode_images([pixels]).embeddings[0]) for name, pixels in pages.items()
        } | {"text": maxsim(asked, encoder.encode_documents([TEXT])[0])}
        found = index.search("red", k=3, mode="exact")
        assert [hit.id for hit in found] == sorted(exact, key=exact.__getitem__, reverse=True)
        assert index.explain("red", "red").page is None


def test_the_command_line_indexes_looks(tmp_path: Path, folders: dict[str, Path], docs: Path) -> None:
    from typer.testing import CliRunner

    from latefold.service.cli.app import make_app

    def run(*arguments: object) -> Any:
        done = CliRunner().invoke(make_app(), [*map(str, arguments), "--json"])
        assert done.exit_code == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    into = tmp_path / "looks.index"
    planned = run("plan", docs, "--encoder", folders["colqwen2"], "--no-progress")
    assert (planned["documents"], planned["ocr_pages"]) == (4, 0)
    rehearsed = run("index", docs, "--into", into, "--encoder", folders["colqwen2"], "--no-progress", "--dry-run")
    assert (rehearsed["added"], rehearsed["skipped"], into.exists()) == (4, [], False)
    report = run("index", docs, "--into", into, "--encoder", folders["colqwen2"], "--no-progress")
    assert (report["added"], report["skipped"], report["failed"]) == (4, [], [])
    hits = run("search", into, "a red square", "--collapse", "page")["hits"]
    assert {hit["id"] for hit in hits} == {"scan.pdf#0", "scan.pdf#1", "photo.png#0", "bread.txt#0"}
    explained = run("explain", into, "a red square", "photo.png#0", "--picture", tmp_path / "page.png")
    assert explained["picture"]["drawn_from"] == "file"
    assert explained["boxes"]
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    assert run("stats", into)["bytes"]["pages"] > 0
