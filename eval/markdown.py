"""Pages and tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def page(sections: Mapping[str, str]) -> str:
    """Headings, with their marks, and what stands under them."""
    return "\n\n".join(f"{heading}\n\n{body}" for heading, body in sections.items()) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table whose first `left` columns are text, and the others figures."""
    lines = [header, [*["---"] * left, *["---:"] * (len(header) - left)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
