"""`plan` and `index`: from files to an index."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...encoders.errors import IndexNotFoundError, InvalidInputError
from ..exit_codes import OK, SOME_FILES_FAILED
from .arguments import EncoderName, Exclude, Include, Offline, Sources, Threads
from .calibrate import TargetRecall
from .console import Output, ProgressDisplay, count, duration, size

if TYPE_CHECKING:
    from ...encoders.base import Encoder
    from ...ingest.folder import IngestReport
    from ...ingest.options import IngestOptions, Note
    from ...ingest.plan import Plan
    from ...retrieval.config import IndexConfig
    from ...retrieval.index import Index

SHOWN_NOTES = 20
"""Files listed with the reason they failed; all of them are in the JSON."""
SHOWN_REASONS = 5
LONG_BYTES = 4 << 20
"""Text that takes the bundled encoder about a minute; from there on an estimate of the time left is worth its price."""
DRIFT = 0.1
"""Share of documents gone or come since the last calibration that calls for another."""

Into = Annotated[Path, typer.Option("--into", metavar="PATH", help="Folder of the index; made if it is not there.")]
NewEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME",
        help="Encoder of a new index: latefold (the default) or minilm, with -DIM for fewer dimensions and :POOLING "
        "for fewer vectors a document (latefold-64:c33%); the path of an exported encoder; or the path or hub name of "
        "a sentence-transformers multi-vector model.",
    ),
]
NewCodec = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How tokens are stored: auto (the default), a preset (smallest, balanced, exact: `latefold plan` compares "
        "them), or a codec by name.",
    ),
]
Keep = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Store this share of the vectors of a document, the most salient ones (0.6)."),
]
BySaliency = Annotated[
    Literal["distance", "attention"] | None,
    typer.Option(
        "--saliency",
        help="Salient is what differs from the rest of the document (the default), or what the model attends to, which "
        "encoders of page images tell.",
        show_default=False,
    ),
]
OcrEngineName = Annotated[
    Literal["auto", "off", "tesseract", "rapidocr"],
    typer.Option("--ocr", help="What reads pages that have no text layer: auto takes what is installed."),
]
Thumbnails = Annotated[bool, typer.Option(help="Keep a small picture of every page of PDF and image files.")]
Prune = Annotated[bool, typer.Option("--prune", help="Delete the documents of files that are gone.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Read everything, write nothing.")]


def index(
    output: Output,
    sources: Sources,
    into: Into,
    encoder: NewEncoder = None,
    codec: NewCodec = None,
    keep: Keep = None,
    saliency: BySaliency = None,
    target_recall: TargetRecall = None,
    include: Include = [],  # noqa: B006  typer makes a new list for each call
    exclude: Exclude = [],  # noqa: B006
    ocr: OcrEngineName = "auto",
    thumbnails: Thumbnails = True,
    prune: Prune = False,
    dry_run: DryRun = False,
    threads: Threads = None,
    offline: Offline = False,
) -> int:
    """Index files and folders, or bring an index up to date with them.

    Reads txt, md, html, pdf, png, jpeg, tiff, webp, jsonl, csv, parquet and BEIR folders. Pages without a text layer
    are read by OCR, where an engine is installed; an encoder that reads images sees pages themselves. Unchanged files
    are skipped; an interrupted run goes on where it stopped when the same command is run again. Exit code 20: done, but
    some files could not be read.

    --json: {"path", "documents", "bytes_on_disk", "files", "unchanged_files", "added", "updated", "unchanged",
    "deleted", "vanished", "pruned", "skipped": [{"source", "reason"}], "failed": [{"source", "reason"}], "bytes",
    "seconds", "dry_run", "ok", "calibration", "plan"}; "plan" is that of `plan` for a dry run of a new index.
    """
    from ...encoders.pages import PageEncoder
    from ...ingest.options import IngestOptions

    check_sources(sources)
    options = IngestOptions(include=include, exclude=exclude, ocr=ocr, thumbnails=thumbnails)
    check_engine(options)
    config = new_config(codec, target_recall, keep, saliency)
    target = open_target(into, encoder, codec, config, threads=threads, offline=offline, dry_run=dry_run)
    planned = None
    try:
        with output.progress() as report:
            if target is None:
                loaded = load_named(encoder, threads=threads, offline=offline)
                options = replace(options, page_images=isinstance(loaded, PageEncoder))
                planned = make_plan(sources, options, loaded, codec, report)
            done = bring_up_to_date(
                target, sources, options, report, prune=prune, dry_run=dry_run, target_recall=target_recall
            )
        facts = describe(into, target, planned)
    finally:
        if target is not None:
            target.close()
    if output.as_json:
        output.json({**facts, **done.to_dict()})
    else:
        show_report(output, done, facts, planned)
    return OK if done.ok else SOME_FILES_FAILED


def bring_up_to_date(
    index: Index | None,
    sources: Sequence[Path],
    options: IngestOptions,
    report: ProgressDisplay | None,
    *,
    prune: bool,
    dry_run: bool,
    target_recall: float | None = None,
) -> IngestReport:
    """Ingest the sources, and measure the recall again when the index has changed noticeably."""
    from ...ingest.folder import ingest

    if index is None or dry_run:
        return ingest(index, sources, options, report, prune=prune, dry_run=True)
    if report is not None:
        report.expect("encode", expected_documents(index, sources, options))
    done = ingest(index, sources, options, report, prune=prune)
    if calibration_due(index, target_recall):
        index.calibrate(progress=report, target_recall=target_recall)
    return done


def expected_documents(index: Index, sources: Sequence[Path], options: IngestOptions) -> int | None:
    """About how many documents a first run will encode, where it is going to take long; None elsewhere.

    Files are read as they are encoded, so that only a sample can tell beforehand how much is to come.
    """
    from ...ingest.plan import plan as estimate
    from ...ingest.walk import scan

    encoder = index.encoder
    if encoder is None or index.sources() or scan(sources, options).bytes < LONG_BYTES:
        return None
    return estimate(sources, options, encoder=encoder, config=index.config).documents


def check_sources(sources: Sequence[Path]) -> None:
    """Raise `InvalidInputError` for a path that is not there, before anything is made."""
    for source in sources:
        if not source.exists():
            raise InvalidInputError(f"there is no file or folder {source}")


def check_engine(options: IngestOptions) -> None:
    """Raise `InvalidInputError` or `MissingExtraError` for an OCR engine that is not there, before anything is made."""
    from ...ingest.ocr import find_engine

    if options.ocr not in ("auto", "off"):
        with find_engine(options.ocr) or nullcontext():
            pass


def open_target(
    path: Path,
    encoder: str | None,
    codec: str | None,
    config: IndexConfig,
    *,
    threads: int | None,
    offline: bool,
    dry_run: bool,
) -> Index | None:
    """The index to write to: the one at `path`, or a new one; None for a dry run where there is none yet.

    Raises `IndexExistsError` when the folder holds other files, `EncoderMismatchError` and `InvalidInputError` when an
    existing index has another encoder or codec, or keeps another share, than what is asked for.
    """
    from ...encoders.pages import PageEncoder
    from ...retrieval.config import IndexConfig
    from ...retrieval.index import Index

    try:
        found = Index.open(path, threads=threads, offline=offline)
    except IndexNotFoundError:
        if dry_run:
            return None
        loaded = load_named(encoder, threads=threads, offline=offline)
        if config.saliency == "attention" and not isinstance(loaded, PageEncoder):
            raise InvalidInputError(
                f"{loaded.name} tells no attention, as encoders of page images do: leave --saliency out"
            ) from None
        return Index.create(path, encoder=loaded, config=config)
    if codec not in (None, found.config.codec):
        found.close()
        raise InvalidInputError(
            f"{path} stores tokens as {found.config.codec}: leave --codec out, or choose another path"
        )
    pruned, asked = (found.config.keep, found.config.saliency), (config.keep, config.saliency)
    if asked not in (pruned, (1.0, IndexConfig.saliency)):
        found.close()
        raise InvalidInputError(
            f"{path} keeps {pruned[0]:g} of its vectors by {pruned[1]}: leave --keep and --saliency out, or choose "
            "another path"
        )
    if encoder is None:
        return found
    found.close()
    return Index.open(path, encoder=load_named(encoder, threads=threads, offline=offline))


def load_named(name: str | None, *, threads: int | None, offline: bool) -> Encoder:
    """The encoder of `--encoder`."""
    from ...encoders.base import load_encoder

    return load_encoder(name or "default", threads=threads, offline=offline)


def new_config(
    codec: str | None,
    target_recall: float | None = None,
    keep: float | None = None,
    saliency: Literal["distance", "attention"] | None = None,
) -> IndexConfig:
    """The configuration of a new index. Raises `InvalidInputError` on values that have no meaning."""
    from ...retrieval.config import IndexConfig

    if saliency is not None and keep is None:
        raise InvalidInputError("--saliency says which vectors to store: say how many of them by --keep")
    usual = IndexConfig()
    return replace(
        usual,
        codec=codec or usual.codec,
        target_recall=target_recall or usual.target_recall,
        keep=usual.keep if keep is None else keep,
        saliency=saliency or usual.saliency,
    )


def calibration_due(index: Index, target_recall: float | None) -> bool:
    """Whether the measured recall is missing, for another target, or of a noticeably smaller or larger index."""
    measured = index.stats().calibration
    if measured is None or target_recall not in (None, measured["target"]):
        return True
    return bool(abs(len(index) - measured["documents"]) > DRIFT * measured["documents"])


def describe(path: Path, index: Index | None, planned: Plan | None) -> dict[str, Any]:
    """What the index is like after the run, or would be."""
    stats = None if index is None else index.stats()
    return {
        "path": str(path),
        "documents": stats.documents if stats else 0,
        "bytes_on_disk": stats.bytes["total"] if stats else 0,
        "calibration": stats.calibration if stats else None,
        "plan": planned.to_dict() if planned else None,
    }


def show_report(output: Output, report: IngestReport, facts: dict[str, Any], planned: Plan | None) -> None:
    """The report of a run, for a person: counts, what was left out and why, and what to do next."""
    from .render import show_facts

    show_facts(output, report_facts(report, facts))
    if planned is not None:
        show_facts(output, {f"planned {name}": value for name, value in plan_facts(planned).items()})
    show_notes(output, "could not be read", report.failed)
    for reason, number in Counter(note.reason for note in report.skipped).most_common(SHOWN_REASONS):
        output.note(f"skipped {count(number, 'file')}: {reason}")
    if report.vanished and not report.pruned:
        output.note(f"{count(len(report.vanished), 'indexed file')} gone since; --prune deletes their documents")
    if facts["calibration"] and facts["calibration"]["warning"]:
        output.note(f"warning: {facts['calibration']['warning']}")
    if not report.dry_run:
        output.note(f"search it: latefold search {shlex.quote(facts['path'])} 'your question'")


def report_facts(report: IngestReport, facts: dict[str, Any]) -> dict[str, str]:
    """The counts of a run in words."""
    encoded = report.added + report.updated
    rate = f", {encoded / report.seconds:.0f} documents/s" if encoded and report.seconds and not report.dry_run else ""
    would = "would be " if report.dry_run else ""
    lines = {
        "documents": f"{would}{report.added:,} added, {report.updated:,} updated, {report.unchanged:,} unchanged, "
        f"{report.deleted:,} deleted",
        "files": f"{report.files:,} read, {report.unchanged_files:,} unchanged, {len(report.skipped):,} skipped, "
        f"{len(report.failed):,} failed",
        "read": f"{size(report.bytes)} in {duration(report.seconds)}{rate}",
    }
    if not report.dry_run:
        lines["index"] = f"{facts['path']}: {count(facts['documents'], 'document')}, {size(facts['bytes_on_disk'])}"
    if facts["calibration"]:
        measured = facts["calibration"]
        lines["recall"] = f"{measured['recall']:.3f} of the exact top 10 among {measured['candidates']} candidates"
    return lines


def show_notes(output: Output, what: str, notes: Sequence[Note]) -> None:
    """Files with their reasons, as many as fit a screen."""
    for note in notes[:SHOWN_NOTES]:
        output.note(f"{what}: {note.source}: {note.reason}")
    if len(notes) > SHOWN_NOTES:
        output.note(f"{what}: {len(notes) - SHOWN_NOTES:,} more; --json lists them all")


def plan(
    output: Output,
    sources: Sources,
    encoder: EncoderName = "default",
    codec: NewCodec = None,
    include: Include = [],  # noqa: B006  typer makes a new list for each call
    exclude: Exclude = [],  # noqa: B006
    ocr: OcrEngineName = "auto",
    threads: Threads = None,
    offline: Offline = False,
) -> None:
    """Estimate documents, time, memory and disk of indexing files and folders, from a sample; writes nothing.

    --json: {"files", "bytes", "kinds": {kind: files}, "skipped", "unreadable", "documents", "tokens",
    "tokens_per_document", "documents_per_second", "seconds", "disk_bytes": {part: bytes, "total"}, "memory_bytes",
    "sampled", "encoder", "codec", "presets": [{"preset", "codec", "bytes_per_token", "tokens_bytes", "kept"}],
    "ocr_pages"}.
    """
    from ...ingest.options import IngestOptions

    check_sources(sources)
    options = IngestOptions(include=include, exclude=exclude, ocr=ocr)
    loaded = load_named(encoder, threads=threads, offline=offline)
    with output.progress() as report:
        planned = make_plan(sources, options, loaded, codec, report)
    if output.as_json:
        output.json(planned.to_dict())
        return
    from .render import show_facts

    show_facts(output, plan_facts(planned))


def make_plan(
    sources: Sequence[Path],
    options: IngestOptions,
    encoder: Encoder,
    codec: str | None,
    report: ProgressDisplay | None,
) -> Plan:
    """The estimates for a new index."""
    from ...ingest.plan import plan as estimate

    return estimate(sources, options, encoder=encoder, config=new_config(codec), progress=report)


def plan_facts(planned: Plan) -> dict[str, str]:
    """The estimates in words."""
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in planned.kinds.items())
    return {
        "files": f"{planned.files:,} ({kinds or 'none'}), {size(planned.bytes)}; {planned.skipped:,} skipped",
        "documents": f"about {planned.documents:,}, {planned.tokens_per_document:.0f} token vectors each",
        **({"ocr": f"about {count(planned.ocr_pages, 'page')}"} if planned.ocr_pages else {}),
        "time": f"about {duration(planned.seconds)} at {planned.documents_per_second:.0f} documents/s",
        "disk": f"about {size(planned.disk_bytes['total'])}",
        "memory": f"about {size(planned.memory_bytes)} while indexing",
        "encoder": str(planned.encoder),
        "token codec": planned.codec,
        **{
            f"  --codec {preset.preset}": f"{preset.codec}, {preset.bytes_per_token} bytes a token, "
            f"{size(preset.tokens_bytes)}; keeps {100 * preset.kept:.1f} % of nDCG@10 or more on the test collections"
            for preset in planned.presets
        },
    }
