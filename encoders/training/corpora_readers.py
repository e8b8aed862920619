"""Documentation files as headings and paragraphs: HTML, reStructuredText, Markdown and man pages.

Only prose survives: code, tables, navigation, field lists and page furniture are left out. Readers take bytes and never
fail on odd input; what they cannot read gives no blocks.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 16 * 2**20  # a longer page is generated (an index, a listing), and a gzip bomb stops here

_DROPPED = (
    "script style pre table nav header footer aside form svg math noscript select button figure head textarea template"
).split()
_FURNITURE = re.compile(
    r"headerlink|sidebar|toctree|\btoc\b(?!-content)|navbar|navigation|breadcrumb|\brelated\b|footer|highlight|"
    r"memproto|memdoc_title|\bfragment\b|copyright|viewcode|versionmodified|\bmath\b|MathJax|citation|footnote|field-list|"
    r"admonition-title|rubric|caption",
    re.IGNORECASE,
)
_MAIN = (
    "//main",
    "//*[@role='main']",
    "//article",
    "//*[@id='content' or @class='contents' or @id='main' or @id='DisplayArea']",
)
_LEAVES = frozenset({"p", "li", "dd", "blockquote", "dt"})
_BLOCKS = "p|ul|ol|dl|li|dd|div|blockquote".split("|")


@dataclass(frozen=True)
class Block:
    """One heading (`level` 1 is the page's title, 7 a term being defined) or one paragraph (`level` 0)."""

    text: str
    level: int = 0


def read_blocks(path: Path) -> list[Block]:
    """Blocks of one file, by its name's ending (`.gz` may follow); an unknown ending gives none."""
    stem = path.name.removesuffix(".gz").removesuffix(".txt")
    kind = _kind(stem)
    if kind is None:
        return []
    source = _bytes(path)
    if source is None:
        return []
    blocks = html_blocks(source) if kind == "html" else _TEXT_READERS[kind](source.decode("utf-8", "replace"))
    return [Block(text, block.level) for block in blocks if (text := tidy(block.text))]


def supported(path: Path) -> bool:
    """Whether the file's name says that `read_blocks` has a reader for it."""
    return _kind(path.name.removesuffix(".gz").removesuffix(".txt")) is not None


def tidy(text: str) -> str:
    """One line of text: white space folded, heading anchors, zero-width characters and page citations removed."""
    text = re.sub(r"\s+", " ", re.sub("[¶◆\u200b\u00ad\ufeff\uf0c1]", "", text)).strip()
    return re.sub(r" ?\[(?:\d+(?:[,–-] ?\d+)*|[^\[\]]{0,120}\bpp?\. ?\d[^\[\]]{0,40})\]", "", text)


def html_blocks(source: bytes) -> Iterator[Block]:
    """Headings, paragraphs, list items and definitions of the page's main part, in document order."""
    import trafilatura

    tree: Any = trafilatura.load_html(source)
    if tree is None:
        return
    titles = tree.xpath("//head/title")
    if titles and titles[0].text:
        yield Block(re.split(r" [—–|] | -- ", titles[0].text)[0], 1)
    for element in list(tree.iter(*_DROPPED)):
        _drop(element)
    root = _main_part(tree)
    for element in root.xpath(".//*[@class or @id]"):
        if _FURNITURE.search(f"{element.get('class') or ''} {element.get('id') or ''}"):
            _drop(element)
    for element in root.iter("h1", "h2", "h3", "h4", "h5", "h6", *_LEAVES):
        if element.tag[0] == "h":
            yield Block(str(element.text_content()), int(element.tag[1]))
        elif element.find(".//pre") is None and next(element.iterdescendants(*_BLOCKS), None) is None:
            yield Block(str(element.text_content()), 7 if element.tag == "dt" else 0)


def markdown_blocks(text: str) -> Iterator[Block]:
    """Headings (`#` and underlined) and paragraphs of Markdown; fences, tables and HTML are left out."""
    text = re.sub(r"^(```|~~~).*?^\1[^\n]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->|<[^>\n]+>", "", text, flags=re.DOTALL)
    text = re.sub(r"^(?P<t>\S[^\n]*)\n(?P<u>=|-)(?P=u){2,}[ \t]*$", _underlined, text, flags=re.MULTILINE)
    for part in re.split(r"\n[ \t]*\n|\n(?=#)|(?<=\n)(?=[-*+] )", text):
        heading = re.match(r"\s*(#{1,6})\s+([^\n]+?)\s*#*\s*(?:\n|$)", part)
        if heading:
            yield Block(_plain_markdown(heading[2]), len(heading[1]))
            part = part[heading.end() :]
        if part.strip() and not part.startswith(("    ", "\t", "|")) and " | " not in part:
            yield Block(_plain_markdown(re.sub(r"^\s*(?:[-*+>]|\d+\.)\s+", "", part)))


def rst_blocks(text: str) -> Iterator[Block]:
    """Section titles and paragraphs of reStructuredText; directives, literals, tables and fields are left out."""
    levels: list[str] = []
    literal = False  # inside the indented block that follows `::` or a directive
    for part in re.split(r"\n[ \t]*\n", text):
        lines = [line for line in part.strip("\n").split("\n") if line.strip()]
        if not lines:
            continue
        if literal and lines[0][0].isspace():
            continue
        literal = lines[0].startswith("..") or lines[-1].rstrip().endswith("::")
        if lines[0].startswith(".."):
            continue
        title, rest = _rst_title(lines)
        if title is not None:
            mark, words = title
            if mark not in levels:
                levels.append(mark)
            yield Block(_plain_rst(words), min(6, levels.index(mark) + 1))
        if rest and not rest[0].lstrip().startswith((":", "+-", "|", "==", ">>>")):
            yield Block(_plain_rst(re.sub(r"^\s*(?:[-*+]|#\.|\d+\.)\s+", "", " ".join(rest))))


def man_blocks(text: str) -> Iterator[Block]:
    """Sections and paragraphs of a man page (man and mdoc macros); the NAME line's summary is the title."""
    words: list[str] = []
    section, hidden = "", False
    for line in [*text.split("\n"), ".PP"]:
        macro, argument = _macro(line)
        if macro in {"nf", "EX", "Bd", "TS"}:
            hidden = True
        elif macro in {"fi", "EE", "Ed", "TE"}:
            hidden = False
        elif hidden or macro == "skip":
            continue
        elif macro == "Nd":
            yield Block(argument, 1)
        elif macro in {"text", "font"}:
            words.append(argument)
        else:
            if words:
                yield _man_paragraph(section, " ".join(words))
            words = []
            if macro in {"SH", "Sh", "SS", "Ss"}:
                section = argument
                yield Block(argument.capitalize(), 2 if macro[1].lower() == "h" else 3)


def _kind(name: str) -> str | None:
    ending = Path(name).suffix.lower()
    if ending in {".html", ".htm", ".xhtml"}:
        return "html"
    if ending in {".md", ".markdown"}:
        return "markdown"
    if ending in {".rst", ".rest"}:
        return "rst"
    return "man" if re.fullmatch(r"\.[1-8][a-z]{0,4}", ending) else None


def _bytes(path: Path) -> bytes | None:
    """The file's (unpacked) bytes; None for one that cannot be unpacked or is longer than `MAX_BYTES`."""
    try:
        with path.open("rb") as raw:
            file = gzip.GzipFile(fileobj=raw) if path.name.endswith(".gz") else io.BufferedReader(raw)
            source = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        return None
    return source if len(source) <= MAX_BYTES else None


def _main_part(tree: Any) -> Any:
    """The first element marked as the main part that holds much of the text (`contents` may be a list of links)."""
    needed = len(tree.text_content()) // 3
    return next(
        (found[0] for path in _MAIN if (found := tree.xpath(path)) and len(found[0].text_content()) > needed), tree
    )


def _drop(element: Any) -> None:
    """Take an element out, not the text after it; the page itself stays, whatever its class says."""
    if element.tag not in {"html", "body", "main"} and element.getparent() is not None:
        element.drop_tree()


def _underlined(match: re.Match[str]) -> str:
    return f"\n{'#' if match['u'] == '=' else '##'} {match['t']}\n"


def _plain_markdown(text: str) -> str:
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]+)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    return re.sub(r"\*\*|__|`|(?<!\w)[*_]|[*_](?!\w)", "", text)


def _plain_rst(text: str) -> str:
    text = re.sub(r":[\w:+-]+:`~?([^`<]*?)(?:\s*<[^`>]*>)?`", r"\1", text)
    text = re.sub(r"`([^`<]+?)(?:\s*<[^`>]*>)?`__?", r"\1", text)
    text = re.sub(r"\[[\w#*.-]+\]_|\|(\w+)\|", r"\1", text)
    return re.sub(r"\*\*|``|`|(?<!\w)\*|\*(?!\w)|:(?=:$)", "", text.rstrip())


def _rst_title(lines: list[str]) -> tuple[tuple[str, str] | None, list[str]]:
    """(mark, title) when the part opens with one, over- or underlined, and the lines after it."""
    rule = re.compile(r"([=\-~^\"'#*+.:_`])\1{2,}\s*$")
    if len(lines) >= 3 and (over := rule.match(lines[0])) and rule.match(lines[2]):
        return (over[1] * 2, lines[1].strip()), lines[3:]
    if len(lines) >= 2 and (under := rule.match(lines[1])) and not rule.match(lines[0]):
        return (under[1], lines[0].strip()), lines[2:]
    return None, lines


_MAN_ESCAPES = (
    (re.compile(r"\\f(?:\[\w*\]|\(\w\w|.)|\\s[+-]?\d+|\\[&/,|^:]|\\\".*"), ""),
    (re.compile(r"\\\(em|\\\[em\]"), " - "),
    (re.compile(r"\\\((?:aq|cq|oq)|\\\[(?:aq|cq|oq)\]"), "'"),
    (re.compile(r"\\\((?:lq|rq|dq)|\\\[(?:lq|rq|dq)\]|\\\*\(?(?:lq|rq|L\"|R\"|C\+)"), '"'),
    (re.compile(r"\\\(\w\w|\\\[[^\]]*\]|\\\*\S"), ""),
    (re.compile(r"\\[-~ 0]"), lambda match: "-" if match[0] == "\\-" else " "),
    (re.compile(r"\\e"), r"\\"),
)
_FONTS = frozenset("B I R BR BI IR IB RB RI SM SB Fl Ar Pa Nm Xr Cm Em Sy Dq Ql Dv Ev Va Fa".split())
_BREAKS = frozenset("SH SS Sh Ss PP P LP Pp TP IP HP It Bl El RS RE br sp nf fi EX EE Bd Ed TS TE Nd".split())


def _macro(line: str) -> tuple[str, str]:
    """(macro, argument) of one line: `text` for running text, `font` for inline macros, `skip` for the rest."""
    if not line.startswith((".", "'")):
        return ("text", _unescape(line)) if line.strip() else ("PP", "")
    name, _, argument = line[1:].strip().partition(" ")
    argument = _unescape(argument)
    if name in _FONTS:
        spaced = len(name) == 1 or name[0].islower() or not name.isupper()
        pieces = [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', argument)]
        return "font", (" " if spaced else "").join(pieces)
    return (name, argument.strip('" ')) if name in _BREAKS else ("skip", "")


def _unescape(text: str) -> str:
    for pattern, replacement in _MAN_ESCAPES:
        text = pattern.sub(replacement, text)
    return text


def _man_paragraph(section: str, text: str) -> Block:
    if section.upper() == "NAME" and " - " in text:
        return Block(text.partition(" - ")[2], 1)
    return Block(text)


_TEXT_READERS = {"markdown": markdown_blocks, "rst": rst_blocks, "man": man_blocks}
