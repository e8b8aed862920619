"""How results look to a person: ranked hits with highlighted snippets, explanations, tables of facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from ...retrieval.types import Document, Explanation, Hit, TokenMatch
from ..snippet import Snippet, printable, snippet
from .console import Output

Span = tuple[int, int]

MATCH = "bold yellow"
STRENGTHS = ((2 / 3, "bold black on yellow", "**"), (1 / 3, "bold yellow", "*"), (0.0, "yellow", "_"))
"""Lowest share of the strongest match, style, and the marker that stands for it where there are no colours."""
INDENT = "    "
NO_CHARACTERS = "(marker)"
"""Stands for a vector that belongs to no characters, such as the one at the beginning of every query."""
FIELDS = ("title", "text")
TEXT_AFTER_MATCHES = 400
"""Characters of a document shown after the last matched token of an explanation."""
DRAWN_FROM = {
    "file": "the file",
    "thumbnail": "the stored thumbnail: the file has changed or is gone",
    "words": "the places of its words: the file has changed or is gone",
}
"""What a picture of a page was drawn from, in words."""


def show_hits(output: Output, query: str, hits: Sequence[Hit]) -> None:
    """Ranked results: title, score, source and id, and the part of the text that matches the query best."""
    if not hits:
        output.out.print(Text("no results"))
    for rank, hit in enumerate(hits, start=1):
        title = printable(hit.title) or printable(hit.id)
        head = Text.assemble(
            (f"{rank:>2}. ", "dim"), (title, "bold cyan"), "  ", (f"{hit.score:.4g}", "green"), overflow="fold"
        )
        output.out.print(head)
        print_indented(output, Text(origin(hit), style="dim"))
        found = snippet(hit.text, query)
        if found.text:
            print_indented(output, snippet_text(output, found))
        output.out.print()


def print_indented(output: Output, text: Text) -> None:
    """Print a text in lines that begin below the title of a result."""
    for line in text.wrap(output.out, output.out.width - len(INDENT), overflow="fold"):
        line.rstrip()
        output.out.print(Text.assemble(INDENT, line), soft_wrap=True)


def origin(hit: Hit) -> str:
    """Where a hit comes from: its source, its page where one is known, and its id."""
    parts = [hit.source] if hit.source else []
    if hit.metadata.get("page") is not None:
        parts.append(f"page {hit.metadata['page']}")
    if hit.title or not parts:
        parts.append(f"id {hit.id}")
    return printable(" · ".join(parts))


def snippet_text(output: Output, found: Snippet) -> Text:
    """A snippet with its matches coloured, or between asterisks where there are no colours."""
    marked = mark(output, found.text, [(span, MATCH, "*") for span in found.matches])
    return Text.assemble("… " if found.before else "", marked, " …" if found.after else "")


def mark(output: Output, text: str, spans: Iterable[tuple[Span, str, str]]) -> Text:
    """A text with `(span, style, marker)` applied; spans are sorted and do not overlap."""
    result = Text(overflow="fold")
    position = 0
    for (start, end), style, marker in spans:
        result.append(text[position:start])
        word = text[start:end]
        result.append(word, style) if output.styled else result.append(f"{marker}{word}{marker}")
        position = end
    return result.append(text[position:])


def show_explanation(output: Output, explanation: Explanation, document: Document) -> None:
    """The table of token matches, and the document with the matched tokens marked by strength."""
    table = Table(box=box.SIMPLE, title=None, pad_edge=False)
    table.add_column("query token")
    table.add_column("matched document token")
    table.add_column("score", justify="right")
    table.add_column("share", justify="right")
    for match in explanation.matches:
        share = match.score / explanation.score if explanation.score else 0.0
        where = " (title)" if match.field == "title" else ""
        table.add_row(
            Text(printable(match.query_text) or NO_CHARACTERS),
            Text(printable(match.document_text) + where),
            f"{match.score:.3f}",
            f"{share:.1%}",
        )
    output.out.print(table)
    terms = ", ".join(explanation.lexical_terms) or "none"
    output.out.print(Text(f"MaxSim score {explanation.score:.4f}; words found by BM25: {printable(terms)}\n"))
    if document.title:
        output.out.print(marked_field(output, document.title, explanation.matches, "title"))
        output.out.print()
    output.out.print(marked_field(output, document.text, explanation.matches, "text"))


def show_page(output: Output, explanation: Explanation, picture: Mapping[str, str] | None) -> None:
    """Which page the document is from, and where the picture of it is, or how to get one."""
    if explanation.page is None:
        return
    output.out.print(Text(f"\npage {explanation.page.number} of its file"), end="")
    if picture is None:
        output.out.print(Text(": --picture FILE.png shows where on it the match is"), soft_wrap=True)
        return
    source = DRAWN_FROM[picture["drawn_from"]]
    output.out.print(Text(f": {printable(picture['path'])}, drawn from {source}"), soft_wrap=True)


def marked_field(output: Output, text: str, matches: Sequence[TokenMatch], field: str) -> Text:
    """The title or text of a document with its matched tokens marked; a long rest without matches is left out."""
    strengths = strength_by_span(matches, field)
    strongest = max(score for name in FIELDS for score in (0.0, *strength_by_span(matches, name).values()))
    end = max((stop for _, stop in strengths), default=0) + TEXT_AFTER_MATCHES
    spans = []
    for span, score in strengths.items():
        style, marker = next((style, marker) for least, style, marker in STRENGTHS if score >= least * strongest)
        spans.append((span, style, marker))
    marked = mark(output, printable(text[:end], keep_lines=True), spans)
    return marked.append(" …") if end < len(text) else marked


def strength_by_span(matches: Sequence[TokenMatch], field: str) -> dict[Span, float]:
    """Sum of the scores of each matched stretch of a field, in order; pieces of one word are joined."""
    scores: dict[Span, float] = {}
    for match in matches:
        span = match.document_span
        if span is not None and match.field == field and span[0] < span[1]:
            scores[span] = scores.get(span, 0.0) + max(match.score, 0.0)
    joined: dict[Span, float] = {}
    last = (-1, -1)
    for span, score in sorted(scores.items()):
        start = last[0] if span[0] == last[1] else span[0]
        joined[start, span[1]] = max(joined.pop(last, 0.0), score) if start != span[0] else score
        last = (start, span[1])
    return joined


def show_facts(output: Output, facts: Mapping[str, object]) -> None:
    """Names and values, one pair a line."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        line = Text.assemble((f"{name:<{width}}", "bold"), "  ", printable(str(value)))
        output.out.print(line, soft_wrap=True)
