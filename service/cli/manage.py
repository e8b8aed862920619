"""`stats`, `verify`, `optimize` and `delete`: looking after an index."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ...encoders.errors import DocumentNotFoundError, InvalidInputError
from .arguments import FilterText, IndexPath, read_filter
from .calibrate import describe_calibration, write_plot
from .console import Output, count, size
from .factorize import describe_factors

SHOWN_IDS = 10
"""Ids listed before a deletion; more are counted."""


def stats(
    output: Output,
    path: IndexPath,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the measured recall of candidates here, as SVG.")
    ] = None,
) -> None:
    """Show what an index holds, what it weighs and how good its candidates were measured to be.

    --json: {"path", "documents", "deleted", "tokens", "dim", "sources", "segments", "generation", "format_version",
    "encoder", "fingerprint", "codec", "wanted_codec", "bytes_per_token", "single", "bytes_per_vector",
    "fitted_documents", "bytes_per_document", "bytes": {part: bytes, "total"}, "calibration": {"generation",
    "documents", "queries", "curve": [[candidates, recall]], "curve_100", "candidates", "recall", "target", "single",
    "bytes", "real", "options": [{"single", "bytes", "curve", "candidates", "microseconds"}], "codec", "codecs":
    [{"codec", "bytes", "kept"}], "refined", "drift", "warning"}, "factors": {"kind", "scorer", "queries", "documents",
    "calls", "remembered", "dims", "anchors", "fit", "bytes_per_document"}}; "factors" is null unless `factorize` ran.
    """
    from ...retrieval.index import Index

    with Index.open(path) as index:
        figures = index.stats().to_dict()
    if plot is not None:
        write_plot(plot, figures["calibration"])
    if output.as_json:
        output.json(figures)
        return
    from .render import show_facts

    show_facts(output, describe_stats(figures))


def describe_stats(figures: Mapping[str, Any]) -> dict[str, str]:
    """The figures of an index in words."""
    parts = {part: count for part, count in figures["bytes"].items() if part != "total" and count}
    deleted = f" (and {figures['deleted']:,} deleted, until optimize)" if figures["deleted"] else ""
    return {
        "index": str(figures["path"]),
        "documents": f"{figures['documents']:,}{deleted}",
        "token vectors": f"{figures['tokens']:,} of {figures['dim']} dimensions",
        "token codec": _describe_codec(figures),
        "size": f"{size(figures['bytes']['total'])}, {size(figures['bytes_per_document'])} a document",
        "of which": ", ".join(f"{part} {size(count)}" for part, count in parts.items()) or "nothing yet",
        "sources": f"{figures['sources']:,}",
        "generation": f"{figures['generation']}, {count(figures['segments'], 'segment')}, format "
        f"{figures['format_version']}",
        "encoder": f"{figures['encoder'] or 'none: vectors are brought'} ({figures['fingerprint']})",
        "single vectors": _describe_single(figures),
        **describe_calibration(figures["calibration"]),
        **_describe_factors(figures["factors"]),
    }


def _describe_factors(made: Mapping[str, Any] | None) -> dict[str, str]:
    return {} if made is None else describe_factors({**made, "bytes": made["bytes_per_document"]})


def _describe_codec(figures: Mapping[str, Any]) -> str:
    wanted = figures["wanted_codec"]
    asked = "" if wanted == figures["codec"] else f" (asked for: {wanted})"
    return f"{figures['codec']}{asked}, {figures['bytes_per_token']} bytes a token"


def _describe_single(figures: Mapping[str, Any]) -> str:
    if not figures["single"]:
        return "none yet"
    fitted = f"fitted to {figures['fitted_documents']:,} documents" if figures["fitted_documents"] else "not fitted"
    return f"{figures['single']}, {size(figures['bytes_per_vector'])} a document, {fitted}"


def verify(output: Output, path: IndexPath) -> None:
    """Read every stored byte and compare it with its checksum; exit code 7 names the first damaged file.

    --json: {"files", "bytes", "documents"}.
    """
    from ...retrieval.index import Index

    with Index.open(path) as index, output.progress() as report:
        checked = index.verify(progress=report).to_dict()
    if output.as_json:
        output.json(checked)
        return
    files, documents = count(checked["files"], "file"), count(checked["documents"], "document")
    output.note(f"sound: {files}, {size(checked['bytes'])}, {documents}")


def optimize(output: Output, path: IndexPath) -> None:
    """Merge segments, drop deleted documents from disk and measure the candidate recall anew; scores do not change.

    --json: the figures of `stats`, and {"bytes_before"}.
    """
    from ...retrieval.index import Index

    with Index.open(path) as index, output.progress() as report:
        before = index.stats().bytes["total"]
        index.optimize(progress=report)
        index.calibrate(progress=report)
        after = index.stats()
    if output.as_json:
        output.json({**after.to_dict(), "bytes_before": before})
        return
    output.note(
        f"{size(before)} before, {size(after.bytes['total'])} now: "
        f"{count(after.documents, 'document')} in {count(after.segments, 'segment')}"
    )


Ids = Annotated[list[str], typer.Argument(metavar="[ID]...", help="Ids of the documents.", show_default=False)]


def delete(
    output: Output,
    path: IndexPath,
    ids: Ids = [],  # noqa: B006  typer makes a new list for each call
    filter_json: FilterText = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete by filter without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted.")] = False,
) -> None:
    """Delete documents by id or by filter. All the ids must be there, or nothing is deleted.

    --json: {"deleted", "ids", "dry_run"}. Disk space is freed by `optimize`.
    """
    from ...retrieval.index import Index

    conditions = read_filter(filter_json)
    if bool(ids) == (conditions is not None):
        raise InvalidInputError("name the documents to delete, either by id or with --filter")
    with Index.open(path) as index:
        chosen = list(dict.fromkeys(ids)) if conditions is None else index.ids(filter=conditions)
        missing = [name for name in chosen if conditions is None and name not in index]
        if missing:
            raise DocumentNotFoundError(f"no document has the id {missing[0]!r}; nothing was deleted")
        if conditions is not None and not dry_run and chosen:
            confirm(output, chosen, yes=yes)
        deleted = 0 if dry_run or not chosen else index.delete(chosen)
    if output.as_json:
        output.json({"deleted": deleted, "ids": chosen, "dry_run": dry_run})
        return
    listed = f": {_listed(chosen)}" if chosen else ""
    output.note(f"{'would delete' if dry_run else 'deleted'} {count(len(chosen), 'document')}{listed}")


def confirm(output: Output, ids: Sequence[str], *, yes: bool) -> None:
    """Ask before many documents go; a no ends the command. Raises `InvalidInputError` when nobody can be asked."""
    if yes:
        return
    if output.as_json or not sys.stdin.isatty():
        raise InvalidInputError(f"the filter matches {count(len(ids), 'document')}: repeat with --yes to delete them")
    output.note(f"the filter matches {count(len(ids), 'document')}: {_listed(ids)}")
    typer.confirm("Delete them?", abort=True, err=True)


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN_IDS]) + (", …" if len(ids) > SHOWN_IDS else "")
