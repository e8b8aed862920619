"""Training pairs from documentation: folders of HTML, reStructuredText, Markdown and man pages to JSON Lines.

    python -m latefold.encoders.training.corpora --out DIR [--notes NOTES.json] FOLDER...

Each folder (or file) gives one `DIR/<name>.jsonl` of rows `{"query", "passage", "id", "source"}`: the query is the
heading above the passage, or, where that is missing, generic or a code signature, the first sentence of the section,
which then is not part of the passage. `DIR/manifest.json` lists rows, SHA-256 of the output and of the inputs, and the
notes given (package, version, licence). The same inputs in the same order give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .corpora_readers import Block, read_blocks, supported, tidy

MIN_WORDS, TARGET_WORDS, MAX_WORDS = 30, 130, 250  # of a passage
QUERY_WORDS = (2, 32)

# Generated or repeated pages: indexes, sources, images, change logs, legal texts.
_SKIPPED_FOLDERS = frozenset("_sources _static _images _modules _downloads node_modules search licenses".split())
_SKIPPED_FILES = re.compile(
    r"(genindex|search|py-modindex|modindex|changelog|changes|news|release|whats_?new|licen[cs]e|copyright|copying|fdl|gpl|"
    r"credits|authors|contributors|thanks|index-|functions|globals|annotated|classes|hierarchy|bibliography|references)"
    r"|.*(_source|-members|_8h|_8hpp|_8c|_8cpp|_8py)\.|.*(_release_|\brelease[-_ ]notes|whatsnew)",
    re.IGNORECASE,
)
_GENERIC = re.compile(
    r"(introduction|overview|notes?|(?:detailed )?description|details?|examples?|usage|summary|background|general|"
    r"remarks?|returns?|parameters?|see also|references?|synopsis|name|options?|warnings?|conclusions?|motivation|"
    r"theory|definition|discussion|method|methods|results?|attributes?|raises|bugs|files|authors?|history|basics|"
    r"preface|about|additional information|more information|further reading|"
    r"contents?|index|home|documentation|tutorial|case|step|return type|keywords|purpose|features|basic usage|related)"
    r"(?: \w| \d+)?",
    re.IGNORECASE,
)
_UNWANTED_SECTIONS = re.compile(
    r"(references?|see also|authors?|copyright|licen[cs]e|acknowledge?ments?|bibliography|citations?|changelog|"
    r"reporting bugs|further reading|external links|contributors|credits|contents|table of contents|index)\W*",
    re.IGNORECASE,
)
_FUNCTION_WORDS = frozenset(
    "the a an of to in and is are for that this it be by with as on or from at which can not will has have was were "
    "if its these".split()
)
_CODE_TOKEN = re.compile(r"\w_\w|::|\(\)|->|==|[a-z][A-Z]|[{}<>\\$|]|^--?\w|/\w+/|\w\(\w|=\w|^@|\.\w+\(")
_ABBREVIATIONS = r"e\.g i\.e etc Fig fig Eq Ref vol No cf al vs Dr Mr St Op p pp Cit Sec sec Chap ca".split()
_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<![A-Z]\.)" + "".join(rf"(?<!\b{word}\.)" for word in _ABBREVIATIONS) + r"\s+(?=[A-Z“\"(])"
)


@dataclass(frozen=True)
class Section:
    """Paragraphs under one heading; `headings` is the path from the page's title down, outermost first."""

    headings: tuple[str, ...]
    paragraphs: tuple[str, ...]


@dataclass
class Seen:
    """What was already taken: a paragraph or a passage is used once, whichever folder has it."""

    keys: set[bytes] = field(default_factory=set)

    def first(self, text: str) -> bool:
        """True the first time a text is shown; letters and digits alone count, so layout makes no difference."""
        key = hashlib.blake2b(re.sub(r"[\W_]+", "", text).casefold().encode(), digest_size=12).digest()
        new = key not in self.keys
        self.keys.add(key)
        return new


def sections(blocks: Iterable[Block]) -> Iterator[Section]:
    """Group paragraphs under their heading path; headings of the same wording as their parent are folded."""
    path: dict[int, str] = {}
    paragraphs: list[str] = []
    for block in blocks:
        if not block.level:
            paragraphs.append(block.text)
            continue
        if paragraphs:
            yield Section(_headings(path), tuple(paragraphs))
            paragraphs = []
        path = {level: text for level, text in path.items() if level < block.level}
        path[block.level] = re.sub(
            r"^(?:chapter |section |appendix )?[\dA-Z]?[\d.]*[.)]?\s+(?=[A-Za-z])", "", block.text
        )
    if paragraphs:
        yield Section(_headings(path), tuple(paragraphs))


def pairs(section: Section, seen: Seen) -> Iterator[tuple[str, str]]:
    """(query, passage) pairs of one section.

    Paragraphs that are no prose or were seen before are dropped; the others are packed into passages of about
    `TARGET_WORDS`, never more than `MAX_WORDS`. The heading asks for the first passage, first sentences for the others.
    """
    if section.headings and _UNWANTED_SECTIONS.fullmatch(section.headings[-1]):
        return
    kept = [text for text in section.paragraphs if is_prose(text) and seen.first(text)]
    heading = heading_query(section.headings)
    for passage in _packed(kept):
        query, rest = heading or "", passage
        if not query:
            query, rest = _first_sentence(passage)
        heading = None
        words = len(rest.split())
        if query and MIN_WORDS <= words <= MAX_WORDS:
            yield query, rest


def heading_query(headings: Sequence[str]) -> str | None:
    """The heading path as a query: the last heading, after the one above it where that is needed to understand it."""
    natural = [text for text in headings if _is_natural(text)]
    if not natural or not headings or headings[-1] != natural[-1]:
        return None
    last = natural[-1]
    if _GENERIC.fullmatch(last.strip(" :.")) or len(last.split()) < 2:
        above = [text for text in natural[:-1] if not _GENERIC.fullmatch(text.strip(" :."))]
        if not above:
            return None
        last = f"{above[-1]}: {last}"
    return last.rstrip(" :") if QUERY_WORDS[0] <= len(last.split()) <= QUERY_WORDS[1] else None


def is_prose(text: str) -> bool:
    """Whether a paragraph is running English text: sentences, function words, few code tokens, numbers and symbols."""
    words = text.split()
    if len(words) < 8 or text.startswith("[") or not re.search(r"[.!?:;)”\"]$", text):
        return False
    function = sum(word.strip(".,;:()").lower() in _FUNCTION_WORDS for word in words) / len(words)
    code = sum(bool(_CODE_TOKEN.search(word)) for word in words) / len(words)
    letters = sum(character.isalpha() or character == " " for character in text) / len(text)
    latin = sum(character.isascii() for character in text) / len(text)
    return function >= 0.18 and code <= 0.08 and letters >= 0.85 and latin >= 0.95 and "http" not in text


def source_files(source: Path) -> list[Path]:
    """The readable files of a folder in a stable order, without generated pages; a file stands for itself.

    Raises:
        InvalidInputError: there is nothing at this path.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InvalidInputError(f"{source}: no such file or folder; name an unpacked documentation folder")
    files: list[Path] = []
    for folder, names, leaves in os.walk(source):
        names[:] = sorted(name for name in names if name not in _SKIPPED_FOLDERS)
        paths = [Path(folder) / leaf for leaf in sorted(leaves) if not _SKIPPED_FILES.match(leaf)]
        files += [path for path in paths if path.is_file() and not path.is_symlink() and supported(path)]
    return files


def rows(source: Path, seen: Seen) -> Iterator[dict[str, str]]:
    """Rows of one folder or file; `id` is the file within the folder and a running number."""
    name = source.name.split(".")[0] if source.is_file() else source.name
    for file in source_files(source):
        within = file.relative_to(source) if source.is_dir() else Path(file.name)
        number = 0
        for section in sections(read_blocks(file)):
            for query, passage in pairs(section, seen):
                yield {"query": query, "passage": passage, "id": f"{name}:{within.as_posix()}#{number}", "source": name}
                number += 1


def build(sources: Sequence[Path], out: Path, notes: Mapping[str, Any]) -> dict[str, Any]:
    """Write one JSON Lines file per source and the manifest; returns the manifest.

    Args:
        sources: documentation folders or files; their names must differ.
        out: folder to write, made when missing.
        notes: by source name, what the manifest shall say of it (package, version, licence).

    Raises:
        InvalidInputError: a source is missing, or two have the same name.
    """
    names = [source.name.split(".")[0] if source.is_file() else source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError(f"two sources are called {name}; rename one, each is a file of its own")
    out.mkdir(parents=True, exist_ok=True)
    seen, entries = Seen(), []
    for name, source in zip(names, sources, strict=True):
        inputs = _digest(source)
        taken = list(rows(source, seen))
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in taken).encode("utf-8", "replace")
        (out / f"{name}.jsonl").write_bytes(data)
        entry = {
            "file": f"{name}.jsonl",
            "rows": len(taken),
            "sha256": hashlib.sha256(data).hexdigest(),
            "inputs": inputs,
        }
        entries.append(entry | dict(notes.get(name, {})))
    manifest = {"files": entries}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m latefold.encoders.training.corpora`."""
    parser = argparse.ArgumentParser(description="Make training pairs from unpacked documentation.")
    parser.add_argument("sources", type=Path, nargs="+", metavar="FOLDER", help="documentation folders or files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--notes", type=Path, help="JSON object: source name to package, version, licence")
    given = parser.parse_args(arguments)
    notes = json.loads(given.notes.read_text(encoding="utf-8")) if given.notes else {}
    manifest = build([source.absolute() for source in given.sources], given.out, notes)
    sys.stdout.write("".join(f"{entry['rows']:8d}  {entry['file']}\n" for entry in manifest["files"]))
    return 0


def _headings(path: Mapping[int, str]) -> tuple[str, ...]:
    ordered = [path[level] for level in sorted(path)]
    return tuple(text for i, text in enumerate(ordered) if i == 0 or text.casefold() != ordered[i - 1].casefold())


def _is_natural(text: str) -> bool:
    words = text.split()
    return (
        bool(words)
        and not any(_CODE_TOKEN.search(word) for word in words)
        and bool(re.search(r"[a-z]{3}", text))
        and (sum(character.isalpha() or character in " -'," for character in text) >= 0.85 * len(text))
        and not re.search(r"\w\.\w", text)
    )


def _packed(paragraphs: Sequence[str]) -> Iterator[str]:
    """Whole sentences, paragraph after paragraph, in passages of `TARGET_WORDS` up to `MAX_WORDS` words."""
    current: list[str] = []
    count = 0
    for paragraph in paragraphs:
        for sentence in _SENTENCE_END.split(paragraph):
            words = len(sentence.split())
            if current and count + words > MAX_WORDS:
                yield " ".join(current)
                current, count = [], 0
            current.append(sentence)
            count += words
        if count >= TARGET_WORDS:
            yield " ".join(current)
            current, count = [], 0
    if current:
        yield " ".join(current)


def _first_sentence(passage: str) -> tuple[str, str]:
    first, *others = _SENTENCE_END.split(passage)
    usable = first[:1].isalpha() and 5 <= len(first.split()) <= QUERY_WORDS[1] and is_prose(first)
    return (tidy(first), " ".join(others)) if usable else ("", passage)


def _digest(source: Path) -> dict[str, Any]:
    """Number and joint SHA-256 of the files read: of the lines `<sha256>  <path within the source>`."""
    files = source_files(source)
    base = source if source.is_dir() else source.parent
    joint = hashlib.sha256()
    for file in files:
        joint.update(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(base).as_posix()}\n".encode())
    return {"files": len(files), "sha256": joint.hexdigest()}


if __name__ == "__main__":
    raise SystemExit(main())
