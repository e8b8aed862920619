"""`python -m latefold.eval.pages.known_items --out DIR`: a collection of PDF pages with queries whose page is known.

The PDFs are those of `sources.py`, out of Debian packages that `apt-get download` brings; `known_queries.py` says how
queries are found. The folder is one of the BEIR layout (`corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`) with the
documents in `pdfs/`; a page is `FILE#pN`, where FILE is the name of the PDF without its ending and N counts from 0.
With `--scans` the same pages as pictures are in `scans/`, under the same names.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ...encoders.errors import InvalidInputError, LatefoldError, StorageError
from .known_queries import Pages, Question, kinds, questions
from .pdfs import head, read_pages
from .scans import DPI, rasterise
from .sources import SOURCES, Source

NAME: Final = "known-items"
_LONGEST_NAME: Final = 500


def build(out: Path, cache: Path, sources: Sequence[Source] = SOURCES) -> Path:
    """Make the collection in `out`, with packages kept in `cache`; returns `out`.

    The same packages give the same bytes. Raises `InvalidInputError` where a package cannot be had or holds another
    PDF, `StorageError` where a folder cannot be written.
    """
    try:
        (out / "pdfs").mkdir(parents=True, exist_ok=True)
        (out / "qrels").mkdir(exist_ok=True)
        documents = [_document(source, out / "pdfs", cache) for source in sources]
        _write(out, sources, documents, questions(documents))
    except OSError as error:
        raise StorageError(f"the collection cannot be written to {out}: {error.strerror or error}") from error
    return out


def fetched(source: Source, cache: Path) -> bytes:
    """The PDF of a source, as it is packaged. Raises `InvalidInputError` where it cannot be had or is another."""
    cache.mkdir(parents=True, exist_ok=True)
    for package in [*sorted(cache.glob(f"{source.package}_*.deb")), None]:
        found = _member(package or _download(source, cache), source)
        if hashlib.sha256(found).hexdigest() == source.sha256:
            return found
    raise InvalidInputError(
        f"{source.path} of package {source.package} is not the file that the collection is made from, which Debian 12 "
        f"has in version {source.version}: build it on Debian 12, or put that package into {cache}"
    )


def _download(source: Source, cache: Path) -> Path:
    apt = shutil.which("apt-get")
    if apt is None:
        raise InvalidInputError(
            f"the known-item collection is made from Debian packages, and this machine has no apt-get: put the package "
            f"{source.package} {source.version} (and the others of eval/pages/sources.py) into {cache}"
        )
    before = set(cache.glob("*.deb"))
    done = subprocess.run(  # noqa: S603 - a fixed program of the system
        [apt, "download", source.package], cwd=cache, capture_output=True, check=False
    )
    new = sorted(set(cache.glob(f"{source.package}_*.deb")) - before)
    if done.returncode or not new:
        said = done.stderr.decode(errors="replace").strip()[-_LONGEST_NAME:]
        raise InvalidInputError(
            f"apt-get cannot download {source.package} ({said or 'it brought nothing new'}): run 'apt-get update' "
            f"first; the collection is made from packages of Debian 12"
        )
    return new[-1]


def _member(package: Path, source: Source) -> bytes:
    """A file of a package, unpacked."""
    tool = shutil.which("dpkg-deb")
    if tool is None:
        raise InvalidInputError(f"{package.name} cannot be opened: this machine has no dpkg-deb")
    done = subprocess.run([tool, "--fsys-tarfile", str(package)], capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise InvalidInputError(f"{package} cannot be opened: {done.stderr.decode(errors='replace').strip()[-200:]}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        try:
            file = archive.extractfile(f"./{source.path}")
        except KeyError:
            file = None
        if file is None:
            return b""
        data = file.read()
    return gzip.decompress(data) if source.path.endswith(".gz") else data


def _document(source: Source, folder: Path, cache: Path) -> Pages:
    """Write the kept pages of a source, and read them back."""
    import pypdfium2

    data = fetched(source, cache)
    with pypdfium2.PdfDocument(data) as document:
        kept = min(source.pages or len(document), len(document))
        outline = _outline(document, kept)
        if kept < len(document):
            data = head(document, kept)
    (folder / f"{source.name}.pdf").write_bytes(data)
    return Pages(source.name, source.title, [page.text for page in read_pages(data)], outline)


def _outline(document: Any, pages: int) -> list[tuple[int, str]]:
    """Outline entries that lead to the first pages: page from 0, and title."""
    entries = []
    for entry in document.get_toc(max_depth=8):
        goal = entry.get_dest()
        page = goal.get_index() if goal is not None else None
        if page is not None and page < pages:
            entries.append((int(page), str(entry.get_title())))
    return entries


def _write(out: Path, sources: Sequence[Source], documents: Sequence[Pages], found: Sequence[Question]) -> None:
    corpus = [
        {"_id": f"{document.file}#p{number}", "title": document.title, "text": text}
        for document in documents
        for number, text in enumerate(document.texts)
    ]
    ids = [f"{item.file}-{number:03}" for number, item in enumerate(found)]
    asked = [{"_id": id_, "text": item.text, "kind": item.kind} for id_, item in zip(ids, found, strict=True)]
    judged = [f"{id_}\t{item.file}#p{item.page}\t1" for id_, item in zip(ids, found, strict=True)]
    _lines(out / "corpus.jsonl", [json.dumps(line, ensure_ascii=False) for line in corpus])
    _lines(out / "queries.jsonl", [json.dumps(line, ensure_ascii=False) for line in asked])
    _lines(out / "qrels" / "test.tsv", ["query-id\tcorpus-id\tscore", *judged])
    about = {
        "documents": len(documents),
        "pages": len(corpus),
        "queries": len(found),
        "kinds": kinds(found),
        "page_ids": "FILE#pN, N from 0",
        "sources": [
            {
                "file": f"pdfs/{source.name}.pdf",
                "title": source.title,
                "package": source.package,
                "version": source.version,
                "path": source.path,
                "licence": source.licence,
                "sha256_packaged": source.sha256,
                "sha256": hashlib.sha256((out / "pdfs" / f"{source.name}.pdf").read_bytes()).hexdigest(),
                "pages": len(document.texts),
                "queries": kinds(item for item in found if item.file == source.name),
            }
            for source, document in zip(sources, documents, strict=True)
        ],
    }
    (out / "manifest.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the collection; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m latefold.eval.pages.known_items", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the collection")
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench/debs"), help="packages (%(default)s)")
    parser.add_argument("--scans", action="store_true", help=f"also the pages as pictures of {DPI} dpi, in scans/")
    settings = parser.parse_args(arguments)
    try:
        build(settings.out, settings.cache)
        if settings.scans:
            rasterise(settings.out / "pdfs", settings.out / "scans")
    except LatefoldError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    made = json.loads((settings.out / "manifest.json").read_text(encoding="utf-8"))
    sys.stdout.write(f"{settings.out}: {made['documents']} PDFs, {made['pages']} pages, {made['queries']} queries\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
